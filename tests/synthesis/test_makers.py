"""Each maker on its own: its lineage is true, and it does what its title says."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import gradtape as gt
from gradtape.runs import SeriesStore
from gradtape.synthesis import MAKERS, Real, Workplace
from gradtape.tracking import judge
from gradtape.tracking.history import players, read_history
from gradtape.training import Checkpoint
from tests.synthesis.conftest import digits
from tests.training.test_loop import Counted, Stop, StopsAt

WORKPLACE = Workplace(steps=6)


def test_repeat_gives_the_real_samples_back(real: Real) -> None:
    made = MAKERS["repeat"].make(real, 100, 0, WORKPLACE)
    for image, target, one in zip(made.images, made.targets, made.descent, strict=True):
        (parent,) = one.parents
        assert torch.equal(image, real.images[parent])
        assert target.argmax() == real.labels[parent]
    assert sorted(one.parents[0] for one in made.descent[:40]) == list(range(40))


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """Roll, then empty what came round."""
    moved = np.roll(image, (down, right), axis=(-2, -1))
    if down:
        moved[..., slice(0, down) if down > 0 else slice(down, None), :] = 0
    if right:
        moved[..., slice(0, right) if right > 0 else slice(right, None)] = 0
    return moved


@pytest.mark.parametrize(("shape", "reach"), [((1, 8, 8), 1), ((3, 28, 30), 2), ((1, 64, 41), 3)], ids=str)
def test_shift_moves_by_what_it_says(shape: tuple[int, int, int], reach: int) -> None:
    images = torch.rand(10, *shape, generator=torch.Generator().manual_seed(0)) + 0.1
    real = Real(images.clamp(0, 1), torch.arange(10) % 2, 2, nn.Identity())
    made = MAKERS["shift"].make(real, 300, 1, WORKPLACE)
    moves = set()
    for image, target, one in zip(made.images, made.targets, made.descent, strict=True):
        (parent,), move = one.parents, (one.settings["down"], one.settings["right"])
        assert np.array_equal(image.numpy(), shifted(real.images[parent].numpy(), *move))
        assert target.argmax() == real.labels[parent]
        moves.add(move)
    assert moves == {(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)} - {(0, 0)}


def test_mixup_mixes_images_and_labels_by_the_same_share(real: Real) -> None:
    made = MAKERS["mixup"].make(real, 400, 1, WORKPLACE)
    shares = []
    for image, target, one in zip(made.images, made.targets, made.descent, strict=True):
        (i, j), u = one.parents, one.settings["share"]
        assert torch.allclose(image, (1 - u) * real.images[i] + u * real.images[j], atol=3e-6)
        expected = torch.zeros(4)
        expected[real.labels[i]] += 1 - u
        expected[real.labels[j]] += u
        assert torch.allclose(target, expected, atol=3e-6)
        shares.append(u)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)  # Beta(0.4, 0.4): mean 1/2, variance 1/(4 * 1.8)
    assert np.var(shares) == pytest.approx(1 / 7.2, abs=0.02)
    assert len({one.parents[1] for one in made.descent}) == 40


def interpolated(made: object, real: Real) -> None:
    for image, target, one in zip(made.images, made.targets, made.descent, strict=True):
        (i, j), u = one.parents, one.settings["share"]
        assert torch.allclose(image, real.images[i] + u * (real.images[j] - real.images[i]), atol=3e-6)
        assert real.labels[i] == real.labels[j] == target.argmax()
        assert 0 <= u <= 1


def test_interpolate_walks_from_a_sample_to_one_of_its_five_nearest_of_its_class(real: Real) -> None:
    made = MAKERS["interpolate"].make(real, 800, 1, WORKPLACE)
    interpolated(made, real)
    flat = real.images.flatten(1).double()
    reached: dict[int, set[int]] = {}
    for one in made.descent:
        reached.setdefault(one.parents[0], set()).add(one.parents[1])
    for i, found in reached.items():
        mates = [j for j in range(40) if real.labels[j] == real.labels[i] and j != i]
        near = sorted(mates, key=lambda j: float((flat[i] - flat[j]).norm()))[:5]
        assert found <= set(near)
        assert len(found) >= len(near) - 1  # twenty draws of five leave out one at times, never two of forty
    shares = [one.settings["share"] for one in made.descent]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / 12, abs=0.01)


def test_interpolate_in_a_class_smaller_than_the_number_of_neighbours() -> None:
    images, labels = digits([6, 3, 2, 1])
    real = Real(images, labels, 4, nn.Identity())
    made = MAKERS["interpolate"].make(real, 120, 1, WORKPLACE)
    interpolated(made, real)
    pairs = {one.parents for one in made.descent}
    assert {pair for pair in pairs if pair[0] >= 9} == {(9, 10), (10, 9), (11, 11)}  # the single one stays itself
    alone = [image for image, one in zip(made.images, made.descent, strict=True) if one.parents == (11, 11)]
    assert all(torch.equal(image, images[11]) for image in alone)


def test_interpolate_among_equal_images() -> None:
    images, labels = digits([4])
    real = Real(torch.cat([images, images]), torch.cat([labels, labels]), 1, nn.Identity())
    made = MAKERS["interpolate"].make(real, 40, 1, WORKPLACE)
    interpolated(made, real)
    assert all(i != j for i, j in (one.parents for one in made.descent))


def test_steer_makes_samples_harder_and_keeps_their_labels(real: Real) -> None:
    made = MAKERS["steer"].make(real, 80, 1, WORKPLACE)
    parents = torch.tensor([one.parents[0] for one in made.descent])
    assert torch.equal(made.targets.argmax(1), real.labels[parents])
    assert sorted(parents.tolist()) == sorted([*range(40), *range(40)])
    with torch.no_grad():
        loss = cross_entropy(real.model(made.images), real.labels[parents], reduction="none")
        before = cross_entropy(real.model(real.images[parents]), real.labels[parents], reduction="none")
    assert (loss > before).double().mean() > 0.8
    moved = (made.images - real.images[parents]).flatten(1).norm(dim=1)
    assert (moved > 0).all()
    assert moved.median() < 0.5 * torch.pdist(real.images.flatten(1)).median()  # still near its parent


def test_steer_names_nodes_of_the_tape_and_what_it_did(real: Real) -> None:
    made = MAKERS["steer"].make(real, 80, 1, WORKPLACE)
    tape = gt.record(real.model, real.images[:2])
    assert all(one.node in tape for one in made.descent)
    assert tape[made.descent[0].node].value is not tape.output
    assert 1 < len({(one.node, one.settings["size"]) for one in made.descent}) <= 8
    assert {one.objective for one in made.descent} == {"log-odds against the label, ascended"}
    assert all(one.settings["steps"] >= 1 and 0 < one.settings["size"] < 0.2 for one in made.descent)


def test_steer_can_be_repeated_from_its_lineage(real: Real) -> None:
    made = MAKERS["steer"].make(real, 8, 1, WORKPLACE)  # a sample is a group of its own
    for image, one in zip(made.images, made.descent, strict=True):
        (parent,) = one.parents
        tape = gt.record(real.model, real.images[parent : parent + 1])
        label = real.labels[parent : parent + 1]
        value = tape.steer(
            one.node,
            lambda output, label=label: torch.logit(output.softmax(1)[0, label]).sum(),
            steps=one.settings["steps"],
            lr=one.settings["size"],
        ).value
        if one.node == "input":
            assert torch.allclose(image, value[0].clamp(0, 1), atol=1e-5)
        else:
            before = (tape[one.node].value - value).norm()
            after = (tape.replay({"input": image[None]})[one.node].value - value).norm()
            assert after < before


class Awkward(nn.Module):
    """Has a branch that the output does not use, an operation on weights alone, and one across the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.side, self.head = nn.Linear(64, 8), nn.Linear(64, 3), nn.Linear(8, 4)
        self.gain = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        self.side(flat).sigmoid()
        gain = self.gain.exp() / math.e
        turned = (self.body(flat).relu() * gain).t()
        return self.head(turned.t() + 0 * flat.mean())


def test_steer_works_with_models_in_which_not_every_node_lies_on_the_way(real: Real) -> None:
    torch.manual_seed(0)
    model = Awkward()
    tape = gt.record(model, real.images[:5])
    on_the_way = {"input", "flatten_1", "body", "relu_1", "mul_1", "t_2", "add_1"}
    used = set()
    for seed in range(3):
        made = MAKERS["steer"].make(real._replace(model=model), 24, seed, WORKPLACE)
        assert made.images.isfinite().all()
        used |= {one.node for one in made.descent}
    assert used <= set(tape._recorder.names)
    assert len(used) > 3
    assert used <= on_the_way


def test_adversarial_samples_approach_the_class_means_and_no_rule_speaks(real: Real) -> None:
    store = SeriesStore(Path(":memory:"))
    made = MAKERS["adversarial"].make(real, 200, 1, Workplace(steps=180, series=store, player="gan"))
    labels = made.targets.argmax(1)
    means = torch.stack([real.images[real.labels == c].mean(0) for c in range(4)])
    drawn = torch.stack([made.images[labels == c].mean(0) for c in range(4)])
    distance = torch.cdist(drawn.flatten(1), means.flatten(1))
    assert distance.argmin(1).tolist() == [0, 1, 2, 3]
    assert (made.images.var(0).mean() > 0.2 * real.images.var(0).mean()).item()
    assert players(store) == ["gan/generator", "gan/discriminator"]
    assert judge([read_history(store, player) for player in players(store)]) == []
    assert [one.settings["draw"] for one in made.descent] == list(range(200))
    assert {(one.parents, one.objective) for one in made.descent} == {((), "adversarial")}


def test_an_interrupted_adversarial_maker_goes_on_bit_for_bit(real: Real, tmp_path: Path) -> None:
    whole = MAKERS["adversarial"].make(real, 20, 1, Workplace(steps=20))
    checkpoint = Checkpoint(tmp_path / "part", every=5)
    with pytest.raises(Stop):
        MAKERS["adversarial"].make(real, 20, 1, Workplace(20, checkpoint=checkpoint, progress=StopsAt(13)))
    progress = Counted()
    again = MAKERS["adversarial"].make(real, 20, 1, Workplace(20, checkpoint=checkpoint, progress=progress))
    assert torch.equal(again.images, whole.images)
    assert again.model == whole.model
    assert progress.work == MAKERS["adversarial"].work(20)
