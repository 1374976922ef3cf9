"""How the generator gets its gradient: from the discriminator's own pass, or by a pass of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradtape.errors import InputError
from gradtape.games._judge import Judge, Told
from gradtape.games.losses import AdversarialLoss
from gradtape.games.penalties import Judged

TINY = 1e-25  # a derivative of the discriminator's loss below this has lost digits in single precision
AGREE = 1e-3  # of the gradient's norm, by which both ways may differ on the first batch
AGREE_ROUGHLY = 5e-2  # likewise, in half precision
ROUGH = 1e-4  # spacing of floats near 1, from which precision is half
MIXES = "the discriminator mixes the samples of a batch"
FLAT = "the discriminator says the same of all samples, so whether it mixes them is not known yet"


class Solver(NamedTuple):
    """How a game is stepped.

    Attributes:
        name: ``one-pass`` or ``alternating``; ``auto`` before the first step.
        reason: Why.
    """

    name: str
    reason: str


def seeds(loss: AdversarialLoss, judged: Judged) -> Tensor:
    """Return the derivative of the generator's mean loss with respect to each generated sample's logit, shape (n,)."""
    real, fake = judged.logits["real"].detach(), judged.logits["fake"].detach().requires_grad_()
    with torch.enable_grad():
        (seed,) = torch.autograd.grad(loss.generator(real, fake).mean(), fake)
    return seed


def descend(loss: AdversarialLoss, judged: Judged, total: Tensor, learning: Sequence[Tensor], touched: bool) -> Tensor:
    """Give the discriminator its gradients, and return the generator's with respect to what was shown of its samples.

    A sample's gradient is its logit's slope times a number. So where a penalty has already computed the slopes, they
    are scaled; where it has not, the discriminator's own gradient is, by the loss's ratio; and where that does not
    exist for each sample, or penalties are in it, the slopes are computed by another backward pass.

    Args:
        loss: Both players' losses.
        judged: The batch; its generated samples require gradients.
        total: What the discriminator minimises.
        learning: The discriminator's parameters that learn.
        touched: Whether a penalty depends on the logits of generated samples.
    """
    real, fake = judged.logits["real"].detach(), judged.logits["fake"].detach()
    inputs = list(learning)
    if "fake" in judged.slopes:
        total.backward(inputs=inputs)
        return judged.slopes["fake"].detach() * _per_sample(seeds(loss, judged), judged.fake)
    seed, ratio = seeds(loss, judged), loss.ratio(real, fake)
    usable = ratio.isfinite() & ((seed / ratio).abs() > TINY)
    narrow = torch.is_autocast_enabled(fake.device.type) and torch.get_autocast_dtype(fake.device.type) == torch.float16
    if touched or narrow or judged.fake.dtype == torch.float16 or not bool(usable.all()):
        (signal,) = torch.autograd.grad(judged.logits["fake"], judged.fake, seed, retain_graph=True)
        total.backward(inputs=inputs)
        return signal
    total.backward(inputs=[*inputs, judged.fake])
    own = judged.fake.grad
    assert own is not None
    judged.fake.grad = None
    return own * _per_sample(ratio, own)


def choose(asked: str, loss: AdversarialLoss, judge: Judge, real: Tensor, fake: Tensor, told: Told) -> Solver:
    """Say how to step, from a batch as shown; the discriminator is left as it was.

    Raises:
        InputError: One-pass is asked for and is not exact.
    """
    with _as_it_was(judge.discriminator):
        reason = _why_not(loss, judge, real, fake, told)
    if reason is None:
        return Solver("one-pass", "it gives the same gradients as a pass of the generator's own")
    if reason == FLAT:
        return Solver("one-pass" if asked == "one-pass" else "alternating", reason)
    if asked == "one-pass":
        raise InputError(f"one-pass is not exact: {reason}", remedy="use solver='auto' or 'alternating'")
    return Solver("alternating", reason)


def mixes(module: nn.Module) -> bool:
    """Whether a module is known to mix the samples of a batch, in the mode that it is in."""
    return any(
        getattr(part, "couples_samples", False)
        or (isinstance(part, _BatchNorm) and (part.training or part.running_mean is None))
        for part in module.modules()
    )


def _why_not(loss: AdversarialLoss, judge: Judge, real: Tensor, fake: Tensor, told: Told) -> str | None:
    if mixes(judge.discriminator):
        return MIXES
    judged, _ = judge.consider(real, fake, told, (), 0, torch.Generator(), attach=True)
    logits, x = judged.logits["fake"], judged.fake
    if len(logits) < 2:
        return "a batch of one does not show whether the discriminator mixes samples"
    (slopes,) = torch.autograd.grad(logits.sum(), x, retain_graph=True)
    weights = torch.linspace(1.0, 2.0, len(logits), dtype=logits.dtype, device=logits.device)
    (weighted,) = torch.autograd.grad(logits, x, weights, retain_graph=True)
    if not bool(slopes.any()):
        return FLAT
    rough = torch.finfo(x.dtype).eps > ROUGH or torch.is_autocast_enabled(x.device.type)
    agree = AGREE_ROUGHLY if rough else AGREE
    if not _apart(weighted, slopes * _per_sample(weights, slopes)) <= agree:
        return MIXES
    (expected,) = torch.autograd.grad(logits, x, seeds(loss, judged), retain_graph=True)
    learning = [parameter for parameter in judge.discriminator.parameters() if parameter.requires_grad]
    kept = [parameter.grad for parameter in learning]
    found = descend(loss, judged, loss.discriminator(judged.logits["real"], logits).mean(), learning, touched=False)
    for parameter, grad in zip(learning, kept, strict=True):
        parameter.grad = grad
    difference = _apart(found, expected)
    if not difference <= agree:
        return f"the loss's ratio gives gradients that differ by {difference:.1g} of their norm"
    return None


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).float().norm() / other.float().norm().clamp(min=1e-30))


def _per_sample(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *(1 for _ in like.shape[1:]))


@contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Put back buffers, such as batch norm's statistics, and torch's random state."""
    buffers = [buffer.clone() for buffer in module.buffers()]
    devices = {parameter.device for parameter in module.parameters() if parameter.device.type != "cpu"}
    with torch.random.fork_rng(devices=sorted(devices, key=str)):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, before in zip(module.buffers(), buffers, strict=True):
                    buffer.copy_(before)
