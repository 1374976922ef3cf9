"""What the tests read out of a page: its elements, text and data, by the standard library's parser alone."""

import base64
import io
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VOID = {"meta", "img", "br", "path", "circle", "link", "input", "hr"}


@dataclass
class Node:
    tag: str
    attrs: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return self.attrs.get("class", "").split()

    @property
    def text(self) -> str:
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    def walk(self) -> list["Node"]:
        out = [self]
        for child in self.children:
            if isinstance(child, Node):
                out += child.walk()
        return out

    def all(self, tag: str = "", cls: str = "") -> list["Node"]:
        return [n for n in self.walk()[1:] if (not tag or n.tag == tag) and (not cls or cls in n.classes)]

    def one(self, tag: str = "", cls: str = "") -> "Node":
        found = self.all(tag, cls)
        assert len(found) == 1, (tag, cls, len(found))
        return found[0]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({k for k, _ in attrs}) == len(attrs), f"an attribute twice in <{tag}>"
        node = Node(tag, {k: v or "" for k, v in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
            self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(html: str) -> Node:
    """The tree; an element closed in the wrong place or left open fails."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert [n.tag for n in reader.open] == ["root"]
    return reader.root


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def data_of(node: Node) -> Any:
    """The JSON embedded in a chart, read strictly."""
    blocks = [n for n in node.all("script") if n.attrs.get("type") == "application/json"]
    assert len(blocks) == 1
    return json.loads(blocks[0].text, parse_constant=no_constant)


def pixels_of(img: Node) -> NDArray[np.uint8]:
    """The pixels of an embedded picture."""
    head, body = img.attrs["src"].split(",", 1)
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body, validate=True))))
