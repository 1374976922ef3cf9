import math

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.report import Cell, FindingRow, IntervalRow, Page, Section
from gradtape.report._numbers import MINUS, decimals_for, number, ticks
from tests.report.reading import Node, read

NAN = math.nan


def section() -> Section:
    return Page("t").section("s")


def tree(s: Section) -> Node:
    return read(s.html())


@pytest.mark.parametrize(("kind", "word"), [("yes", "Yes"), ("no", "No"), ("note", "Note")])
def test_a_verdict_says_its_kind_without_colour(kind: str, word: str) -> None:
    s = section()
    s.verdict(kind, "The interval covers zero.")  # type: ignore[arg-type]
    box = tree(s).one("div", "verdict")
    assert kind in box.classes
    assert box.one("p").text == f"{word}: The interval covers zero."
    assert len(box.all("svg")) == 1


def test_a_verdict_does_not_say_no_twice() -> None:
    s = section()
    s.verdict("no", "No. The **interval** covers zero.")
    box = tree(s).one("div", "verdict")
    assert box.one("p").text == "No. The interval covers zero."
    assert [n.text for n in box.all("strong")] == ["No.", "interval"]
    other = section()
    other.verdict("no", "Nothing helped.")
    assert tree(other).one("p").text == "No: Nothing helped."


@pytest.mark.parametrize(("kind", "text"), [("maybe", "x"), ("yes", " ")])
def test_a_verdict_of_unknown_kind_or_without_text_is_refused(kind: str, text: str) -> None:
    s = section()
    with pytest.raises(InputError, match="verdict"):
        s.verdict(kind, text)  # type: ignore[arg-type]
    assert not tree(s).all("div")


def test_text_knows_code_and_bold_only() -> None:
    s = section()
    s.text("a `b**c**` **d `e` f** *g* [h](i) <u>j</u>\n\nsecond & last")
    box = tree(s).one("div", "prose")
    assert [p.text for p in box.all("p")] == ["a b**c** **d e f** *g* [h](i) <u>j</u>", "second & last"]
    assert [n.text for n in box.all("code")] == ["b**c**", "e"]
    assert not box.all("em") + box.all("a") + box.all("u")


def test_facts() -> None:
    s = section()
    s.facts([("images", 1797), ("ratio", 0.5), ("kind", "digits"), ("none", None), ("sure", True)])
    box = tree(s).one("dl", "facts")
    assert [n.text for n in box.all("dt")] == ["images", "ratio", "kind", "none", "sure"]
    assert [n.text for n in box.all("dd")] == ["1,797", "0.5", "digits", "–", "yes"]
    with pytest.raises(InputError, match="no pairs"):
        s.facts([])


def test_a_table_aligns_figures_and_marks_one_row() -> None:
    s = section()
    rows: list[list[Cell]] = [["real", 0.9021, None, 0, "a"], ["mixup", 0.5, -0.6, 4000, "b"]]
    s.table(["arm", "accuracy", "gain", "n", "word"], rows, highlight=1, caption="Means.")
    table = tree(s).one("table")
    cells = [[c.text for c in r.children if isinstance(c, Node)] for r in table.one("tbody").all("tr")]
    assert cells == [["real", "0.9021", "–", "0", "a"], ["mixup", "0.5000", f"{MINUS}0.6", "4,000", "b"]]
    assert ["num" in th.classes for th in table.one("thead").all("th")] == [False, True, True, True, False]
    assert ["highlight" in r.classes for r in table.one("tbody").all("tr")] == [False, True]
    assert [th.attrs["scope"] for th in table.one("tbody").all("th")] == ["row", "row"]
    assert tree(s).one("figcaption").text == "Means."


def test_numeric_columns_can_be_named_or_counted() -> None:
    for numeric in (["b"], [1], [-1]):
        s = section()
        s.table(["a", "b"], [["x", "1.0 ± 0.2"]], numeric=numeric)
        assert ["num" in n.classes for n in tree(s).one("thead").all("th")] == [False, True]


@pytest.mark.parametrize(
    ("columns", "rows", "more", "match"),
    [
        ([], [], {}, "no columns"),
        (["a", "b"], [["x"]], {}, "row 0"),
        (["a"], [["x"]], {"highlight": 1}, "highlight"),
        (["a"], [["x"]], {"highlight": -1}, "highlight"),
        (["a"], [["x"]], {"numeric": ["z"]}, "'z'"),
        (["a"], [["x"]], {"numeric": [1]}, "column 1"),
    ],
)
def test_a_bad_table_is_refused(columns: list[str], rows: list[list[Cell]], more: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        section().table(columns, rows, **more)


def test_an_empty_table_says_so() -> None:
    s = section()
    s.table(["a", "b"], [])
    assert tree(s).one("td").text == "no rows"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (-0.0, "0"), (1234567, "1,234,567"), (-3, "−3"), (0.1, "0.1"), (12345.678, "12,350"),
        (1e-7, "1e−7"), (2.5e9, "2.5e9"), (math.inf, "∞"), (-math.inf, "−∞"), (NAN, "NaN"), (np.float32(0.5), "0.5"),
        (np.int64(1000), "1,000"), (0.000999, "0.000999"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_no_negative_zero() -> None:
    assert number(-0.001, 1) == "0.0"
    assert number(-0.001, 1, signed=True) == "0.0"


def test_decimals_never_hide_a_small_value() -> None:
    assert decimals_for([0.9, 1e-5]) is None
    assert decimals_for([NAN]) == 1
    s = section()
    s.table(["a", "p"], [["x", 0.9], ["y", 1e-5]])
    assert [n.text for n in tree(s).all("td")] == ["0.9", "1e−5"]


@pytest.mark.parametrize(("low", "high"), [(-4.7, 2.1), (0.001, 0.0013), (-1e6, 3e7), (0.0, 1.0)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 6)
    assert 3 <= len(found) <= 10
    assert low <= found[0]
    assert found[-1] <= high
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])


def test_interval_words_and_places() -> None:
    s = section()
    rows = [
        IntervalRow("up", 1.6, 1.1, 2.1),
        IntervalRow("down", -4.2, -5.7, -2.7, note="control", highlight=True),
        IntervalRow("both", 0.9, -0.1, 1.9),
        IntervalRow("touch", 1.0, 0.0, 2.0),
        IntervalRow("one run", 0.5, NAN, NAN),
        IntervalRow("lost", NAN, NAN, NAN),
    ]
    s.intervals(rows, caption="95%.")
    lines = tree(s).one("tbody").all("tr")
    assert [r.classes[0] for r in lines] == ["above", "below", "covers", "covers", "none", "none"]
    words = ["above 0", "below 0", "covers 0", "covers 0", "no interval", "no interval"]
    assert [r.one("td", "word").text for r in lines] == words
    figures = [
        "+1.6 [+1.1, +2.1]",
        "−4.2 [−5.7, −2.7]",
        "+0.9 [−0.1, +1.9]",
        "+1.0 [0.0, +2.0]",
        "+0.5",
        "not measured",
    ]
    assert [r.one("td", "figures").text for r in lines] == figures
    assert "highlight" in lines[1].classes
    assert lines[1].one("small").text == "control"
    assert [len(r.all("i", "bar")) for r in lines] == [1, 1, 1, 1, 0, 0]
    assert [len(r.all("i", "dot")) for r in lines] == [1, 1, 1, 1, 1, 0]

    def style(node: Node) -> dict[str, float]:
        return {k: float(v.rstrip("%")) for k, v in (p.split(":") for p in node.attrs["style"].split(";"))}

    ref = style(lines[0].one("i", "ref"))["left"]
    per_point = (style(lines[0].one("i", "dot"))["left"] - ref) / 1.6
    for row, line in zip(rows[:4], lines, strict=False):
        bar = style(line.one("i", "bar"))
        assert bar["left"] == pytest.approx(ref + row.low * per_point, abs=0.05)
        assert bar["width"] == pytest.approx((row.high - row.low) * per_point, abs=0.05)
        assert style(line.one("i", "dot"))["left"] == pytest.approx(ref + row.mean * per_point, abs=0.05)
        assert 0 <= bar["left"] <= bar["left"] + bar["width"] <= 100


def test_intervals_about_another_reference() -> None:
    s = section()
    s.intervals([IntervalRow("auc", 0.6, 0.55, 0.65), IntervalRow("b", 0.5, 0.4, 0.52)], unit="AUC", reference=0.5)
    assert [n.text for n in tree(s).all("td", "word")] == ["above 0.5", "covers 0.5"]
    assert "+" not in tree(s).one("tbody").text


@pytest.mark.parametrize(
    "row",
    [
        IntervalRow("a", 1, 2, 3),
        IntervalRow("a", 1, NAN, 3),
        IntervalRow("", 1, 0, 2),
        IntervalRow("a", math.inf, 0, 2),
    ],
)
def test_a_bad_interval_is_refused(row: IntervalRow) -> None:
    with pytest.raises(InputError, match="interval"):
        section().intervals([row])


def test_intervals_refuse_no_rows_and_an_infinite_reference() -> None:
    with pytest.raises(InputError, match="no rows"):
        section().intervals([])
    with pytest.raises(InputError, match="reference"):
        section().intervals([IntervalRow("a", 1, 0, 2)], reference=NAN)


def test_findings_come_worst_first_with_a_word() -> None:
    s = section()
    s.findings(
        [
            FindingRow("info", "i"),
            FindingRow("warning", "w", where="features.0", since=1200, evidence="e", remedy="r"),
            FindingRow("error", "x", since="the start"),
        ]
    )
    items = tree(s).one("ul", "findings").all("li")
    assert [n.one("span", "level").text for n in items] == ["Error", "Warning", "Info"]
    assert items[0].one("p", "meta").text == "the start"
    assert items[1].one("p", "meta").text == "features.0 since step 1,200"
    assert items[1].one("p", "remedy").text == "What to do r"
    assert not items[2].all("p", "meta")


def test_no_findings_is_a_calm_sentence() -> None:
    s = section()
    s.findings([])
    assert tree(s).one("div", "calm").text == "Nothing found. No rule raised a concern."


@pytest.mark.parametrize("row", [FindingRow("fatal", "x"), FindingRow("info", "")])  # type: ignore[arg-type]
def test_a_bad_finding_is_refused(row: FindingRow) -> None:
    with pytest.raises(InputError, match="finding"):
        section().findings([row])


def test_details_take_text_pairs_and_rows() -> None:
    s = section()
    s.details("one", "a\n\nb")
    s.details("two", [("node", "features.3"), ("seed", 0)])
    s.details("three", [[1, 2, 3]], columns=["a", "b", "c"])
    one, two, three = tree(s).all("details")
    assert one.one("summary").text == "one"
    assert [p.text for p in one.all("p")] == ["a", "b"]
    assert [(k.text, v.text) for k, v in zip(two.all("dt"), two.all("dd"), strict=True)] == [
        ("node", "features.3"),
        ("seed", "0"),
    ]
    assert [n.text for n in three.one("tbody").all("th") + three.one("tbody").all("td")] == ["1", "2", "3"]
    with pytest.raises(InputError, match="columns"):
        s.details("four", [[1, 2, 3]])
    with pytest.raises(InputError, match="summary"):
        s.details("", "x")


def test_an_open_interval_ends_in_an_arrow() -> None:
    s = section()
    s.intervals([IntervalRow("a", 1.0, 0.5, math.inf), IntervalRow("b", 1.0, -math.inf, 2.0)])
    assert [n.classes for n in tree(s).all("i", "bar")] == [["bar", "open-high"], ["bar", "open-low"]]
    assert [n.text for n in tree(s).all("td", "word")] == ["above 0", "covers 0"]
