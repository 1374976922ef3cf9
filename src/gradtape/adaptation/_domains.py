"""Source, further sources and target, from names and paths to arrays or tables of one kind."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gradtape.data import ImageSet, Table, alike, holds_table, read_images, read_table
from gradtape.errors import DataError, InputError

Source = str | os.PathLike[str]


class Read(NamedTuple):
    """What an adaptation works on.

    Attributes:
        X: Inputs of all sources, one after the other: a Table, or float32 images (n, c, h, w) in [0, 1].
        y: Their labels, (n,): int64 or str for classes, float64 for numbers.
        Xt: Inputs of the target.
        yt: Its labels, (m,), of the type of ``y``; None where it has none.
        domains: The source of each row, (n,); None where there is one.
        names: Short names of the sources.
        target: Short name of the target.
        notes: What was read and what was changed, a sentence each.
    """

    X: Any
    y: NDArray[Any]
    Xt: Any
    yt: NDArray[Any] | None
    domains: NDArray[np.int64] | None
    names: tuple[str, ...]
    target: str
    notes: list[str]


def read_domains(
    sources: Sequence[Source],
    target: Source,
    *,
    label: str | None = None,
    target_label: str | None = None,
    data_dir: Source | None = None,
) -> Read:
    """Read all domains and bring them to one kind: tables to the same columns, images to one size and colour.

    Raises:
        DataError: Data that cannot be read or are of different kinds, labels or a column of labels that are not there.
        InputError: A column of labels is named, and these are images.
    """
    every = [*sources, target]
    tables = [holds_table(each) for each in every]
    if any(tables) and not all(tables):
        table, other = every[tables.index(True)], every[tables.index(False)]
        what = f"{os.fspath(table)} is a table and {os.fspath(other)} is none"
        raise DataError(what, remedy="give domains of one kind")
    if any(tables):
        return _read_tables(sources, target, label, target_label)
    if label or target_label:
        given = f"--label {label}" if label else f"--target-label {target_label}"
        raise InputError(f"{given} names a column, and these are images", remedy="leave it out")
    return _read_images([read_images(each, data_dir=data_dir) for each in every])


def _read_tables(sources: Sequence[Source], target: Source, label: str | None, target_label: str | None) -> Read:
    found = [read_table(each, target=label) for each in sources]
    for path, (_, labels) in zip(sources, found, strict=True):
        if labels is None:
            raise DataError(f"{os.fspath(path)} has no labels", remedy="name their column with --label (label=)")
    table, known = read_table(target)
    named = target_label or (label if label in table.columns else None)
    if named is not None:
        table, known = read_table(target, target=named)
    *parts, other = alike(*(each for each, _ in found), table)
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in other.names}
    labels, answers = _of_one_kind([given for _, given in found if given is not None], known)
    names = tuple(part.name for part in parts)
    notes = [f"{part.name}: {part.note}" for part in (*parts, other)]
    domains = _numbered([len(part) for part in parts])
    return Read(Table(columns, name=names[0]), labels, other, answers, domains, names, other.name, notes)


def _read_images(found: Sequence[ImageSet]) -> Read:
    *sources, target = found
    for each in sources:
        if not each.classes:
            raise DataError(
                f"{each.name} has no labels", remedy="give a source with labels, such as a folder per class"
            )
    channels = max(each.images.shape[1] for each in found)
    size = (min(each.images.shape[2] for each in found), min(each.images.shape[3] for each in found))
    notes = [f"{each.name}: {each.note}" for each in found]
    notes += [f"{each.name} resized to {size[1]}x{size[0]}" for each in found if each.images.shape[2:] != size]
    notes += [f"{each.name}: grey repeated in three channels" for each in found if each.images.shape[1] != channels]
    images = [_brought_to(each.images, channels, size) for each in found]
    words = [np.array(each.classes, dtype=np.str_)[each.labels] for each in sources]
    known = np.array(target.classes, dtype=np.str_)[target.labels] if target.classes else None
    if all(_whole(name) for each in sources for name in each.classes):
        words = [each.astype(np.int64) for each in words]
        if all(_whole(name) for name in target.classes) and known is not None:
            known = known.astype(np.int64)
    labels, answers = _of_one_kind(words, known)
    domains = _numbered([len(each) for each in sources])
    names = tuple(each.name for each in sources)
    return Read(np.concatenate(images[:-1]), labels, images[-1], answers, domains, names, target.name, notes)


def _integral(labels: NDArray[Any]) -> bool:
    """Whether numbers are whole, and so classes."""
    return labels.dtype.kind == "f" and bool((labels == np.rint(labels)).all())


def _whole(name: str) -> bool:
    return name.isdecimal() and name == str(int(name))


def _brought_to(images: NDArray[np.float32], channels: int, size: tuple[int, int]) -> NDArray[np.float32]:
    if images.shape[2:] != size:
        parts = torch.from_numpy(images).split(1024)
        resized = [torch.nn.functional.interpolate(p, size, mode="bilinear", antialias=True) for p in parts]
        images = torch.cat(resized).clamp(0, 1).numpy()
    return images if images.shape[1] == channels else np.repeat(images, channels, axis=1)


def _numbered(sizes: Sequence[int]) -> NDArray[np.int64] | None:
    return np.repeat(np.arange(len(sizes)), sizes) if len(sizes) > 1 else None


def _of_one_kind(
    labels: Sequence[NDArray[Any]], known: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Labels of all sources, words for all if some are words; and those of the target as theirs are."""
    every = [each.astype(np.int64) if _integral(each) else each for each in labels]
    if len({each.dtype.kind in "iufb" for each in every}) > 1:
        every = [each.astype(np.str_) for each in every]
    joined = np.concatenate(every)
    if known is None:
        return joined, None
    if joined.dtype.kind == "f" and known.dtype.kind not in "iufb":
        what = f"labels of the target are words ({known[0]}, ...), and those of the source are numbers"
        raise DataError(what, remedy="use numbers in both")
    if joined.dtype.kind not in "iufb":
        answers = known.astype(np.str_)
    elif known.dtype.kind in "iufb":
        answers = known.astype(np.float64)
        if joined.dtype.kind in "iub" and (answers == np.rint(answers)).all():
            answers = answers.astype(joined.dtype)
    else:  # words that are none of the classes become a number that is none of them
        other = int(joined.min()) - 1
        answers = np.array([int(word) if _whole(word) else other for word in known.tolist()])
    if joined.dtype.kind != "f" and not np.isin(answers, joined).any():
        what = f"no label of the target ({known[0]}, ...) is one of the source ({joined[0]}, ...)"
        raise DataError(what, remedy="use the same words for the same classes")
    return joined, answers
