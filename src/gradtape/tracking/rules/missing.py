"""Parameters that nothing moves: no gradient arrives, or no update follows."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import Flags, carried, lasting, measure

MOVING_RATIO = 1e-6  # of its weights: others that move by less have arrived, and so has what stands still


def no_gradient(history: History) -> list[Finding]:
    """Find parameters that require a gradient and get none, while others do, or none at all does.

    ``grad_norm`` is NaN although no element is non-finite, in each of the last ``WINDOW`` steps: ``.grad`` is None,
    which is neither a zero nor a NaN gradient. A parameter with ``requires_grad=False`` is frozen on purpose.
    """
    norms, counts = measure(history, "grad_norm"), measure(history, "nonfinite_count")
    missing = np.isnan(norms) & ~(counts > 0)
    none: Flags = np.asarray((np.isnan(norms) & (counts == 0)).all(axis=1))
    alone = lasting(none[:, None], np.ones((len(none), 1), dtype=bool)) if norms.size else []
    if alone and len(history.settings.frozen) < len(history.parameters):
        return [
            Finding(
                "no gradient",
                history.player,
                "all parameters",
                int(history.steps[alone[0].first]),
                f"the optimizer stepped {len(alone[0].rows)} times without any gradient",
                "look for detach(), .data, no_grad() or .item() between this model and its loss; call backward on a "
                "loss that depends on it, and zero_grad() not between backward and step",
            )
        ]
    others = np.asarray(~missing.all(axis=1))
    missing &= others[:, None]
    known = np.broadcast_to(others[:, None], missing.shape)
    frozen = set(history.settings.frozen)
    found = [s for s in lasting(missing, known) if history.parameters[s.column] not in frozen]
    if not found:
        return []
    first = min(stretch.first for stretch in found)
    ever = any(first < stretch.first or np.isfinite(norms[:first, stretch.column]).any() for stretch in found)
    return [
        Finding(
            "no gradient",
            history.player,
            listed([history.parameters[stretch.column] for stretch in found]),
            int(history.steps[first]),
            f"the gradient of {len(found)} of {len(history.parameters)} parameters is None for "
            f"{max(len(stretch.rows) for stretch in found)} steps"
            + (", and was not before" if ever else ", from the first step"),
            "look for detach(), .data, no_grad() or .item() between them and the loss, or an output that no loss uses; "
            "call requires_grad_(False) on what shall not learn",
        )
    ]


def frozen_parameter(history: History) -> list[Finding]:
    """Find parameters that have a gradient and do not move, while others do.

    Either no tracked optimizer holds them (``settings.unheld``), or ``update_norm`` is exactly 0 although ``grad_norm``
    is not, in each of the last ``WINDOW`` steps. ``requires_grad=False`` says that it is meant; these do not say so.
    """
    found = []
    if history.settings.unheld and len(history.steps):
        found.append(
            Finding(
                "frozen parameter",
                history.player,
                listed(history.settings.unheld),
                int(history.steps[0]),
                f"{len(history.settings.unheld)} parameters of the model require a gradient and no tracked "
                "optimizer holds "
                "them",
                "give the optimizer all of model.parameters(), also after replacing a layer; call "
                "requires_grad_(False) on "
                "what shall not learn",
            )
        )
    norms, update = measure(history, "grad_norm"), measure(history, "update_norm")
    read = ~np.isnan(update).all(axis=1) if update.size else np.zeros(len(update), dtype=bool)
    moved = np.asarray((measure(history, "update_ratio") > MOVING_RATIO).any(axis=1))
    still = (update == 0) & (norms > 0) & np.isfinite(norms)
    known = np.broadcast_to((read & moved)[:, None], still.shape)
    half = {i for i, dtype in enumerate(history.settings.dtypes) if dtype in ("float16", "bfloat16")}
    stretches = [s for s in lasting(still, known) if s.column not in half]  # rounded away: "update too small"
    if stretches:
        first = min(stretch.first for stretch in stretches)
        indexes = [stretch.column for stretch in stretches]
        rates = carried(history.lr)[-1] if history.lr.shape == norms.shape else np.full(norms.shape[1], np.nan)
        because = "its learning rate is 0" if all(rates[i] == 0 for i in indexes) else "its learning rate is not 0"
        found.append(
            Finding(
                "frozen parameter",
                history.player,
                listed([history.parameters[i] for i in indexes]),
                int(history.steps[first]),
                f"the update is exactly 0 for {max(len(s.rows) for s in stretches)} steps although there is a "
                "gradient; "
                f"{because}" + ("" if len(history.lr) else ", or not known"),
                "give its parameter group the learning rate of the others, or call requires_grad_(False) on it if "
                "this is "
                "meant",
            )
        )
    return found
