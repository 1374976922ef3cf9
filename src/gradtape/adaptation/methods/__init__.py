"""Methods of domain adaptation, each in a file of its own."""

from __future__ import annotations

import difflib
import inspect
from functools import reduce
from typing import Any

from torch import nn

from gradtape.adaptation.methods._base import STRENGTH, UNKNOWN, Inputs, Method, Seen, Task, slow_ramp
from gradtape.adaptation.methods._check import MethodCheck
from gradtape.adaptation.methods._critic import Critic
from gradtape.adaptation.methods.adda import ADDA
from gradtape.adaptation.methods.afn import AFN
from gradtape.adaptation.methods.bsp import BSP
from gradtape.adaptation.methods.cdan import CDAN, CDANE
from gradtape.adaptation.methods.combined import Combined
from gradtape.adaptation.methods.coral import DeepCORAL
from gradtape.adaptation.methods.dann import DANN
from gradtape.adaptation.methods.generalisation import Generalisation
from gradtape.adaptation.methods.mcc import MCC
from gradtape.adaptation.methods.mcd import MCD
from gradtape.adaptation.methods.mdd import MDD
from gradtape.adaptation.methods.mmd import JAN, MMD
from gradtape.adaptation.methods.multi_source import MultiSource
from gradtape.adaptation.methods.open_set import OSBP
from gradtape.adaptation.methods.partial import PADA
from gradtape.adaptation.methods.self_training import SelfTraining
from gradtape.adaptation.methods.source import SourceOnly
from gradtape.errors import InputError

METHODS: dict[str, type[Method]] = {
    "source": SourceOnly,
    "dann": DANN,
    "cdan": CDAN,
    "cdan+e": CDANE,
    "adda": ADDA,
    "mcd": MCD,
    "mdd": MDD,
    "mcc": MCC,
    "afn": AFN,
    "coral": DeepCORAL,
    "mmd": MMD,
    "jan": JAN,
    "bsp": BSP,
    "self-training": SelfTraining,
    "multi-source": MultiSource,
    "partial": PADA,
    "open-set": OSBP,
    "generalisation": Generalisation,
}
"""Method's name -> its class."""


def make(name: str, features: nn.Module, head: nn.Module, **settings: Any) -> Method:
    """Return a method by its name, or several as one.

    Args:
        name: A key of ``METHODS``, or several joined by ``+``, as in ``dann+mcc``.
        features: ``features(x) -> (n, d)``.
        head: ``(n, d) -> (n, k)``, with ``extra_outputs`` more for a method that needs them.
        settings: Those of the method; of several, each gets those that it knows.

    Raises:
        InputError: An unknown name, a setting that no part knows, or methods that do not go together.

    Examples:
        >>> make("dann+mcc", nn.Linear(2, 8), nn.Linear(8, 3), strength=0.5, temperature=2.0).name
        'dann+mcc'
        >>> make("damn", nn.Linear(2, 8), nn.Linear(8, 3))
        Traceback (most recent call last):
            ...
        gradtape.errors.InputError: there is no method 'damn', did you mean 'dann'?: use one of source, dann, cdan, ...
    """
    kinds = [METHODS[part] for part in parts_of(name)]
    known = [settings_of(kind) for kind in kinds]
    for setting in settings:
        if not any(setting in names for names in known):
            remedy = f"it takes {', '.join(sorted(set().union(*known)))}"
            raise InputError(f"{name} has no setting {setting!r}", remedy=remedy)
    made = [
        kind(features, head, **{key: value for key, value in settings.items() if key in names})
        for kind, names in zip(kinds, known, strict=True)
    ]
    return reduce(lambda one, other: one + other, made)


def parts_of(name: str) -> list[str]:
    """Return the keys of ``METHODS`` that a name is made of: ``cdan+e+mcc`` has two.

    Raises:
        InputError: One of them is unknown.
    """
    parts: list[str] = []
    for word in name.split("+"):
        if parts and f"{parts[-1]}+{word}" in METHODS:
            parts[-1] += f"+{word}"
        else:
            parts.append(word)
    for part in parts:
        if part not in METHODS:
            close = difflib.get_close_matches(part.lower(), METHODS, n=1, cutoff=0.5)
            meant = f", did you mean {close[0]!r}?" if close else ""
            raise InputError(f"there is no method {part!r}{meant}", remedy=f"use one of {', '.join(METHODS)}")
    return parts


def settings_of(kind: type[Method]) -> set[str]:
    """Return the names of a method's settings."""
    """Return the names of a method's settings."""
    found = [inspect.signature(each.__init__).parameters.values() for each in kind.__mro__ if issubclass(each, Method)]
    return {one.name for parameters in found for one in parameters if one.kind is one.KEYWORD_ONLY}


__all__ = [
    "ADDA",
    "AFN",
    "BSP",
    "CDAN",
    "CDANE",
    "DANN",
    "JAN",
    "MCC",
    "MCD",
    "MDD",
    "METHODS",
    "MMD",
    "OSBP",
    "PADA",
    "STRENGTH",
    "UNKNOWN",
    "Combined",
    "Critic",
    "DeepCORAL",
    "Generalisation",
    "Inputs",
    "Method",
    "MethodCheck",
    "MultiSource",
    "Seen",
    "SelfTraining",
    "SourceOnly",
    "Task",
    "make",
    "parts_of",
    "settings_of",
    "slow_ramp",
]
