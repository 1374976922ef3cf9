"""Exporters: what the format's own reader finds is what the store holds."""

from __future__ import annotations

import csv
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from gradtape.errors import InputError, RunError
from gradtape.runs import EXPORTERS, Run, export
from gradtape.runs.exporters import _source
from tests.augmentation.jobs import gradtape

ODD = "é, \"x\"\n'y'"
CHANNELS = {
    "model/grad_norm": ["0.weight", "0.bias", ODD],
    "model/loss": ["loss"],
    "model": ["loss/loss"],
    "empty": ["x"],
}
Cells = dict[tuple[str, str], dict[int, float]]


def values_at(channel: str, step: int) -> list[float]:
    rng = np.random.default_rng([len(channel), step])
    row = rng.normal(size=len(CHANNELS[channel])).astype(np.float32)
    if step % 7 == 3:
        row[0] = [np.nan, np.inf, -np.inf][step % 3]
    return row.tolist()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run with a channel at every step, one at every fourth, two of the same joined name, and an empty one."""
    path = tmp_path_factory.mktemp("runs") / "first"
    with Run.create(path, command="track", settings={"seed": 3, "kind": "x"}) as made:
        made.series.note("model/optimizer", {"lr": 0.1})
        channels = {name: made.series.channel(name, columns) for name, columns in CHANNELS.items()}
        for step in range(1100):
            for name, stride in (("model/grad_norm", 1), ("model/loss", 4), ("model", 100)):
                if step % stride == 0:
                    channels[name].append(step, values_at(name, step))
    return path


@pytest.fixture(scope="module")
def cells(run: Path) -> Cells:
    strides = {"model/grad_norm": 1, "model/loss": 4, "model": 100}
    return {
        (name, column): {step: values_at(name, step)[index] for step in range(0, 1100, stride)}
        for name, stride in strides.items()
        for index, column in enumerate(CHANNELS[name])
    }


def same(found: Cells, expected: Cells) -> None:
    assert found.keys() == expected.keys()
    for place, series in expected.items():
        assert list(found[place]) == list(series), place
        values = [np.array(list(cells.values()), np.float32) for cells in (found[place], series)]
        assert np.array_equal(*values, equal_nan=True), place


def tagged(cells: Cells) -> Cells:
    """The same by joined names; the second of one name has a number."""
    return {("", f"{c}/{n}" if c != "model" else f"{c}/{n}-2"): series for (c, n), series in cells.items()}


def without_network(script: str, *given: object, **environment: str) -> str:
    """What a script prints; fails if it, or a process that it starts, asks for anything from another machine."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        through = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "MLFLOW_"))}
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), through)
        command = [sys.executable, "-W", "ignore", "-c", "import sys\n" + script, *map(str, given)]
        done = subprocess.run(
            command, env=kept | proxies | environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        with pytest.raises(BlockingIOError):
            proxy.accept()
    return done.stdout


def test_csv(run: Path, cells: Cells, tmp_path: Path) -> None:
    assert export(run, to="csv", out=tmp_path / "out") == str(tmp_path / "out")
    files = {"model.grad_norm.csv": "model/grad_norm", "model.loss.csv": "model/loss", "model.csv": "model"}
    assert sorted(os.listdir(tmp_path / "out")) == sorted([*files, "empty.csv", "about.json"])
    found: Cells = {}
    for file, channel in files.items():
        with open(tmp_path / "out" / file, newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                found.setdefault((channel, row["column"]), {})[int(row["step"])] = float(row["value"])
    same(found, cells)
    assert (tmp_path / "out" / "empty.csv").read_text() == "step,column,value\n"
    about = json.loads((tmp_path / "out" / "about.json").read_text())
    assert about["channels"] == {**files, "empty.csv": "empty"}
    assert about["notes"] == {"model/optimizer": {"lr": 0.1}}
    assert (about["run"], about["info"]["settings"]) == ("first", {"seed": 3, "kind": "x"})


def test_parquet(run: Path, cells: Cells, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(run, to="parquet", out=tmp_path / "out")
    found: Cells = {}
    for file, channel in json.loads((tmp_path / "out" / "about.json").read_text())["channels"].items():
        table = parquet.read_table(tmp_path / "out" / file)
        assert [str(field.type) for field in table.schema][::2] == ["int64", "float"]
        assert table.schema.metadata == {b"channel": channel.encode(), b"run": b"first"}
        columns = table.to_pydict()
        for step, column, value in zip(columns["step"], columns["column"], columns["value"], strict=True):
            found.setdefault((channel, column), {})[step] = value
    same(found, cells)
    whole = parquet.ParquetFile(tmp_path / "out" / "model.grad_norm.parquet")
    assert [whole.metadata.row_group(i).num_rows for i in range(whole.num_row_groups)] == [1100] * 3
    one = parquet.read_table(tmp_path / "out" / "model.grad_norm.parquet", filters=[("column", "==", "0.bias")])
    assert one["value"].to_pylist() == list(cells["model/grad_norm", "0.bias"].values())


def test_tensorboard(run: Path, cells: Cells, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    export(run, to="tensorboard", out=tmp_path / "out")
    events = reader.EventAccumulator(str(tmp_path / "out"), size_guidance={"scalars": 0}).Reload()
    found = {("", tag): {e.step: e.value for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    same(found, tagged(cells))
    export(run, to="tensorboard", out=tmp_path / "again")  # the same bytes: nothing comes from the clock
    (file,) = os.listdir(tmp_path / "out")
    assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def wandb_records(file: Path) -> list[object]:
    """The records of an offline run: protocol buffers in a log of 32 KiB blocks (LevelDB's format)."""
    proto = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, at, parts, found = file.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts, at = parts + data[at + 7 : at + 7 + size], at + 7 + size
        if kind in (1, 4):  # whole, or the last part
            found.append(proto.Record.FromString(parts))
            parts = b""
    return found


def test_wandb(run: Path, cells: Cells, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    script = "from gradtape.runs import export; export(sys.argv[1], to='wandb', out=sys.argv[2])"
    without_network(script, run, tmp_path / "out", WANDB_API_KEY="0" * 40)  # a key alone is no wish to send
    (file,) = (tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_symlink()]
    found: Cells = {}
    records = wandb_records(file)
    for record in records:
        if record.WhichOneof("record_type") != "history":
            continue
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for tag, value in items.items():
            if not tag.startswith("_"):
                found.setdefault(("", tag), {})[int(items["_step"])] = float(value)
    same(found, tagged(cells))
    (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    config = {item.key: json.loads(item.value_json) for item in begun.config.update}
    assert config["settings"] == {"seed": 3, "kind": "x"}
    assert config["notes"] == {"model/optimizer": {"lr": 0.1}}
    assert (begun.display_name, begun.project) == ("first", "gradtape")


def test_mlflow(run: Path, cells: Cells, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    script = """
import json, os
from gradtape.runs import Run, export
export(sys.argv[1], to='mlflow', out=sys.argv[2] + '/new')
os.environ['MLFLOW_TRACKING_URI'] = 'file:' + sys.argv[2] + '/mine'
assert export(sys.argv[1], to='mlflow') == os.environ['MLFLOW_TRACKING_URI']
export(sys.argv[1], to='mlflow')  # a second run in the same experiment
assert 'MLFLOW_ALLOW_FILE_STORE' not in os.environ
os.environ['MLFLOW_ALLOW_FILE_STORE'] = 'true'
from mlflow import MlflowClient
for place in ('new', 'mine', 'mine'):
    client = MlflowClient('file:' + sys.argv[2] + '/' + place)
    runs = client.search_runs([client.get_experiment_by_name('gradtape').experiment_id])
    found = runs[0]
    history = {name: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, name)]
               for name in found.data.metrics}
    print(json.dumps([len(runs), found.info.run_name, found.info.status, found.info.artifact_uri, found.data.params,
                      found.data.tags['model/optimizer'], history]))
"""
    said = [json.loads(line) for line in without_network(script, run, tmp_path).splitlines()]
    assert [line[0] for line in said] == [1, 2, 2]
    odd = "model/grad_norm/" + "".join(c if c.isalnum() and c.isascii() else "_" if c != " " else c for c in ODD)
    expected = {("", tag.replace(f"model/grad_norm/{ODD}", odd)): s for (_, tag), s in tagged(cells).items()}
    for _, name, status, _, params, note, history in said:
        assert (name, status, params, note) == ("first", "FINISHED", {"seed": "3", "kind": "x"}, '{"lr": 0.1}')
        same({("", tag): dict(map(tuple, series)) for tag, series in history.items()}, expected)
    assert said[0][3].startswith((tmp_path / "new" / "artifacts").as_uri())  # not where it was written first


@pytest.mark.parametrize("to", EXPORTERS)
def test_a_missing_package_is_one_sentence(to: str, run: Path, tmp_path: Path, monkeypatch) -> None:
    if to == "csv":
        return
    package = {"parquet": "pyarrow"}.get(to, to)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    said = gradtape("export", run, "--to", to, "-o", tmp_path / "out")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: exporting to {to} needs a package that cannot be imported (")
    assert said.err.endswith(f"): pip install 'gradtape[{to}]'\n")
    assert os.listdir(tmp_path) == []


def test_the_command(run: Path, tmp_path: Path) -> None:
    said = gradtape("export", run, "--to", "csv", "-o", tmp_path / "out")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == f"a CSV file per channel  {tmp_path / 'out'}"
    assert said.out.splitlines()[-1] == f'in Python: pandas.read_csv("{tmp_path / "out"}/...")'
    said = gradtape("export", run, "--to", "csv", "-o", tmp_path / "json", "--json")
    assert json.loads(said.out) == {"run": str(run), "to": "csv", "out": str(tmp_path / "json")}
    assert f"{', '.join(list(EXPORTERS)[:-1])} or {list(EXPORTERS)[-1]}." in gradtape("export", "--help").out


def test_what_cannot_be_exported_is_one_sentence(run: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(InputError, match="there is no exporter 'excel': use one of csv, parquet, tensorboard, wandb"):
        export(run, to="excel", out=tmp_path / "out")
    with pytest.raises(InputError, match="exporting to csv needs a folder to make: name one with out= or --out$"):
        export(run, to="csv")
    with pytest.raises(InputError, match="name one with out= or --out, or set MLFLOW_TRACKING_URI"):
        export(run, to="mlflow")
    with pytest.raises(RunError, match="there is no run folder"):
        export(tmp_path / "never", to="csv", out=tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(RunError, match="exists already: remove it or choose another name"):
        export(run, to="csv", out=tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_a_failed_export_leaves_nothing(run: Path, tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gradtape.runs.exporters.csv.about", full)
    with pytest.raises(RunError, match=r"disk full while writing .*out: free some space and try again"):
        export(run, to="csv", out=tmp_path / "out")
    assert os.listdir(tmp_path) == []


def test_a_run_under_way_is_exported_as_far_as_it_is(tmp_path: Path) -> None:
    with Run.create(tmp_path / "r", command="track", settings={}) as going:
        channel = going.series.channel("a", ["x", "y"])
        channel.append(5, [1.5, np.nan])
        export(going, to="csv", out=tmp_path / "out")
        channel.append(6, [0.1, 3])  # it is still open
        assert (tmp_path / "out" / "a.csv").read_text() == "step,column,value\n5,x,1.5\n5,y,nan\n"
    export(tmp_path / "r", to="csv", out=tmp_path / "all")
    assert (tmp_path / "all" / "a.csv").read_text().splitlines()[2] == "6,x,0.1"


def test_file_names_differ_wherever_they_are_written() -> None:
    names = ["a/b", "a.b", "A.B", "..", "", "/", "con trol\0", "x" * 300, "x" * 301]
    found = _source.file_names(names, ".csv")
    assert len({file.lower() for file in found.values()}) == len(names)
    assert all(file == os.path.basename(file) and len(file) < 120 and file[0] != "." for file in found.values())
    assert found["a/b"] == "a.b.csv"
