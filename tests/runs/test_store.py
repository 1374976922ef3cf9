"""Series: what is appended comes back, whatever the order of steps, and wherever a block ends."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradtape.errors import InputError, RunError
from gradtape.runs import Series, SeriesStore, _layout

COLUMNS = ("x", "y / é 'quoted' \"too\"", "", "\n\0;DROP TABLE steps")
MEMORY = Path(":memory:")
BLOCK = _layout.BLOCK


def filled(path: Path, steps, columns=("x",), name: str = "a") -> SeriesStore:
    """A store in which column j holds 10 * step + j."""
    store = SeriesStore(path)
    channel = store.channel(name, columns)
    for step in steps:
        channel.append(step, [10 * step + j for j in range(len(columns))])
    return store


def same(series: Series, model: dict[int, np.ndarray], columns=COLUMNS) -> bool:
    steps = sorted(model)
    values = np.array([model[step] for step in steps], dtype=np.float32).reshape(len(steps), len(columns))
    return (
        series.columns == columns
        and series.steps.dtype == np.int64
        and series.values.dtype == np.float32
        and series.steps.tolist() == steps
        and np.array_equal(series.values, values, equal_nan=True)
    )


def rows_and_blocks(store: SeriesStore) -> tuple[int, int]:
    store.flush()
    return tuple(
        store._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("steps", "blocks")
    )


@pytest.mark.parametrize("count", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 1, 2 * BLOCK, 2 * BLOCK + 1])
@pytest.mark.parametrize("stride", [1, 32])
def test_block_edges(tmp_path: Path, count: int, stride: int) -> None:
    store = filled(tmp_path / "s.sqlite", range(0, count * stride, stride), ("x", "y"))
    assert rows_and_blocks(store) == (count % BLOCK, count // BLOCK)
    store.close()
    store = SeriesStore(tmp_path / "s.sqlite", read_only=True)
    series = store.read("a")
    assert series.steps.tolist() == list(range(0, count * stride, stride))
    assert series.column("y").tolist() == [10 * step + 1 for step in series.steps.tolist()]
    assert store.latest("a") == (stride * (count - 1) if count else None)
    store.close()


# a plan: what to do, at which step; small blocks, so that every edge is met often
ACTS = st.lists(
    st.tuples(
        st.sampled_from(["append", "append", "on", "on", "on", "on", "again", "flush", "reopen"]),
        st.integers(-(2**63), 2**63 - 1) | st.integers(0, 60),
    ),
    max_size=120,
)


@settings(max_examples=50, deadline=None)
@given(plan=ACTS, block=st.sampled_from([1, 2, 5, 8]), seed=st.integers(0, 2**32 - 1))
def test_any_sequence_reads_back_as_a_dictionary_would(tmp_path_factory, plan, block: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("plan") / "s.sqlite"
    rng, model = np.random.default_rng(seed), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_layout, "BLOCK", block)
        store = SeriesStore(path)
        channel, step = store.channel("a", COLUMNS), 0
        for act, number in plan:
            if act == "flush":
                store.flush()
            elif act == "reopen":
                store.close()
                store = SeriesStore(path)
                channel = store.channel("a", COLUMNS)
            else:
                step = {"append": number, "on": min(step + 1 + number % 3, 2**63 - 1), "again": number % 30}[act]
                model[step] = rng.normal(size=len(COLUMNS)).astype(np.float32)
                model[step][number % 4] = [np.nan, np.inf, -np.inf, 0][number % 3]
                channel.append(step, model[step])
        assert same(store.read("a"), model)
        start, stop = sorted((int(rng.integers(-5, 60)), int(rng.integers(-5, 60))))
        part = {step: values for step, values in model.items() if start <= step < stop}
        assert same(store.read("a", start=start, stop=stop), part)
        two = store.read("a", [COLUMNS[2], COLUMNS[0]])
        assert same(two, {step: values[[2, 0]] for step, values in model.items()}, (COLUMNS[2], COLUMNS[0]))
        assert store.latest("a") == max(model, default=None)
        store.close()
    check = sqlite3.connect(path)
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    width, blocks = len(COLUMNS), check.execute("SELECT count(*) FROM blocks").fetchone()[0]
    assert check.execute("SELECT count(*) FROM parts").fetchone()[0] == width * blocks  # no piece is left behind
    check.close()


def test_a_resumed_run_replaces_what_lies_in_blocks(tmp_path: Path) -> None:
    filled(tmp_path / "s.sqlite", range(3 * BLOCK + 7), ("x", "y")).close()
    store = SeriesStore(tmp_path / "s.sqlite")
    channel = store.channel("a", ("x", "y"))
    begin = BLOCK + 400
    for step in range(begin, 3 * BLOCK + 50):
        channel.append(step, [-1, step])
        if step == begin + 5:  # killed soon after: what was not written again is as before
            found = store.read("a")
            assert found.steps.tolist() == list(range(3 * BLOCK + 7))
            assert found.column("x")[begin - 1 : begin + 8].tolist() == [
                10 * (begin - 1), *6 * [-1], 10 * (begin + 6), 10 * (begin + 7)
            ]  # fmt: skip
    found = store.read("a")
    assert found.steps.tolist() == list(range(3 * BLOCK + 50))
    assert found.column("x")[:begin].tolist() == [10 * step for step in range(begin)]
    assert (found.column("x")[begin:] == -1).all()
    assert rows_and_blocks(store) == (50, 3)  # packed again
    store.close()


def test_packing_keeps_up_and_no_commit_packs_all(tmp_path: Path) -> None:
    store = SeriesStore(tmp_path / "s.sqlite")
    channels = [store.channel(str(i), ["x"]) for i in range(6)]
    most, before = 0, 0
    for step in range(5 * BLOCK):
        for channel in channels:
            channel.append(step, [step])
        if step % 100 == 99:  # 600 rows a commit
            rows, blocks = rows_and_blocks(store)
            assert blocks - before <= 1
            before, most = blocks, max(most, rows)
    assert most < 6 * BLOCK + 6 * 600
    assert all(store.read(str(i)).column("x").tolist() == list(range(5 * BLOCK)) for i in range(6))
    store.close()


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    columns = [f"layer.{i}" for i in range(40)]
    store = filled(tmp_path / "s.sqlite", range(4 * BLOCK), columns)
    store.close()
    damaged = sqlite3.connect(tmp_path / "s.sqlite")
    spared = {block * 40 + 7 for block in range(4)}
    damaged.execute(f"UPDATE parts SET numbers = x'00' WHERE id NOT IN ({', '.join(map(str, spared))})")
    damaged.commit()
    damaged.close()
    store = SeriesStore(tmp_path / "s.sqlite", read_only=True)
    assert store.read("a", ["layer.7"]).values[:, 0].tolist() == [10 * step + 7 for step in range(4 * BLOCK)]
    with pytest.raises(RunError, match=r"cannot be used as the series of a run \(.* bytes where .* belong\)"):
        store.read("a", ["layer.8"])
    store.close()


def test_wrong_rows_columns_and_names_are_refused() -> None:
    store = SeriesStore(MEMORY)
    with pytest.raises(RunError, match="no channel 'x': it holds none yet"):
        store.read("x")
    channel = store.channel("loss", ["train"])
    with pytest.raises(InputError, match="takes 1 numbers"):
        channel.append(0, [1.0, 2.0])
    with pytest.raises(InputError, match="has the columns train"):
        store.channel("loss", ["test"])
    with pytest.raises(InputError, match="has a twice"):
        store.channel("two", ["a", "b", "a"])
    with pytest.raises(RunError, match="no channel 'x': use one of loss"):
        store.read("x")
    with pytest.raises(InputError, match="channel 'loss' has no column 'test': use one of train"):
        store.read("loss", ["test"])
    with pytest.raises(InputError, match="more than 64 bits"):
        channel.append(2**63, [1.0])
    with pytest.raises(TypeError):
        channel.append(1.5, [1.0])  # type: ignore[arg-type]
    channel.append(np.int64(3), [1e300])  # a step of numpy's, and a number too large for float32
    assert store.read("loss").steps.tolist() == [3]
    assert store.read("loss").values.tolist() == [[np.inf]]
    assert store.latest("never") is None
    assert store.columns("loss") == ("train",)
    with pytest.raises(RunError, match="no channel 'x'"):
        store.columns("x")
    for start, stop in ((4, 3), (3, 3), (2**63, None), (2**70, 2**71), (None, -(2**63)), (-(2**70), -(2**69))):
        assert store.read("loss", start=start, stop=stop).values.shape == (0, 1)
    assert len(store.read("loss", start=-(2**70), stop=2**70).steps) == 1
    assert store.names() == ["loss"]
    store.close()


def test_a_channel_without_columns_keeps_its_steps() -> None:
    store = SeriesStore(MEMORY)
    channel = store.channel("marks", [])
    for step in range(BLOCK + 3):
        channel.append(2 * step, [])
    assert store.read("marks").steps.tolist() == list(range(0, 2 * BLOCK + 6, 2))
    assert store.read("marks").values.shape == (BLOCK + 3, 0)
    store.close()


def brute(series: Series, pixels: int, start: int | None, stop: int | None) -> list[tuple[object, ...]]:
    values = dict(zip(series.steps.tolist(), series.values[:, 0].tolist(), strict=True))
    inside = [s for s in values if (start is None or s >= start) and (stop is None or s < stop)]
    if not inside:
        return []
    low = min(inside) if start is None else start
    high = max(inside) + 1 if stop is None else stop
    found: dict[int, list[int]] = {}
    for step in sorted(inside):
        found.setdefault((step - low) * pixels // (high - low), []).append(step)
    rows = []
    for steps in found.values():
        finite = [values[s] for s in steps if np.isfinite(values[s])]
        ends = (min(finite), max(finite)) if finite else (np.nan, np.nan)
        rows.append((steps[0], steps[-1], *ends, values[steps[-1]], len(steps) - len(finite)))
    return rows


@pytest.mark.parametrize("seed", range(40))
def test_an_envelope_is_that_of_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    steps = sorted(rng.sample(range(-50, 5000), rng.choice([1, 3, 700, 2600])))
    values = [rng.choice([np.nan, np.inf, -np.inf]) if rng.random() < 0.3 else rng.gauss(0, 1) for _ in steps]
    store = SeriesStore(MEMORY)
    channel = store.channel("a", ["other", "x"])
    for step, value in zip(steps, values, strict=True):
        channel.append(step, [7.0, value])
    pixels, start, stop = rng.choice([1, 2, 97, 1000]), rng.choice([None, -60, 100]), rng.choice([None, 101, 6000])
    found = store.envelope("a", "x", pixels, start, stop)
    expected = brute(store.read("a", ["x"]), pixels, start, stop)
    assert len(found.last) == len(expected) <= pixels
    for field, column in zip(found, zip(*expected, strict=True) if expected else [()] * 6, strict=True):
        assert np.array_equal(field, np.array(column, dtype=field.dtype), equal_nan=True)
    assert [field.dtype for field in found] == [np.int64, np.int64, *3 * [np.float32], np.int64]
    store.close()


def test_one_nan_in_100_000_steps_is_seen_and_steps_of_any_size_are_drawn() -> None:
    store = SeriesStore(MEMORY)
    channel = store.channel("a", ["x"])
    for step in range(100_000):
        channel.append(step, [np.nan if step == 31_415 else 1.0])
    found = store.envelope("a", "x", 1000)
    assert found.nonfinite.nonzero()[0].tolist() == [314]
    assert found.minimum.tolist() == found.maximum.tolist() == [1.0] * 1000
    assert (found.steps_last - found.steps_first + 1).tolist() == [100] * 1000
    huge = store.channel("b", ["x"])
    for step in (2**62 - 1, 2**62, 2**63 - 1):
        huge.append(step, [1.0])
    assert store.envelope("b", "x", 10).steps_first.tolist() == [2**62 - 1, 2**63 - 1]
    with pytest.raises(InputError, match="pixels is 0"):
        store.envelope("a", "x", 0)
    store.close()


def test_notes(tmp_path: Path) -> None:
    store = SeriesStore(tmp_path / "s.sqlite")
    assert store.notes() == {}
    store.note("model/optimizer", {"name": "SGD", "lr": 0.1})
    store.note("b", None)
    store.note("model/optimizer", {"name": "Adam", "betas": [0.9, 0.999]})
    reader = SeriesStore(tmp_path / "s.sqlite", read_only=True)  # beside the writer, without a flush
    assert reader.notes() == {"b": None, "model/optimizer": {"name": "Adam", "betas": [0.9, 0.999]}}
    reader.close()
    for value in (float("nan"), {1, 2}):
        with pytest.raises(InputError, match="the note 'c' cannot be written as JSON"):
            store.note("c", value)
    assert set(store.notes()) == {"b", "model/optimizer"}
    store.close()
