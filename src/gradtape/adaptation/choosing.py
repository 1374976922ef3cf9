"""Which of several models to take for a target without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gradtape.adaptation.validators import VALIDATORS, FloatArray, Outputs
from gradtape.errors import InputError

REGRESSION = ("dev", "source_risk")
_BLIND_TO_COLLAPSE = ("snd", "entropy")


class Choice(NamedTuple):
    """Which candidate, and why; see ``choose``.

    Attributes:
        best: The index of the chosen candidate.
        scores: (candidates,) figures of each validator, higher is better; with several, ``"ensemble"`` is last.
    """

    best: int
    scores: dict[str, FloatArray]


def ensemble(scores: Mapping[str, Sequence[float] | FloatArray]) -> FloatArray:
    """Return the mean rank of each candidate over validators, higher is better.

    ``mean_v rank_v(c)``, from 1 (worst under each validator) to the number of candidates. Ties share their mean rank,
    and NaN counts as the worst value there is. Ranks, since the validators' figures are on different scales.

    Args:
        scores: Validator to one figure per candidate, higher is better.

    Returns:
        (candidates,) mean ranks.

    Raises:
        InputError: No validators, no candidates, or unequal numbers of figures.

    Examples:
        >>> ensemble({"snd": [1.0, 2.0, 3.0], "dev": [-0.1, float("nan"), -0.1]})
        array([1.75, 1.5 , 2.75])

    Source: the count of Borda (1781), Mémoire sur les élections au scrutin.
    """
    from scipy.stats import rankdata

    lengths = {name: len(found) for name, found in scores.items()}
    if not lengths or 0 in lengths.values() or len(set(lengths.values())) > 1:
        raise InputError(f"scores hold {lengths} figures", remedy="give one figure per candidate and validator")
    rows = [np.asarray(found, dtype=np.float64) for found in scores.values()]
    ranks = [rankdata(np.where(np.isnan(row), -np.inf, row)) for row in rows]
    return np.asarray(np.mean(ranks, axis=0), dtype=np.float64)


def choose(outputs_by_candidate: Sequence[Outputs], select: str | Sequence[str] = "ensemble") -> Choice:
    """Choose among models by what they make of a target without labels.

    One validator takes the candidate of its highest figure, several the one of the highest mean rank; of equals, the
    first. A candidate whose outputs are not finite has NaN everywhere and is never chosen. Where several validators
    rank, a candidate that puts the whole target into one class has NaN, the worst rank, under snd and entropy: these
    two would call it perfect.

    Args:
        outputs_by_candidate: What each model gives for the same rows.
        select: One of ``VALIDATORS``, several of them, or ``"ensemble"`` for all that apply (in regression, dev and
            source_risk).

    Returns:
        The index of the best and the figures.

    Raises:
        InputError: No candidates, an unknown validator, one that does not apply, or no candidate with finite outputs.

    Examples:
        >>> x, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1])
        >>> def outputs(slope):  # a model that tells the classes by the sign of x
        ...     logits = slope * np.hstack([-x, x])
        ...     return Outputs(x, x, logits, y, x, x, x, logits)
        >>> best, scores = choose([outputs(0.1), outputs(5.0)], "entropy")
        >>> best, scores["entropy"].round(3)
        (1, array([-0.681, -0.   ]))
    """
    if not outputs_by_candidate:
        raise InputError("there are no candidates to choose from", remedy="give the outputs of at least one")
    names = [select] if isinstance(select, str) else list(select)
    if names == ["ensemble"]:
        regression = outputs_by_candidate[0].target_logits.shape[1] == 1
        names = [name for name in VALIDATORS if not regression or name in REGRESSION]
    for name in names or ["nothing"]:
        if name not in VALIDATORS:
            raise InputError(f"no validator is called {name!r}", remedy=f"give ensemble or {', '.join(VALIDATORS)}")
    several = len(names) > 1
    scores = {
        name: np.array([score_of(name, found, several=several) for found in outputs_by_candidate]) for name in names
    }
    chosen = best(scores)
    return Choice(chosen, {**scores, "ensemble": ensemble(scores)} if several else scores)


def best(scores: Mapping[str, FloatArray]) -> int:
    """Return the candidate of the highest figure of one validator, of the highest mean rank of several.

    Raises:
        InputError: No candidate has finite outputs.
    """
    usable = ~np.all([np.isnan(row) for row in scores.values()], axis=0)
    if not usable.any():
        raise InputError("no candidate has finite outputs", remedy="lower the learning rate and fit again")
    last = ensemble(scores) if len(scores) > 1 else next(iter(scores.values()))
    return int(np.argmax(np.where(usable & ~np.isnan(last), last, -np.inf)))


def score_of(name: str, outputs: Outputs, *, several: bool) -> float:
    """Return a validator's figure; NaN where the outputs are not finite, or blind to a collapse among several."""
    if not _finite(outputs) or (several and name in _BLIND_TO_COLLAPSE and _collapsed(outputs)):
        return float("nan")
    return VALIDATORS[name](outputs)


def _finite(outputs: Outputs) -> bool:
    parts = (outputs.source_features, outputs.source_logits, outputs.target_features, outputs.target_logits)
    return all(bool(np.isfinite(part).all()) for part in parts)


def _collapsed(outputs: Outputs) -> bool:
    return len(np.unique(outputs.target_logits.argmax(axis=1))) == 1
