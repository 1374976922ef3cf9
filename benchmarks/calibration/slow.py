"""Trainings that diverge slowly: how long before the harm is each alarm heard?

The harm is the loss at three times what it was in the last steps before the failure was planted.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from benchmarks.calibration import healthy
from benchmarks.calibration.baselines import Series
from benchmarks.calibration.healthy import Make
from benchmarks.calibration.planted import Plant, growing_rate, growing_weight

AT = 100
STEPS = 600


class Slow(NamedTuple):
    """A slow divergence: a healthy training and what grows in it from step ``AT`` on."""

    twin: Make
    plant: Plant


SLOW: dict[str, Slow] = {
    "rate +3%, MLP, SGD": Slow(healthy.mlp_sgd, growing_rate(1.03)),
    "rate +3%, MLP, SGD with momentum": Slow(healthy.mlp_momentum, growing_rate(1.03)),
    "rate +3%, batch norm, SGD with momentum": Slow(healthy.batch_norm_dropout, growing_rate(1.03)),
    "rate +3%, deep ReLU MLP, Adam": Slow(healthy.deep_relu, growing_rate(1.03)),
    "rate +3%, residual MLP, AdamW": Slow(healthy.residual_adamw, growing_rate(1.03)),
    "rate +3%, GRU, Adam": Slow(healthy.gru_adam, growing_rate(1.03)),
    "rate +3%, autoencoder, RMSprop": Slow(healthy.autoencoder, growing_rate(1.03)),
    "rate +3%, bfloat16 autocast, Adam": Slow(healthy.bf16_autocast, growing_rate(1.03)),
    "rate +3%, LSTM on text, clipping, Adam": Slow(healthy.lstm_text, growing_rate(1.03)),
    "rate +1%, MLP, SGD": Slow(healthy.mlp_sgd, growing_rate(1.01)),
    "rate +1%, deep ReLU MLP, Adam": Slow(healthy.deep_relu, growing_rate(1.01)),
    "weights +2%, MLP, SGD with momentum": Slow(healthy.mlp_momentum, growing_weight("3.weight", 1.02)),
    "weights +2%, residual MLP, AdamW": Slow(healthy.residual_adamw, growing_weight("3.down.weight", 1.02)),
}


def harmed(losses: Series, at: int = AT) -> int | None:
    """Return the first step at which the median of five losses is three times the mean of the 50 before ``at``."""
    before = float(np.mean(losses[at - 50 : at]))
    for step in range(at, len(losses)):
        last = losses[max(at, step - 4) : step + 1]
        if not np.isfinite(losses[step]) or (len(last) == 5 and float(np.median(last)) > 3 * before):
            return step
    return None
