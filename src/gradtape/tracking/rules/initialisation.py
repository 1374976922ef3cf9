"""What is wrong before the first step: weights of a size that no initialisation has, inputs that nobody normalised."""

from __future__ import annotations

import numpy as np

from gradtape.errors import listed
from gradtape.tracking.finding import Finding
from gradtape.tracking.history import History
from gradtape.tracking.rules._series import START, WINDOW, layer_of, layers, measure, sizes

LARGE_GAIN = 20.0  # rms(w) sqrt(fan in): 0.6 for PyTorch's default, 1.4 for He's, at most 5 in use
LARGE_WEIGHT = 1.5  # rms of weights without a bias beside them: embeddings are drawn from N(0, 1), at any width
SMALL_GAIN = 0.02  # likewise; the smallest in use is 0.03, GPT-2's residual projections at a width of 64
LARGE_INPUT = 30.0  # root mean square of a layer's input; 1 if standardised, 0.5 for pixels in [0, 1]
MOST_INPUT = 1e4  # more than this is no input, but the gradient of a bias that a norm behind it cancels


def initialisation(history: History) -> list[Finding]:
    """Find layers whose weights begin a factor of ten or more away from any initialisation in use.

    The gain ``rms(w) sqrt(fan in)`` is what a layer multiplies the size of its input by; for ``n`` layers it counts to
    the n-th power. One layer above ``LARGE_GAIN`` is enough (weights without a bias may be an embedding: they also need
    an rms above ``LARGE_WEIGHT``). Small ones must be the majority: output layers are begun small on purpose, and
    weights that are all zero are left alone. It looks at the first step only, so it knows nothing of the loss.

    Source: Glorot and Bengio 2010; He et al. 2015 (1502.01852).
    """
    elements = sizes(history)
    if elements is None or not len(history.steps):
        return []
    columns = [i for i in layers(history) if len(history.settings.shapes[i]) > 1]
    norm = measure(history, "weight_norm")[0]
    biased = {layer_of(name) for name in history.parameters if name.endswith(".bias")}
    large, small, gains = [], [], {}
    for index in columns:
        if not (np.isfinite(norm[index]) and norm[index] > 0 and elements[index]):
            continue
        size = norm[index] / np.sqrt(elements[index])
        gains[index] = gain = float(size * np.sqrt(elements[index] / history.settings.shapes[index][0]))
        if gain > LARGE_GAIN and (size > LARGE_WEIGHT or layer_of(history.parameters[index]) in biased):
            large.append(index)
        elif gain < SMALL_GAIN:
            small.append(index)
    odd = large if large else small if 2 * len(small) > len(columns) else []
    if not odd:
        return []
    worst = (max if large else min)(gains[i] for i in odd)
    factor = f"divide them by {worst:,.0f}" if large else f"multiply them by {1 / worst:,.0f}"
    return [
        Finding(
            "initialisation",
            history.player,
            listed([history.parameters[i] for i in odd]),
            int(history.steps[0]),
            f"rms(w) sqrt(fan in) is {worst:.2g}, about 1 in a sound initialisation",
            f"use nn.init.kaiming_normal_, or {factor}",
        )
    ]


def unnormalised_inputs(history: History) -> list[Finding]:
    """Find a first layer whose input is far from standardised.

    A layer's weight gradient is its bias gradient times its input, so ``|g_w| / (|g_b| sqrt(fan in))`` is about the
    root mean square of the input, whatever the loss is. Its median over the first ``WINDOW`` steps is above
    ``LARGE_INPUT``, and below ``MOST_INPUT``: a bias before a norm has a gradient of nearly zero, and tells nothing.
    """
    shapes = history.settings.shapes
    if len(shapes) != len(history.parameters) or len(history.steps) < 2 * START:
        return []
    first = next((i for i, shape in enumerate(shapes) if len(shape) > 1), None)
    if first is None:
        return []
    bias = layer_of(history.parameters[first]) + ".bias"
    if not history.parameters[first].endswith("weight") or bias not in history.parameters:
        return []
    norms = measure(history, "grad_norm")[:WINDOW]
    ours, beside = norms[:, first], norms[:, history.parameters.index(bias)]
    known = np.isfinite(ours) & np.isfinite(beside) & (ours > 0) & (beside > 0)
    if known.sum() < START:
        return []
    size = float(np.median(ours[known] / beside[known])) / np.sqrt(float(np.prod(shapes[first][1:])))
    if not LARGE_INPUT < size < MOST_INPUT:
        return []
    return [
        Finding(
            "unnormalised inputs",
            history.player,
            history.parameters[first],
            int(history.steps[0]),
            f"this layer's input has a root mean square of about {size:,.0f}",
            f"standardise the inputs, or divide them by {size:,.0f}",
        )
    ]
