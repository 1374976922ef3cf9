"""The noise scale against gradients of single samples, whose mean and covariance are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from gradtape.tracking.measures import MEASURES, Measure, Reading

NOISE_SCALE = next(kind for kind in MEASURES if kind.name == "noise_scale")


def regression(noise: float, dtype: torch.dtype = torch.float64) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(4)
    X = torch.randn(400, 5, generator=draws, dtype=dtype)
    y = X @ torch.arange(1.0, 6.0, dtype=dtype) + noise * torch.randn(400, generator=draws, dtype=dtype)
    model = nn.Linear(5, 1).to(dtype)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return model, X, y


def loss_of(prediction: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (prediction.squeeze(-1) - y).square().mean() / 2


def of_single_samples(model: nn.Linear, X: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The gradient of each sample's loss, by autograd, shape (samples, weights and bias)."""
    found = []
    for x, target in zip(X, y, strict=True):
        grads = torch.autograd.grad(loss_of(model(x[None]), target[None]), list(model.parameters()))
        found.append(torch.cat([grad.flatten() for grad in grads]))
    return torch.stack(found)


def parts_of_pairs(model: nn.Linear, X: torch.Tensor, y: torch.Tensor, batch: int, pairs: int) -> np.ndarray:
    """What the measure reads at pairs of steps that do not move the weights, shape (pairs, parameters, parts)."""
    draws = torch.Generator().manual_seed(5)
    parameters = list(model.parameters())
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    measure: Measure = NOISE_SCALE()
    found = []
    for step in range(2 * pairs):
        rows = torch.randint(len(X), (batch,), generator=draws)
        optimizer.zero_grad()
        loss_of(model(X[rows]), y[rows]).backward()
        grads = [parameter.grad for parameter in parameters]
        groups = [optimizer.param_groups[0]] * 2
        reading = Reading(parameters, [p.detach() for p in parameters], grads, optimizer, groups, step)
        if step % 2:
            measure.before_step(reading)
            found.append(measure.after_step(reading).numpy())
        else:
            measure.prepare(reading)
    return np.array(found)


@pytest.mark.parametrize("noise", [1.0, 6.0])
@pytest.mark.parametrize("batch", [4, 32])
def test_it_estimates_the_trace_of_the_covariance_over_the_squared_mean(noise: float, batch: int) -> None:
    model, X, y = regression(noise)
    single = of_single_samples(model, X, y).detach().numpy()
    true = {}
    for name, columns in {"weight": slice(0, 5), "both": slice(0, 6)}.items():
        G, S = single[:, columns].mean(0), np.cov(single[:, columns].T, bias=True).reshape(-1)
        trace = S.reshape(len(G), len(G)).trace()
        true[name] = trace / batch / (G @ G)
    parts = parts_of_pairs(model, X, y, batch, 1500)
    for name, chosen in {"weight": parts[:, 0], "both": parts.sum(1)}.items():
        estimate = NOISE_SCALE().finish(chosen.sum(0, keepdims=True))[0]
        dot, a, b = chosen.T
        error = ((a + b) / 2 - dot - true[name] * dot).std() / abs(dot.mean()) / math.sqrt(len(chosen))  # of a ratio
        assert error < 0.1 * true[name]  # so that what follows says something
        assert abs(estimate - true[name]) < 3 * error


def test_the_median_of_single_pairs_is_of_the_right_size() -> None:
    model, X, y = regression(1.0)
    parts = parts_of_pairs(model, X, y, 32, 300)
    single = of_single_samples(model, X, y).detach().numpy()[:, :5]
    true = np.trace(np.cov(single.T, bias=True)) / 32 / (single.mean(0) @ single.mean(0))
    assert np.nanmedian(NOISE_SCALE().finish(parts[:, 0])) == pytest.approx(true, rel=0.15)


def test_known_answers() -> None:
    def scale(dot: float, square: float, before: float) -> float:
        return float(NOISE_SCALE().finish(np.array([[dot, square, before]]))[0])

    assert scale(4, 5, 5) == 0.25
    assert scale(4, 4, 4) == 0  # the same batch twice
    assert scale(4, 4 - 1e-15, 4 - 1e-15) == 0  # never below
    assert math.isnan(scale(0, 1, 1))
    assert math.isnan(scale(-1, 1, 1))
    assert math.isnan(scale(math.nan, 1, 1))
