import math

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.report import ImageGroup, Line, Page, Section
from gradtape.report._colours import colour_map
from gradtape.report.heatmap import binned
from gradtape.report.images import png
from gradtape.report.lines import thin
from tests.report.reading import Node, data_of, pixels_of, read

NAN, INF = math.nan, math.inf


def section() -> Section:
    return Page("t").section("s")


def tree(s: Section) -> Node:
    return read(s.html())


def test_every_tile_of_a_sheet_lies_in_its_row_and_column() -> None:
    tiles = np.arange(6 * 2 * 3).reshape(6, 2, 3) / 255
    s = section()
    s.images([ImageGroup("real", tiles)], columns=3, pixels=6)
    img = tree(s).one("img")
    got = pixels_of(img)
    gap = got.shape[1] - 9 >> 1
    assert got.shape == (4 + gap, 9 + 2 * gap, 2)
    for index in range(6):
        y, x = index // 3 * (2 + gap), index % 3 * (3 + gap)
        assert (got[y : y + 2, x : x + 3, 0] == tiles[index] * 255).all(), index
        assert (got[y : y + 2, x : x + 3, 1] == 255).all()
    assert got[..., 1].sum() == 255 * 36
    assert img.attrs["alt"] == "real: 6 images of 3 by 2 pixels in 2 rows"


def test_colours_stay_in_their_channels() -> None:
    tiles = np.zeros((1, 3, 2, 2))
    tiles[0, 0, 0, 1], tiles[0, 2, 1, 0] = 1.0, 0.5
    s = section()
    s.images([ImageGroup("c", tiles)])
    got = pixels_of(tree(s).one("img"))
    assert got[0, 1].tolist() == [255, 0, 0, 255]
    assert got[1, 0].tolist() == [0, 0, 128, 255]
    grey = section()
    grey.images([ImageGroup("g", np.full((1, 1, 2, 2), 0.2))])
    assert (pixels_of(tree(grey).one("img"))[..., 0] == 51).all()


def test_pixels_that_are_not_finite_are_loud() -> None:
    tiles = np.zeros((1, 2, 2))
    tiles[0, 0, 1] = NAN
    s = section()
    s.images([ImageGroup("g", tiles)])
    got = pixels_of(tree(s).one("img"))
    assert got[0, 1].tolist() == [255, 0, 170, 255]
    assert got[1, 1].tolist() == [0, 0, 0, 255]


def test_groups_lie_side_by_side_with_their_labels() -> None:
    s = section()
    two = [ImageGroup(n, np.zeros((4, 8, 8)), labels=list("abcd"), row_labels=["0", "1"]) for n in ("real", "made")]
    s.images(two, columns=2, caption="Nothing was picked.")
    groups = tree(s).one("div", "sheets").all("div", "group")
    assert [g.one("h3").text for g in groups] == ["real", "made"]
    assert [n.text for n in groups[0].one("div", "labelled").all("span")] == list("abcd")
    assert [n.text for n in groups[1].one("div", "rows").all("span")] == ["0", "1"]
    assert "pixelated" in groups[0].one("img").classes
    assert int(groups[0].one("img").attrs["width"]) % pixels_of(groups[0].one("img")).shape[1] == 0


def test_tiles_shown_small_are_averaged_first() -> None:
    s = section()
    s.images([ImageGroup("g", np.full((4, 64, 64), 0.6))], columns=4, pixels=16)
    got = pixels_of(tree(s).one("img"))
    assert got.shape[0] == 32
    assert set(got[got[..., 1] == 255][:, 0].tolist()) == {153}
    assert "64 by 64 pixels" in tree(s).one("img").attrs["alt"]


def test_a_sheet_over_the_budget_is_made_to_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 4), dtype=np.uint8)
    noise[..., 3] = 255
    assert len(png(noise, 10_000)) <= 10_000
    assert len(png(noise, 10**9)) > 100_000


@pytest.mark.parametrize(
    ("group", "match"),
    [
        (ImageGroup("g", np.zeros((4, 4))), "shape"),
        (ImageGroup("g", np.zeros((1, 2, 4, 4))), "shape"),
        (ImageGroup("g", np.zeros((0, 4, 4))), "shape"),
        (ImageGroup("g", np.full((1, 4, 4), 255.0)), "255"),
        (ImageGroup("g", np.full((1, 4, 4), -0.5)), "-0.5"),
        (ImageGroup("g", np.zeros((2, 4, 4)), labels=["a"]), "labels"),
        (ImageGroup("g", np.zeros((2, 4, 4)), row_labels=["a", "b"]), "row labels"),
        (ImageGroup("", np.zeros((2, 4, 4))), "caption"),
    ],
)
def test_bad_images_are_refused(group: ImageGroup, match: str) -> None:
    with pytest.raises(InputError, match=match):
        section().images([group])


def test_images_refuse_no_groups_and_no_columns() -> None:
    with pytest.raises(InputError, match="no groups"):
        section().images([])
    with pytest.raises(InputError, match="columns"):
        section().images([ImageGroup("g", np.zeros((1, 2, 2)))], columns=0)


def test_lines_embed_what_they_were_given() -> None:
    s = section()
    a = Line("a", [0, 10, 20], [2.5, NAN, 0.125], [2.0, NAN, INF], [3.0, 1.0, 0.25])
    s.lines([a, Line("b", [0, 10, 20], [1, -INF, 3])], x_label="step", y_label="loss", log_y=True, caption="Loss")
    figure = tree(s).one("figure", "chart")
    assert data_of(figure) == {
        "x_label": "step",
        "y_label": "loss",
        "log_y": True,
        "x": [0, 10, 20],
        "lines": [
            {"name": "a", "y": [2.5, None, 0.125], "low": [2, None, None], "high": [3, 1, 0.25]},
            {"name": "b", "y": [1, None, 3]},
        ],
    }
    assert [(k.one("span", "name").text, k.one("span", "value").text) for k in figure.all("button")] == [
        ("a", "0.125"),
        ("b", "3"),
    ]
    assert figure.one("figcaption").text == "Loss"
    assert figure.one("p", "y-label").text == "loss, log scale"
    assert len(figure.all("noscript")) == 1


def test_lines_of_their_own_x_keep_it() -> None:
    s = section()
    s.lines([Line("a", [0, 1], [5, 6]), Line("b", [0.5, 1.5, 2.5], [7, 8, 9])])
    data = data_of(tree(s).one("figure", "chart"))
    assert "x" not in data
    assert [(line["x"], line["y"]) for line in data["lines"]] == [([0, 1], [5, 6]), ([0.5, 1.5, 2.5], [7, 8, 9])]


def test_charts_that_follow_one_another_share_a_grid() -> None:
    s = section()
    line = [Line("a", [0, 1], [1, 2])]
    s.lines(line)
    s.lines(line)
    s.text("between")
    s.lines(line)
    grids = tree(s).all("div", "charts")
    assert [len(g.all("figure")) for g in grids] == [2, 1]
    assert ["one" in g.classes for g in grids] == [False, True]


def test_a_thinned_line_keeps_ends_extremes_and_gaps() -> None:
    rng = np.random.default_rng(1)
    x, y = np.arange(50_000.0), rng.normal(size=50_000)
    y[12_345], y[23_456], y[34_567] = 50.0, -60.0, NAN
    short_x, short_y, low = thin([x, y, y - 1], 900)
    assert len(short_x) <= 900
    assert (short_x[0], short_x[-1]) == (0, 49_999)
    assert short_x[np.nanargmax(short_y)] == 12_345
    assert short_x[np.nanargmin(short_y)] == 23_456
    assert short_x[np.isnan(short_y)].tolist() == [34_567]
    assert np.array_equal(short_y, y[short_x.astype(int)], equal_nan=True)
    assert np.array_equal(low, short_y - 1, equal_nan=True)
    assert (np.diff(short_x) > 0).all()


@pytest.mark.parametrize(
    ("line", "match"),
    [
        (Line("a", [0, 1], [1]), "shapes"),
        (Line("a", [], []), "shapes"),
        (Line("a", [0, 1], [1, 2], low=[0, 1]), "one edge"),
        (Line("a", [0, 1], [1, 2], [0], [1]), "shapes"),
        (Line("a", [1, 0], [1, 2]), "increase"),
        (Line("a", [0, 0], [1, 2]), "increase"),
        (Line("a", [0, NAN], [1, 2]), "increase"),
        (Line(" ", [0], [1]), "name"),
    ],
)
def test_bad_lines_are_refused(line: Line, match: str) -> None:
    with pytest.raises(InputError, match=match):
        section().lines([line])


def test_no_lines_are_refused() -> None:
    with pytest.raises(InputError, match="no lines"):
        section().lines([])


def test_a_heat_map_embeds_what_it_was_given() -> None:
    s = section()
    s.heatmap(["a", "b"], [0, 4, 8], [[1e-4, NAN, 2.5], [INF, 0.0, -INF]], unit="norm", caption="Gradients")
    figure = tree(s).one("figure", "chart")
    data = data_of(figure)
    assert data["maps"] == [
        {
            "name": "all",
            "rows": ["a", "b"],
            "first": [0, 4, 8],
            "last": [0, 4, 8],
            "values": [[0.0001, "nan", 2.5], ["inf", 0, "-inf"]],
        }
    ]
    assert (data["low"], data["high"], data["log"]) == (0.0001, 2.5, True)
    assert [n.text for n in figure.one("ul", "swatches").all("li")] == ["0 or less", "NaN", "infinite"]
    assert not figure.all("select")
    assert "2 rows" in figure.one("canvas").attrs["aria-label"]


def test_a_healthy_heat_map_names_nothing_in_its_legend() -> None:
    s = section()
    s.heatmap(["a"], [0, 1], [[-1.0, 1.0]], log=False)
    assert not tree(s).all("ul", "swatches")


def test_a_drop_down_offers_every_choice_on_one_scale() -> None:
    s = section()
    s.heatmap(choices={"generator": (["a"], [0], [[0.01]]), "discriminator": (["b", "c"], [0, 1], np.ones((2, 2)))})
    figure = tree(s).one("figure", "chart")
    assert [(o.attrs["value"], o.text) for o in figure.one("select").all("option")] == [
        ("0", "generator"),
        ("1", "discriminator"),
    ]
    assert [m["rows"] for m in data_of(figure)["maps"]] == [["a"], ["b", "c"]]
    assert (data_of(figure)["low"], data_of(figure)["high"]) == (0.01, 1)


def test_binning_keeps_peaks_and_every_cell_that_is_not_finite() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((3, 12_347))
    values[0, 5_000], values[1, 7_777], values[2, 0], values[2, 12_346], values[1, 100] = 9.0, NAN, INF, -INF, -5.0
    first, last, short = binned(np.arange(12_347.0), values)
    assert short.shape == (3, 400)
    assert (first[0], last[-1]) == (0, 12_346)
    assert (first[1:] == last[:-1] + 1).all()

    def bin_of(step: int) -> int:
        return int(np.flatnonzero((first <= step) & (step <= last))[0])

    assert short[0, bin_of(5_000)] == 9.0
    assert np.argwhere(np.isnan(short)).tolist() == [[1, bin_of(7_777)]]
    assert np.argwhere(np.isposinf(short)).tolist() == [[2, 0]]
    assert np.argwhere(np.isneginf(short)).tolist() == [[2, 399]]
    brute = [[values[r, int(a) : int(b) + 1].max() for a, b in zip(first, last, strict=True)] for r in (0,)]
    assert np.array_equal(short[0], brute[0])


def test_a_wide_heat_map_is_binned_before_it_is_embedded() -> None:
    s = section()
    s.heatmap(["a"], np.arange(1000), np.ones((1, 1000)))
    one = data_of(tree(s).one("figure", "chart"))["maps"][0]
    assert len(one["values"][0]) == len(one["first"]) == 400
    assert one["last"][-1] == 999


@pytest.mark.parametrize("fill", [NAN, 0.0, 3.0])
@pytest.mark.parametrize("log", [True, False])
def test_a_flat_heat_map_still_has_a_scale(fill: float, log: bool) -> None:
    s = section()
    s.heatmap(["a"], [0, 1], [[fill, fill]], log=log)
    data = data_of(tree(s).one("figure", "chart"))
    assert data["low"] < data["high"]


@pytest.mark.parametrize(
    ("args", "match"),
    [
        ((["a"], [0, 1], [[1.0]]), "shape"),
        (([], [0], np.zeros((0, 1))), "shape"),
        ((["a"], [1, 0], [[1.0, 2.0]]), "increase"),
        ((["a"], [0, 1], None), "only some"),
        ((), "nothing to draw"),
    ],
)
def test_a_bad_heat_map_is_refused(args: tuple, match: str) -> None:
    with pytest.raises(InputError, match=match):
        section().heatmap(*args)


def test_the_colours_are_even_to_the_eye_and_get_lighter() -> None:
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colour_map(64)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_lms = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    lms = np.cbrt(linear @ np.array([*to_lms, [0.0883024619, 0.2817188376, 0.6299787005]]).T)
    lab = (
        lms
        @ np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        ).T
    )
    assert (np.diff(lab[:, 0]) > 0).all()
    steps = np.linalg.norm(np.diff(lab, axis=0), axis=1)
    assert steps.max() < 1.6 * steps.mean()
    assert steps.min() > 0.6 * steps.mean()
