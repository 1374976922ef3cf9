"""What the name of an operation tells."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import Tensor

_IN_PLACE = {"setitem", "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul"}
_IN_PLACE |= {"iand", "ior", "ixor", "ilshift", "irshift"}
# These update running statistics, and their name does not say so
BUFFERED = {"batch_norm", "instance_norm", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm"}
SILENT = {"grad", "requires_grad_", "retain_grad", "shape", "size", "dim", "ndim", "dtype", "device", "requires_grad"}
SILENT |= {"is_floating_point", "numel", "layout", "is_cuda", "stride", "is_contiguous", "is_leaf", "grad_fn", "len"}
SILENT |= {"is_complex", "is_sparse", "is_nested", "storage_offset", "data_ptr", "_version", "untyped_storage"}
SILENT |= {"requires_grad=", "grad=", "_set_grad_enabled", "set_grad_enabled"}
READS = {"item", "tolist", "numpy", "array", "bool", "int", "float", "complex", "index", "contains"}
READS |= {"equal", "allclose", "is_nonzero"}


def overwrites(op: str, kwargs: dict[str, Any]) -> bool:
    """Return whether an operation overwrites what it is given."""
    return op.endswith("_") or op in _IN_PLACE or bool(kwargs.get("inplace")) or kwargs.get("out") is not None


def set_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    """Assign to elements, and return the tensor."""
    tensor[index] = value
    return tensor


@lru_cache(4096)
def operation(func: Callable[..., Any]) -> str:
    """Return the name of what a torch function does, with ``=`` behind it where it sets an attribute."""
    name: str = getattr(func, "__name__", type(func).__name__)
    if name in ("__get__", "__set__"):
        return getattr(getattr(func, "__self__", None), "__name__", name) + "=" * (name == "__set__")
    return name.strip("_") if name.startswith("__") else name.partition(".")[0]  # of torch.ops, mul_.Tensor
