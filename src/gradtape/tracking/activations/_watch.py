"""The hooks that read outputs of modules, now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from gradtape.tracking._guard import OPEN, Guard, PassingHook
from gradtape.tracking.activations._base import WEIGHTED, ActivationMeasure
from gradtape.tracking.measures._reduce import home, wide

MODEL = "(output)"  # the model as a whole
_CHANNELS_SECOND = (_ConvNd, _NormBase, nn.GroupNorm)
_CHANNELS_LAST = (*WEIGHTED, nn.LayerNorm, nn.RMSNorm)


class ActivationWatch:
    """Reads outputs of a model's modules at the first forward pass in training after ``arm``.

    Hooks sit on modules without children and on the model, and return at once when nothing is due. They never look
    into compiled code or ``torch.func``, change no output, and keep no graph. Of a module that is called several times
    the first call counts.

    Args:
        model: The model.
        measures: What to read.
    """

    def __init__(self, model: nn.Module, measures: Sequence[ActivationMeasure], guard: Guard = OPEN) -> None:
        self.guard = guard
        self.armed = False
        self.spent = 0.0  # seconds on reading since ``arm``
        self._within = False  # a call of the model, in training
        self._channels_second: bool | None = None  # how the latest module that says so lays out its output
        self._measures = tuple(measures)
        self._model = model
        self._modules = dict(_leaves(model))
        self._paths = {
            measure.name: ("",)
            if measure.of_model
            else tuple(path for path, module in self._modules.items() if measure.applies(module))
            for measure in self._measures
        }
        self._found: dict[str, dict[str, Tensor]] = {measure.name: {} for measure in self._measures}
        watched = {path for paths in self._paths.values() for path in paths}
        says = {p for p, module in self._modules.items() if isinstance(module, _CHANNELS_SECOND + _CHANNELS_LAST)}
        self._handles = [
            module.register_forward_hook(_Hook(self, path, module))
            for path, module in self._modules.items()
            if path and path in watched | says
        ]
        self._handles.append(model.register_forward_pre_hook(_Before(self, "", model)))
        self._handles.append(model.register_forward_hook(_Hook(self, "", model)))

    def modules(self, measure: str) -> tuple[str, ...]:
        """Return the paths of the modules that a measure reads, in the order of ``collect``."""
        return tuple(path or MODEL for path in self._paths[measure])

    def arm(self) -> None:
        """Read the next forward pass in training, and forget what was read and not collected."""
        self._forget()
        self.armed, self._within, self.spent = True, False, 0.0

    def collect(self) -> dict[str, Tensor]:
        """Return of each measure the parts, shape (modules, parts), NaN of modules that were not called; disarm."""
        self.armed = self._within = False
        tables = {measure.name: self._table(measure) for measure in self._measures}
        self._forget()
        return tables

    def remove(self) -> None:
        """Take the hooks off."""
        self.armed = self._within = False
        self._forget()
        for handle in self._handles:
            handle.remove()

    def begin(self) -> None:
        """Take note that the model is called: what was read of a pass that did not end is void."""
        self._within = self._model.training and torch.is_grad_enabled()
        if self._within:
            self._forget()

    def read(self, path: str, module: nn.Module, output: Any) -> None:
        """Read the output of a module, if that is due."""
        if not self._within and not (module.training and torch.is_grad_enabled()):
            return
        if torch._C._len_torch_dispatch_stack():  # operations are recorded, counted or pretended
            return
        if isinstance(module, _CHANNELS_SECOND):
            self._channels_second = True
        elif isinstance(module, _CHANNELS_LAST):
            self._channels_second = False
        wanted = [m for m in self._measures if path in self._paths[m.name] and path not in self._found[m.name]]
        tensor = _readable(output) if wanted else None
        if tensor is not None:
            began = time.perf_counter()
            self._measure(wanted, path, module, tensor)
            self.spent += time.perf_counter() - began
        if not path:  # the model's pass has ended
            self.armed = self._within = False

    def _measure(self, wanted: Sequence[ActivationMeasure], path: str, module: nn.Module, tensor: Tensor) -> None:
        kind = tensor.device.type
        # nothing of this is seen by a tape or another mode, by autograd, or rounded by autocast
        with torch._C.DisableTorchFunction(), torch.no_grad(), torch.autocast(kind, enabled=False):
            values = tensor.detach()
            if hasattr(values, "to_local"):
                values = values.to_local()
            values = values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
            second = values.dim() > 3 if self._channels_second is None else self._channels_second
            if second:
                values = values.movedim(1, -1)
            for measure in wanted:
                self._found[measure.name][path] = measure.read(module, values)

    def _table(self, measure: ActivationMeasure) -> Tensor:
        rows = [self._found[measure.name].get(path) for path in self._paths[measure.name]]
        device = home([rows])
        blank = torch.full((measure.parts,), torch.nan, dtype=wide(device), device=device)
        stacked = [blank if row is None else row.to(device) for row in rows]
        return torch.stack(stacked) if stacked else blank.new_zeros(0, measure.parts)

    def _forget(self) -> None:
        self._channels_second = None
        for found in self._found.values():
            found.clear()


class _Hook(PassingHook):
    """A forward hook."""

    def __init__(self, watch: ActivationWatch | None, path: str, module: nn.Module | None) -> None:
        self.watch, self.path, self.module = watch, path, module

    def __call__(self, module: nn.Module, _args: Any, output: Any = None) -> None:
        if torch.compiler.is_compiling():
            return
        if self.watch is not None and self.watch.armed and module is self.module:
            self.watch.guard(self.act)(self.watch, module, output)

    def act(self, watch: ActivationWatch, module: nn.Module, output: Any) -> None:
        watch.read(self.path, module, output)


class _Before(_Hook):
    """A forward pre-hook likewise."""

    def act(self, watch: ActivationWatch, module: nn.Module, output: Any) -> None:
        watch.begin()


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield modules without children, by path, each once; what parametrizes a weight is no child."""
    for path, module in model.named_modules():
        steps = path.split(".")
        children = [name for name, _ in module.named_children() if name != "parametrizations"]
        if not children and "parametrizations" not in steps:
            yield path, module


def _readable(output: Any) -> Tensor | None:
    """Return the first tensor of floating numbers, of at least two dimensions: a loss beside the output is none."""
    return next((tensor for tensor in _tensors(output) if _plain(tensor)), None)


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from _tensors(value)


def _plain(tensor: Tensor) -> bool:
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return False
    dense = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta
    return dense and tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() > 0
