"""Callbacks for training frameworks: what they read is what the framework printed, and the training is the same."""

from __future__ import annotations

import contextlib
import importlib
import importlib.abc
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gradtape.errors import InputError
from gradtape.runs import Run
from gradtape.tracking import players, read_history
from gradtape.tracking.adapters._shared import Adapter
from tests.tracking.test_script import SCRIPTS, same_weights, untracked


def with_callbacks(script: str, callbacks: list[Any], *arguments: str) -> dict[str, Any]:
    """Run a script with callbacks put in; return its variables."""
    source = (SCRIPTS / script).read_text()
    assert "CALLBACKS = []" in source
    variables: dict[str, Any] = {"CALLBACKS": callbacks, "__name__": "script"}
    kept, sys.argv = sys.argv, [script, *arguments]
    state = torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(source.replace("CALLBACKS = []", ""), script, "exec"), variables)
    finally:
        sys.argv = kept
        torch.set_rng_state(state)
    return variables


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip(package)
    from gradtape.tracking.adapters.lightning import TrackCallback

    if package == "pytorch_lightning":
        source = (SCRIPTS / "lightning_gan.py").read_text()
        (tmp_path / "script.py").write_text(source.replace("import lightning as L", "import pytorch_lightning as L"))
    script = "lightning_gan.py" if package == "lightning.pytorch" else str(tmp_path / "script.py")
    callback = TrackCallback(tmp_path / "r", budget=None)
    variables = with_callbacks(script, [callback], "classifier")
    assert callback.tracker is not None
    with contextlib.closing(Run.open(tmp_path / "r")) as run:
        assert run.status == "finished"
        (name,) = players(run.series)
        history = read_history(run.series, name)
        assert history.parameters == ("layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias")
        total = np.sqrt(np.square(history.measures["grad_norm"]).sum(axis=1))
        raw = np.sqrt(np.square(history.measures["raw_grad_norm"]).sum(axis=1))
        assert total == pytest.approx(np.full(4, 0.01), rel=1e-3)
        assert (raw > 0.011).all()
        assert np.isfinite(history.logged["val_loss"]).sum() == 2
    assert capsys.readouterr().err.startswith("gradtape: ")
    _, alone = untracked("lightning_gan.py", "classifier")
    assert same_weights(variables["weights"], alone["weights"])


def test_lightning_with_two_optimizers(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from gradtape.tracking.adapters.lightning import TrackCallback

    callback = TrackCallback(tmp_path / "r", verbose=False)
    with_callbacks("lightning_gan.py", [callback], "gan")
    with contextlib.closing(Run.open(tmp_path / "r")) as run:
        assert players(run.series) == ["generator", "discriminator"]
        for player in players(run.series):
            assert read_history(run.series, player).steps.tolist() == list(range(8))


def test_transformers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("accelerate")
    from gradtape.tracking.adapters.transformers import TrackCallback

    variables = with_callbacks("huggingface.py", [TrackCallback(tmp_path / "r", budget=None)])
    said = capsys.readouterr().err
    logged = variables["logged"]
    with contextlib.closing(Run.open(tmp_path / "r")) as run:
        (name,) = players(run.series)
        history = read_history(run.series, name)
        assert run.status == "finished"
        raw = np.sqrt(np.nansum(np.square(history.measures["raw_grad_norm"]), axis=1))
        np.testing.assert_allclose(raw, [row["grad_norm"] for row in logged if "grad_norm" in row], rtol=1e-4)
        evaluated = history.logged["val_loss"]
        assert evaluated[np.isfinite(evaluated)] == pytest.approx(
            [row["eval_loss"] for row in logged if "eval_loss" in row]
        )
    assert "gradtape: " in said
    _, alone = untracked("huggingface.py")
    assert same_weights(variables["weights"], alone["weights"])


class _Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname.partition(".")[0] in ("lightning", "pytorch_lightning", "transformers"):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_a_missing_framework_is_named_with_its_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in list(sys.modules):
        if module.partition(".")[0] in ("lightning", "pytorch_lightning", "transformers"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"gradtape.tracking.adapters.{name}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [_Missing(), *sys.meta_path])
    with pytest.raises(InputError, match=f"is not installed: install it with: pip install 'gradtape\\[{name}\\]'"):
        importlib.import_module(f"gradtape.tracking.adapters.{name}")


def test_what_a_framework_logs_under_a_name_of_ours_disturbs_nothing() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    adapter = Adapter(None, None, verbose=False)
    adapter.begin([optimizer], first=True)
    for _ in range(2):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        adapter.log({"lr": 7.0, "grad_norm": 7.0, "loss": 7.0, "eval_loss": 3.0, "accuracy": torch.tensor(0.5)})
    tracker = adapter.tracker
    assert tracker is not None
    tracker.flush()
    (player,) = tracker.intervals
    history = read_history(tracker._store, player)
    assert sorted(history.logged) == ["accuracy", "val_loss"]
    assert history.loss[1] != 7.0
    assert history.lr[1, 0] == pytest.approx(0.1)
    adapter.end()
