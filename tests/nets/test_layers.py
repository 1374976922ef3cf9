"""Layers of the players of a game: their values by brute force, what they couple, and what they refuse."""

import math

import pytest
import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.nets import Condition, FourierFeatures, MinibatchDiscrimination, MinibatchStdDev


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 5), (8, 3, 4, 6)], ids=str)
def test_the_appended_channel_is_the_mean_deviation_within_each_group(shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    out = MinibatchStdDev(group=4)(x)
    assert out.shape == (8, shape[1] + 1, *shape[2:])
    assert torch.equal(out[:, :-1], x)
    for group in range(2):
        rows = x[4 * group : 4 * group + 4].flatten(1)
        columns = [math.sqrt(((column - column.mean()) ** 2).sum().item() / 4 + 1e-8) for column in rows.T]
        assert torch.allclose(out[4 * group : 4 * group + 4, -1], torch.tensor(sum(columns) / len(columns)), atol=1e-6)


def test_groups_do_not_see_one_another() -> None:
    x, layer = normal(6, 2), MinibatchStdDev(group=3)
    changed = x.clone()
    changed[3:] *= 7
    assert torch.equal(layer(changed)[:3], layer(x)[:3])
    assert not torch.allclose(layer(changed)[3:, 2], layer(x)[3:, 2])


def test_a_group_of_equal_samples_has_a_finite_gradient() -> None:
    x = torch.ones(4, 3, requires_grad=True)
    out = MinibatchStdDev()(x)
    assert out[:, 3].tolist() == pytest.approx([1e-4] * 4, rel=1e-3)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_a_batch_smaller_than_the_group_is_one_group_and_no_other_rest_is_taken() -> None:
    layer = MinibatchStdDev(group=4)
    assert layer(torch.tensor([[0.0], [2.0]]))[:, 1].tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(InputError, match="batch of 6 is no multiple of the group of 4"):
        layer(normal(6, 2))
    with pytest.raises(InputError, match="group is 1"):
        MinibatchStdDev(group=1)


def test_minibatch_discrimination_sums_the_closeness_to_every_other_sample() -> None:
    torch.manual_seed(0)
    layer, x = MinibatchDiscrimination(5, kernels=3, size=2), normal(4, 5)
    out = layer(x)
    assert torch.equal(out[:, :5], x)
    for i in range(4):
        for b in range(3):
            rows = layer.project.weight[2 * b : 2 * b + 2]  # the part of T that belongs to kernel b
            close = [math.exp(-(rows @ (x[i] - x[j])).abs().sum().item()) for j in range(4) if j != i]
            assert out[i, 5 + b].item() == pytest.approx(sum(close), abs=1e-5)
    out[:, 5:].sum().backward()
    assert layer.project.weight.grad is not None
    assert layer.project.weight.grad.abs().sum() > 0


def test_fourier_features_are_the_input_with_sines_and_cosines_of_fixed_projections() -> None:
    layer, x = FourierFeatures(2, features=3, scale=0.5, seed=4), normal(6, 2)
    out = layer(x)
    assert out.shape == (6, layer.width) == (6, 8)
    assert torch.equal(out[:, :2], x)
    for column in range(3):
        for row in range(6):
            angle = 2 * math.pi * sum((x[row, k] * layer.matrix[k, column]).item() for k in range(2))
            assert out[row, 2 + column].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert out[row, 5 + column].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert not list(layer.parameters())
    assert list(layer.state_dict()) == ["matrix"]


def test_the_projections_have_the_scale_asked_for_and_come_from_the_seed_alone() -> None:
    wide = FourierFeatures(50, features=200, scale=3.0)
    assert wide.matrix.std().item() == pytest.approx(3.0, rel=0.03)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert torch.equal(FourierFeatures(50, features=200, scale=3.0).matrix, wide.matrix)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.allclose(FourierFeatures(50, features=200, scale=3.0, seed=1).matrix, wide.matrix)


def test_a_condition_is_a_vector_per_class_or_a_linear_map_of_attributes() -> None:
    classes = Condition(classes=3, width=4)
    assert torch.equal(classes(torch.tensor([2, 0])), classes.encode.weight[[2, 0]])
    attributes, given = Condition(attributes=2, width=4), normal(5, 2)
    expected = given @ attributes.encode.weight.T + attributes.encode.bias
    assert torch.allclose(attributes(given), expected, atol=1e-6)


def test_a_condition_made_from_another_has_its_kind_and_weights_of_its_own() -> None:
    first = Condition(attributes=3, width=4)
    second = Condition.of(first, 7)
    assert second is not None
    assert (second.classes, second.attributes, second.width) == (None, 3, 7)
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
    plain = Condition.of(10, 7)
    assert plain is not None
    assert (plain.classes, plain.attributes, plain.width) == (10, None, 7)
    assert Condition.of(None, 7) is None


@pytest.mark.parametrize(
    ("condition", "given", "said"),
    [
        (Condition(classes=3), torch.zeros(2), "torch.float32 of shape \\(2,\\): give labels of shape \\(n,\\)"),
        (Condition(classes=3), torch.zeros(2, 1, dtype=torch.int64), "of shape \\(2, 1\\)"),
        (Condition(attributes=3), torch.zeros(2, 4), "shape \\(2, 4\\): give attributes of shape \\(n, 3\\)"),
        (Condition(attributes=3), torch.zeros(2, 3, dtype=torch.int64), "torch.int64"),
        (Condition(attributes=3), torch.zeros(3), "shape \\(3,\\)"),
        (Condition(attributes=3), None, "no condition for a network that needs attributes"),
    ],
)
def test_a_condition_of_another_kind_is_refused(condition: Condition, given: Tensor | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        condition(given)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Condition, "give one of the two"),
        (lambda: Condition(classes=3, attributes=2), "give one of the two"),
        (lambda: Condition(classes=0), "classes is 0"),
        (lambda: Condition(attributes=2, width=0), "width 0"),
        (lambda: FourierFeatures(2, scale=0.0), "scale is 0.0"),
        (lambda: FourierFeatures(2, scale=float("nan")), "scale is nan"),
        (lambda: FourierFeatures(0), "inputs and features are 0"),
        (lambda: MinibatchDiscrimination(3, kernels=0), "kernels and size are 3, 0"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()
