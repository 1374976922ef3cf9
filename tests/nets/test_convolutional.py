"""Convolutional players: sizes, conditions that count, and samples that do not see their batch mates."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from gradtape.errors import InputError
from gradtape.nets import Condition, ConvDiscriminator, ConvGenerator

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 16, 16), (3, 30, 20), (1, 13, 11), (3, 64, 48), (2, 4, 5)]
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
CONDITIONS = {"none": None, "classes": 3, "attributes": Condition(attributes=2)}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def players(shape: tuple[int, int, int], kind: str = "classes", join: str = "projection") -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "generator": ConvGenerator(shape, latent=5, width=3, condition=CONDITIONS[kind]),
        "discriminator": ConvDiscriminator(shape, width=3, condition=CONDITIONS[kind], join=join, hidden=9),
    }


def inputs(player: str, shape: tuple[int, int, int], kind: str = "classes") -> tuple[Tensor, ...]:
    first = normal(6, 5) if player == "generator" else normal(6, *shape)
    return (first, *{"none": (), "classes": (LABELS,), "attributes": (normal(6, 2, seed=1),)}[kind])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("join", ["projection", "concatenation"])
@pytest.mark.parametrize("kind", list(CONDITIONS))
def test_shapes_ranges_and_a_gradient_for_every_parameter(shape: tuple[int, int, int], join: str, kind: str) -> None:
    made = players(shape, kind, join)
    images = made["generator"](*inputs("generator", shape, kind))
    assert images.shape == (6, *shape)
    assert images.is_contiguous()
    assert -1 < images.min() < images.max() < 1
    logits = made["discriminator"](images, *inputs("discriminator", shape, kind)[1:])
    assert logits.shape == (6,)
    logits.square().sum().backward()
    for player, model in made.items():
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, f"{player} {name}"
            assert parameter.grad.abs().sum() > 0, f"{player} {name}"


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 20)], ids=str)
@pytest.mark.parametrize("join", ["projection", "concatenation"])
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_a_samples_output_has_no_gradient_from_its_batch_mates(
    player: str, shape: tuple[int, int, int], join: str
) -> None:
    model, (first, labels) = players(shape, join=join)[player].double(), inputs(player, shape)
    given = first.double().requires_grad_()
    output = model(given, labels)
    (slope,) = torch.autograd.grad(output[2].sum(), given)
    assert slope[2].abs().sum() > 0
    assert slope[[0, 1, 3, 4, 5]].abs().sum() == 0
    alone = model(given[2:3], labels[2:3])
    assert torch.allclose(alone[0], output[2], atol=1e-10)


@pytest.mark.parametrize("join", ["projection", "concatenation"])
@pytest.mark.parametrize("kind", ["classes", "attributes"])
@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_each_samples_own_condition_counts(player: str, kind: str, join: str) -> None:
    shape = (1, 8, 8)
    model, (first, asked) = players(shape, kind, join)[player], inputs(player, shape, kind)
    before = model(first, asked)
    changed = asked.clone()
    changed[4] = asked[5]
    after = model(first, changed)
    moved = (after - before).abs().flatten(1).amax(1) if player == "generator" else (after - before).abs()
    assert moved[4] > 1e-4
    assert moved[[0, 1, 2, 3, 5]].max() < 1e-6


@pytest.mark.parametrize("join", ["projection", "concatenation"])
def test_the_discriminator_by_hand(join: str) -> None:
    shape = (1, 8, 8)
    model = players(shape, join=join)["discriminator"]
    x, labels = inputs("discriminator", shape)
    convolution = model.features[0]
    found = leaky_relu(conv2d(x, convolution.weight, convolution.bias, stride=2, padding=1), 0.2).flatten(1)
    asked = model.condition.encode.weight[labels]
    if join == "concatenation":
        found = torch.cat([found, asked], dim=1)
    found = leaky_relu(found @ model.hidden.weight.T + model.hidden.bias, 0.2)
    expected = found @ model.output.weight[0] + model.output.bias
    if join == "projection":
        expected = expected + (found * asked).sum(1) / 3  # the root of 9 hidden features
    assert torch.allclose(model(x, labels), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "generated", "judged"),
    [
        ((1, 8, 8), [(4, 4), (8, 8)], (4, 4)),
        ((1, 28, 28), [(7, 7), (14, 14), (28, 28)], (4, 4)),
        ((3, 30, 20), [(8, 5), (15, 10), (30, 20)], (4, 3)),
        ((3, 64, 64), [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)], (4, 4)),
    ],
    ids=str,
)
def test_sides_are_halved_and_channels_doubled_up_to_four_times(
    shape: tuple[int, int, int], generated: list[tuple[int, int]], judged: tuple[int, int]
) -> None:
    made = players(shape)
    seen: list[tuple[int, ...]] = []
    for layer in [*made["generator"].blocks, made["generator"].output]:
        layer.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape[1:])))
    made["generator"](*inputs("generator", shape))
    assert [size[1:] for size in seen] == generated
    assert seen[-1][0] == 3
    assert all(wide == min(2 * narrow, 12) for wide, narrow in pairwise(size[0] for size in seen))
    widths = [layer.out_channels for layer in made["discriminator"].features if isinstance(layer, nn.Conv2d)]
    assert widths[0] == 3
    assert all(wide == min(2 * narrow, 12) for narrow, wide in pairwise(widths))
    assert made["discriminator"].hidden.in_features == widths[-1] * judged[0] * judged[1]


def test_images_stay_within_minus_one_and_one_however_large_the_latents() -> None:
    images = players((1, 8, 8), "none")["generator"](100 * normal(6, 5))
    assert images.abs().max() <= 1
    assert images.min() < -0.95
    assert images.max() > 0.95


def test_two_players_made_from_one_condition_share_no_weights() -> None:
    made = players((1, 8, 8), "attributes")
    described = CONDITIONS["attributes"]
    assert isinstance(described, Condition)
    sets = [{id(parameter) for parameter in model.parameters()} for model in [*made.values(), described]]
    assert not sets[0] & sets[1]
    assert not (sets[0] | sets[1]) & sets[2]


def test_weights_can_be_saved_as_they_lie() -> None:
    assert all(
        value.is_contiguous() for model in players((3, 28, 28)).values() for value in model.state_dict().values()
    )


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda: ConvGenerator((1, 28)), "\\(1, 28\\) is no shape of an image"),
        (lambda: ConvDiscriminator((1, 3, 28)), "\\(1, 3, 28\\) is no shape of an image"),
        (lambda: ConvGenerator((1, 8, 8), width=0), "width is 0"),
        (lambda: ConvDiscriminator((1, 8, 8), join="sum"), "join is 'sum': use 'projection' or 'concatenation'"),
        (lambda: ConvGenerator((1, 8, 8), latent=5)(normal(6, 5), LABELS), "a generator that was built without one"),
        (lambda: ConvDiscriminator((1, 8, 8))(normal(6, 1, 8, 8), LABELS), "a discriminator that was built without"),
        (lambda: ConvGenerator((1, 8, 8), latent=5, condition=3)(normal(6, 5)), "needs labels of shape \\(n,\\)"),
        (lambda: ConvDiscriminator((1, 8, 8), condition=3)(normal(6, 1, 8, 8)), "needs labels of shape \\(n,\\)"),
    ],
)
def test_what_cannot_be_used_is_refused(act: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        act()
