"""Projection of a gradient off a direction, or onto it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from gradtape.errors import InputError
from gradtape.transforms._linear import straight_through
from gradtape.transforms._nonlinear import NonLinear
from gradtape.transforms._norms import widest
from gradtape.transforms._places import Gradients, Place, names_for
from gradtape.transforms._setting import check_choice

When = Literal["always", "conflict"]
Direction = Tensor | Sequence[Tensor] | Mapping[str, Tensor] | Callable[[], Tensor]


class Project(NonLinear):
    """Take the part along a direction out of the gradient, or keep nothing else.

    Off it: ``g̃ = g - (⟨g, d⟩ / ⟨d, d⟩) d``; onto it: ``g̃ = (⟨g, d⟩ / ⟨d, d⟩) d``

    A direction given as one tensor has the shape of the gradient or of its last dimensions; then each entry of the
    dimensions before them is projected on its own, such as each sample's features off one direction of bias. On an
    optimizer, a direction for its parameters has one inner product over all of them as one vector; parameters without
    a gradient or without a direction stay out of it, as they are.

    With a fixed tensor the projection is linear, and on a tensor every way of differentiating sees it. What depends on
    the gradient (``when="conflict"``) works where ``Clip`` does.

    Args:
        direction: One tensor; or, on an optimizer, a tensor per parameter (a sequence in the optimizer's order, or
            name -> tensor); or a function without arguments that returns another
            loss, whose gradient at the moment of the step is the direction.
        onto: Keep the part along the direction rather than the rest.
        when: "always", or only in "conflict", when ``⟨g, d⟩`` is negative.

    Raises:
        InputError: A direction that is zero or does not fit, or one that only an optimizer can have on a tensor.

    Examples:
        >>> Project(torch.tensor([1.0, 0.0])).gradient(torch.tensor([3.0, 4.0]))
        tensor([0., 4.])
        >>> Project(torch.tensor([1.0, 1.0]), onto=True).gradient(torch.tensor([3.0, 5.0]))
        tensor([4., 4.])

    Source: Yu et al., Gradient Surgery for Multi-Task Learning, NeurIPS 2020 (off the gradient of a loss in conflict).
    """

    def __init__(self, direction: Direction, *, onto: bool = False, when: When = "always") -> None:
        super().__init__()
        check_choice("when", when, When)
        if isinstance(direction, str) or not isinstance(direction, Tensor | Sequence | Mapping | Callable):
            raise InputError(
                f"the direction is {direction!r}", remedy="give tensors, or a function that returns a loss"
            )
        if isinstance(direction, Tensor) and direction.is_complex():
            raise InputError("the direction is complex", remedy="give one of real numbers")
        if isinstance(direction, Tensor) and not torch.compiler.is_compiling() and not bool(direction.any()):
            raise InputError("the direction is zero", remedy="give a vector with a length")
        self.direction = direction.detach() if isinstance(direction, Tensor) else direction
        self.onto = onto
        self.when = when
        if isinstance(direction, Tensor):
            self._shown = f"tensor of shape {tuple(direction.shape)}"  # now: inside a trace, a shape is no numbers
        else:
            self._shown = "gradient of a loss" if callable(direction) else f"{len(direction)} tensors"
            self.on_tensor = "because its direction belongs to parameters"

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``; the gradient that comes back through it is projected."""
        if self.when == "always" and isinstance(self.direction, Tensor):
            return straight_through(x, self._along if self.onto else self._off, self.direction)
        return super().forward(x)

    def rule(self, grads: Gradients, place: Place) -> Gradients:
        """Return the projected gradients."""
        if isinstance(self.direction, Tensor):
            return {key: self._projected(grad, self.direction) for key, grad in grads.items()}
        directions = {key: direction for key, direction in self._directions(place).items() if key in grads}
        product = _inner({key: grads[key] for key in directions}, directions)
        length = _inner(directions, directions)
        share = torch.where(length > 0, product / length, 0.0)
        if self.when == "conflict" and not bool(product < 0):
            return dict(grads)
        parts = {
            key: (direction.to(widest(direction)) * share.to(direction.device)).to(grads[key].dtype)
            for key, direction in directions.items()
        }
        if self.onto:
            return parts
        return {key: grad - parts[key] if key in parts else grad for key, grad in grads.items()}

    def prepare(self, place: Place) -> None:
        """Refuse an optimizer whose parameters do not fit the direction."""
        if not isinstance(self.direction, Tensor) and not callable(self.direction):
            self._directions(place)

    def _projected(self, grad: Tensor, direction: Tensor) -> Tensor:
        made = self._along(grad, direction) if self.onto else self._off(grad, direction)
        if self.when == "always":
            return made
        return torch.where(_products(grad, direction.to(grad.device)) < 0, made, grad)

    @staticmethod
    def _along(grad: Tensor, direction: Tensor) -> Tensor:
        direction = direction.to(grad.device, widest(grad))
        return (_products(grad, direction) / direction.square().sum() * direction).to(grad.dtype)

    @staticmethod
    def _off(grad: Tensor, direction: Tensor) -> Tensor:
        return grad - Project._along(grad, direction)

    def _directions(self, place: Place) -> dict[int, Tensor]:
        """Return the direction by key of the parameter."""
        parameters = place.parameters
        if parameters is None:
            raise InputError(f"{self!r} is for the parameters of an optimizer", remedy="use .on(optimizer)")
        found: dict[int, Tensor]
        if callable(self.direction):
            found = _gradient_of(self.direction, parameters)
        elif isinstance(self.direction, Mapping):
            keys = {name: key for key, name in enumerate(names_for(self, place, self.direction))}
            found = {keys[name]: direction for name, direction in self.direction.items()}
        else:
            if len(self.direction) != len(parameters):
                raise InputError(
                    f"{len(self.direction)} directions were given for {len(parameters)} parameters",
                    remedy="give one tensor per parameter, in the optimizer's order",
                )
            found = dict(enumerate(self.direction))
        for key, direction in found.items():
            if direction.shape != parameters[key].shape:
                raise InputError(
                    f"the direction has shape {tuple(direction.shape)} and the parameter "
                    f"{tuple(parameters[key].shape)}",
                    remedy="give directions of the shapes of the parameters",
                )
        return found

    def __repr__(self) -> str:
        more = ", onto=True" if self.onto else ""
        return f"Project({self._shown}{more}{'' if self.when == 'always' else f', when={self.when!r}'})"


def project(x: Tensor, direction: Tensor, *, onto: bool = False, when: When = "always") -> Tensor:
    """Return ``x`` with its gradient projected; the functional twin of ``Project``."""
    projected: Tensor = Project(direction, onto=onto, when=when)(x)
    return projected


def _products(grad: Tensor, direction: Tensor) -> Tensor:
    """Return the inner products over the direction's dimensions, of a shape that broadcasts against the gradient."""
    if grad.shape[grad.dim() - direction.dim() :] != direction.shape:
        raise InputError(
            f"the direction has shape {tuple(direction.shape)} and the gradient {tuple(grad.shape)}",
            remedy="give a direction of the gradient's shape, or of its last dimensions",
        )
    products = grad.to(widest(grad)) * direction
    return products.sum(dim=tuple(range(-direction.dim(), 0)), keepdim=True) if direction.dim() else products


def _inner(left: Gradients, right: Gradients) -> Tensor:
    """Return the inner product of both as one vector each."""
    parts = [(left[key].to(widest(left[key])) * right[key]).sum() for key in left]
    return torch.stack([part.to(parts[0].device) for part in parts]).sum() if parts else torch.zeros(())


def _gradient_of(loss: Callable[[], Tensor], parameters: Sequence[Tensor]) -> dict[int, Tensor]:
    with torch.enable_grad():
        value = loss()
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{value!r}"
            raise InputError(
                f"the function for the direction returned {what}", remedy="return a loss, a scalar with a gradient"
            )
        learning = [key for key, parameter in enumerate(parameters) if parameter.requires_grad]
        grads = torch.autograd.grad(value, [parameters[key] for key in learning], allow_unused=True)
    found = {key: grad for key, grad in zip(learning, grads, strict=True) if grad is not None}
    if not found:
        raise InputError(
            "the loss for the direction reaches no parameter of the optimizer",
            remedy="compute it from the same model, without detach",
        )
    return found
