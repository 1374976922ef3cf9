"""Every view by hand or by brute force, and what all of them promise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gradtape as gt
from gradtape.errors import InputError
from gradtape.games import ADA, VIEWS, DiffAugment, InstanceNoise, Packing, Resolution, View
from gradtape.games.views._operations import OPERATIONS

MEMBERS: dict[str, tuple[Callable[[], View], Callable[[], View]]] = {  # one that does something, one that does nothing
    "instance_noise": (
        lambda: InstanceNoise(gt.schedules.linear(0.4, 0.2, total_steps=40)),
        lambda: InstanceNoise(0.0),
    ),
    "diff_augment": (
        lambda: DiffAugment(strength=gt.schedules.linear(1.0, 0.8, total_steps=40)),
        lambda: DiffAugment(strength=0.0),
    ),
    "ada": (lambda: ADA(horizon=200, p=0.5), ADA),
    "resolution": (lambda: Resolution(1, steps=40), lambda: at(Resolution(1, steps=40), 40)),
    "packing": (lambda: Packing(2), lambda: Packing(1)),
}
CHANCE = ("instance_noise", "diff_augment", "ada")


def at(view: View, position: int) -> View:
    for _ in range(position):
        view.advance()
    return view


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int = 4, channels: int = 2, height: int = 4, width: int = 4, seed: int = 7) -> Tensor:
    return torch.rand(n, channels, height, width, generator=stream(seed), dtype=torch.float64) + 0.1


def test_every_view_is_tested_here() -> None:
    assert MEMBERS.keys() == VIEWS.keys()
    assert all(type(make()) is VIEWS[name] for name, pair in MEMBERS.items() for make in pair)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("position", [0, 17, 30])
def test_gradients_are_those_of_finite_differences(name: str, position: int) -> None:
    view = at(MEMBERS[name][0](), position)
    x = images(2).requires_grad_()
    assert view(x, stream()).requires_grad
    assert torch.autograd.gradcheck(lambda x: view(x, stream()), (x,), fast_mode=False)
    if name != "packing":
        assert not torch.equal(view(x, stream()), x)


@pytest.mark.parametrize("name", VIEWS)
def test_both_sides_are_shown_by_the_same_law(name: str) -> None:
    view, real, fake = at(MEMBERS[name][0](), 3), images(seed=1), images(seed=2)
    before = view.state_dict()
    first = [view(x, stream(seed)) for seed, x in enumerate((real, fake))]
    after = view.state_dict()
    then = [view(x, stream(seed)) for seed, x in reversed(list(enumerate((real, fake))))]
    assert before == after  # to be shown changes nothing in the view
    assert all(torch.equal(a, b) for a, b in zip(first, reversed(then), strict=True))
    states = []
    for x in (real, fake, torch.zeros_like(real)):  # what is drawn does not depend on what is shown
        random = stream(5)
        view(x, random)
        states.append(random.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


@pytest.mark.parametrize("name", VIEWS)
def test_chance_comes_from_the_given_stream_only(name: str) -> None:
    view, x, state = MEMBERS[name][0](), images(), torch.get_rng_state()
    shown = [view(x, stream(seed)) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[0], shown[2]) == (name not in CHANCE)


@pytest.mark.parametrize("name", VIEWS)
def test_nothing_is_changed_where_the_strength_is_0(name: str) -> None:
    for x in (images(), images().float()):
        shown = MEMBERS[name][1]()(x, stream())
        assert shown.dtype == x.dtype
        assert torch.equal(shown, x)


@pytest.mark.parametrize("name", VIEWS)
def test_samples_keep_their_type_and_one_sample_does_not_see_another(name: str) -> None:
    view, x = MEMBERS[name][0](), images(6)
    for dtype in (torch.float32, torch.bfloat16):
        assert view(x.to(dtype), stream()).dtype == dtype
    other = x.clone()
    other[4:] += 0.3
    shown, changed = view(x, stream()), view(other, stream())
    rows = 4 // view.packs
    assert torch.equal(shown[:rows], changed[:rows])
    assert not torch.equal(shown[rows:], changed[rows:])


@pytest.mark.parametrize("name", VIEWS)
def test_points_are_shown_or_refused_in_one_sentence(name: str) -> None:
    view, points = MEMBERS[name][0](), torch.randn(64, 2, generator=stream())
    if not view.images:
        view.check(points.shape)
        assert view(points, stream()).numel() == 128
        return
    said = rf"^{VIEWS[name].__name__} shows images, and samples of shape \(64, 2\) are no images: give .*, or use Inst"
    for refuse in (lambda: view.check(points.shape), lambda: view(points, stream())):
        with pytest.raises(InputError, match=said):
            refuse()


@pytest.mark.parametrize("name", VIEWS)
def test_a_view_saved_and_loaded_shows_the_same_from_then_on(name: str, tmp_path: Path) -> None:
    def follow(view: View, steps: range) -> list[Tensor]:
        seen = []
        for step in steps:
            seen.append(view(images(seed=step), stream(step)))
            view.observe(torch.ones(8) * (1 if step % 5 else -1))
            view.advance()
        return seen

    straight = MEMBERS[name][0]()
    follow(straight, range(6))
    torch.save(straight.state_dict(), tmp_path / "view.pt")
    resumed = MEMBERS[name][0]()
    resumed.load_state_dict(torch.load(tmp_path / "view.pt", weights_only=True))
    for mine, theirs in zip(follow(resumed, range(6, 20)), follow(straight, range(6, 20)), strict=True):
        assert torch.equal(mine, theirs)
    assert resumed.position == 20


def test_how_views_print() -> None:
    assert [repr(kind()) for kind in (InstanceNoise, lambda: DiffAugment(("cutout",)), Resolution, Packing)] == [
        "InstanceNoise(0.1)",
        "DiffAugment(('cutout',))",
        "Resolution(start=4, steps=1000)",
        "Packing(2)",
    ]
    assert repr(DiffAugment(("cutout",), strength=0.5)) == "DiffAugment(('cutout',), strength=0.5)"
    assert repr(ADA(("cutout",))) == "ADA(('cutout',), target=0.6, horizon=100000)"


def test_the_variance_of_instance_noise() -> None:
    x = torch.full((500, 200), 3.0)
    noise = InstanceNoise(0.3)(x, stream()) - x
    assert noise.var().item() == pytest.approx(0.09, rel=0.03)  # six standard errors
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.var(0).min() > 0.05  # each sample has its own
    assert noise.var(1).min() > 0.05  # and each element
    fading = InstanceNoise(gt.schedules.linear(0.4, 0.0, total_steps=4))
    for expected in (0.4, 0.3, 0.2, 0.1, 0.0, 0.0):
        assert (fading(x, stream()) - x).std().item() == pytest.approx(expected, rel=0.02)
        fading.advance()


@pytest.mark.parametrize("amount", [-0.1, float("nan"), float("inf")])
def test_amounts_out_of_range_are_refused(amount: float) -> None:
    with pytest.raises(InputError, match=f"the std of InstanceNoise is {amount}: give a finite number from 0 up"):
        InstanceNoise(amount)
    with pytest.raises(InputError, match=f"the strength of DiffAugment is {amount}"):
        DiffAugment(strength=amount)
    late = InstanceNoise(lambda position: amount if position == 2 else 0.1)
    late(torch.ones(2, 2), stream())
    with pytest.raises(InputError, match=f"the std of InstanceNoise at position 2 of its schedule is {amount}"):
        at(late, 2)(torch.ones(2, 2), stream())


def shifted(image: Tensor, down: int, right: int) -> Tensor:
    """Every pixel by a loop, with 0 where the image is not."""
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[:, row, column] = image[:, row - down, column - right]
    return out


def test_translation_moves_each_image_by_up_to_an_eighth() -> None:
    x = images(1, 2, 4, 16).expand(300, -1, -1, -1)  # by 1 pixel down, by 2 to the right
    by_hand = {(down, right): shifted(x[0], down, right) for down in (-1, 0, 1) for right in (-2, -1, 0, 1, 2)}
    found: Counter[tuple[int, int]] = Counter()
    for seen in DiffAugment(("translation",))(x, stream()):
        (place,) = [place for place, image in by_hand.items() if torch.equal(image, seen)]
        found[place] += 1
    assert found.keys() == by_hand.keys()
    assert max(found.values()) < 45  # 20 each on average


def test_cutout_removes_a_rectangle_of_half_of_each_side() -> None:
    x = torch.ones(400, 3, 6, 8)
    seen = DiffAugment(("cutout",))(x, stream())
    assert torch.equal(seen[:, 0], seen[:, 1])
    found: Counter[tuple[int, int]] = Counter()
    for image in seen[:, 0]:
        rows, columns = (image == 0).any(1).nonzero().flatten(), (image == 0).any(0).nonzero().flatten()
        by_hand = torch.ones(6, 8)
        by_hand[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0
        assert torch.equal(image, by_hand)
        found[(len(rows), len(columns))] += 1
    # 3 of 6 rows, less at an edge: centres 0 to 5 reach over twice; 4 of 8 columns: centres 0 to 8 reach over 4 times
    assert {height for height, _ in found} == {2, 3}
    assert {width for _, width in found} == {2, 3, 4}
    assert found[3, 4] / 400 == pytest.approx(4 / 6 * 5 / 9, abs=0.1)


def test_brightness_adds_one_number_to_each_image() -> None:
    x = images(500)
    added = (DiffAugment(("brightness",))(x, stream()) - x).flatten(1)
    assert torch.allclose(added, added[:, :1].expand_as(added))
    assert (added.min().item(), added.max().item()) == (pytest.approx(-0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    half = (DiffAugment(("brightness",), strength=0.5)(x, stream()) - x).flatten(1)
    assert torch.allclose(half, added / 2)


@pytest.mark.parametrize(
    ("name", "low", "high", "axes"), [("saturation", 0, 2, (1,)), ("contrast", 0.5, 1.5, (1, 2, 3))]
)
def test_colours_are_stretched_by_one_factor_per_image(
    name: str, low: float, high: float, axes: tuple[int, ...]
) -> None:
    x = images(500, 3)
    seen = DiffAugment((name,))(x, stream())
    centre = x.mean(axes, keepdim=True)
    factor = ((seen - centre) / (x - centre)).flatten(1)
    assert torch.allclose(factor, factor[:, :1].expand_as(factor), atol=1e-6)
    assert (factor.min().item(), factor.max().item()) == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))
    assert torch.allclose(seen.mean(axes, keepdim=True), centre)


def test_operations_are_done_in_the_order_that_is_given() -> None:
    x = images(5)
    both, random = DiffAugment(("brightness", "cutout"))(x, stream()), stream()
    one = DiffAugment(("cutout",))(DiffAugment(("brightness",))(x, random), random)
    assert torch.equal(both, one)
    assert (both == 0).sum() > 0
    assert (DiffAugment(("cutout", "brightness"))(x, stream()) == 0).sum() == 0
    for kind in (DiffAugment, ADA):
        said = f"{kind.__name__} has no operation 'blur': give a tuple of some of brightness, saturation, contrast"
        with pytest.raises(InputError, match=said):
            kind(("cutout", "blur"))


def test_ada_moves_p_by_hand() -> None:
    view = ADA(target=0.5, horizon=100)
    moves = []
    # signs of 2 real logits: 8 of 8 positive, r = 1; then r = 0.5, where it stays; then r = 0
    for logits in ([3.0, 0.1], [2.0, -4.0]):
        for others in range(4):
            view.observe(torch.tensor([3.0, 0.1] if others % 2 else logits))
            moves.append(round(view.p, 6))
    for _ in range(8):
        view.observe(torch.tensor([50.0, -0.1]))
        moves.append(round(view.p, 6))
    assert moves == [0, 0, 0, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0.08, 0, 0, 0, 0, 0]
    for _ in range(80):
        view.observe(torch.ones(50))
    assert view.p == pytest.approx(0.8)  # and no further: beyond, changes leak into the samples
    view.observe(torch.full((50,), torch.nan))
    assert view.p == pytest.approx(0.8)


def test_ada_does_each_operation_to_its_share_of_the_images() -> None:
    x = images(2000)
    seen = ADA(("brightness", "contrast"), p=0.3)(x, stream())
    centred, kept = seen - seen.mean((1, 2, 3), keepdim=True), x - x.mean((1, 2, 3), keepdim=True)
    moved = ((seen - x).mean((1, 2, 3)).abs() > 1e-9).double().mean().item()
    stretched = ((centred - kept).abs().amax((1, 2, 3)) > 1e-9).double().mean().item()
    both = (((seen - x).mean((1, 2, 3)).abs() > 1e-9) & ((centred - kept).abs().amax((1, 2, 3)) > 1e-9)).double()
    assert (moved, stretched) == (pytest.approx(0.3, abs=0.04), pytest.approx(0.3, abs=0.04))
    assert both.mean().item() == pytest.approx(0.09, abs=0.025)  # apart from one another


def test_ada_refuses_settings_out_of_range() -> None:
    for settings, said in (
        ({"target": 1.5}, "target of ADA is 1.5: give a number from -1 to 1"),
        ({"p": 0.9}, "p of ADA is 0.9: give a number from 0 to 0.8"),
        ({"horizon": 0}, "horizon of ADA is 0: give at least 1 sample"),
    ):
        with pytest.raises(InputError, match=said):
            ADA(**settings)


def blocks(x: Tensor, side: int) -> Tensor:
    """Each block's mean in its place, by loops, for sides that divide."""
    out = x.clone()
    size = x.shape[-1] // side
    for row in range(0, x.shape[-2], size):
        for column in range(0, x.shape[-1], size):
            block = x[..., row : row + size, column : column + size]
            out[..., row : row + size, column : column + size] = block.mean((-2, -1), keepdim=True)
    return out


def test_the_stages_of_resolution_by_hand() -> None:
    view, x = Resolution(start=2, steps=12), images(2, 1, 8, 8)  # sides 2, 4, 8, four steps each
    two, four = blocks(x, 2), blocks(x, 4)
    expected = [two] * 4 + [two, (two + four) / 2, four, four] + [four, (four + x) / 2, x, x] + [x] * 3
    for by_hand in expected:
        assert torch.allclose(view(x, stream()), by_hand, atol=1e-12)
        view.advance()
    assert [Resolution(4, 7).sides(full) for full in (28, 32, 4, 3)] == [[4, 8, 16, 28], [4, 8, 16, 32], [4], [3]]


def test_resolution_of_sides_that_do_not_divide_and_of_wide_images() -> None:
    ramp = torch.arange(7.0).reshape(1, 1, 1, 7).expand(2, 1, 7, 7)
    # 7 pixels in 2 areas, which share the one in the middle: 0 to 3 and 3 to 6; it is shown as the second
    assert Resolution(2, 10)(ramp, stream())[0, 0, 3].tolist() == [1.5] * 3 + [4.5] * 4
    wide = images(2, 1, 4, 8)
    assert torch.allclose(Resolution(2, 10)(wide, stream()), blocks(wide, 4))
    with pytest.raises(InputError, match="start of Resolution is 0: give a whole number from 1 up"):
        Resolution(0)
    with pytest.raises(InputError, match="steps of Resolution is 0"):
        Resolution(4, 0)


def test_packs_hold_neighbours_channel_after_channel() -> None:
    x = images(6, 2, 3, 3)
    packed = Packing(3)(x, stream())
    assert packed.shape == (2, 6, 3, 3)
    for pack in range(2):
        for member in range(3):
            assert torch.equal(packed[pack, 2 * member : 2 * member + 2], x[3 * pack + member])
    assert Packing(2)(torch.arange(8.0).reshape(4, 2), stream()).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [view.packs for view in (Packing(3), InstanceNoise(), ADA())] == [3, 1, 1]


def test_packing_refuses_what_does_not_come_out_even() -> None:
    with pytest.raises(
        InputError, match=r"Packing\(3\) cannot pack 64 samples: use a batch size that is a multiple of 3"
    ):
        Packing(3)(torch.ones(64, 2), stream())
    with pytest.raises(InputError, match=r"Packing\(2\) puts channels together, and samples of shape \(4,\) have none"):
        Packing(2).check(torch.Size([4]))
    with pytest.raises(InputError, match="m of Packing is 0"):
        Packing(0)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_of_strength_0_changes_no_bit(name: str) -> None:
    x = images(20, 3, 9, 5)
    assert torch.equal(OPERATIONS[name](x, 0.0, stream()), x)
    assert not torch.equal(OPERATIONS[name](x, 1.0, stream()), x)
