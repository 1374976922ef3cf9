"""Every public name is documented, and what pages say of the program is true of it."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

import gradtape
from gradtape import errors
from gradtape.tracking import MEASURES, RULES
from gradtape.tracking.rules import WINDOW
from gradtape.tracking.rules.clipped import CLIPPED_SHARE
from gradtape.tracking.rules.conflicts import OPPOSED_COSINE
from gradtape.tracking.rules.dead import DEAD_SHARE
from gradtape.tracking.rules.exploding import EXPLODING_GROWTH
from gradtape.tracking.rules.spike import SURPRISE
from gradtape.tracking.rules.updates import STALLED_RATIO
from gradtape.tracking.rules.vanishing import VANISHING_SHARE
from tests.docs.reading import DOCS, ROOT, headings

_SOURCE = ROOT / "src" / "gradtape"
_ROOMS = sorted(path.parent.name for path in _SOURCE.glob("*/__init__.py") if path.parent.name != "cli")
_ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and kind.__module__ == errors.__name__]
_REFERENCE = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))


def names_of(module: ModuleType) -> list[str]:
    return list(module.__all__)


def public() -> list[str]:
    modules = [importlib.import_module(f"gradtape.{name}") for name in (*_ROOMS, "seeding", "atomic")]
    found = [f"{module.__name__}.{name}" for module in modules for name in names_of(module)]
    found += [f"gradtape.tracking.adapters.{name}.TrackCallback" for name in ("lightning", "transformers")]
    return found + [f"gradtape.errors.{kind.__name__}" for kind in _ERRORS]


@pytest.mark.parametrize("path", public())
def test_every_public_name_is_documented(path: str) -> None:
    assert re.search(rf"^::: {re.escape(path)}$", _REFERENCE, re.MULTILINE), f"add '::: {path}' to a page in docs/api/"
    room, name = path.rsplit(".", 1)
    thing = getattr(importlib.import_module(room), name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert (inspect.getdoc(thing) or "").strip(), f"{path} has no docstring"
    else:  # a value has no docstring of its own: its page says what it is
        page = (DOCS / "api" / f"{room.rsplit('.', 1)[1]}.md").read_text(encoding="utf-8")
        assert f"`{name}`" in page, f"say in {room}'s page what `{name}` is"


def test_the_reference_holds_no_name_that_is_gone() -> None:
    assert sorted(re.findall(r"^::: (\S+)$", _REFERENCE, re.MULTILINE)) == sorted(public())


def test_the_first_page_of_the_reference_names_what_gt_offers() -> None:
    page = (DOCS / "api" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"`gt\.(\w+)`", page)) == sorted(gradtape.__all__)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(re.findall(r"[\w/-]+\.md", navigation)) == pages


def test_every_error_has_its_section() -> None:
    found = headings(DOCS / "errors.md")
    assert [kind.__name__ for kind in _ERRORS] == [title for title in found if title.endswith("Error")]


def source_text() -> str:
    """The package's source with neighbouring string literals joined, as Python joins them."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(_SOURCE.rglob("*.py")))
    return re.sub(r"([\"'])\s*\n\s*f?[\"']", "", text)


def said(part: str, source: str) -> bool:
    """Whether the source says it, perhaps with a name in place of the X and y that users give."""
    return part in source or part.removeprefix("X ") in source


def messages() -> list[str]:
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def test_every_message_on_the_page_of_errors_is_one_of_ours() -> None:
    source = source_text()
    found = messages()
    assert len(found) > 40
    for message in found:
        for part in message.replace(": ", "…").split("…"):
            assert said(part.strip(), source), f"{message!r}: no error says {part.strip()!r}"


@pytest.mark.parametrize("section", re.findall(r"page\.section\(\s*\"([^\"]+)\"", source_text()))
def test_every_part_of_the_report_is_explained(section: str) -> None:
    if section in ("Data", "Did it help?"):  # examples of docstrings
        return
    assert section in [title for page in ("report", "synthesize", "adapt") for title in headings(DOCS / f"{page}.md")]


def test_every_arm_is_explained() -> None:
    from gradtape.augmentation.experiment import ARMS

    page = (DOCS / "report.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(ARMS)


def test_every_measure_and_rule_is_explained_with_its_threshold() -> None:
    page = (DOCS / "tracking.md").read_text(encoding="utf-8")
    for measure in MEASURES:
        assert f"| `{measure.name}` |" in page
    assert re.findall(r"^\| `([a-z -]+)` \|", page.partition("## The rules")[2], re.MULTILINE) == list(RULES)
    thresholds = {
        VANISHING_SHARE: "1e-4 of the strongest",
        EXPLODING_GROWTH: "above 100 times",
        STALLED_RATIO: "below 2⁻²³",
        WINDOW: "20 steps",
        DEAD_SHARE: "three quarters",
        CLIPPED_SHARE: "less than 1 %",
        SURPRISE: "60 times",
        OPPOSED_COSINE: "below -0.3",
    }
    assert list(thresholds) == [1e-4, 100.0, 2.0**-23, 20, 0.75, 0.01, 60.0, -0.3]
    for words in thresholds.values():
        assert words in page


def test_every_loss_and_setting_is_explained() -> None:
    from gradtape.augmentation import AugmentSettings
    from gradtape.games import LOSSES

    page = (DOCS / "gan.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `\"(\w+)\"` \|", page, re.MULTILINE) == list(LOSSES)
    cli = (DOCS / "cli.md").read_text(encoding="utf-8")
    for setting in AugmentSettings.__dataclass_fields__:
        assert f"--{setting.replace('_', '-')}" in cli


def test_the_tree_of_rooms_is_the_one_that_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawn = re.findall(r"^  (\w+)(?:/|\.py) +\d ", text, re.MULTILINE)
    there = [path.parent.name for path in _SOURCE.glob("*/__init__.py")]
    there += [path.stem for path in _SOURCE.glob("*.py") if path.stem != "__init__"]
    assert sorted(drawn) == sorted(there)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda p: p.name
)
def test_links_of_the_files_at_the_top_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), f"{page.name}: {target}"
