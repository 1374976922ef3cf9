"""Letting gradients through to some parameters or elements only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._linear import Linear, straight_through
from gradtape.transforms._places import Gradients, Place, names_for


class Mask(Linear):
    """Let the gradient through where the mask says so.

    Args:
        keep: One of these.

            * A tensor that broadcasts against the gradient: of booleans, the gradient passes where it is true and is
              zero elsewhere; of numbers, the gradient is multiplied by it.
            * The name of a parameter or a pattern such as "encoder.*", or several of them: on an optimizer, these
              parameters keep their gradients. The others have none, so that the step leaves them as they are, momentum
              and weight decay included.
            * Name or pattern -> tensor: on an optimizer, a mask for these parameters; the others keep their gradients.

    Raises:
        InputError: A mask that does not fit the gradient, a pattern that fits no parameter, or names where there are
            none.

    Examples:
        >>> Mask(torch.tensor([True, False])).gradient(torch.tensor([3.0, torch.nan]))
        tensor([3., 0.])
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        >>> optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1)
        >>> attachment = Mask("1.*").on(optimizer)  # only the last layer learns
    """

    def __init__(self, keep: Tensor | str | Sequence[str] | Mapping[str, Tensor]) -> None:
        super().__init__()
        self.keep = (keep,) if isinstance(keep, str) else keep
        if not isinstance(self.keep, Tensor | Sequence | Mapping):
            raise InputError(f"a mask was made of {keep!r}", remedy="give a tensor, or names of parameters")
        for mask in [self.keep] if isinstance(self.keep, Tensor) else getattr(self.keep, "values", list)():
            if isinstance(mask, Tensor) and mask.is_complex():
                raise InputError("the mask is complex", remedy="give booleans or real numbers")
        if isinstance(self.keep, Tensor):
            self._shown = f"tensor of shape {tuple(self.keep.shape)}"  # now: inside a trace, a shape is no numbers
            return
        self._shown = ", ".join(map(repr, self.keep))
        if not self.keep or not all(isinstance(pattern, str) for pattern in self.keep):
            raise InputError(f"a mask was made of {keep!r}", remedy="give a tensor, or names of parameters")

    def gradient(self, grad: Tensor) -> Tensor:
        """Return the masked gradient."""
        return _masked(grad, self._tensor())

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the gradients that are let through."""
        if isinstance(self.keep, Tensor):
            return super().rule(grads, place)
        known = names_for(self, place)
        names = {key: known[key] for key in grads}
        if not isinstance(self.keep, Mapping):
            return {key: grad for key, grad in grads.items() if _fits(names[key], self.keep)}
        made = dict(grads)
        for pattern, mask in self.keep.items():
            for key, name in names.items():
                if fnmatchcase(name, pattern):
                    made[key] = _masked(made[key], mask)
        return made

    def prepare(self, place: Place) -> None:
        """Refuse an optimizer whose parameters have no names, or none of these names."""
        if not isinstance(self.keep, Tensor):
            names_for(self, place, self.keep)

    def check_tensor(self) -> None:
        """Refuse to be put on a tensor with names."""
        self._tensor()

    def _tensor(self) -> Tensor:
        if not isinstance(self.keep, Tensor):
            raise InputError(
                f"{self!r} goes by names of parameters, and a tensor has none", remedy="use .on(optimizer, model)"
            )
        return self.keep

    def __repr__(self) -> str:
        return f"Mask({self._shown})"


def mask(x: Tensor, keep: Tensor) -> Tensor:
    """Return ``x`` with its gradient masked; the functional twin of ``Mask``."""
    return straight_through(x, _masked, keep)


def _fits(name: str, patterns: Sequence[str] | Mapping[str, Tensor]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _masked(grad: Tensor, keep: Tensor) -> Tensor:
    try:
        shape = torch.broadcast_shapes(grad.shape, keep.shape)
    except RuntimeError:
        shape = None
    if shape != grad.shape:
        raise InputError(
            f"the mask has shape {tuple(keep.shape)} and the gradient {tuple(grad.shape)}",
            remedy="give a mask that broadcasts against the gradient",
        )
    keep = keep.to(grad.device)
    return torch.where(keep, grad, 0.0) if keep.dtype == torch.bool else grad * keep.to(grad.dtype)
