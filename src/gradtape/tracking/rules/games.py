"""Games: a player that has won, and a generator that makes one thing only."""

from __future__ import annotations

import numpy as np

from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History, Matrix
from gradtape.tracking.rules._series import (
    MAD,
    READINGS,
    WINDOW,
    Flags,
    gradient_norm,
    lasting,
    layers,
    median,
    pace,
    rolling,
    sustained,
)

LEAD = 300.0  # by which the rival's gradient over one's own has grown: in sound games by 50 at most
DEATH = 0.05  # of the gradient norm of the first steps, for both: in sound games 0.2, as batches always differ
FASTER = 50.0  # times the rival's update-to-weight ratio: two time scales in use differ by 5
FIRST = 10  # steps whose median is the start
BEFORE = 8  # readings of the spread whose median is what it was
DROP = 0.1  # of it, in one reading: at most 0.09 in sound games
DROP_DEVIATIONS = 6.0  # of these readings, that it must also be: at most 2 in sound games
FLOOR = 0.015  # of it, that a deviation is at least
COLLAPSED_SHARE = 0.4  # of the most that it ever was, for a slow collapse: sound games keep 0.6
LOOKS = 3  # readings of the coverage: it is read at few steps, and a median of them is a level
COVERED_SHARE = 0.75  # of the coverage at its best: sound games keep 0.85; two modes of eight are a quarter
COVERED = 0.3  # before, at least: what a game covers in its first steps comes and goes


def player_too_strong(history: History) -> list[Finding]:
    """Find a player that has won: nothing is left to learn for it, and the other's gradient is useless.

    Gradients tell, each relative to its own start and as medians over ``WINDOW`` steps; the losses of a game do not.
    For ``WINDOW`` steps up to the end

    * the rival's gradient over one's own is ``LEAD`` times what it was: a loser whose loss does not saturate is pushed
      ever harder by a winner that is done;
    * or both are below ``DEATH`` of their start, where one's own player is the one that judges: with a loss that
      saturates nothing comes back from a discriminator that is sure;
    * or one's own update-to-weight ratio is ``FASTER`` times the rival's, which cannot follow.

    Named is the player that is too strong. A game that goes well ends in neither: gradients settle.

    Source: Arjovsky and Bottou 2017 (1701.04862).
    """
    found: list[Finding] = []
    own = gradient_norm(history)
    for rival in history.rivals:
        other = gradient_norm(rival)
        _, mine, theirs = np.intersect1d(history.steps, rival.steps, return_indices=True)
        played = [np.count_nonzero(norms > 0) >= FIRST + WINDOW for norms in (own, other)]
        if len(mine) < FIRST + WINDOW or not all(played):  # one that never had a gradient has not lost
            continue
        ours, its = _recent(own[mine] / _start(own[mine])), _recent(other[theirs] / _start(other[theirs]))
        speed, its_speed = _recent(pace(history)[mine]), _recent(pace(rival)[theirs])
        reasons = (
            its > LEAD * ours,
            np.full(len(ours), _is_critic(history)) & (ours < DEATH) & (its < DEATH),
            speed > FASTER * its_speed,
        )
        known = (np.arange(len(ours)) >= FIRST) & np.isfinite(ours + its + speed + its_speed)
        stretch = next((s for holds in reasons if (s := lasting(holds[:, None], known[:, None]))), [])
        if not stretch:
            continue
        rows = stretch[0].rows[-WINDOW:]
        a, b = float(np.median(ours[rows])), float(np.median(its[rows]))
        found.append(
            Finding(
                "player too strong",
                history.player,
                "all parameters",
                int(history.steps[mine[stretch[0].first]]),
                f"its gradient is {a:.1e} of what it was at first, that of {rival.player} {b:.1e}; its updates are "
                f"{median(speed[rows]):.0e} of its weights, there {median(its_speed[rows]):.0e}",
                f"divide the learning rate of {history.player} by 5, or penalise it with gt.R1(0.1); let "
                f"{rival.player} "
                "move twice for each of its steps",
            )
        )
    return found[:1]


def _recent(values: Matrix) -> Matrix:
    """Return the median of the last ``WINDOW`` values at each step; of fewer at first."""
    found = values.copy()
    known = np.where(np.isfinite(values), values, 0.0)
    found[WINDOW - 1 :] = rolling(known, WINDOW)
    return found


def _start(norms: Matrix) -> float:
    positive = norms[np.isfinite(norms) & (norms > 0)][:FIRST]
    return float(np.median(positive)) if len(positive) else float("nan")


def mode_collapse(history: History) -> list[Finding]:
    """Find a generator whose outputs have become alike, or that has lost a part of the data.

    The spread of a batch of its outputs (root mean variance over root mean square), beside its own history: it is below
    the median of the ``BEFORE`` readings before by ``DROP`` of it and by ``DROP_DEVIATIONS`` of them; or it is below
    ``COLLAPSED_SHARE`` of what it was at most in each of the last ``READINGS`` readings. Only for a player that has
    rivals and is no discriminator.

    Modes that are lost one by one, slowly, hardly change the spread. They are seen where ``coverage`` is logged, the
    share of real samples that have a generated one near: the last ``LOOKS`` readings are each below ``COVERED_SHARE``
    of its best level (medians of ``LOOKS``), which was above ``COVERED``.

    Source: Salimans et al. 2016 (1606.03498) on collapse; Naeem et al. 2020 (2002.09797) on coverage.
    """
    if not history.rivals or _is_critic(history):
        return []
    return _alike(history) or _uncovered(history)


def _uncovered(history: History) -> list[Finding]:
    logged = history.logged.get("coverage")
    if logged is None or len(logged) != len(history.steps):
        return []
    rows = np.flatnonzero(np.isfinite(logged))
    coverage = logged[rows]
    if len(rows) < 2 * LOOKS:
        return []
    level = np.concatenate([np.zeros(LOOKS - 1), rolling(coverage, LOOKS)])
    most = np.maximum.accumulate(level)
    lost = (coverage < COVERED_SHARE * most) & (most > COVERED)
    stretch = lasting(lost[:, None], np.ones((len(rows), 1), dtype=bool), LOOKS)
    if not stretch:
        return []
    first = stretch[0].first
    return [
        Finding(
            "mode collapse",
            history.player,
            "all parameters",
            int(history.steps[rows[first]]),
            f"samples were near {most[first]:.0%} of the real ones, and are near {median(coverage[-LOOKS:]):.0%} now",
            "go back to the weights before that step; penalise the discriminator more, with gt.R1 and gt.R2, or let it "
            "judge several samples at once, views=[gt.Packing(2)]",
        )
    ]


def _alike(history: History) -> list[Finding]:
    read = history.activations.get("spread")
    if read is None or "(output)" not in read.modules:
        return []
    width = read.values[:, read.modules.index("(output)")]
    rows = np.flatnonzero(np.isfinite(width))
    if len(rows) < BEFORE + 1:
        return []
    width = width[rows]
    sudden = sustained(_fallen(width), 1)
    most = np.maximum.accumulate(np.concatenate([width[:READINGS], rolling(width, READINGS)]))[: len(width)]
    slow = lasting((width < COLLAPSED_SHARE * most)[:, None], np.ones((len(width), 1), dtype=bool), READINGS)
    begun = [found for found in (sudden, slow[0].first if slow else None) if found is not None]
    if not begun:
        return []
    first = min(begun)
    before = median(width[max(0, first - BEFORE) : first])
    now = float(width[first : first + READINGS].min())
    return [
        Finding(
            "mode collapse",
            history.player,
            "all parameters",
            int(history.steps[rows[first]]),
            f"the spread of a batch of outputs fell from {before:.2g} to {now:.2g}",
            "go back to the weights before that step; divide the generator's learning rate by 5, penalise the "
            "discriminator with "
            "gt.R1(0.1), or let it judge 4 samples at once",
        )
    ]


def _fallen(width: Matrix) -> Flags:
    """Return where the spread is far below the ``BEFORE`` readings before."""
    found = np.zeros(len(width), dtype=bool)
    if len(width) <= BEFORE:
        return found
    before = np.lib.stride_tricks.sliding_window_view(width, BEFORE)[: len(width) - BEFORE]
    usual = np.median(before, axis=1)
    noise = MAD * np.median(np.abs(before - usual[:, None]), axis=1) + FLOOR * usual
    drop = usual - width[BEFORE:]
    found[BEFORE:] = (drop > DROP * usual) & (drop > DROP_DEVIATIONS * noise)
    return found


def _is_critic(history: History) -> bool:
    """Whether it looks like a player that judges: by its name, else by an output of one number."""
    name = history.player.lower()
    if "disc" in name or "critic" in name:
        return True
    if "gen" in name:
        return False
    columns = layers(history)
    shapes = history.settings.shapes
    return bool(len(shapes) == len(history.parameters) and columns and shapes[columns[-1]][0] == 1)
