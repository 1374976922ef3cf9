"""A tape as a picture: an SVG of its modules, each a link to its inside, coloured by gradient."""

from __future__ import annotations

import html
import math
import os.path
import re
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from gradtape.tape._layout import BOTTOM, TOP, Link, Plan, arrange
from gradtape.tape._node import Node
from gradtape.tape._trees import norm_of

_SCALE = ("#ffffcc", "#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#0c2c84")  # YlGnBu of colorbrewer2.org
_SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}"
preserveAspectRatio="none" style="background:#fff;display:block;margin:0 auto"><title>{2}</title>
<style>text{{font:11px system-ui,sans-serif;fill:#3c4653}}.t{{font-size:16px;font-weight:600}}.l{{fill:#1a56b8}}
.b text{{text-anchor:middle;fill:inherit}}.b .n{{font-size:13px;font-weight:600}}.b rect{{stroke:#5d6b7c}}
.e{{fill:none;stroke:#8391a3;stroke-width:1.4}}.e:hover{{stroke:#d6002f;stroke-width:3}}a:hover rect{{stroke:#d6002f}}
.panel:target{{display:inline}}.panel:target~#p0{{display:none}}{3}</style><defs><marker id="tip" viewBox="0 0 8 8"
refX="7.5" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse"><path
d="M0 .5 8 4 0 7.5z" fill="#6b7888"/></marker><g id="key"><text y="11">gradient norm</text>{4}<text x="217"
y="11">{5}</text><rect x="330" width="14" height="14" fill="#d4d9e0"/><text x="350" y="11">none</text>
<rect x="384" width="14" height="14" fill="#fff" stroke="#5d6b7c"/><text x="404" y="11">0</text>
<rect x="418" width="14" height="14" fill="#d6002f"/><text x="438" y="11">nan, inf</text></g></defs>
{6}</svg>
"""
_WIDE = 196.0


@dataclass(eq=False)
class _Box:
    """A node, or a module with boxes inside and all the paths that it stands for."""

    name: str
    paths: list[str]
    kind: str = "module"
    nodes: dict[int, Node] = field(default_factory=dict)
    inside: list[_Box] = field(default_factory=list)
    trail: tuple[_Box, ...] = ()
    short: str = ""
    panel: str = ""


def draw(
    nodes: list[Node], outputs: set[int], unfold: Sequence[str], title: str, ran: Container[str] | None = None
) -> str:
    """Return the SVG; modules that match ``unfold`` are drawn open, and paths that never ``ran`` are no modules."""
    drawing = _Drawing(nodes, outputs, unfold)
    drawing.enter(_tree(nodes, ran), title)
    drawn = [drawing.panel(box) for box in drawing.panels]
    sizes = "".join(f"svg:has(#p{i}:target){{width:{w}px;height:{h}px}}" for i, (w, h, _) in enumerate(drawn) if i)
    key = "".join(f'<rect x="{90 + 17 * i}" width="17" height="14" fill="{fill}"/>' for i, fill in enumerate(_SCALE))
    panels = "".join(panel for _, _, panel in drawn[1:] + drawn[:1])  # the first is last: any other hides it
    return _SVG.format(*drawn[0][:2], _escape(title), sizes, key, drawing.range, panels)


class _Drawing:
    def __init__(self, nodes: list[Node], outputs: set[int], unfold: Sequence[str]) -> None:
        self._unfold = unfold
        self._readers = defaultdict[int, list[int]](list, {position: [-1] for position in outputs})
        for node in nodes:
            for parent in node.parents:
                self._readers[parent.position].append(node.position)
        self._norms = {node.position: norm for node in nodes if (norm := norm_of(node.grad)) is not None}
        known = [norm for norm in self._norms.values() if 0 < norm < math.inf]
        self._low, self._high = (min(known), max(known)) if known else (1.0, 1.0)
        self.range = f"{self._low:.3g} to {self._high:.3g}" if known else "no gradients yet"
        self.panels: list[_Box] = []

    def enter(self, box: _Box, short: str) -> None:
        """Number a module's panel and those of all modules in it."""
        box.short, box.panel = short, f"p{len(self.panels)}"
        self.panels += [box] if box.inside or not box.trail else []
        for inner in box.inside:
            inner.trail = (*box.trail, box)
            self.enter(inner, inner.name.removeprefix(f"{box.paths[-1]}."))

    def panel(self, box: _Box) -> tuple[int, int, str]:
        """Return the width and height of a module's inside, and its picture."""
        plan, inside = self._inside(box, box)
        width, height = math.ceil(max(plan.width + 32, 520)), math.ceil(plan.height + 108)
        trail = "".join(f'<a class="l" href="#{outer.panel}">{_escape(outer.short)}</a> › ' for outer in box.trail)
        picture = (
            f'<svg class="panel" id="{box.panel}" data-module="{_escape(box.name)}" viewBox="0 0 {width} {height}" '
            f'preserveAspectRatio="none" display="{"none" if trail else "inline"}"><use href="#key" x="16" y="46"/>'
            f'<text x="16" y="30" class="t">{trail}{_escape(box.short)}</text>\n'
            f'<g transform="translate({(width - plan.width) / 2:.6g} 84)">\n{inside}\n</g></svg>\n'
        )
        return width, height, picture

    def _open(self, box: _Box) -> bool:
        hit = any(fnmatchcase(path, pattern) for path in box.paths for pattern in self._unfold)
        return hit or any(self._open(inner) for inner in box.inside)

    def _inside(self, frame: _Box, panel: _Box) -> tuple[Plan, str]:
        """Lay out and draw what is in a module; what is outside comes in at its top and leaves at its bottom."""
        boxes, links = list(frame.inside), defaultdict[Link, dict[int, None]](dict)  # a link, and the nodes it carries
        owner: dict[int, Hashable] = {at: box for box in boxes for at in box.nodes}
        for node in frame.nodes.values():
            for at, parent in ((parent.position, parent) for parent in node.parents):
                if at not in owner and frame is panel:
                    boxes.append(_Box(parent.name, [""], "outside", {at: parent}, short=parent.name))
                    owner[at] = boxes[-1]
                links[owner.setdefault(at, ("in", at)), owner[node.position]][at] = None
            if any(at in panel.nodes and at not in frame.nodes for at in self._readers[node.position]):
                links[owner[node.position], ("out", node.position)][node.position] = None
        opened = {box: self._inside(box, panel) for box in boxes if box.inside and self._open(box)}
        sizes: dict[_Box, tuple[float, float]] = dict.fromkeys(boxes, (_WIDE, 42.0))
        sizes.update({box: (plan.width + 32, plan.height + 26) for box, (plan, _) in opened.items()})
        ends = [link for link in links if link[0] is not link[1]]
        pulls: list[Link] = [(TOP, one) for one, _ in ends if isinstance(one, tuple)]
        pulls += [(other, BOTTOM) for _, other in ends if isinstance(other, tuple)]
        plan = arrange(sizes, [*ends, *pulls, *pulls])
        out = []
        for box, (wide, high) in sizes.items():
            place = f'transform="translate({plan.spots[box][0] - wide / 2:.6g} {plan.spots[box][1]:.6g})"'
            out.append(
                f'<g data-frame="{_escape(box.name)}" {place}><rect width="{wide:.6g}" height="{high:.6g}" rx="8" '
                'fill="#5d6b7c" fill-opacity=".06" stroke="#b3bcc8"/>'
                f'<a href="#{box.panel}"><text class="l" x="9" y="16">{_escape(box.short)}</text></a>'
                f'<g transform="translate(16 20)">{opened[box][1]}</g></g>'
                if box in opened
                else self._box(box, panel, place)
            )
        for (one, other), at in ((link, at) for link in ends for at in links[link]):
            (x, top, under), *bends, (last, over, end) = plan.ways[one, other]
            x += opened[one][0].spots["out", at][0] - opened[one][0].width / 2 if one in opened else 0.0
            last += opened[other][0].spots["in", at][0] - opened[other][0].width / 2 if other in opened else 0.0
            start, stop = (_escape(getattr(key, "name", "")) for key in (one, other))
            path = _path([(x, top if start else -20.0, under), *bends, (last, over, end if stop else plan.height + 6)])
            tip = ' marker-end="url(#tip)"' * bool(stop and other not in opened)
            out.append(f'<path class="e" data-from="{start}" data-to="{stop}" d="{path}"{tip}/>')
        return plan, "\n".join(dict.fromkeys(out))

    def _box(self, box: _Box, panel: _Box, place: str) -> str:
        at = max(box.nodes, key=lambda at: (any(reader not in box.nodes for reader in self._readers[at]), at))
        node, norm, shape = box.nodes[at], self._norms.get(at), "×".join(map(str, box.nodes[at].shape)) or "scalar"
        name = box.short if len(box.short) < 24 else f"…{box.short[-22:]}"
        what = f"{sum(node.op != 'input' for node in box.nodes.values())} operations" if box.inside else node.op
        what = shape if name.startswith(what) else f"{what[: max(27 - len(shape), 8)]} · {shape}"
        size, fill, ink = ("none", "#d4d9e0", "#111") if norm is None else (f"{norm:.4g}", "#d6002f", "#fff")
        if norm == 0:
            fill, ink, what = "#fff", "#111", "gradient 0"
        elif norm is not None and math.isfinite(norm):
            share = math.log(max(norm, self._low) / self._low) / (math.log(self._high / self._low) or 1.0)
            fill, ink = _SCALE[round(6 * share)], "#111" if share < 0.75 else "#fff"
        elif norm is not None:
            what = f"gradient {norm}"
        told = [box.name, node.op, shape, str(node.dtype), f"gradient norm {size}", os.path.basename(node.source)]
        leaves = box.kind != "outside" and any(reader not in panel.nodes for reader in self._readers[at])
        look = f'width="{_WIDE}" height="42" rx="{6 if box.kind in ("module", "operation") else 21}"'
        look += f' stroke-width="{3 if leaves else 1}"' + ' stroke-dasharray="4 3"' * (box.kind == "outside")
        text = (
            f'<g class="b" fill="{ink}" data-box="{_escape(box.name)}" data-kind="{box.kind}" data-norm="{size}" '
            f"{place}><title>{_escape(' · '.join(told))}</title>"
            + f'<rect x="4" y="4" {look} fill="#fff"/>'
            * bool(box.inside)
            + f'<rect {look} fill="{fill}"/><text class="n" x="{_WIDE / 2}" y="18">{_escape(name)}</text>'
            f'<text x="{_WIDE / 2}" y="33">{_escape(what)}</text></g>'
        )
        return f'<a href="#{box.panel}">{text}</a>' if box.inside else text


def _path(stops: list[tuple[float, float, float]]) -> str:
    """Return a line that goes straight down through layers and bends between them."""
    path, (before, low, _) = f"M{stops[0][0]:.6g} {stops[0][1]:.6g}", stops[0]
    for x, y, end in stops:
        half = (low + y) / 2 - 3
        path += f"C{before:.6g} {half:.6g} {x:.6g} {half:.6g} {x:.6g} {y - 6:.6g}" if x != before else ""
        path, before, low = f"{path}V{end:.6g}", x, end
    return path


def _tree(nodes: list[Node], ran: Container[str] | None) -> _Box:
    """Return the modules as a tree; a module's second use is a box of its own, so that no way leads back."""
    now, uses = [_Box("", [""])], Counter[str]()
    for node in nodes:
        parts = node.module.split(".") if node.module else []
        paths = [".".join(parts[: end + 1]) for end in range(len(parts))]
        paths = [path for path in paths if ran is None or path == node.module or path in ran or f"{path}[0]" in ran]
        while [box.paths[0] for box in now[1:]] != paths[: len(now) - 1]:
            now.pop()
        for path in paths[len(now) - 1 :]:
            uses[path] += 1
            now.append(_Box(path if uses[path] == 1 else f"{path}:{uses[path]}", [path]))
            now[-2].inside.append(now[-1])
        for box in now:
            box.nodes[node.position] = node
        kind = "input" if node.op in ("input", "edit") else "operation"
        now[-1].inside.append(_Box(node.name, [node.module], kind, {node.position: node}))
        if node.module and re.fullmatch(re.escape(node.module) + r"(:\d+)?", node.name):
            now.pop()
    return _simple(now[0])


def _simple(box: _Box) -> _Box:
    """Take out the levels that hold one module and nothing else."""
    box.inside = [_simple(inner) if inner.inside else inner for inner in box.inside]
    rest = [inner for inner in box.inside if inner.kind != "input"]
    if len(rest) == 1 and rest[0].inside:
        inputs = [inner for inner in box.inside if inner.kind == "input"]
        return _Box(rest[0].name, box.paths + rest[0].paths, "module", box.nodes, inputs + rest[0].inside)
    return box.inside[0] if box.paths != [""] and len(box.nodes) == 1 else box


def _escape(text: str) -> str:
    return html.escape(re.sub(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]", "\ufffd", text))
