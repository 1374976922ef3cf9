"""What every maker promises, over the registry."""

import copy
import hashlib
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from gradtape.runs import SeriesStore
from gradtape.synthesis import MAKERS, Maker, Real, Samples, Workplace
from gradtape.synthesis.maker import Descent, one_hot, parents_of, weights_hash
from tests.synthesis.conftest import digits
from tests.training.test_loop import Counted

makers = pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
WORKPLACE = Workplace(steps=6)
SHARES = (0.4, 0.3, 0.2, 0.1)


def digest(samples: Samples) -> str:
    parts = (samples.images.numpy().tobytes(), samples.targets.numpy().tobytes(), repr(list(samples.descent)).encode())
    return hashlib.sha256(b"|".join(parts)).hexdigest() + str(samples.model)


def test_the_registry_is_keyed_by_the_makers_names() -> None:
    assert {name: maker.name for name, maker in MAKERS.items()} == {name: name for name in MAKERS}
    assert {name for name, maker in MAKERS.items() if maker.control} == {"repeat", "shift", "mixup"}
    assert all(maker.title for maker in MAKERS.values())


@makers
@pytest.mark.parametrize("n", [1, 7, 53])
def test_shapes_ranges_targets_and_descent(maker: Maker, n: int, real: Real) -> None:
    made = maker.make(real, n, 3, WORKPLACE)
    assert made.images.shape == (n, 1, 8, 8)
    assert made.images.dtype == torch.float32
    assert made.images.isfinite().all()
    assert made.images.min() >= 0
    assert made.images.max() <= 1
    assert made.targets.shape == (n, 4)
    assert made.targets.min() >= 0
    assert torch.allclose(made.targets.sum(1), torch.ones(n), atol=1e-6)
    assert not made.images.requires_grad
    assert not made.targets.requires_grad
    assert len(made.descent) == n
    assert all(isinstance(one, Descent) for one in made.descent)
    assert all(0 <= parent < 40 for one in made.descent for parent in one.parents)
    assert all(one.parents or made.model for one in made.descent)  # lineage asks for a parent or a model
    for one in made.descent:
        assert all(isinstance(value, str | int) or math.isfinite(value) for value in one.settings.values())


@pytest.mark.parametrize("maker", [maker for maker in MAKERS.values() if maker.name != "mixup"], ids=lambda m: m.name)
@pytest.mark.parametrize("n", [10, 25, 50])
def test_classes_keep_their_proportions(maker: Maker, n: int, real: Real) -> None:
    made = maker.make(real, n, 3, WORKPLACE)
    counts = torch.bincount(made.targets.argmax(1), minlength=4)
    for count, share in zip(counts.tolist(), SHARES, strict=True):
        assert abs(count - share * n) <= 1
    assert set(made.targets.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("n", [1, 4, 10, 39, 40, 41, 77, 120])
def test_parents_are_all_real_samples_equally_often_and_the_rest_by_class(n: int, real: Real) -> None:
    for labels in (real.labels, real.labels[torch.randperm(40, generator=torch.Generator().manual_seed(0))]):
        chosen = parents_of(real._replace(labels=labels), n)
        assert chosen.shape == (n,)
        times = torch.bincount(chosen, minlength=40)
        assert times.max() - times.min() <= 1
        assert times.sum() == n
        per_class = torch.bincount(labels[chosen], minlength=4)
        assert all(abs(count - n * share) <= 1 for count, share in zip(per_class.tolist(), SHARES, strict=True))
    assert parents_of(real, 80).tolist() == [*range(40), *range(40)]


@makers
def test_same_seed_same_bytes_and_another_seed_others(maker: Maker, real: Real) -> None:
    made = [digest(maker.make(real, 45, seed, WORKPLACE)) for seed in (3, 3, 4)]
    assert made[0] == made[1]
    assert (made[0] == made[2]) == (maker.name == "repeat")


@makers
@pytest.mark.parametrize("training", [False, True])
def test_model_data_and_random_state_are_left_alone(maker: Maker, training: bool, real: Real) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 4)
    )
    model.train(training)
    model[5].bias.requires_grad_(False)
    model(real.images).sum().backward()
    real = real._replace(model=model, images=real.images.clone(), labels=real.labels.clone())
    weights = copy.deepcopy(model.state_dict())
    grads = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    learning = [p.requires_grad for p in model.parameters()]
    images, labels = real.images.clone(), real.labels.clone()
    state = torch.get_rng_state()
    maker.make(real, 9, 3, WORKPLACE)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert (parameter.grad is None) if grad is None else torch.equal(parameter.grad, grad)
    assert [p.requires_grad for p in model.parameters()] == learning
    assert [module.training for module in model.modules()] == [training] * 7
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert torch.equal(real.images, images)
    assert torch.equal(real.labels, labels)
    assert not real.images.requires_grad


@makers
@pytest.mark.parametrize("per_class", [[6, 2], [5, 1], [3, 0, 4]], ids=str)
def test_small_and_empty_classes(maker: Maker, per_class: list[int], real: Real) -> None:
    images, labels = digits(per_class)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, len(per_class)))
    few = Real(images, labels, len(per_class), model)
    made = maker.make(few, 23, 1, WORKPLACE)
    assert made.images.shape == (23, 1, 8, 8)
    assert made.images.isfinite().all()
    if maker.name != "mixup":
        for target, one in zip(made.targets, made.descent, strict=True):
            assert {int(labels[parent]) for parent in one.parents} <= {int(target.argmax())}
        absent = [label for label, n in enumerate(per_class) if not n]
        assert made.targets[:, absent].sum() == 0


@makers
def test_the_work_reported_is_the_work_promised(maker: Maker, real: Real) -> None:
    progress = Counted()
    maker.make(real, 45, 3, Workplace(steps=6, progress=progress))
    assert progress.work == pytest.approx(maker.work(6))


@makers
def test_the_model_hash_is_that_of_the_model_that_made_them(maker: Maker, real: Real) -> None:
    made = maker.make(real, 5, 3, WORKPLACE)
    if maker.name == "steer":
        assert made.model == weights_hash(real.model)
    elif maker.name == "adversarial":
        assert made.model == maker.make(real, 12, 3, WORKPLACE).model
        assert made.model != maker.make(real, 5, 4, WORKPLACE).model
        assert len(made.model) == 64
    else:
        assert made.model is None


@makers
def test_makers_that_train_can_be_tracked_without_a_change(maker: Maker, real: Real) -> None:
    store = SeriesStore(Path(":memory:"))
    tracked = maker.make(real, 12, 3, Workplace(steps=6, series=store, player="mine"))
    assert digest(tracked) == digest(maker.make(real, 12, 3, WORKPLACE))
    names = {f"mine/{player}/{what}" for player in ("generator", "discriminator") for what in ("grad_norm", "loss")}
    assert set(store.names()) >= (names if maker.name == "adversarial" else set())
    assert bool(store.names()) == (maker.name == "adversarial")
    for name in names & set(store.names()):
        assert store.read(name).steps.tolist() == list(range(6))


def test_one_hot_and_the_hash_of_weights() -> None:
    assert one_hot(torch.tensor([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    model = nn.Linear(3, 2)
    before = weights_hash(model)
    assert weights_hash(copy.deepcopy(model)) == before
    with torch.no_grad():
        model.bias[1] += 1e-6
    assert weights_hash(model) != before
