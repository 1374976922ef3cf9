"""Which device to compute on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gradtape.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` takes an accelerator where there is one.

    Raises:
        InputError: No such device, or none on this machine.

    Examples:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {name!r} cannot be used on this machine", remedy="use cpu, or auto") from None
    return device


@contextmanager
def single_thread() -> Iterator[None]:
    """Compute with one CPU thread while the context lasts.

    The number of threads decides in which order sums are taken, so results would differ between machines with
    another number of cores; and small networks are faster with one.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
