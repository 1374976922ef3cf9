"""Reference networks: shapes, parameters, and samples that do not see their batch mates."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.nets import ImageClassifier, ImageDiscriminator, ImageGenerator

SHAPES = [(1, 8, 8), (3, 28, 28), (1, 5, 7), (3, 64, 48)]


def images(shape: tuple[int, int, int], n: int = 6) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))


def net(kind: str, shape: tuple[int, int, int]) -> nn.Module:
    torch.manual_seed(0)
    if kind == "classifier":
        return ImageClassifier(shape, 7, width=4)
    return ImageGenerator(shape, 7, latent=5, width=12) if kind == "generator" else ImageDiscriminator(shape, 7, 12)


def inputs(kind: str, shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    labels = torch.arange(6)
    if kind == "classifier":
        return (images(shape),)
    return (
        torch.randn(6, 5, generator=torch.Generator().manual_seed(1)) if kind == "generator" else images(shape)
    ), labels


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "expected"), [("classifier", (6, 7)), ("generator", None), ("discriminator", (6,))])
def test_output_shapes_and_a_gradient_for_every_parameter(
    kind: str, expected: tuple[int, ...] | None, shape: tuple[int, int, int]
) -> None:
    model = net(kind, shape)
    output = model(*inputs(kind, shape))
    assert output.shape == ((6, *shape) if expected is None else expected)
    output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["classifier", "generator", "discriminator"])
def test_a_samples_output_does_not_depend_on_its_batch_mates(kind: str, shape: tuple[int, int, int]) -> None:
    model = net(kind, shape)
    batch = inputs(kind, shape)
    together = model(*batch)
    for row in range(6):
        alone = model(*(part[row : row + 1] for part in batch))
        assert torch.allclose(together[row], alone[0], atol=1e-5)
    mates = tuple(torch.cat([part[:1], part[1:].flip(0)]) for part in batch)
    assert torch.allclose(model(*mates)[0], together[0], atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "reduced"),
    [((1, 8, 8), (4, 4)), ((3, 28, 28), (7, 7)), ((1, 5, 7), (5, 7)), ((3, 64, 48), (8, 6))],
    ids=str,
)
def test_the_classifier_halves_the_image_until_its_shorter_side_is_below_eight(
    shape: tuple[int, int, int], reduced: tuple[int, int]
) -> None:
    model = net("classifier", shape)
    found = model.features[:-1](images(shape))
    assert tuple(found.shape[2:]) == reduced
    wide = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert wide[0] == 4
    assert all(b == min(2 * a, 16) for a, b in pairwise(wide))  # doubled, up to four times the first
    assert model.head[0].in_features == found[0].numel()
    assert len(list(model.parameters())) == 2 * len(wide) + 4


def test_every_layer_of_the_classifier_is_a_node_of_the_tape() -> None:
    tape = gt.record(net("classifier", (1, 8, 8)), images((1, 8, 8)))
    assert all(name in tape for name in ("features.0", "features.3", "head.0", "head.2"))
    assert tape["head.2"].value is tape.output


def test_generated_images_are_strictly_within_zero_and_one_and_depend_on_latent_and_label() -> None:
    model = net("generator", (1, 8, 8))
    z, labels = inputs("generator", (1, 8, 8))
    out = model(z, labels)
    assert 0 < out.min() < out.max() < 1
    assert not torch.allclose(out, model(z, labels.flip(0)))
    assert not torch.allclose(out, model(z.flip(0), labels))


def test_the_discriminator_is_a_linear_reading_plus_a_projection_on_the_label() -> None:
    model = net("discriminator", (1, 8, 8))
    x, labels = inputs("discriminator", (1, 8, 8))
    hidden = model.body(x)
    assert model(x, labels).tolist() == pytest.approx(
        [
            (model.output.weight[0] @ row + model.output.bias[0] + model.embedding.weight[label] @ row / 12**0.5).item()
            for row, label in zip(hidden, labels.tolist(), strict=True)
        ],
        abs=1e-5,
    )
