"""What tracking costs: a training step with a tracker over the same step without one, process time and wall time.

All contenders train in one process, each a copy of its own, and take turns of a few steps in random order, so that all
have the machine in the same states. A block is some rounds of turns; its ratio is a contender's time over the untracked
one's in the same rounds. Printed are median and quartiles over blocks, and the ratio of all times together, which rare
and dear steps enter with all their weight. "untracked again" is what the measurement itself is worth. Other libraries
join where they are installed, in the first rounds of each block.

    python benchmarks/tracking_cost.py [--models CNN GPT ResNet MLP] [--threads 1] [--blocks 15] [--write]

Process time is that of this process: wandb's service is another one and comes on top.
"""

import argparse
import copy
import os
import random
import re
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tracking_contenders import OURS, PEERS, All, Contender, Default, made

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tracking.md"
BEGIN, END = "<!-- tracking_cost.py -->", "<!-- /tracking_cost.py -->"


def cnn() -> nn.Module:
    first = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, *second, nn.Linear(128 * 64, 112), nn.ReLU(), nn.Linear(112, 10))


class Attention(nn.Module):
    """A transformer's layer, causal."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class GPT(nn.Module):
    """A small GPT: 78 parameters, 5.1 million numbers."""

    def __init__(self, layers: int = 6, width: int = 256, vocabulary: int = 512, context: int = 256) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.layers = nn.Sequential(*(Attention(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
        return self.head(self.norm(self.layers(x))).flatten(0, 1)


class Block(nn.Module):
    """Two convolutions and a way round them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts = [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.inner = nn.Sequential(*parts, nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.last(x + self.inner(x))


def resnet() -> nn.Module:
    stem = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    blocks = [Block(16) for _ in range(20)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=1e-4)


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-4)


def images(n: int) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 3, 32, 32), torch.randint(10, (n,))


class Task(NamedTuple):
    """A model and how it is timed.

    Attributes:
        title: What it is.
        build: Makes the model.
        optimizer: Makes its optimizer.
        batch: Makes a batch.
        turn: Steps in a turn.
        rounds: Turns of a contender in a block.
        peers: Turns of another library's tracker in a block.
    """

    title: str
    build: Callable[[], nn.Module]
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    batch: Callable[[], tuple[Tensor, Tensor]]
    turn: int
    rounds: int
    peers: int


TASKS = {
    "CNN": Task("CNN, batch of 128 images of 32x32, Adam", cnn, adam, lambda: images(128), 2, 8, 1),
    "GPT": Task(
        "GPT of 6 layers, 1,024 tokens a step, AdamW",
        GPT,
        adamw,
        lambda: (torch.randint(512, (4, 256)), torch.randint(512, (1024,))),
        1,
        8,
        1,
    ),
    "ResNet": Task(
        "ResNet of 42 layers, batch of 4, Adam (not in our favour)", resnet, adam, lambda: images(4), 4, 8, 1
    ),
    "MLP": Task(
        "MLP of 3 layers, batch of 32, Adam (not in our favour)",
        mlp,
        adam,
        lambda: (torch.randn(32, 16), torch.randint(2, (32,))),
        50,
        4,
        1,
    ),
}


class Times(NamedTuple):
    """Of one contender, for process and wall time.

    Attributes:
        name: Its name.
        ratios: Of each block, over untracked.
        total: All of its time over untracked in the same rounds.
        milliseconds: Median of a step over blocks.
    """

    name: str
    ratios: tuple[list[float], list[float]]
    total: tuple[float, float]
    milliseconds: tuple[float, float]


def compare(task: Task, contenders: Sequence[Contender], blocks: int, order: random.Random) -> list[Times]:
    """Time all contenders, the first of which is untracked."""
    batch = task.batch()
    found: dict[str, list[list[tuple[float, float]]]] = {each.name: [] for each in contenders}
    for number_of_block in range(blocks):
        block: dict[str, list[tuple[float, float]]] = {each.name: [] for each in contenders}
        for number in range(task.rounds):
            due = [each for each in contenders if number_of_block % each.every == 0]
            present = [each for each in due if not each.needs or number < task.peers]
            for each in order.sample(present, len(present)):
                block[each.name].append(each.turn(*batch, task.turn))
                each.settle()
        for name, turns in block.items():
            found[name].append(turns)  # none in blocks that it leaves out
    base = found[contenders[0].name]
    times = []
    for name in found:
        both = []
        pairs = [(mine, plain) for mine, plain in zip(found[name], base, strict=True) if mine]
        for kind in (0, 1):
            mine = [sum(turn[kind] for turn in turns) for turns, _ in pairs]
            theirs = [sum(turn[kind] for turn in plain[: len(turns)]) for turns, plain in pairs]
            steps = len(pairs[0][0]) * task.turn
            ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
            both.append((ratios, sum(mine) / sum(theirs), 1000 * statistics.median(mine) / steps))
        times.append(Times(name, *zip(*both, strict=True)))  # type: ignore[arg-type]
    return times


def row(times: Times) -> str:
    cells = []
    for ratios in times.ratios:
        low, middle, high = statistics.quantiles(ratios if len(ratios) > 1 else 2 * ratios, n=4, method="inclusive")
        cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
    process, wall = times.total
    return f"| {times.name} | {cells[0]} | {cells[1]} | {process:.3f} | {wall:.3f} | {times.milliseconds[1]:.2f} |"


def said_of(contender: Contender) -> list[str]:
    """Return in words what gradtape's own clock and schedule say."""
    if not isinstance(contender, Default):
        return []
    parts = contender.parts()
    dear = {name: part for name, part in parts.items() if name not in ("base", "sizes")}
    a_step = sum(milliseconds / every for milliseconds, every in dear.values())
    words = [f"{name} {parts[name][0]:.3f} ms every {parts[name][1]}" for name in ("base", "sizes") if name in parts]
    if dear:
        most = sorted(dear, key=lambda name: -dear[name][0])
        each = ", ".join(f"{name} {dear[name][0]:.2f}" for name in most)
        every = contender.player.schedule.dear_interval
        words.append(f"dear {a_step:.3f} ms a step, each every {every} ({each})")
    lines = [f"{contender.name}: {'; '.join(words)}"]
    rare = contender.player.schedule.said()
    if contender.settings.get("budget", 0.01) is not None:
        share = contender.player.schedule.share
        lines.append(f"{contender.name}: its own clock has it at {share:.2%} of a step; {rare or 'nothing widened'}")
    if isinstance(contender, All) and hasattr(contender, "answer"):
        took, steps, n = contender.answer
        lines.append(
            f"{contender.name}: all rules on {steps} steps, asked at every {All.asked}th: {took:.0f} ms, {n} found"
        )
    return lines


def measure(task: Task, blocks: int, warm_up: int | None, peers: bool) -> list[str]:
    """Return a table in Markdown, and print it with what is behind it."""
    torch.manual_seed(0)
    model, batch = task.build(), task.batch()
    size = sum(parameter.numel() for parameter in model.parameters())
    tensors = sum(1 for _ in model.parameters())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        contenders: list[Contender] = []
        missing = []
        for number, kind in enumerate((*OURS, *(PEERS if peers else ()))):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            one = made(kind, copy.deepcopy(model), task.optimizer, folder, batch, warm_up)
            if isinstance(one, str):
                missing.append(f"| {kind.name} | {one} | | | | |")
            else:
                contenders.append(one)
        began = os.getloadavg()[0]
        times = compare(task, contenders, blocks, random.Random(0))
        load = f"{began:.1f} to {os.getloadavg()[0]:.1f}"
        behind = [line for each in contenders for line in said_of(each)]
        for each in contenders:
            each.detach()
    steps = task.turn * task.rounds
    title = f"{task.title}: {size / 1e6:.2f} million numbers in {tensors} parameters"
    note = f"{blocks} blocks of {steps} steps, {task.turn * task.peers} for other libraries; load {load}"
    table = [
        f"**{title}** ({note})",
        "",
        "| | process time | wall time | process, total | wall, total | ms a step, wall |",
        "|---|---|---|---|---|---|",
        *(row(each) for each in times),
        *missing,
    ]
    print("\n".join(["", *table, "", *behind]), flush=True)
    return [*table, ""]


def versions() -> str:
    found = []
    for name in ("wandb", "lightning", "cockpit-for-pytorch", "trainscope"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return ", ".join([f"torch {torch.__version__}", *found])


def write(lines: Sequence[str]) -> None:
    """Replace what is between the page's markers."""
    page = PAGE.read_text(encoding="utf-8")
    text = "\n".join([BEGIN, "", *lines, END])
    new, n = re.subn(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: text, page, flags=re.DOTALL)
    if n != 1:
        raise SystemExit(f"{PAGE} has no {BEGIN} ... {END}")
    PAGE.write_text(new, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=15)
    parser.add_argument(
        "--rounds", type=int, help="turns of a contender in a block, instead of each model's own number"
    )
    parser.add_argument("--warm-up", type=int, help="at most so many steps before the first that is timed")
    parser.add_argument("--alone", action="store_true", help="without other libraries")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE.name}")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # other libraries' own
    torch.set_num_threads(asked.threads)
    head = f"{versions()}; {asked.threads} of {os.cpu_count()} cores; {time.strftime('%Y-%m-%d')}."
    print(head)
    lines = [head, ""]
    for name in asked.models:
        task = TASKS[name] if asked.rounds is None else TASKS[name]._replace(rounds=asked.rounds)
        lines += measure(task, asked.blocks, asked.warm_up, not asked.alone)
    if asked.write:
        write(lines)


if __name__ == "__main__":
    main()
