"""A discriminator some steps ahead, as a function of the generated samples."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call
from torch.optim import Optimizer

from gradtape.games._judge import Judge, Told
from gradtape.games.losses import AdversarialLoss


def unrolled(
    judge: Judge, optimizer: Optimizer, loss: AdversarialLoss, real: Tensor, fake: Tensor, told: Told, steps: int
) -> tuple[Tensor, Tensor]:
    """Return the logits of both batches after so many further steps of the discriminator, differentiable throughout.

    Each step is gradient descent at the optimizer's learning rate, preconditioned as Adam would by the second moments
    that stand in the optimizer; these, and penalties, do not move.

    Source: Metz et al., Unrolled Generative Adversarial Networks, ICLR 2017.
    """
    model = judge.discriminator
    weights: dict[str, Tensor] = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    sizes = {name: _step_sizes(optimizer, parameter) for name, parameter in weights.items()}

    def logits(x: Tensor) -> Tensor:
        return judge.read(functional_call(model, weights, (x, *told)), len(x))

    for _ in range(steps):
        total = loss.discriminator(logits(real), logits(fake)).mean()
        slopes = torch.autograd.grad(total, list(weights.values()), create_graph=True, materialize_grads=True)
        weights = {
            name: weight - sizes[name] * slope for (name, weight), slope in zip(weights.items(), slopes, strict=True)
        }
    return logits(real), logits(fake)


def _step_sizes(optimizer: Optimizer, parameter: Tensor) -> Tensor | float:
    """Return the learning rate over the root of the second moment, as Adam takes it; the rate for other optimizers."""
    group = next(group for group in optimizer.param_groups if any(held is parameter for held in group["params"]))
    state = optimizer.state.get(parameter, {})
    if "exp_avg_sq" not in state:
        return float(group["lr"])
    correction = 1 - group["betas"][1] ** float(state["step"])
    scale: Tensor = (state["exp_avg_sq"] / correction).sqrt() + group["eps"]
    sizes: Tensor = group["lr"] / scale
    return sizes
