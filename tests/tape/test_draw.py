"""The picture of a tape, read back from its SVG: boxes, edges, frames, colours, links."""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradtape as gt
from gradtape.errors import InputError
from gradtape.tape._draw import _SCALE, draw
from gradtape.tape._node import Node
from tests.tape.networks import NETWORKS

Rectangle = tuple[float, float, float, float]


class Block(nn.Module):
    """A residual block with the names of torchvision's."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1), nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out)) if stride > 1 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if self.downsample else x)).relu()


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 1, 1)
        self.layer1 = nn.Sequential(Block(4, 4, 1), Block(4, 4, 1))
        self.layer2 = nn.Sequential(Block(4, 8, 2), Block(8, 8, 1))
        self.fc = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer2(self.layer1(self.conv1(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def resnet() -> gt.Tape:
    torch.manual_seed(0)
    tape = gt.record(ResNet(), torch.randn(2, 3, 8, 8))
    tape.backward(tape.output.pow(2).sum())
    return tape


def picture(tape: gt.Tape, *unfold: str, ran: Any = None) -> ET.Element:
    return ET.fromstring(draw(tape.nodes, {tape.nodes[-1].position}, unfold, "model", ran))


def panels(svg: ET.Element) -> dict[str, ET.Element]:
    return {element.get("data-module", ""): element for element in svg.iter() if element.get("class") == "panel"}


def having(element: ET.Element, attribute: str) -> dict[str, ET.Element]:
    found = [(inner.get(attribute), inner) for inner in element.iter() if inner.get(attribute) is not None]
    assert len({name for name, _ in found}) == len(found)
    return {str(name): inner for name, inner in found}


def edges(element: ET.Element) -> set[tuple[str, str]]:
    return {(e.get("data-from", ""), e.get("data-to", "")) for e in element.iter() if e.get("class") == "e"}


def rectangles(element: ET.Element, x: float = 0, y: float = 0) -> Iterator[tuple[str, Rectangle, list[Any]]]:
    """Yield name, place and inner rectangles of each box and frame."""
    if transform := element.get("transform"):
        right, down = transform.removeprefix("translate(").removesuffix(")").split()
        x, y = x + float(right), y + float(down)
    inner = [found for child in element for found in rectangles(child, x, y)]
    name = element.get("data-box", element.get("data-frame"))
    if name is None:
        yield from inner
    else:
        rectangle = [child for child in element if child.tag.endswith("rect")][-1]
        yield name, (x, y, x + float(rectangle.get("width", 0)), y + float(rectangle.get("height", 0))), inner


def assert_apart(found: list[Any], bounds: Rectangle) -> int:
    for index, (name, (left, top, right, bottom), inner) in enumerate(found):
        assert bounds[0] <= left < right <= bounds[2], name
        assert bounds[1] <= top < bottom <= bounds[3], name
        for other, (left2, top2, right2, bottom2), _ in found[:index]:
            assert right < left2 or right2 < left or bottom < top2 or bottom2 < top, (name, other)
        assert_apart(inner, (left, top, right, bottom))
    return len(found)


def test_the_first_picture_has_a_box_for_each_child_and_the_edges_between_them(resnet: gt.Tape) -> None:
    root = panels(picture(resnet))[""]
    assert list(having(root, "data-box")) == ["input", "conv1", "layer1", "layer2", "mean_1", "fc"]
    names = ["input", "conv1", "layer1", "layer2", "mean_1", "fc"]
    assert edges(root) == set(pairwise(names))
    kinds = [box.get("data-kind") for box in having(root, "data-box").values()]
    assert kinds == ["input", "operation", "module", "module", "operation", "operation"]
    assert "".join(having(root, "data-box")["layer2"].itertext()).endswith("layer216 operations · 2×8×4×4")


def test_a_panel_shows_one_module_what_it_reads_and_the_way_round(resnet: gt.Tape) -> None:
    block = panels(picture(resnet))["layer1.1"]
    read = "layer1.0"
    inside = ["layer1.1.conv1", "layer1.1.bn1", "relu_3", "layer1.1.conv2", "layer1.1.bn2", "add_2"]
    boxes = having(block, "data-box")
    assert set(boxes) == {read, *inside, "layer1.1"}
    assert boxes[read].get("data-kind") == "outside"
    ways = [*zip([read, *inside], [*inside, "layer1.1"], strict=True), (read, "add_2")]
    assert edges(block) == set(ways)


def test_unfolding_puts_the_inside_into_a_frame_and_changes_nothing_else(resnet: gt.Tape) -> None:
    root = panels(picture(resnet, "layer2.0.downsample", "layer1"))[""]
    assert set(having(root, "data-frame")) == {"layer1", "layer2", "layer2.0", "layer2.0.downsample"}
    assert {"layer1.0", "layer1.1", "layer2.1", "layer2.0.downsample.0", "layer2.0.downsample.1"} < set(
        having(root, "data-box")
    )
    assert {("conv1", "layer1"), ("", "layer1.0"), ("layer1.0", "layer1.1"), ("layer1.1", "")} <= edges(root)
    everything = panels(picture(resnet, "*"))[""]
    assert set(having(everything, "data-box")) == {node.name for node in resnet.nodes}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "checkpoint"])  # slow to import
@pytest.mark.parametrize("unfold", [(), ("*",)])
def test_boxes_lie_apart_inside_their_frames(name: str, unfold: tuple[str]) -> None:
    torch.manual_seed(0)
    model, (args, kwargs) = NETWORKS[name]()
    tape = gt.record(model, *args, **kwargs)
    for panel in panels(picture(tape, *unfold)).values():
        _, _, width, height = (float(part) for part in panel.get("viewBox", "").split())
        assert assert_apart(list(rectangles(panel)), (0, 0, width, height))


def test_edges_of_each_panel_are_those_of_the_graph(resnet: gt.Tape) -> None:
    for panel in panels(picture(resnet)).values():
        boxes = having(panel, "data-box")

        def owner(node: Node, boxes: dict[str, ET.Element] = boxes) -> str | None:
            return next((b for b in boxes if node.name == b or f"{node.module}.".startswith(f"{b}.")), None)

        pairs = {(owner(parent), owner(node)) for node in resnet.nodes for parent in node.parents}
        inside = {name for name, box in boxes.items() if box.get("data-kind") != "outside"}
        assert edges(panel) == {(one, other) for one, other in pairs if one and one != other and other in inside}


def test_every_link_has_its_target_and_ids_are_plain(resnet: gt.Tape) -> None:
    svg = picture(resnet, "layer1")
    targets = {element.get("id") for element in svg.iter()}
    links = {element.get("href", "") for element in svg.iter() if element.get("href")}
    assert {link.removeprefix("#") for link in links} <= targets
    assert {f"#{panel.get('id')}" for panel in panels(svg).values()} <= links
    assert [p.get("display") for p in panels(svg).values()] == ["none"] * (len(panels(svg)) - 1) + ["inline"]


def test_colours_follow_the_gradient_and_what_is_not_finite_is_named() -> None:
    with gt.Tape() as tape:
        x = torch.ones(4, requires_grad=True)
        (((x * 1).exp() * 2).sin()).sum()
    for node, size in zip(tape.nodes, [1e-3, 0.0, 1.0, 1e3, float("nan"), None], strict=True):
        node.grad = None if size is None else torch.tensor([size])
    boxes = having(picture(tape), "data-box")
    fills = [boxes[node.name].findall("{*}rect")[-1].get("fill") for node in tape.nodes]
    assert fills == [_SCALE[0], "#fff", _SCALE[3], _SCALE[6], "#d6002f", "#d4d9e0"]
    assert "0.001 to 1e+03" in "".join(picture(tape).itertext())
    assert "gradient nan" in "".join(boxes[tape.nodes[4].name].itertext())
    assert "gradient 0" in "".join(boxes[tape.nodes[1].name].itertext())
    assert boxes[tape.nodes[1].name].get("fill") == "#111"


def test_names_are_escaped_and_the_same_tape_gives_the_same_bytes(resnet: gt.Tape) -> None:
    model = nn.Sequential()
    model.add_module('<a "b"> & #', nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    model.add_module("b", nn.ReLU())
    tape = gt.record(model, torch.ones(1, 2))
    assert set(panels(picture(tape))) == {"", '<a "b"> & #'}
    assert len({draw(resnet.nodes, set(), ("*",), "model") for _ in range(5)}) == 1


def test_a_chain_of_single_children_and_a_list_that_never_runs_are_no_boxes() -> None:
    inner = nn.ModuleDict({"layers": nn.ModuleList([nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(3)])})
    inner.forward = lambda x: inner["layers"][2](inner["layers"][1](inner["layers"][0](x)))
    tape = gt.record(nn.Sequential(inner), torch.ones(1, 2))
    names = ["input", "0.layers.0", "0.layers.1", "0.layers.2"]
    for ran in (None, tape._recorder.names):
        root = next(p for p in panels(picture(tape, ran=ran)).values() if p.get("id") == "p0")
        assert list(having(root, "data-box")) == names
    twice = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    boxes = having(panels(picture(gt.record(nn.Sequential(twice, nn.Tanh(), twice), torch.ones(1, 2))))[""], "data-box")
    assert list(boxes) == ["input", "0", "1", "0:2"]


def test_what_would_take_minutes_is_refused() -> None:
    def many_terms(x: torch.Tensor) -> torch.Tensor:
        return sum(x * number for number in range(700))

    tape = gt.record(many_terms, torch.ones(2))
    with pytest.raises(InputError, match="too tangled to draw: their links go through"):
        draw(tape.nodes, set(), (), "model")


def test_what_was_computed_first_is_to_the_left() -> None:
    def ways(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([(x * number).relu() for number in range(5)])

    boxes = having(picture(gt.record(ways, torch.ones(2))), "data-box")
    across = [float(boxes[f"relu_{number}"].get("transform").split("(")[1].split()[0]) for number in range(1, 6)]
    assert across == sorted(across)
