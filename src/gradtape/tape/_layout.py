"""Where boxes go: layers, order and ways round come from fast-sugiyama, distances from the boxes' sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from graphlib import TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple

from gradtape.errors import InputError

Link = tuple[Hashable, Hashable]
TOP, BOTTOM = "top", "bottom"  # the edges of a frame, to link to
_APART = 22.0
_MOST = 100_000  # about ten seconds


class Plan(NamedTuple):
    """Width and height, middle in x and top of each box, and the (x, from y, to y) that a link goes straight down."""

    width: float
    height: float
    spots: dict[Hashable, tuple[float, float]]
    ways: dict[Link, list[tuple[float, float, float]]]


def arrange(sizes: Mapping[Any, tuple[float, float]], links: list[Link]) -> Plan:
    """Lay out boxes of these widths and heights in layers from top to bottom; a link given twice pulls twice."""
    from fast_sugiyama import from_edges

    linked = {end for link in links for end in link}
    links = links + [(TOP, key) for key in sizes if key not in linked]
    keys = list(dict.fromkeys([*sizes, *(end for link in links for end in link)]))
    number = {key: index for index, key in enumerate(keys)}
    _check(links)
    plan, width, height = Plan(0.0, 0.0, {}, {}), 0.0, 0.0
    parts: Any = from_edges(
        [(number[a], number[b]) for a, b in links], vertex_spacing=1, dummy_vertices=True, dummy_size=0.2
    )
    for points, _, _, steps in sorted(parts, key=lambda part: min(part[0])):
        name = {at: keys[at] if at < len(keys) else at for at, _ in points}
        size = {at: sizes.get(name[at], (0.0, 0.0)) for at in name}
        rows, after = defaultdict[float, list[int]](list), defaultdict[int, list[int]](list)
        for at, (_, level) in sorted(points, key=lambda point: (-point[1][1], point[1][0])):
            rows[level].append(at)
        for start, end in steps:
            after[start].append(end)
        columns = {at: round(column, 6) for at, (column, _) in points}
        pairs = [(one, other) for row in rows.values() for one, other in pairwise(row) if max(one, other) < len(keys)]
        if sum(1 if one < other else -1 for one, other in pairs) < 0:  # what was computed first is to the left
            columns = {at: -column for at, column in columns.items()}
            rows = defaultdict(list, {level: row[::-1] for level, row in rows.items()})
        near, far = (_packed([row[::side] for row in rows.values()], columns, size, side) for side in (1, -1))
        x = {at: (near[column] - far[-column]) / 2 for at, column in columns.items()}
        left = min(x[at] - size[at][0] / 2 for at in x) - width - _APART * bool(width)
        x, layers, y = {at: place - left for at, place in x.items()}, dict[int, tuple[float, float]](), 0.0
        for row in rows.values():
            layers.update(dict.fromkeys(row, (y, y + max(size[at][1] for at in row))))
            steep = max((abs(x[at] - x[end]) for at in row for end in after[at]), default=0.0)
            at_edge = any(name[at] == TOP or name[end] == BOTTOM for at in row for end in after[at])
            y = layers[row[0]][1] + (0.0 if at_edge else 28.0 + 0.05 * min(steep, 600.0))
        width = max(x[at] + size[at][0] / 2 for at in x)
        height = max(height, *(under for _, under in layers.values()))
        plan.spots.update({name[at]: (x[at], (sum(layers[at]) - size[at][1]) / 2) for at in x if at < len(keys)})
        for start, end in (step for step in steps if step[0] < len(keys)):
            way = [(x[start], (sum(layers[start]) + size[start][1]) / 2, layers[start][1])]
            while end >= len(keys):
                way.append((x[end], *layers[end]))
                end = after[end][0]
            plan.ways[name[start], name[end]] = [*way, (x[end], layers[end][0], plan.spots[name[end]][1])]
    return plan._replace(width=width, height=height)


def _check(links: list[Link]) -> None:
    """Refuse what would take minutes: the library's time grows with the layers that long links go through."""
    before = defaultdict[Hashable, list[Hashable]](list)
    for start, end in links:
        before[end].append(start)
    level: dict[Hashable, int] = {}
    for key in TopologicalSorter(before).static_order():
        level[key] = max((level[each] + 1 for each in before[key]), default=0)
    through = sum(level[end] - level[start] for start, end in links)
    if through > _MOST:
        what = f"{len(level)} boxes are too tangled to draw: their links go through {through} layers"
        raise InputError(what, remedy="record a part of the model, or with halt")


def _packed(
    rows: list[list[int]], columns: dict[int, float], size: dict[int, tuple[float, float]], side: int
) -> dict[float, float]:
    """Return where each column gets when all move to one side as far as boxes that do not touch allow."""
    needs = defaultdict[float, list[tuple[float, float]]](list)
    for one, other in (pair for row in rows for pair in pairwise(row)):
        apart = size[one][0] / 2 + _APART + size[other][0] / 2
        needs[side * columns[other]].append((side * columns[one], apart))
    at, last = dict[float, float](), 0.0
    for column in sorted(side * column for column in columns.values()):
        at[column] = last = max([last, *(at[one] + apart for one, apart in needs[column])])
    return at
