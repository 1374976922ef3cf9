"""How commands print."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer


def print_json(content: Any) -> None:
    """Print plain values as JSON on standard output."""
    typer.echo(json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; columns of numbers align right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for index, column in enumerate(columns):
        numeric = any(row[index] for row in rows) and all(_number(row[index]) for row in rows if row[index])
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=not index)
    for row in rows:
        table.add_row(*row)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = 1000  # in a pipe or a file, one line per row
    console.print(table)


def _number(text: str) -> bool:
    return text.lstrip("+-−")[:1].isdigit()
