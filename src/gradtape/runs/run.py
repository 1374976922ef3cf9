"""A run folder: made whole, always readable, its state in one small file."""

from __future__ import annotations

import json
import os
import platform
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Self, get_args
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from gradtape.atomic import folder_atomically, remove_leftovers, write_atomically
from gradtape.errors import RunError
from gradtape.runs import _process
from gradtape.runs.store import SeriesStore

Status = Literal["running", "finished", "interrupted", "failed"]
_FORMAT = 1
_RESUMABLE = ("augment", "synthesize", "adapt")  # commands that have --resume
_PACKAGES = ("gradtape", "torch", "numpy", "scikit-learn")


class Run:
    """A folder that holds one run.

    ``run.json`` says what was asked and how far it came; ``series.sqlite`` holds the numbers of every step;
    ``result.json`` is what came out. Every file appears whole or not at all. As a context, the run records how it ends:
    finished, interrupted (Ctrl-C), or failed with the error's sentence.

    Attributes:
        path: The folder.
        info: The content of ``run.json``.

    Examples:
        >>> import tempfile
        >>> base = tempfile.TemporaryDirectory()
        >>> with Run.create(Path(base.name) / "first", command="augment", settings={"seed": 0}) as run:
        ...     run.series.channel("loss", ["train"]).append(0, [2.5])
        >>> again = Run.open(Path(base.name) / "first")
        >>> again.status, float(again.series.read("loss").column("train")[0])
        ('finished', 2.5)
        >>> again.close()
        >>> base.cleanup()
    """

    def __init__(self, path: Path, info: dict[str, Any], *, read_only: bool) -> None:
        self.path = path
        self.info = info
        self.series = SeriesStore(path / "series.sqlite", read_only=read_only)

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, command: str, settings: Mapping[str, Any]) -> Run:
        """Make a run folder.

        Args:
            path: The folder; it must not exist, or be empty.
            command: The command that is run, ``augment``.
            settings: What was asked, as plain values.

        Raises:
            RunError: The folder holds something, or cannot be made.
        """
        target = Path(path)
        if target.is_dir() and not any(_listed(target)):
            _remove_empty(target)
        if os.path.lexists(target):
            raise RunError(f"{target} exists and is not empty", remedy=_what_is_there(target))
        info = {
            "format": _FORMAT,
            "command": command,
            "settings": dict(settings),
            "status": "running",
            **_this_process(),
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "packages": {name: metadata.version(name) for name in _PACKAGES},
        }
        with folder_atomically(target, then="try again") as folder:
            (folder / "run.json").write_text(_json(info))
            try:
                SeriesStore(folder / "series.sqlite").close()
            except RunError as error:
                what = error.what.replace(str(folder), str(target))
                raise RunError(what, remedy="free some space or choose another folder, and try again") from error
        return cls(target, info, read_only=False)

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, resume: bool = False, settings: Mapping[str, Any] | None = None
    ) -> Run:
        """Open an existing run folder, for reading or to go on with it.

        Args:
            path: The folder.
            resume: Go on with it: what a killed process left half-written is removed.
            settings: What is asked now; with ``resume``, the run must have been made with the same.

        Raises:
            RunError: There is no run, its files are damaged, or, with ``resume``, it is finished, still running, or was
                made with other settings.
        """
        target = Path(path)
        info = read_info(target)
        if resume:
            if info["status"] == "finished":
                raise RunError(f"{target} is finished", remedy=f"see it with: gradtape report {target}")
            if info["status"] == "running" and info["process"] != os.getpid():
                raise RunError(
                    f"{target} is in use by process {info['process']}", remedy="wait for it or stop it first"
                )
            _check_settings(target, info.get("settings"), settings)
            store = target / "series.sqlite"
            if not store.exists() or not store.stat().st_size:  # or it would be made anew, without what was tracked
                raise RunError(f"{store} is missing or empty", remedy="restore the file or start a new run")
            remove_leftovers(target)
        run = cls(target, info, read_only=not resume)
        if resume:
            try:
                run._update(status="running", **_this_process())
            except BaseException:
                run.close()
                raise
        return run

    @property
    def status(self) -> Status:
        """How the run stands."""
        status: Status = self.info["status"]
        return status

    def write_json(self, name: str, content: Any) -> None:
        """Write ``content`` as a JSON file in the folder; same content, same bytes."""
        write_atomically(self.path / name, _json(content))

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file in the folder.

        Raises:
            RunError: The file is missing or damaged.
        """
        return _load(self.path / name)

    def shown(self, page: Callable[[Run, Any], str]) -> str:
        """Return ``page(run, result)`` of ``result.json``.

        Raises:
            RunError: There is no result, or it lacks what the page shows.
        """
        result = self.read_json("result.json")
        try:
            return page(self, result)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            what = f"{self.path / 'result.json'} is damaged (it lacks what the report shows)"
            raise RunError(what, remedy="start a new run") from error

    def read_arrays(self, name: str) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of an ``.npz`` file in the folder.

        Raises:
            RunError: The file is missing or damaged.
        """
        try:
            with open(self.path / name, "rb") as file, np.load(file) as stored:  # np.load leaves a damaged file open
                return dict(stored)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
            remedy = "start a new run" if self.status == "finished" else "delete it and continue with --resume"
            raise RunError(f"{self.path / name} is missing or damaged", remedy=remedy) from error

    def close(self) -> None:
        """Close the series."""
        self.series.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            self.close()
            if error is None:
                self._update(status="finished")
        except RunError as failure:  # a disk that is full at the very end; an error under way matters more
            if error is None:
                self._record_end("failed", failure)
                raise
        if error is not None:
            self._record_end("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", error)

    def _record_end(self, status: Status, error: BaseException) -> None:
        error.run_path = self.path  # type: ignore[attr-defined]  # tells the user where the work so far is
        try:
            self._update(status=status, error=str(error) or type(error).__name__)
        except RunError:  # on a full disk the error under way matters more; the run stays readable as it was
            self.info["status"] = status

    def _update(self, **changes: Any) -> None:
        self.info = {**{k: v for k, v in self.info.items() if k != "error"}, **changes}
        if self.info["status"] == "finished":
            self.info["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
        self.write_json("run.json", self.info)


def read_info(path: Path) -> dict[str, Any]:
    """Return the content of a run folder's ``run.json``; a run whose process was killed counts as interrupted.

    Raises:
        RunError: There is no such folder, it is no run folder, or the file is damaged.
    """
    if not path.is_dir():
        raise RunError(f"there is no run folder {path}", remedy="list the runs with: gradtape runs")
    if not (path / "run.json").exists():
        raise RunError(f"{path} is not a run folder (it has no run.json)", remedy="list the runs with: gradtape runs")
    info = _load(path / "run.json")
    if (
        not isinstance(info, dict)
        or info.get("format") != _FORMAT
        or info.get("status") not in get_args(Status)
        or not isinstance(info.get("command"), str)
        or not isinstance(info.get("process"), int)
    ):
        raise RunError(f"{path / 'run.json'} is not of a format this version reads", remedy="start a new run")
    if info["status"] == "running" and not _process.alive(info["process"], info.get("process_started")):
        return {**info, "status": "interrupted", "error": "its process ended without a word"}
    return info


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(
            f"{path} is missing", remedy="the run did not come so far: resume it or start a new one"
        ) from None
    except (OSError, ValueError) as error:
        reason = "not readable" if isinstance(error, OSError) else "not valid JSON, as after a cut-off copy"
        raise RunError(f"{path} is damaged ({reason})", remedy="restore the file or start a new run") from error


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return ["?"]


def _remove_empty(path: Path) -> None:
    try:
        path.rmdir()
    except OSError as error:  # the current folder, a mount point, or one in a folder without permission
        reason = (error.strerror or type(error).__name__).lower()
        raise RunError(
            f"the empty folder {path} cannot be replaced by a run folder ({reason})",
            remedy="name a folder that does not exist yet, perhaps inside it",
        ) from error


def _check_settings(path: Path, made_with: Any, asked: Mapping[str, Any] | None) -> None:
    if asked is None or made_with == asked:
        return
    known = made_with if isinstance(made_with, dict) else {}
    other = ", ".join(key for key in sorted({*known, *asked}) if known.get(key) != asked.get(key))
    raise RunError(f"{path} was started with other settings ({other})", remedy="give the same, or start a new run")


def _what_is_there(path: Path) -> str:
    try:
        info = read_info(path)
    except RunError:
        return "choose another folder"
    if info["status"] == "finished" or info["command"] not in _RESUMABLE:
        return f"choose another folder, or remove the run of {info['command']!r} that it holds"
    return "go on with it by adding --resume, or choose another folder"


def _this_process() -> dict[str, int | None]:
    return {"process": os.getpid(), "process_started": _process.started(os.getpid())}
