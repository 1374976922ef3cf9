"""Adapt to a target without labels: scikit-learn's habits over the methods."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from numbers import Real
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.utils.data import Dataset

from gradtape.adaptation._encoded import Reading, encoded, unpacked
from gradtape.adaptation._inputs import Encoder, is_images
from gradtape.adaptation._networks import Networks
from gradtape.adaptation._search import Setting, candidates_of, prepared, search, validators_of
from gradtape.adaptation._told import told
from gradtape.adaptation._training import Domains, Plan, seen
from gradtape.adaptation.labels import TargetLabels
from gradtape.adaptation.methods import Method, Task, slow_ramp
from gradtape.adaptation.outcome import Outcome
from gradtape.data import Table
from gradtape.errors import InputError, RunError
from gradtape.evidence import hash_arrays
from gradtape.runs import Run
from gradtape.training import (
    Progress,
    RichProgress,
    Silent,
    load_weights,
    resolve_device,
    save_weights,
    single_thread,
)

_LOOKS = 5
_KIND = "adapter"  # of a saved file
_STEPS = 1200


def _listed(value: Any) -> Any:
    """A setting as JSON holds it."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


class DomainAdapter(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learns from a labelled source for a target whose labels are not known.

    Source only is always trained beside the method, so that ``outcome_`` can say whether adaptation changes anything,
    and, where labels of the target are given to measure on, whether it helps.

    Args:
        method: A name in ``gradtape.adaptation.METHODS``, several joined by ``+``, or a list of those to choose from.
        task: ``classification`` or ``regression``.
        select: What chooses method, strength and step without target labels: a name in ``VALIDATORS``, several, or
            ``ensemble``; None takes the first method at its first strength and last step.
        strength: λ at the end of the slow ramp, or several to choose from; None is 0.5, and with ``select`` also 0.1
            and 1.
        steps: Steps of training; None chooses.
        quick: Train a sixth of that, for a first look.
        batch_size: Rows of each domain in a batch.
        learning_rate: Of AdamW, at the start of a cosine.
        features: Your own network, ``features(x) -> (n, d)``; it is copied. None makes one for the kind of data.
        head: Your own head, ``(n, d) -> (n, classes)``; it is copied.
        label_shift: ``report`` says when the prevalence of classes differs; ``correct`` also draws the source's
            classes and corrects probabilities accordingly.
        seed: Seed of everything random; the same seed gives the same predictions on a CPU.
        device: ``auto``, ``cpu``, ``cuda``, ...
        run: A run folder to make, or an open run, which keeps checkpoints and series; None keeps nothing.
        resume: Go on with an interrupted ``run``.
        progress: Show a progress bar.

    Attributes:
        method_: The chosen method, trained: a module.
        outcome_: All candidates, the table, the verdict, and what a report shows.
        classes_: The classes in the user's own words; none for regression.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
        >>> X[:, 0] += 4 * y
        >>> adapter = DomainAdapter("dann", steps=50).fit(X, y, X + [1, 0.5])
        >>> adapter.predict(X[:4] + [1, 0.5])
        array([0, 1, 0, 1])
    """

    def __init__(
        self,
        method: str | Sequence[str] = "dann",
        *,
        task: Task = "classification",
        select: str | Sequence[str] | None = None,
        strength: float | Sequence[float] | None = None,
        steps: int | None = None,
        quick: bool = False,
        batch_size: int = 64,
        learning_rate: float = 3e-3,
        features: nn.Module | None = None,
        head: nn.Module | None = None,
        label_shift: str = "report",
        seed: int = 0,
        device: str = "auto",
        run: str | os.PathLike[str] | Run | None = None,
        resume: bool = False,
        progress: bool = False,
    ) -> None:
        self.method = method
        self.task = task
        self.select = select
        self.strength = strength
        self.steps = steps
        self.quick = quick
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.features = features
        self.head = head
        self.label_shift = label_shift
        self.seed = seed
        self.device = device
        self.run = run
        self.resume = resume
        self.progress = progress

    def fit(self, X: Any, y: Any = None, Xt: Any = None, yt: Any = None, *, domains: Any = None) -> Self:
        """Learn from a source with labels and a target without.

        Args:
            X: Inputs of the source: rows (n, d) of numbers, missing ones as NaN; a data frame of numbers and text;
                images (n, h, w), (n, c, h, w) or (n, h, w, c); numpy or torch; or a ``torch.utils.data.Dataset`` of
                ``(input, label)``, and then no ``y``.
            y: Its labels (n,).
            Xt: Inputs of the target, of the same kind; a Dataset's labels are not read. Without a target, source only
                is trained, with a warning.
            yt: ``TargetLabels``, to measure on when everything has been chosen; or the few labels that are known, (m,),
                -1, NaN or None elsewhere, to train on.
            domains: Which source each row is from, (n,), of any type, where there are several.

        Returns:
            This object.

        Raises:
            InputError: A setting out of range, or inputs that do not fit together.
            DataError: Data that cannot be used; the sentence names row and column.
            LeakError: ``TargetLabels`` were touched while fitting.
        """
        settings = candidates_of(self.method, self.strength, self.select)
        validators = validators_of(self.select, self.task)
        self._check()
        device = resolve_device(self.device)
        if isinstance(X, tuple):
            what = f"{len(X)} inputs were given"
            raise InputError(what, remedy="give one; the features of a method's module may take several")
        self._look(X, first=True)
        read, data = encoded(X, y, Xt, yt, domains, task=self.task, seed=self.seed, device=device)
        if validators and data.target is None:
            raise InputError("nothing can be chosen without a target", remedy="give Xt, or leave select out")
        for each in settings:
            each.check(self.task, read.sources, read.classes)
        if data.target is None and any(each.needs_target for each in settings):
            warnings.warn("no target was given: source only is trained (give Xt)", UserWarning, stacklevel=2)
            settings = [each for each in settings if not each.needs_target]
        networks = Networks(
            read.encoder.shape, len(read.classes) or 1, self.task, read.sources, self.seed, self.features, self.head
        )
        if isinstance(yt, TargetLabels):
            read.check(yt, 0 if data.target is None else len(data.target))
        plan = self._plan()
        methods = prepared(settings, networks, plan.steps, device)
        labels = yt if isinstance(yt, TargetLabels) else None
        with ExitStack() as stack:
            stack.enter_context(single_thread())
            stack.enter_context(nullcontext() if labels is None else labels.fitting())
            run = self._open(stack, data, plan)
            progress: Progress = Silent()
            if self.progress:
                progress = stack.enter_context(RichProgress.show(plan.steps * len(settings)))
            correct = self.label_shift == "correct"
            found = search(data, methods, plan, settings, validators, correct=correct, run=run, progress=progress)
        self._read, self._networks, self._setting = read, networks, found.settings[found.chosen[0]]
        self.method_: Method = found.method
        self.source_: Method = found.source
        select = self.select if self.select is None or isinstance(self.select, str) else ", ".join(self.select)
        self.outcome_: Outcome = told(found, read, data, select, None if labels is None else labels.open(), self.seed)
        if self.task == "classification":
            self.classes_ = read.classes
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return a class, or a number, for each input of the target, (n,).

        Raises:
            InputError: Inputs of another kind than in ``fit``.
            sklearn.exceptions.NotFittedError: Not fitted.
        """
        logits = self._logits(X)
        return self._read.said(logits)

    @available_if(  # type: ignore[untyped-decorator]
        lambda self: self.task == "classification"
    )
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each of ``classes_``, and of an unknown class last where there is one, (n, k)."""
        return torch.softmax(torch.from_numpy(self._logits(X)).double(), dim=1).numpy()

    def embed(self, X: Any) -> NDArray[np.float32]:
        """Return the features of inputs, (n, d)."""
        check_is_fitted(self, "method_")
        return seen(self.method_, self._inputs(X))[0]

    def unadapted(self) -> Self:
        """Return an adapter that predicts as source only does, trained beside; to compare both."""
        check_is_fitted(self, "source_")
        made = copy.copy(self)
        made.method_, made._setting = self.source_, Setting("source", None)
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what prediction needs to one file, whole or not at all: safetensors with JSON inside, no pickle.

        Raises:
            InputError: The networks are your own, which a file cannot make again.
            RunError: The file cannot be written.
        """
        check_is_fitted(self, "method_")
        if self.features is not None or self.head is not None:
            raise InputError("the networks are your own", remedy="save method_.state_dict() with torch.save")
        read, networks = self._read, self._networks
        about = {
            "method": self._setting.method,
            "ramp": self._setting.strength is not None,
            "networks": {name: getattr(networks, name) for name in ("shape", "outputs", "task", "sources", "seed")},
            "encoder": read.encoder.to_json(),
            "classes": read.classes.tolist(),
            "type": read.classes.dtype.str if read.classes.dtype.kind != "O" else "O",
            "scale": [read.centre, read.scale],
        }
        save_weights(Path(path), _KIND, self.method_.state_dict(), about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Return an adapter that predicts as the saved one did; it has no ``outcome_`` and no source only.

        Raises:
            RunError: The file is missing, damaged, or of another kind.
        """
        weights, about = load_weights(Path(path), _KIND)
        try:
            networks = Networks(**{**about["networks"], "shape": tuple(about["networks"]["shape"])})
            method = networks.method(about["method"], slow_ramp(1) if about["ramp"] else 0.0, 1).eval()
            method.load_state_dict(weights)
            encoder, classes = Encoder.from_json(about["encoder"]), np.array(about["classes"], dtype=about["type"])
            made = cls(about["method"], task=networks.task)
            centre, scale = about["scale"]
            made._read = Reading(encoder, networks.task, classes, centre, scale, networks.sources)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise RunError(f"{path} holds no adapter or is damaged", remedy="fit and save again") from error
        made._networks, made._setting, made.method_ = (
            networks,
            Setting(about["method"], 0.0 if about["ramp"] else None),
            method,
        )
        if networks.task == "classification":
            made.classes_ = classes
        return made

    def score(self, X: Any, y: Any) -> float:
        """Return the accuracy, or R² of a regression."""
        from sklearn.metrics import accuracy_score, r2_score

        return float((r2_score if self.task == "regression" else accuracy_score)(y, self.predict(X)))

    def _check(self) -> None:
        for name, least in (("steps", 2), ("batch_size", 2)):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least
            ):
                raise InputError(f"{name} is {value!r}", remedy=f"give a whole number from {least} up")
        if self.task not in get_args(Task):
            raise InputError(f"task is {self.task!r}", remedy="use 'classification' or 'regression'")
        if self.label_shift not in ("report", "correct"):
            raise InputError(f"label_shift is {self.label_shift!r}", remedy="use 'report' or 'correct'")
        rate: Any = self.learning_rate
        if not isinstance(rate, Real) or not 0 < float(rate) < np.inf:
            raise InputError(f"learning_rate is {rate!r}", remedy="give a number above 0, such as 3e-3")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int | np.integer):
            raise InputError(f"seed is {self.seed!r}", remedy="give a whole number")
        if not isinstance(self.device, str):
            raise InputError(f"device is {self.device!r}", remedy="give a name, such as 'auto' or 'cpu'")
        if self.resume and self.run is None:
            raise InputError("resume needs a run", remedy="name the run folder to go on with")

    def _plan(self) -> Plan:
        steps = self.steps or _STEPS
        if self.quick:
            steps = max(2, steps // 6)
        return Plan(steps, self.batch_size, self.learning_rate, min(_LOOKS, steps), self.seed)

    def _open(self, stack: ExitStack, data: Domains, plan: Plan) -> Run | None:
        """Return the run, made or opened here unless it was given open."""
        if self.run is None or isinstance(self.run, Run):
            return self.run
        arrays = {name: value.cpu().numpy() for name, value in data._asdict().items() if value is not None}
        plain = {name: getattr(self, name) for name in ("task", "label_shift")}
        lists = {name: _listed(getattr(self, name)) for name in ("method", "select", "strength")}
        own = {
            name: network for name, network in (("features", self.features), ("head", self.head)) if network is not None
        }
        weights = {
            f"{name}.{key}": value.numpy(force=True)
            for name, network in own.items()
            for key, value in network.state_dict().items()
        }
        settings = {
            "data": hash_arrays(arrays),
            "networks": hash_arrays(weights) if weights else None,
            "plan": {name: _listed(value) for name, value in plan._asdict().items()},
            **plain,
            **lists,
        }
        if self.resume:
            return stack.enter_context(Run.open(self.run, resume=True, settings=settings))
        return stack.enter_context(Run.create(self.run, command="adapt", settings=settings))

    def _inputs(self, X: Any) -> Tensor:
        self._look(X, first=False)
        if isinstance(X, Dataset):
            X, _ = unpacked(X)
        return self._read.encoder.encode(X).to(next(self.method_.parameters()).device)

    def _look(self, X: Any, *, first: bool) -> None:
        """Refuse rows that scikit-learn would refuse, and note or compare the names of columns."""
        if isinstance(X, Table | Dataset) or is_images(X) or (not first and not hasattr(self, "n_features_in_")):
            return
        validate_data(self, X, reset=first, dtype=None, ensure_all_finite="allow-nan")

    def _logits(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self, "method_")
        inputs = self._inputs(X)
        if inputs.dim() > 2 or self.features is not None or inputs.device.type not in ("cpu", "cuda"):
            return seen(self.method_, inputs)[1]
        return seen(copy.deepcopy(self.method_).double(), inputs.double())[1]  # or a row's answer depends on the batch

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, RegressorTags

        tags = super().__sklearn_tags__()
        tags.estimator_type = "regressor" if self.task == "regression" else "classifier"
        if self.task == "regression":
            tags.regressor_tags = RegressorTags()
        else:
            tags.classifier_tags = ClassifierTags()
        tags.target_tags.required = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        return tags
