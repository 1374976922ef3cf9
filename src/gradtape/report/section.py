"""A section of the page: blocks added one after the other, in reading order."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from numpy.typing import ArrayLike

from gradtape.errors import InputError
from gradtape.report._markup import escape, inline, need, paragraphs
from gradtape.report._numbers import Cell
from gradtape.report.findings import FindingRow, findings_html
from gradtape.report.heatmap import Map, heatmap_html
from gradtape.report.images import ImageGroup, images_html
from gradtape.report.intervals import IntervalRow, intervals_html
from gradtape.report.lines import Line, lines_html
from gradtape.report.scatter import Points, scatter_html
from gradtape.report.tables import details_html, facts_html, table_html
from gradtape.report.verdict import verdict_html


class Section:
    """A titled part of a page; made by Page.section.

    Args:
        title: Its heading.
        lead: One sentence under the heading.
        anchor: Where links to it point.

    Raises:
        InputError: The title is empty.

    All text is escaped; `code` between backticks and **bold** are the only markup. A block with input that
    cannot be shown raises InputError when it is added, and adds nothing.

    Examples:
        >>> section = Section("Data", "Handwritten digits.", anchor="data")
        >>> section.facts([("images", 1797)])
        >>> "1,797" in section.html()
        True
    """

    def __init__(self, title: str, lead: str = "", *, anchor: str) -> None:
        self.title = need(title, "the title of a section")
        self.lead = lead
        self.anchor = anchor
        self._blocks: list[tuple[str, str]] = []

    @property
    def charts(self) -> bool:
        """Whether the section holds a line chart."""
        return any(kind == "lines" for kind, _ in self._blocks)

    def verdict(self, kind: Literal["yes", "no", "note"], text: str) -> None:
        """Add a large statement with an icon.

        Args:
            kind: "yes", "no" or "note": its colour, icon and spoken word.
            text: The statement; a leading "Yes.", "No." or "Note." is set in the kind's colour.

        Raises:
            InputError: An unknown kind or an empty text.

        Examples:
            >>> Section("Did it help?", anchor="a").verdict("no", "No. The 95% interval covers zero.")
        """
        self._blocks.append(("verdict", verdict_html(kind, text)))

    def text(self, text: str) -> None:
        """Add paragraphs, split at blank lines.

        Examples:
            >>> Section("Data", anchor="a").text("Read with `load_digits`, **before** anything is made.")
        """
        self._blocks.append(("text", f'<div class="prose">{paragraphs(text)}</div>'))

    def facts(self, pairs: Sequence[tuple[str, Cell]]) -> None:
        """Add a row of tiles, each a name and a value.

        Args:
            pairs: (name, value) pairs; numbers get thousands separators.

        Raises:
            InputError: There are no pairs.

        Examples:
            >>> Section("Data", anchor="a").facts([("images", 1797), ("classes", 10)])
        """
        self._blocks.append(("facts", facts_html(pairs)))

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        highlight: int | None = None,
        caption: str = "",
        numeric: Collection[int | str] | None = None,
    ) -> None:
        """Add a table, the first column heading its rows.

        Args:
            columns: Column heads.
            rows: Cells, one per column; None is shown as a dash, floats of a column with the same decimals.
            highlight: Index of the row to stress.
            caption: A line under the table.
            numeric: Names or indices of the columns to align right in tabular figures; None for those that
                hold numbers only.

        Raises:
            InputError: No columns, a row of another length, a highlight or column outside the table.

        Examples:
            >>> Section("Arms", anchor="a").table(["arm", "accuracy"], [["real only", 0.921], ["mixup", 0.927]])
        """
        self._blocks.append(("table", table_html(columns, rows, highlight=highlight, caption=caption, numeric=numeric)))

    def intervals(
        self, rows: Sequence[IntervalRow], *, unit: str = "points", reference: float = 0.0, caption: str = ""
    ) -> None:
        """Add a forest plot: every interval beside its figures and the words above, below or covers.

        Args:
            rows: The intervals, from top to bottom.
            unit: What the axis counts.
            reference: The value that means "no difference".
            caption: A line under the plot; say there which interval it is (95%, n pairs).

        Raises:
            InputError: No rows, an empty label, or not low <= mean <= high.

        Examples:
            >>> Section("Gains", anchor="a").intervals([IntervalRow("steering", 0.9, -0.1, 1.9)])
        """
        self._blocks.append(("intervals", intervals_html(rows, unit=unit, reference=reference, caption=caption)))

    def images(
        self, groups: Sequence[ImageGroup], *, columns: int = 20, pixels: int | None = None, caption: str = ""
    ) -> None:
        """Add sheets of images side by side.

        Args:
            groups: One sheet each.
            columns: Images in a row of a sheet.
            pixels: Width of one image on the page in CSS pixels; None picks a whole multiple that fits.
            caption: A line under the sheets.

        Raises:
            InputError: No groups, images of another shape or outside [0, 1], a wrong number of labels.

        Examples:
            >>> import numpy as np
            >>> pair = [ImageGroup("real", np.zeros((20, 8, 8))), ImageGroup("synthetic", np.ones((20, 8, 8)))]
            >>> Section("Samples", anchor="a").images(pair, columns=10)
        """
        self._blocks.append(("images", images_html(groups, columns=columns, pixels=pixels, caption=caption)))

    def lines(
        self,
        lines: Sequence[Line],
        *,
        x_label: str = "step",
        y_label: str = "",
        log_y: bool = False,
        caption: str = "",
    ) -> None:
        """Add a line chart; charts that follow one another lie in a grid.

        Args:
            lines: The lines, each with its own x; long ones are thinned and keep their extremes.
            x_label: Name of the x axis.
            y_label: Name of the y axis.
            log_y: A logarithmic y axis; values of 0 or less leave a gap.
            caption: Title of the chart.

        Raises:
            InputError: No lines, columns of different lengths, x that does not increase, half a band.

        Examples:
            >>> Section("Training", anchor="a").lines([Line("loss", [0, 1, 2], [2.3, 0.9, 0.4])], y_label="loss")
        """
        html = lines_html(lines, x_label=x_label, y_label=y_label, log_y=log_y, caption=caption)
        self._blocks.append(("lines", html))

    def scatter(self, groups: Sequence[Points], *, x_label: str = "", y_label: str = "", caption: str = "") -> None:
        """Add a scatter plot; charts that follow one another lie in a grid.

        Args:
            groups: Points that share a colour and a mark; of more than 1,500 an even share of each group is drawn.
            x_label: Name of the x axis.
            y_label: Name of the y axis.
            caption: Title of the plot.

        Raises:
            InputError: No finite points, coordinates of different lengths, an unknown mark.

        Examples:
            >>> Section("Maps", anchor="a").scatter([Points("source", [0, 1], [1, 0]), Points("target", [2], [2])])
        """
        self._blocks.append(("scatter", scatter_html(groups, x_label=x_label, y_label=y_label, caption=caption)))

    def heatmap(
        self,
        rows: Sequence[str] | None = None,
        x: ArrayLike | None = None,
        values: ArrayLike | None = None,
        *,
        name: str = "all",
        x_label: str = "step",
        log: bool = True,
        unit: str = "",
        caption: str = "",
        choices: Mapping[str, Map] | None = None,
    ) -> None:
        """Add a heat map; cells that are not finite are hatched and named.

        Args:
            rows: Names of the rows.
            x: (n,) increasing, such as steps.
            values: (len(rows), n); nan and inf may occur. More than 400 columns are binned by their maximum.
            name: Name of this map in the drop-down, if there is one.
            x_label: Name of the x axis.
            log: Colours by the logarithm; values of 0 or less get a colour of their own.
            unit: What the colours count.
            caption: Title of the map.
            choices: Further maps by name, each (rows, x, values), for a drop-down; rows, x and values may then
                be left out.

        Raises:
            InputError: Nothing to draw, shapes that do not fit, x that does not increase.

        Examples:
            >>> Section("Gradients", anchor="a").heatmap(["conv1", "conv2"], [0, 1], [[1e-3, 1e-2], [0.1, 1.0]])
        """
        maps: dict[str, Map] = {}
        if rows is not None and x is not None and values is not None:
            maps[name] = (rows, x, values)
        elif not (rows is None and x is None and values is None):
            raise InputError("the heat map has only some of rows, x and values", remedy="give all three, or choices")
        maps |= choices or {}
        if not maps:
            raise InputError("the heat map has nothing to draw", remedy="give rows, x and values, or choices")
        self._blocks.append(("heatmap", heatmap_html(maps, x_label=x_label, log=log, unit=unit, caption=caption)))

    def findings(self, rows: Sequence[FindingRow]) -> None:
        """Add findings, worst first; with none, a calm sentence.

        Raises:
            InputError: An unknown level or an empty title.

        Examples:
            >>> Section("Findings", anchor="a").findings([])
        """
        self._blocks.append(("findings", findings_html(rows)))

    def details(self, summary: str, content: str | Sequence[Sequence[Cell]], *, columns: Sequence[str] = ()) -> None:
        """Add a folded block.

        Args:
            summary: The line that stays visible.
            content: Text; or (name, value) pairs; or rows under ``columns``.
            columns: Column heads that make the rows a table.

        Raises:
            InputError: An empty summary, or rows that fit neither form.

        Examples:
            >>> Section("Lineage", anchor="a").details("sample 17", [("node", "features.3"), ("seed", 0)])
        """
        self._blocks.append(("details", details_html(summary, content, columns)))

    def html(self) -> str:
        """The section as an HTML fragment, without the page's styles and script."""
        out: list[str] = []
        grid: list[str] = []
        for kind, block in [*self._blocks, ("end", "")]:
            if kind in ("lines", "scatter"):
                grid.append(block)
                continue
            if grid:
                out.append(f'<div class="charts{" one" if len(grid) == 1 else ""}">{"".join(grid)}</div>')
                grid = []
            out.append(block)
        lead = f'<p class="lead">{inline(self.lead)}</p>\n' if self.lead.strip() else ""
        name = escape(self.anchor)
        blocks = "\n".join(block for block in out if block)
        head = f'<h2 id="{name}-title">{inline(self.title)}</h2>'
        return f'<section id="{name}" aria-labelledby="{name}-title">\n{head}\n{lead}{blocks}\n</section>'
