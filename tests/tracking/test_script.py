"""Scripts that know nothing of tracking: what is read is what they printed, and they end as they would without."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from gradtape.errors import RunError
from gradtape.runs import Channel, Run
from gradtape.scripts import Ending, Program, Session, session
from gradtape.tracking import History, players, read_history

SCRIPTS = Path(__file__).parent / "scripts"


class Seen(NamedTuple):
    """A script that ran in this process."""

    ending: Ending
    out: str
    err: str
    variables: dict[str, Any]
    histories: dict[str, History]


@contextlib.contextmanager
def program_of_its_own() -> Iterator[None]:
    """Give this process's ``__main__``, arguments and path back afterwards."""
    kept = sys.modules["__main__"], sys.argv, sys.path[:], torch.get_rng_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.modules["__main__"], sys.argv, sys.path[:] = kept[:3]
        torch.set_rng_state(kept[3])


class Told(NamedTuple):
    """What came of a script."""

    ending: Ending
    out: str
    err: str
    variables: dict[str, Any]
    path: Path


def run_tracked(folder: Path, script: str, *arguments: str) -> Told:
    """Run a script as ``gradtape track`` does."""
    out, err = io.StringIO(), io.StringIO()
    path = folder / f"{Path(script).stem}{len(list(folder.iterdir()))}"
    with program_of_its_own(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        tracking = Session(Program.of_file(str(SCRIPTS / script)), arguments, path, None)
        ending = tracking.run()
        variables = vars(sys.modules["__main__"])
        tracking.close()
    return Told(ending, out.getvalue(), err.getvalue(), variables, path)


def tracked(folder: Path, script: str, *arguments: str) -> Seen:
    """Run a script as ``gradtape track`` does, and read what was stored."""
    told = run_tracked(folder, script, *arguments)
    with contextlib.closing(Run.open(told.path)) as run:
        histories = {name: read_history(run.series, name) for name in players(run.series)}
        for history in histories.values():
            for name in history.measures:
                assert history.measures[name] is not None  # read while the store is open
    return Seen(*told[:4], histories)


def untracked(script: str, *arguments: str) -> tuple[str, dict[str, Any]]:
    """Run a script by itself; return what it printed and its variables."""
    out = io.StringIO()
    with program_of_its_own(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        ending = Program.of_file(str(SCRIPTS / script)).run(arguments)
        assert ending.code == 0, ending.error
        return out.getvalue(), vars(sys.modules["__main__"])


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_plain_loop(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "plain.py", "7")
    assert seen.ending == Ending(0)
    (history,) = seen.histories.values()
    assert history.player == "network"
    assert history.parameters == ("first.weight", "first.bias", "last.weight", "last.bias")
    assert history.steps.tolist() == list(range(7))
    printed = np.array([[float(number) for number in line.split()] for line in seen.out.splitlines()])
    np.testing.assert_allclose(history.measures["grad_norm"], printed, rtol=1e-6)
    assert history.settings.optimizer == "SGD"
    assert set(history.settings.momentum) == {0.9}
    said, alone = untracked("plain.py", "7")
    assert seen.out == said
    assert same_weights(seen.variables["weights"], alone["weights"])


def test_a_gan_with_a_compiled_network(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "gan.py")
    assert seen.ending.error is None
    assert list(seen.histories) == ["netD", "netG"]
    for name, history in seen.histories.items():
        assert history.parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
        np.testing.assert_allclose(history.measures["grad_norm"], seen.variables["norms"][name], rtol=1e-6)
        assert history.settings.unheld == ()
    assert seen.histories["netG"].settings.betas[0] == (0.5, 0.999)
    assert same_weights(seen.variables["weights"], untracked("gan.py")[1]["weights"])


def test_known_gradients(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "known.py")
    assert seen.ending.error is None
    found = {name: history.measures for name, history in seen.histories.items()}
    assert list(found) == ["accumulating", "clipping", "scaling", "halved", "halved-2", "tying"]
    assert found["accumulating"]["grad_norm"].tolist() == [[6]] * 3
    assert found["clipping"]["grad_norm"] == pytest.approx(np.ones((3, 1)), rel=1e-5)
    assert found["clipping"]["raw_grad_norm"][1:].tolist() == [[9]] * 2  # the first step was the first that was seen
    assert found["scaling"]["grad_norm"].tolist() == [[2]] * 3
    assert found["scaling"]["raw_grad_norm"][1:].tolist() == [[2]] * 2
    for name, norms in seen.variables["norms"].items():
        np.testing.assert_allclose(found[name]["grad_norm"], norms, rtol=1e-5)
    assert seen.histories["tying"].parameters == ("encoder.weight", "unused.weight")
    assert found["tying"]["grad_norm"][0, 0] == 5
    assert np.isnan(found["tying"]["grad_norm"][0, 1])


def test_optimizers_of_many_kinds(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "optimizers.py")
    assert seen.ending.error is None
    assert list(seen.histories) == [
        "fused", "foreach", "loop", "lion", "lookahead", "lbfgs", "unset", "compiled", "encoder+decoder", "tensors",
    ]  # fmt: skip
    norms = seen.variables["norms"]
    for name in ("fused", "foreach", "loop", "lion", "lookahead", "unset", "compiled"):
        history = seen.histories[name]
        np.testing.assert_allclose(history.measures["grad_norm"], norms[name], rtol=1e-5)
        assert history.parameters == ("0.weight", "0.bias", "1.weight", "1.bias")
    assert seen.histories["lion"].settings.optimizer == "Lion"
    assert len(seen.histories["lbfgs"].steps) == 3
    assert seen.histories["encoder+decoder"].parameters == (
        "encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias", "group1.param0",
    )  # fmt: skip
    assert seen.histories["tensors"].parameters == ("group0.param0",)
    assert seen.histories["tensors"].measures["grad_norm"][0, 0] == pytest.approx(np.sqrt(12))
    assert same_weights(seen.variables["weights"], untracked("optimizers.py")[1]["weights"])


def test_what_a_script_forgets_is_released(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "released.py")
    assert seen.ending.error is None
    assert list(seen.histories) == ["network", "network-2", "network-3"]
    assert seen.variables["alive"] == [[False, False, False]] * 3


def test_lightning(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    seen = tracked(tmp_path, "lightning_gan.py")
    assert seen.ending.error is None, seen.err
    assert list(seen.histories) == ["generator", "discriminator", "classifier"]
    assert seen.histories["generator"].parameters == ("0.weight", "0.bias", "2.weight", "2.bias")
    assert len(seen.histories["generator"].steps) == 8
    classifier = seen.histories["classifier"]
    assert classifier.parameters == ("layers.0.weight", "layers.0.bias", "layers.3.weight", "layers.3.bias")
    assert len(classifier.steps) == 4
    total = np.sqrt(np.square(classifier.measures["grad_norm"]).sum(axis=1))
    assert total == pytest.approx(np.full(4, 0.01), rel=1e-3)
    assert (np.sqrt(np.square(classifier.measures["raw_grad_norm"][1:]).sum(axis=1)) > 0.011).all()
    said, alone = untracked("lightning_gan.py")
    assert seen.out == said
    assert same_weights(seen.variables["weights"], alone["weights"])


def test_hugging_face(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    seen = tracked(tmp_path, "huggingface.py")
    assert seen.ending.error is None, seen.err
    (history,) = seen.histories.values()
    assert history.player == "bert"
    assert set(history.parameters) == set(seen.variables["weights"]) - {"bert.embeddings.position_ids"}
    raw = np.sqrt(np.nansum(np.square(history.measures["raw_grad_norm"][1:]), axis=1))
    printed = [row["grad_norm"] for row in seen.variables["logged"] if "grad_norm" in row]
    assert len(history.steps) == len(printed) == 8
    np.testing.assert_allclose(raw, printed[1:], rtol=1e-4)
    final = np.sqrt(np.nansum(np.square(history.measures["grad_norm"]), axis=1))
    np.testing.assert_allclose(final, 0.1, rtol=1e-3)
    assert same_weights(seen.variables["weights"], untracked("huggingface.py")[1]["weights"])


def test_no_optimizer_steps(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "idle.py")
    assert (seen.ending, seen.out, seen.histories) == (Ending(0), "2.0\n", {})
    assert "nothing was tracked: no optimizer stepped" in seen.err


def test_what_a_script_copies_and_saves_is_its_own(tmp_path: Path) -> None:
    seen = tracked(tmp_path, "copies.py")
    assert seen.ending.error is None, seen.err
    _, alone = untracked("copies.py")
    assert list(seen.histories) == ["net"]
    assert seen.variables["same"]
    assert seen.variables["kept"] == alone["kept"] == [(False, size, 17) for _, size, _ in alone["kept"]]
    assert same_weights(seen.variables["weights"], alone["weights"])


def test_an_error_of_ours_does_not_end_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append = Channel.append

    def full(channel: Channel, step: int, values: Any) -> None:
        if step >= 50:
            raise RunError("disk full while writing r/series.sqlite", remedy="free some space")
        append(channel, step, values)

    with monkeypatch.context() as patched:
        patched.setattr(Channel, "append", full)
        told = run_tracked(tmp_path, "plain.py", "100")
    said, alone = untracked("plain.py", "100")
    assert (told.ending, told.out) == (Ending(0), said)
    assert same_weights(told.variables["weights"], alone["weights"])
    sentence = "disk full while writing r/series.sqlite: free some space"
    with contextlib.closing(Run.open(told.path)) as run:
        assert len(read_history(run.series, "network").steps) == 50
    assert told.err.count(f"gradtape: tracking ends here, the script goes on: {sentence}\n") == 1


def test_of_very_many_optimizers_the_first_are_tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "MOST_PLAYERS", 2)
    seen = tracked(tmp_path, "released.py")
    assert list(seen.histories) == ["network", "network-2"]
    assert seen.err.count("gradtape: 2 optimizers are tracked; further ones are not\n") == 1
