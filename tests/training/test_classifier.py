"""Training, prediction and features of a classifier."""

import copy
import io
import math
from pathlib import Path

import pytest
import torch
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn

from gradtape.errors import InputError
from gradtape.nets import ImageClassifier
from gradtape.runs import SeriesStore
from gradtape.seeding import generator as random_stream
from gradtape.training import RichProgress, features, predict, train_classifier
from tests.training.test_loop import data, model, same_weights


def digits() -> tuple[Tensor, Tensor]:
    read = load_digits()
    return torch.tensor(read.images, dtype=torch.float32)[:, None] / 16, torch.tensor(read.target)


def losses(targets: Tensor, steps: int = 3, seed: int = 3) -> list[float]:
    store = SeriesStore(Path(":memory:"))
    train_classifier(model(), data()[0], targets, steps=steps, seed=seed, series=store, player="m")
    return store.read("m/loss").values[:, 0].tolist()


def test_digits_are_learnt_from_a_hundred_images() -> None:
    x, y = digits()
    torch.manual_seed(0)
    net = ImageClassifier((1, 8, 8), 10)
    train_classifier(net, x[:100], nn.functional.one_hot(y[:100], 10).float(), steps=200, seed=0)
    assert (predict(net, x[100:600]) == y[100:600]).double().mean() > 0.8
    assert not net.training


def test_the_first_loss_is_the_cross_entropy_of_the_soft_targets_by_hand() -> None:
    x, soft = data()
    rows = torch.randint(len(x), (64,), generator=random_stream(3, "batches"))
    logits = model()(x[rows]).detach().double()
    by_hand = -sum(
        float(soft[row, c]) * (float(logits[i, c]) - math.log(float(logits[i].exp().sum())))
        for i, row in enumerate(rows.tolist())
        for c in range(3)
    )
    assert losses(soft)[0] == pytest.approx(by_hand / 64, rel=1e-5)
    hard = nn.functional.one_hot(soft.argmax(1), 3).float()
    assert losses(hard)[0] == pytest.approx(nn.functional.cross_entropy(logits, soft.argmax(1)[rows]).item(), rel=1e-5)
    assert losses(hard)[0] != pytest.approx(losses(soft)[0], rel=1e-3)


def test_training_equals_a_loop_written_out() -> None:
    x, soft = data()
    mine, twin = model(), model()
    train_classifier(mine, x, soft, steps=12, seed=5)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=3e-3, weight_decay=1e-2)
    draws = random_stream(5, "batches")
    for step in range(12):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 + math.cos(math.pi * step / 12)) / 2
        rows = torch.randint(30, (64,), generator=draws)
        optimizer.zero_grad()
        (-(soft[rows] * twin(x[rows]).log_softmax(1)).sum(1).mean()).backward()
        optimizer.step()
    for a, b in zip(mine.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_same_seed_same_weights_and_the_global_random_state_is_left_alone() -> None:
    x, soft = data()
    nets = []
    for seed, noise in ((1, 10), (1, 11), (2, 10)):
        net = model(dropout=0.5)
        torch.manual_seed(noise)
        state = torch.get_rng_state()
        train_classifier(net, x, soft, steps=6, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        nets.append(net)
    assert same_weights(nets[0], nets[1])
    assert not same_weights(nets[0], nets[2])


def test_dropout_draws_anew_at_every_step() -> None:
    x, soft = data()

    class Seen(nn.Dropout):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            masks.append((out == 0) & (x != 0))
            return out

    masks: list[Tensor] = []
    net = nn.Sequential(nn.Flatten(), Seen(0.5), nn.Linear(64, 3))
    train_classifier(net, x, soft, steps=3, seed=0)
    assert len(masks) == 3
    assert 0.4 < masks[0].double().mean() < 0.6
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[1], masks[2])


def test_tracking_does_not_change_the_training() -> None:
    x, soft = data()
    plain, tracked = model(), model()
    train_classifier(plain, x, soft, steps=8, seed=0)
    train_classifier(tracked, x, soft, steps=8, seed=0, series=SeriesStore(Path(":memory:")))
    assert same_weights(plain, tracked)


def test_accuracy_is_logged_on_the_way_and_at_the_end() -> None:
    x, soft = data()
    y, store, net = soft.argmax(1), SeriesStore(Path(":memory:")), model()
    train_classifier(net, x, soft, steps=47, seed=0, series=store, validation=(x, y))
    logged = store.read("model/accuracy")
    assert logged.steps.tolist() == [*range(1, 47, 2), 46]
    assert logged.values[-1, 0] == pytest.approx((net(x).argmax(1) == y).double().mean().item())


@pytest.mark.parametrize(("images", "targets"), [(5, 4), (0, 0), (0, 3)])
def test_images_and_targets_must_be_as_many(images: int, targets: int) -> None:
    with pytest.raises(InputError, match=f"{images} images and {targets} targets: give one target per image"):
        train_classifier(model(), torch.zeros(images, 1, 8, 8), torch.zeros(targets, 3), steps=1, seed=0)


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(108, 6), nn.ReLU(),
        nn.Linear(6, 4),
    )  # fmt: skip
    with torch.no_grad():
        net[7].bias.zero_()
        net[7].weight.mul_(20)
        net(torch.rand(64, 1, 8, 8))  # statistics of batch norm that are not those of the start
    return net


def test_predict_equals_a_plain_forward_in_evaluation_and_leaves_every_module_in_its_mode() -> None:
    x = torch.rand(2500, 1, 8, 8, generator=torch.Generator().manual_seed(0))  # three batches of 1024
    net = normed()
    net.train()
    net[1].eval()  # as for a frozen batch norm
    modes = [module.training for module in net.modules()]
    before = copy.deepcopy(net.state_dict())
    found = predict(net, x)
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(a, before[name]) for name, a in net.state_dict().items())
    net.eval()
    with torch.no_grad():
        assert torch.equal(found, net(x).argmax(1))
    assert len(found.unique()) > 1
    predict(net, x)
    assert not any(module.training for module in net.modules())


def test_features_are_what_enters_the_last_linear_layer() -> None:
    x = torch.rand(1100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    net = normed().train()
    found = features(net, x)
    assert net.training
    assert not net[7]._forward_pre_hooks
    assert not found.requires_grad
    net.eval()
    assert torch.allclose(found, net[:7](x), atol=1e-6)
    assert found.shape == (1100, 6)


def test_features_need_a_linear_layer() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten())
    with pytest.raises(InputError, match="Sequential has no linear layer"):
        features(net, torch.zeros(2, 1, 8, 8))


def test_a_progress_that_is_no_terminal_prints_a_line_per_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("gradtape.training.progress.Console", lambda **_: Console(file=written, width=80))
    with RichProgress.show(total=10) as progress:
        progress.stage("training: real")
        progress.advance(4)
        progress.advance(6)
        progress.stage("done")
        assert progress._bar.tasks[0].completed == progress._bar.tasks[0].total == 10
    assert written.getvalue().splitlines() == ["training: real", "done"]
