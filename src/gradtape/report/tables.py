"""Tables, fact lists and folded blocks."""

from collections.abc import Collection, Sequence

from gradtape.errors import InputError
from gradtape.report._markup import caption_of, escape, inline, need, paragraphs
from gradtape.report._numbers import MISSING, Cell, cell, decimals_for, is_number, is_whole


def facts_html(pairs: Sequence[tuple[str, Cell]]) -> str:
    """Name and value pairs as tiles."""
    if not pairs:
        raise InputError("facts() got no pairs", remedy='give at least one (name, value), such as ("images", 1797)')
    tiles = "".join(f"<div><dt>{inline(name)}</dt><dd>{inline(cell(value))}</dd></div>" for name, value in pairs)
    return f'<dl class="facts">{tiles}</dl>'


def _numeric_columns(
    columns: Sequence[str], rows: Sequence[Sequence[Cell]], numeric: Collection[int | str] | None
) -> set[int]:
    if numeric is None:
        found = set()
        for index in range(1, len(columns)):  # the first column names the rows
            present = [row[index] for row in rows if row[index] is not None]
            if present and all(is_number(value) for value in present):
                found.add(index)
        return found
    out = set()
    for key in numeric:
        index = list(columns).index(key) if isinstance(key, str) and key in columns else len(columns)
        if isinstance(key, int):
            index = key
        if not -len(columns) <= index < len(columns):
            raise InputError(
                f"numeric names the column {key!r}, the table has {list(columns)}", remedy="name columns of the table"
            )
        out.add(index % len(columns))
    return out


def table_html(
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    highlight: int | None = None,
    caption: str = "",
    numeric: Collection[int | str] | None = None,
) -> str:
    """A table whose first column heads its rows."""
    if not columns:
        raise InputError("the table has no columns", remedy="name at least one column")
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise InputError(
                f"row {index} of the table has {len(row)} cells, there are {len(columns)} columns",
                remedy="give one cell per column, None where there is nothing to say",
            )
    if highlight is not None and not 0 <= highlight < len(rows):
        raise InputError(f"highlight is row {highlight} of {len(rows)}", remedy="count rows from 0")
    right = _numeric_columns(columns, rows, numeric)
    places: list[int | None] = []
    for index in range(len(columns)):
        column = [row[index] for row in rows]
        floats = [float(v) for v in column if v is not None and is_number(v) and not is_whole(v)]
        places.append(decimals_for(floats) if floats else None)

    def kind(index: int) -> str:
        return ' class="num"' if index in right else ""

    head = "".join(f'<th scope="col"{kind(i)}>{inline(name)}</th>' for i, name in enumerate(columns))
    body = []
    for position, row in enumerate(rows):
        cells = []
        for index, value in enumerate(row):
            text = f'<span class="none">{MISSING}</span>' if value is None else inline(cell(value, places[index]))
            tag = 'th scope="row"' if index == 0 else "td"
            cells.append(f"<{tag}{kind(index)}>{text}</{tag.split()[0]}>")
        mark = ' class="highlight"' if position == highlight else ""
        body.append(f"<tr{mark}>{''.join(cells)}</tr>")
    if not rows:
        body.append(f'<tr><td colspan="{len(columns)}" class="none">no rows</td></tr>')
    rows_html = "\n".join(body)
    label = escape(caption or "table")
    return (
        f'<figure class="table"><div class="scroll" role="region" tabindex="0" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{rows_html}\n</tbody></table></div>"
        f"{caption_of(caption)}</figure>"
    )


def details_html(summary: str, content: str | Sequence[Sequence[Cell]], columns: Sequence[str] = ()) -> str:
    """A folded block: text, pairs, or rows under column heads."""
    need(summary, "the summary of details()")
    if isinstance(content, str):
        body = paragraphs(content)
    elif columns:
        body = table_html(columns, content)
    elif all(len(row) == 2 for row in content):
        items = "".join(f"<dt>{inline(cell(k))}</dt><dd>{inline(cell(v))}</dd>" for k, v in content)
        body = f'<dl class="pairs">{items}</dl>'
    else:
        raise InputError(
            "details() got rows that are not (name, value) pairs and no columns", remedy="give columns=[...]"
        )
    return f'<details><summary>{inline(summary)}</summary><div class="inside">{body}</div></details>'
