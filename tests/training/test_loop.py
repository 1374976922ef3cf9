"""The loop: exact resume, checkpoints, progress."""

from pathlib import Path

import pytest
import torch
from torch import nn

import gradtape as gt
from gradtape.errors import InputError, RunError
from gradtape.nets import ImageClassifier
from gradtape.runs import Run, SeriesStore
from gradtape.training import Checkpoint, Loop, resolve_device, train_classifier
from gradtape.training.loop import RandomState

STEPS = 50


class Counted:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.work = 0.0
        self.stages: list[str] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def advance(self, work: float) -> None:
        assert work >= 0
        self.work += work


class Stop(Exception):  # noqa: N818 - no error
    pass


class StopsAt(Counted):
    """A progress that interrupts the training after so much work."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def advance(self, work: float) -> None:
        super().advance(work)
        if self.work >= self.limit:
            raise Stop


def model(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    net = ImageClassifier((1, 8, 8), 3, width=2)
    if dropout:
        net.head.insert(1, nn.Dropout(dropout))
    return net


def data() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.rand(30, 1, 8, 8, generator=draws), torch.softmax(torch.randn(30, 3, generator=draws), dim=1)


def train(net: nn.Module, series: SeriesStore | None = None, **more: object) -> None:
    x, y = data()
    train_classifier(net, x, y, steps=STEPS, seed=3, series=series, validation=(x[:9], y[:9].argmax(1)), **more)


def series_of(store: SeriesStore) -> dict[str, tuple[list[int], bytes]]:
    return {name: (store.read(name).steps.tolist(), store.read(name).values.tobytes()) for name in store.names()}


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_interrupted_training_made_again_ends_bit_equal(tmp_path: Path, dropout: float) -> None:
    straight, whole = model(dropout), SeriesStore(tmp_path / "whole.sqlite")
    train(straight, whole)
    store, checkpoint = SeriesStore(tmp_path / "parts.sqlite"), Checkpoint(tmp_path / "part", every=10)
    with pytest.raises(Stop):
        train(model(dropout), store, checkpoint=checkpoint, progress=StopsAt(37))
    assert store.read("model/loss").steps.tolist() == list(range(37))
    torch.manual_seed(99)  # another process has another random state
    resumed, progress = model(dropout), Counted()
    torch.rand(5)
    train(resumed, store, checkpoint=checkpoint, progress=progress)
    assert same_weights(resumed, straight)
    assert series_of(store) == series_of(whole)
    assert store.read("model/grad_norm").steps.tolist() == list(range(STEPS))
    assert progress.work == STEPS
    store.close()
    whole.close()


class Killed(Counted):
    """A progress that cuts the series off from its file after so much work, as when the process is killed."""

    def __init__(self, limit: int, store: SeriesStore) -> None:
        super().__init__()
        self.limit, self.store = limit, store

    def advance(self, work: float) -> None:
        super().advance(work)
        if self.work >= self.limit:
            self.store._connection.close()
            raise Stop


def test_a_killed_training_made_again_has_the_same_series(tmp_path: Path) -> None:
    cut = SeriesStore(tmp_path / "parts.sqlite")
    with pytest.raises(RunError, match="closed database"):
        train(model(), cut, checkpoint=Checkpoint(tmp_path / "part", every=10), progress=Killed(37, cut))
    straight, whole = model(), SeriesStore(tmp_path / "whole.sqlite")
    train(straight, whole)
    store, resumed = SeriesStore(tmp_path / "parts.sqlite"), model()
    train(resumed, store, checkpoint=Checkpoint(tmp_path / "part", every=10))
    assert same_weights(resumed, straight)
    assert series_of(store) == series_of(whole)
    store.close()
    whole.close()


def test_a_finished_training_made_again_does_nothing_and_reports_all_its_work(tmp_path: Path) -> None:
    first, again, progress = model(), model(), Counted()
    train(first, checkpoint=Checkpoint(tmp_path / "part", every=10))
    train(again, checkpoint=Checkpoint(tmp_path / "part", every=10), progress=progress)
    assert same_weights(first, again)
    assert progress.work == STEPS


def test_without_a_checkpoint_nothing_is_written_and_progress_adds_up(tmp_path: Path) -> None:
    progress = Counted()
    train(model(), progress=progress)
    assert progress.work == STEPS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("steps", "every", "stop", "resumed_from"), [(50, 10, 37, 30), (50, 10, 9, 0), (50, 10, 10, 0), (23, 5, 22, 20)]
)
def test_each_step_is_run_once_after_the_last_save(
    tmp_path: Path, steps: int, every: int, stop: int, resumed_from: int
) -> None:
    def loop(progress: Counted, ran: list[int]) -> Loop:
        state = {"random": RandomState(torch.Generator())}
        return Loop(
            ran.append, steps, state, checkpoint=Checkpoint(tmp_path / "p", every), progress=progress, work=0.25
        )

    first: list[int] = []
    with pytest.raises(Stop):
        loop(StopsAt(stop * 0.25), first).run()
    assert first == list(range(stop))
    second: list[int] = []
    progress = Counted()
    loop(progress, second).run()
    assert second == list(range(resumed_from, steps))
    assert progress.work == pytest.approx(steps * 0.25)


def test_a_random_state_goes_on_where_it_was() -> None:
    one, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    torch.rand(3, generator=one)
    saved = RandomState(one).state_dict()
    expected = torch.rand(4, generator=one)
    RandomState(other).load_state_dict(saved)
    assert torch.equal(torch.rand(4, generator=other), expected)


def damaged(kind: str, good: bytes) -> bytes:
    return {
        "empty": b"",
        "text": b"hello, this is no checkpoint\n" * 20,
        "cut": good[: len(good) // 2],
        "cut short": good[:-1],
        "flipped": good[:200] + bytes(64) + good[264:],
        "pickle": b"\x80\x02}q\x00.",
    }[kind]


@pytest.mark.parametrize("kind", ["empty", "text", "cut", "cut short", "pickle", "flipped"])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path: Path, kind: str) -> None:
    train(model(), checkpoint=Checkpoint(tmp_path / "part", every=20))
    path = tmp_path / "part"
    path.write_bytes(damaged(kind, path.read_bytes()))
    with pytest.raises(RunError) as caught:
        train(model(), checkpoint=Checkpoint(path, every=20))
    assert str(caught.value) == f"the checkpoint {path} is damaged: delete it to start this training again"


@pytest.mark.parametrize("content", [[1, 2], {"done": 3}, {"state": {"x": {"state": 1}}}, {"done": 1, "state": {}}])
def test_a_checkpoint_of_something_else_is_one_sentence(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "part")
    state = {"x": RandomState(torch.Generator())}
    with pytest.raises(RunError, match="the checkpoint .* is damaged"):
        Loop(lambda step: None, 5, state, checkpoint=Checkpoint(tmp_path / "part")).run()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(model(), checkpoint=Checkpoint(tmp_path / "part", every=20))
    x, y = data()
    torch.manual_seed(0)
    with pytest.raises(RunError, match="the checkpoint .* is damaged"):
        train_classifier(
            ImageClassifier((1, 8, 8), 3, width=4), x, y, steps=5, seed=0, checkpoint=Checkpoint(tmp_path / "part")
        )


def test_the_tracker_is_told_where_a_resumed_loop_goes_on(tmp_path: Path) -> None:
    net = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def step(number: int) -> None:
        optimizer.zero_grad()
        net(torch.ones(1, 2)).sum().backward()
        optimizer.step()

    for steps in (4, 7):
        store = SeriesStore(tmp_path / f"{steps}.sqlite")
        with gt.track(net, optimizer, store) as tracker:
            checkpoint = Checkpoint(tmp_path / "part", every=2)
            Loop(step, steps, {"net": net}, checkpoint=checkpoint, tracker=tracker).run()
        assert store.read("model/grad_norm").steps.tolist() == list(range(0 if steps == 4 else 4, steps))
        store.close()


def test_the_loop_leaves_a_run_open(tmp_path: Path) -> None:
    with Run.create(tmp_path / "run", command="augment", settings={}) as run:
        train(model(), run.series)
        assert run.status == "running"
        assert {"model/grad_norm", "model/update_norm", "model/loss", "model/accuracy"} <= set(run.series.names())


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in {"cpu", "cuda", "mps", "xpu"}
    for name in ("abacus", "cuda:97"):
        with pytest.raises(InputError, match=f"device '{name}' cannot be used on this machine: use cpu, or auto"):
            resolve_device(name)
