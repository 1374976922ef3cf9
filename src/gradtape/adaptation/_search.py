"""Source only and every candidate, trained one after the other; then one is chosen, without labels of the target."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gradtape.adaptation._label_shift import LabelShift, label_shift
from gradtape.adaptation._networks import Networks
from gradtape.adaptation._training import Domains, Look, Plan, Trained, fit, outputs_of
from gradtape.adaptation.choosing import REGRESSION, best, score_of
from gradtape.adaptation.methods import METHODS, UNKNOWN, Method, Task, parts_of, slow_ramp
from gradtape.adaptation.validators import VALIDATORS, Outputs
from gradtape.errors import GradientError, InputError, listed
from gradtape.runs import Run
from gradtape.training import Checkpoint, Progress

_GRID = (0.1, 0.5, 1.0)
_FEWEST = 10  # rows of each class that a source must have for anything to be chosen by validators


class Setting(NamedTuple):
    """What a candidate is.

    Attributes:
        method: Its name.
        strength: λ at the end of the ramp; None for source only.
    """

    method: str
    strength: float | None

    @property
    def title(self) -> str:
        """Name and strength."""
        return self.method if self.strength is None else f"{self.method} {self.strength:g}"

    @property
    def parts(self) -> list[type[Method]]:
        """The classes of the methods that it is made of."""
        return [METHODS[part] for part in parts_of(self.method)]

    @property
    def needs_target(self) -> bool:
        """Whether it cannot do without a target."""
        return any(part.needs_target for part in self.parts)

    def check(self, task: Task, sources: int, classes: NDArray[Any]) -> None:
        """Refuse what it cannot be used for."""
        for part in self.parts:
            if part.extra_outputs and (classes.dtype.kind == "b" or {UNKNOWN, "unknown"} & set(classes.tolist())):
                what = f"{part.name} says -1, or 'unknown', and the classes are {listed([*map(str, classes)])}"
                raise InputError(what, remedy="name them otherwise, by integers from 0 up or by words")
            if task not in part.tasks:
                raise InputError(f"{part.name} is no method for {task}", remedy="use another, such as dann")
            if part.needs_domains and sources < 2:
                what = f"{part.name} was given one source"
                raise InputError(what, remedy="give domains=, which of several sources each row is from")


class Found(NamedTuple):
    """What the search found.

    Attributes:
        settings: In the order in which they were trained; source only is first.
        trained: What came of each.
        source: Source only, at its last step.
        method: What was chosen, at its step.
        chosen: Index of the chosen setting, and of its look.
        shift: What was found about the prevalence of classes; None for a regression or without a target.
        caution: Why validators were not asked, and source only was chosen; empty otherwise.
    """

    settings: list[Setting]
    trained: list[Trained]
    source: Method
    method: Method
    chosen: tuple[int, int]
    shift: LabelShift | None
    caution: str = ""


def candidates_of(method: str | Sequence[str], strength: float | Sequence[float] | None, select: Any) -> list[Setting]:
    """Return all candidates; source only first.

    Raises:
        InputError: An unknown method, a strength out of range, or several of something and nothing that selects.
    """
    names = [method] if isinstance(method, str) else list(method) if isinstance(method, Sequence) else [None]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"method is {method!r}", remedy="give a name, such as 'dann', or several in a list")
    if strength is None:
        strengths: list[float] = list(_GRID) if select is not None else [0.5]
    else:
        try:
            strengths = [float(each) for each in np.atleast_1d(strength)]
        except (TypeError, ValueError):
            raise InputError(
                f"strength is {strength!r}", remedy="give a number from 0 up, or several in a list"
            ) from None
    if not names or not strengths:
        raise InputError("no method or no strength was given", remedy="name one at least")
    for each in strengths:
        if not (np.isfinite(each) and each >= 0):
            raise InputError(f"strength is {each}", remedy="give a finite number from 0 up")
    if select is None and (len(names) > 1 or len(strengths) > 1):
        raise InputError("there are several methods or strengths", remedy="say what selects, such as select='snd'")
    for name in names:
        parts_of(name)
    adapting = [Setting(name, each) for name in names if name != "source" for each in strengths]
    return [Setting("source", None), *dict.fromkeys(adapting)]


def validators_of(select: str | Sequence[str] | None, task: Task) -> tuple[str, ...]:
    """Return the validators that select.

    Raises:
        InputError: An unknown one, or one that does not apply.
    """
    if select is None:
        return ()
    apply = tuple(VALIDATORS) if task == "classification" else REGRESSION
    names = apply if select == "ensemble" else (select,) if isinstance(select, str) else tuple(select)
    for name in names or ("nothing",):
        if name not in apply:
            raise InputError(f"select is {name!r}", remedy=f"use {', '.join(apply)}, ensemble, or several in a list")
    return names


def prepared(settings: Sequence[Setting], networks: Networks, steps: int, device: torch.device) -> list[Method]:
    """Return the modules of all candidates; what does not go together is refused here, before anything is trained."""
    ramps = [0.0 if each.strength is None else slow_ramp(steps, each.strength) for each in settings]
    return [networks.method(each.method, ramp, steps).to(device) for each, ramp in zip(settings, ramps, strict=True)]


def search(
    data: Domains,
    methods: Sequence[Method],
    plan: Plan,
    settings: Sequence[Setting],
    validators: Sequence[str],
    *,
    correct: bool = False,
    run: Run | None = None,
    progress: Progress | None = None,
) -> Found:
    """Train every candidate, source only first, and choose."""

    def judge(outputs: Outputs) -> dict[str, float]:
        return {name: score_of(name, outputs, several=len(validators) > 1) for name in validators}

    classes = methods[0].task == "classification"
    trained: list[Trained] = []
    shift = None
    for index, (setting, method) in enumerate(zip(settings, methods, strict=True)):
        if progress is not None:
            progress.stage(setting.title)
        path = None if run is None else run.path / "checkpoints" / str(index)
        trained.append(
            fit(
                method,
                data if index else data._replace(gaps=None),
                plan,
                judge,
                checkpoint=None if path is None else Checkpoint(path, every=max(1, plan.steps // 10)),
                store=None if run is None else run.series,
                player=setting.title,
                progress=progress,
            )
        )
        if not index:
            _check_finite(trained[0].looks[-1], setting)
            shift = _shift(outputs_of(method, data), plan.seed) if classes and data.target is not None else None
            if correct and shift is not None and shift.shifted:
                data = data._replace(weights=torch.from_numpy(shift.weights)[data.labels.cpu()])
    caution = _caution(data) if validators and classes else ""
    chosen = (0, len(trained[0].looks) - 1) if caution else _choice(trained, validators)
    look = trained[chosen[0]].looks[chosen[1]]
    _check_finite(look, settings[chosen[0]])
    source, method = methods[0], methods[chosen[0]]
    if source is method:
        source = copy.deepcopy(source)
        source.load_state_dict(trained[0].looks[-1].state)
    method.load_state_dict(look.state)
    return Found(list(settings), trained, source, method, chosen, shift, caution)


def _check_finite(look: Look, setting: Setting) -> None:
    if not bool(look.answers.isfinite().all() and all(value.isfinite().all() for value in look.state.values())):
        raise GradientError(
            f"the training of {setting.title} diverged: its outputs are not finite",
            remedy="lower learning_rate or strength, or look for extreme values in the data",
        )


def _caution(data: Domains) -> str:
    """Return why nothing should be chosen by validators, if the source has too little of a class to hold on to."""
    counts = torch.cat([data.labels, data.validation_labels]).bincount()
    if int(counts.min()) >= _FEWEST:
        return ""
    return f"the source has {int(counts.min())} rows of its rarest class, too few to choose by ({_FEWEST})"


def _shift(outputs: Outputs, seed: int) -> LabelShift | None:
    classes = outputs.source_logits.shape[1]
    if classes < 2 or len(np.unique(outputs.source_labels)) < classes:
        return None
    source, target = (
        torch.softmax(torch.from_numpy(each).double(), 1).numpy()
        for each in (outputs.source_logits, outputs.target_logits)
    )
    return label_shift(source, outputs.source_labels, target, seed=seed)


def _choice(trained: Sequence[Trained], validators: Sequence[str]) -> tuple[int, int]:
    """Return the candidate and its look with the best score, or the best mean rank of several."""
    if not validators:
        return len(trained) - 1, len(trained[-1].looks) - 1
    places = [(index, number) for index, each in enumerate(trained) for number in range(len(each.looks))]
    looks: list[Look] = [trained[index].looks[number] for index, number in places]
    return places[best({name: np.array([look.scores[name] for look in looks]) for name in validators})]
