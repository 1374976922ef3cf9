import math
import re

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.report import Line, Page, Points, Section
from gradtape.report.scatter import SHOWN
from tests.report.reading import Node, read


def drawn(*groups: Points, **given: str) -> Node:
    s = Page("t").section("s")
    s.scatter(groups, **given)
    return read(s.html()).one("figure", "scatter")


def places(figure: Node, colour: int) -> list[tuple[float, float]]:
    """Where the points of a colour are drawn, in the picture's units."""
    paths = [n for n in figure.one("svg", "").all("path") if n.attrs["style"] == f"--key:var(--c{colour})"]
    return [(float(x), float(y)) for n in paths for x, y in re.findall(r"M([\d.]+) ([\d.]+)", n.attrs["d"])]


def picture(*groups: Points) -> Node:
    figure = drawn(*groups)
    figure.children = [c for c in figure.children if not isinstance(c, Node) or c.tag != "ul"]
    return figure


def test_points_lie_where_they_were_put() -> None:
    figure = picture(Points("a", [0, 1, 0], [0, 0, 2]), Points("b", [1], [2], mark="cross"))
    (x0, bottom), (x1, level), (again, top) = places(figure, 0)
    assert (bottom, again) == (level, x0)
    assert (x0, top) < (x1, bottom)
    assert places(figure, 1) == [(x1, top)]
    assert 34 < x0 < x1 < 394
    assert 6 < top < bottom < 280
    assert [n.attrs["class"] for n in figure.all("path")].count("cross") == 1


def test_ticks_stand_beside_the_points_they_name() -> None:
    figure = picture(Points("a", [0, 4], [-1, 1]))
    at = {
        n.text: (float(n.attrs["x"]), float(n.attrs["y"]))
        for n in figure.all("text")
        if n.attrs["text-anchor"] == "middle"
    }
    assert at["0"][0] == pytest.approx(places(figure, 0)[0][0], abs=0.1)
    assert at["4"][0] == pytest.approx(places(figure, 0)[1][0], abs=0.1)


def test_many_points_are_thinned_evenly_and_the_legend_says_so() -> None:
    n = 4000
    figure = drawn(Points("much", np.arange(n), np.zeros(n)), Points("little", [0, 1], [5, 5]))
    values = [(li.one("span", "name").text, li.one("span", "value").text) for li in figure.one("ul").all("li")]
    assert values == [("much", "1,499 of 4,000"), ("little", "1 of 2")]
    xs = sorted(x for x, _ in places(picture(Points("much", np.arange(n), np.zeros(n))), 0))
    assert len(xs) == SHOWN
    assert np.ptp(np.diff(xs)) < 0.31  # written to a tenth
    assert (xs[0], xs[-1]) == (pytest.approx(47.3, abs=0.5), pytest.approx(380.7, abs=0.5))


def test_no_group_hides_another() -> None:
    groups = [Points(name, np.zeros(64), np.zeros(64)) for name in "ab"]
    order = [n.attrs["style"][-3:-1] for n in picture(*groups).all("path")]
    assert order == ["c0", "c1"] * 8


def test_what_is_not_finite_is_left_out() -> None:
    figure = drawn(Points("a", [0, math.nan, 1], [0, 0, math.inf]), x_label="x <1>", y_label="y", caption="C")
    assert figure.one("ul").one("span", "value").text == "1"
    assert [figure.one("p", "x-label").text, figure.one("p", "y-label").text] == ["x <1>", "y"]
    assert figure.all("svg")[0].attrs["aria-label"] == "Scatter plot of 1 a"


def test_a_single_place_has_axes() -> None:
    assert len(places(picture(Points("a", [3, 3], [3, 3])), 0)) == 2


def test_it_shares_the_grid_with_lines_and_needs_no_script() -> None:
    s = Section("s", anchor="s")
    s.scatter([Points("a", [0], [0])])
    assert not s.charts
    s.lines([Line("a", [0, 1], [1, 2])])
    assert len(read(s.html()).one("div", "charts").all("figure")) == 2


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        ([], "no points"),
        ([Points("a", [math.nan], [0])], "no points"),
        ([Points("a", [0, 1], [0])], "the shapes"),
        ([Points(" ", [0], [0])], "name of a group"),
        ([Points("a", [0], [0], mark="star")], "use dot or cross"),  # type: ignore[arg-type]
    ],
)
def test_bad_points_are_refused(groups: list[Points], match: str) -> None:
    with pytest.raises(InputError, match=match):
        drawn(*groups)
