"""Seeds for independent random streams, derived from one seed and a path of names."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["derive", "generator", "reseed"]


def derive(seed: int, *path: str | int) -> int:
    """Return the seed of the random stream named by ``path`` under ``seed``.

    Streams with different paths are independent, and adding one moves no other: the seed is a BLAKE2b hash
    of the whole path.

    Args:
        seed: The user's seed, any integer.
        path: Names of the stream, from the general to the particular.

    Returns:
        An integer in [0, 2**63), accepted by torch, numpy and Python.

    Examples:
        >>> derive(0, "maker", 1) == derive(0, "maker", 1)
        True
        >>> derive(0, "maker", 1) == derive(0, "maker", 2)
        False
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *path: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a ``torch.Generator`` for the stream named by ``path``; see ``derive``."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, *path))


def reseed(device: torch.device, seed: int, *path: str | int) -> None:
    """Put torch's own random streams, of the CPU and of ``device``, where the stream named by ``path`` begins.

    They are what dropout and its kin draw from. ``torch.manual_seed`` does the same for every device there might be,
    and keeps a traceback for each of them, which costs more than a small training step.

    Examples:
        >>> import torch
        >>> reseed(torch.device("cpu"), 0, "noise", 1)
        >>> first = torch.rand(2)
        >>> reseed(torch.device("cpu"), 0, "noise", 1)
        >>> bool((torch.rand(2) == first).all())
        True
    """
    import torch

    torch.default_generator.manual_seed(derive(seed, *path))
    if device.type != "cpu":
        getattr(torch, device.type).manual_seed(derive(seed, *path))
