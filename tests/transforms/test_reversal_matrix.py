"""``Reverse`` and ``reverse`` pass every cell of the reversal matrix, and the page that shows it is of these cells."""

import re

import pytest
from torch import nn

import gradtape as gt
from tests.docs.reading import DOCS
from tests.transforms.reversal_cells import CELLS
from tests.transforms.reversal_layers import STRENGTHS, Calls, Strength, ours


def function(strength: Strength) -> nn.Module:
    return Calls(gt.reverse, strength.given())


@pytest.mark.parametrize("strength", STRENGTHS.values(), ids=STRENGTHS)
@pytest.mark.parametrize("name", CELLS)
def test_reverse(name: str, strength: Strength) -> None:
    CELLS[name].check(ours, strength)


@pytest.mark.parametrize("strength", [name for name in STRENGTHS if name != "schedule"])
@pytest.mark.parametrize("name", [name for name, cell in CELLS.items() if cell.cheap])
def test_the_function_reverse(name: str, strength: str) -> None:
    CELLS[name].check(function, STRENGTHS[strength])


def test_the_page_has_a_row_for_every_cell_and_gradtape_passes_all() -> None:
    page = (DOCS / "reversal-matrix.md").read_text(encoding="utf-8")
    header, _, *rows = (re.split(r" *\| *", line.strip("| ")) for line in page.splitlines() if line.startswith("|"))
    ours = header.index("gradtape")
    assert [row[0] for row in rows] == [cell.label for cell in CELLS.values()]
    assert [row[0] for row in rows if row[ours] != "yes"] == []
