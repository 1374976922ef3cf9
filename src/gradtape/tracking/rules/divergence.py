"""Games that run away, or that get nowhere."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import READINGS, START, WINDOW, lasting, median, rolling, sustained

RUNAWAY = 100.0  # between the mean logits of real and generated samples: losses that saturate do so at 20, and a critic
# whose slope is held at 1 cannot say more than the distance of the data, about 50 for 3,000 numbers of unit variance
GROWTH = 1.5  # times as much as BEHIND steps before, twice in a row: polynomials of the number of layers grow so
BEHIND = 50  # steps
BACK = 0.5  # of the most: a gap that is below has come back
LEFT = 0.1  # of the gap that is too large: where it was that large, it had begun to run
LOOKS = 3  # readings of the quality whose median is the start
PATIENCE = 10  # readings before anything is said of the quality: a game needs time to begin
NO_BETTER = 0.95  # of the quality at the start, where lower is better: sound games are at 0.9 then
NEAR_NOTHING = 0.1  # of the real samples have a generated one near: a game that goes on from a good one covers more


def diverging_game(history: History) -> list[Finding]:
    """Find a discriminator whose logits run away from one another, or a generator that gets nowhere.

    The gap between the mean logits of real and generated samples, logged as ``real`` and ``fake`` (the median of its
    size over ``WINDOW`` steps), is above ``RUNAWAY``, ``GROWTH`` times what it was ``BEHIND`` steps before, and that
    ``GROWTH`` times what it was ``BEHIND`` steps before that, for ``START`` steps; and it has not come back below
    ``BACK`` of its most since.

    Or, where ``quality`` (lower is better) and ``coverage`` are logged, of ``PATIENCE`` readings or more the last
    ``READINGS`` are all above ``NO_BETTER`` of the first ``LOOKS``, and hardly a real sample has a generated one near.

    Source: Gulrajani et al. 2017 (1704.00028) on critics that nothing holds; Mescheder et al. 2018 (1801.04406).
    """
    return _running_away(history) or _nowhere(history)


def _nowhere(history: History) -> list[Finding]:
    quality, coverage = history.logged.get("quality"), history.logged.get("coverage")
    if quality is None or coverage is None or not len(quality) == len(coverage) == len(history.steps):
        return []
    rows = np.flatnonzero(np.isfinite(quality) & np.isfinite(coverage))
    if len(rows) < PATIENCE:
        return []
    first = median(quality[rows[:LOOKS]])
    holds = (quality[rows] > NO_BETTER * first) & (coverage[rows] < NEAR_NOTHING)
    stretch = lasting(holds[:, None], np.ones((len(rows), 1), dtype=bool), READINGS)
    if not stretch:
        return []
    return [
        Finding(
            "diverging game",
            history.player,
            "all parameters",
            int(history.steps[rows[stretch[0].first]]),
            f"the quality of its samples is {median(quality[rows[-READINGS:]]):.3g}, no better than the {first:.3g} at "
            f"first, and {coverage[rows[-1]]:.0%} of the real ones have one near",
            "give the discriminator a penalty, gt.GradientPenalty(10) for wasserstein and gt.R1(0.1) otherwise, or "
            "divide both learning rates by 10",
        )
    ]


def _running_away(history: History) -> list[Finding]:
    real, fake = history.logged.get("real"), history.logged.get("fake")
    if real is None or fake is None or len(real) != len(history.steps) or len(fake) != len(history.steps):
        return []
    with np.errstate(invalid="ignore"):
        gaps = np.abs(real - fake)
    rows = np.flatnonzero(np.isfinite(gaps))
    level = rolling(gaps[rows], WINDOW)
    if len(level) <= 2 * BEHIND:
        return []
    now, before, first = level[2 * BEHIND :], level[BEHIND:-BEHIND], level[: -2 * BEHIND]
    begin = sustained((now > RUNAWAY) & (now > GROWTH * before) & (before > GROWTH * first), START)
    if begin is None or level[-1] < BACK * level[2 * BEHIND + begin :].max():
        return []
    since = begin + int(np.argmax(level[begin:] > LEFT * now[begin]))
    return [
        Finding(
            "diverging game",
            history.player,
            "all parameters",
            int(history.steps[rows[since + WINDOW // 2]]),
            f"the gap between the mean logits of real and generated samples went from {first[begin]:.3g} to "
            f"{now[begin]:.3g} in {2 * BEHIND} steps, and is {level[-1]:.3g} now",
            f"hold {history.player} with a penalty, gt.GradientPenalty(10) for wasserstein and gt.R1(0.1) otherwise, "
            "whose weight is above 0, or divide both learning rates by 10",
        )
    ]
