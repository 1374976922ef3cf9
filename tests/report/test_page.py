import base64
import hashlib
import itertools
import re
import subprocess
import sys

import numpy as np
import pytest

from gradtape.errors import InputError
from gradtape.report import FindingRow, ImageGroup, IntervalRow, Line, Page
from gradtape.report.page import _asset
from tests.report.reading import data_of, read

EVIL = "<script>alert(1)</script>"
BREAK = "</script><script>alert(2)</script><!-- \"'&\u2028"


def full(word: str = "plain") -> Page:
    """A page with one of every block, ``word`` in every place for text."""
    page = Page(word, subtitle=word, footer=word)
    s = page.section(word, lead=word)
    s.verdict("note", word)
    s.text(word)
    s.facts([(word, word), ("images", 1797)])
    s.table([word, "n"], [[word, 1], [word, None]], highlight=0, caption=word, numeric=["n"])
    s.intervals([IntervalRow(word, 1.0, 0.5, 2.0, note=word)], unit=word, caption=word)
    s.images([ImageGroup(word, np.eye(4)[None], labels=[word], row_labels=[word])], caption=word)
    s.lines([Line(word, [0, 1], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])], x_label=word, y_label=word, caption=word)
    one = ([word], [0, 1], [[1.0, 2.0]])
    s.heatmap(*one, name=word, choices={"b" + word: one}, x_label=word, unit=word, caption=word)
    s.findings([FindingRow("error", word, word, word, word, word)])
    s.details(word, word)
    s.details(word, [(word, word)])
    s.details(word, [[word]], columns=[word])
    page.section(word)
    return page


def test_structure() -> None:
    page = Page("Title", subtitle="sub", footer="foot")
    page.section("Did it help?", lead="One sentence.").text("a paragraph")
    page.section("Did it help?")
    page.section("日本")
    root = read(page.html())
    assert root.one("html").attrs["lang"] == "en"
    assert root.one("title").text == "Title"
    assert root.one("h1").text == "Title"
    assert [s.attrs["id"] for s in root.all("section")] == ["did-it-help", "did-it-help-2", "section-3"]
    assert [a.attrs["href"] for a in root.one("nav").all("a")] == ["#did-it-help", "#did-it-help-2", "#section-3"]
    assert [h.text for h in root.all("h2")] == ["Did it help?", "Did it help?", "日本"]
    assert root.one("p", "lead").text == "One sentence."
    assert root.one("div", "prose").one("p").text == "a paragraph"
    assert root.one("footer").text == "foot"
    assert root.one("p", "subtitle").text == "sub"


def test_a_single_section_needs_no_contents() -> None:
    page = Page("t")
    page.section("only")
    assert not read(page.html()).all("nav")


def test_headings_descend_by_one_and_ids_are_unique() -> None:
    root = read(full().html())
    levels = [int(n.tag[1]) for n in root.walk() if re.fullmatch(r"h[1-6]", n.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [n.attrs["id"] for n in root.walk() if "id" in n.attrs]
    assert len(ids) == len(set(ids))
    for link in root.all("a"):
        assert link.attrs["href"].removeprefix("#") in ids


def test_anchors_cannot_collide_with_those_of_headings() -> None:
    page = Page("t")
    for title in ("a", "a title", "a-title", "top", "content"):
        page.section(title)
    ids = [n.attrs["id"] for n in read(page.html()).walk() if "id" in n.attrs]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("word", [EVIL, BREAK, '" onload="x', "\x00\x1b[0m\ud800", "a`<b>`**<i>**"])
def test_text_cannot_break_out(word: str) -> None:
    plain, evil = read(full().html()), read(full(word).html())
    skeleton = [n.tag for n in plain.walk() if n.tag not in ("code", "strong")]
    assert [n.tag for n in evil.walk() if n.tag not in ("code", "strong")] == skeleton
    assert not [k for n in evil.walk() for k in n.attrs if k.startswith("on")]
    full(word).html().encode()


def test_evil_text_is_still_shown_as_it_is() -> None:
    root = read(full(EVIL).html())
    assert root.one("h1").text == EVIL
    chart, heat = root.all("figure", "chart")
    assert data_of(chart)["lines"][0]["name"] == EVIL
    assert data_of(heat)["maps"][0]["rows"] == [EVIL]
    assert EVIL in root.one("figure", "intervals").text
    assert root.all("img")[0].attrs["alt"].startswith(EVIL)


def test_json_survives_what_would_close_its_script() -> None:
    html = full(BREAK).html()
    assert data_of(read(html).all("figure", "chart")[0])["lines"][0]["name"] == BREAK
    blocks = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert len(blocks) == 2
    assert not re.search("[<>&\u2028]", "".join(blocks))


def test_nothing_is_loaded_from_anywhere() -> None:
    html = full("see http://example.org/x.png").html()
    for node in read(html).walk():
        assert node.tag not in ("link", "iframe", "object", "embed", "base", "audio", "video", "source")
        for name in ("src", "href", "srcset", "poster", "action", "data", "background"):
            assert re.match(r"data:image/png;base64,|#", node.attrs.get(name, "#")), (node.tag, name)
        for css in [node.attrs.get("style", ""), node.text if node.tag == "style" else ""]:
            assert not re.search(r"url\(|@import|image-set", css)
    ours = _asset("report.js") + _asset("report.css")
    assert not re.search(r"https?:|fetch\(|XMLHttp|import\(|WebSocket|localStorage", ours)


def test_the_policy_admits_the_page_s_scripts_only() -> None:
    root = read(full().html())
    policy = next(m.attrs["content"] for m in root.all("meta") if m.attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    code = [n.text for n in root.all("script") if "type" not in n.attrs]
    hashes = ["sha256-" + base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in code]
    assert re.findall(r"'(sha256-[^']+)'", policy) == hashes
    assert len(code) == 2
    assert not [n for n in root.walk() for k in n.attrs if k.startswith("on")]


def test_uplot_comes_only_with_line_charts_and_with_its_licence() -> None:
    page = Page("t")
    page.section("s").text("x")
    assert "uPlot=function" not in page.html()
    html = full().html()
    assert "uPlot=function" in html
    assert "Permission is hereby granted" in html
    assert "v1.6.32" in html


def test_another_process_imports_little_and_writes_the_same_bytes() -> None:
    code = (
        "import sys, hashlib; from gradtape.report import Line, Page; p = Page('t');"
        "p.section('s').lines([Line('a', [0], [1])]); p.html();"
        "print([m for m in ('torch', 'PIL', 'sklearn', 'pandas') if m in sys.modules]);"
        "from tests.report.test_page import full; print(hashlib.sha256(full().html().encode()).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["[]", hashlib.sha256(full().html().encode()).hexdigest()]


def test_a_heavy_page_stays_under_one_and_a_half_megabytes() -> None:
    rng = np.random.default_rng(0)
    page = Page("heavy")
    s = page.section("all")
    for i in range(5):
        s.images([ImageGroup(n, rng.random((60, 3, 32, 32))) for n in (f"a{i}", f"b{i}")], columns=10)
    x = np.arange(4_000)
    for _ in range(7):
        y = rng.random((8, len(x)))
        s.lines([Line(f"arm {k}", x, v, v - 0.1, v + 0.1) for k, v in enumerate(y)])
    s.heatmap([f"layer{i}" for i in range(12)], x, rng.random((12, len(x))))
    assert len(page.html().encode()) < 1_500_000


@pytest.mark.parametrize("title", ["", "   "])
def test_an_empty_title_is_refused(title: str) -> None:
    with pytest.raises(InputError, match="title of the page"):
        Page(title)
    with pytest.raises(InputError, match="title of a section"):
        Page("t").section(title)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_luminance(a), _luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_contrast_is_aa_in_both_themes(theme: int) -> None:
    block = re.findall(r"--paper: [^}]*", _asset("report.css"))[theme]
    tokens = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]{6})", block))
    for ground in ("paper", "panel", "tint"):
        for ink in ("ink", "soft", "accent", "yes", "no", "warn", "grey"):
            assert _contrast(tokens[ink], tokens[ground]) >= 4.5, (ink, ground)
    for index in range(10):  # lines are graphics: 3 to 1
        assert _contrast(tokens[f"c{index}"], tokens["paper"]) >= 3, index
