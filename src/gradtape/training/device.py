"""Which device to compute on."""

from __future__ import annotations

import torch

from gradtape.errors import InputError


def resolve_device(name: str = "auto") -> torch.device:
    """Return the device of that name; ``auto`` takes an accelerator where there is one.

    Raises:
        InputError: No such device, or none on this machine.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"device {name!r} cannot be used on this machine", remedy="use cpu, or auto") from None
    return device
