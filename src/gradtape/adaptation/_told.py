"""From a finished search to what may be said of it; the only place where labels of the target are looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradtape import seeding
from gradtape.adaptation._encoded import Reading
from gradtape.adaptation._search import Found
from gradtape.adaptation._training import Domains, evenly, seen
from gradtape.adaptation.methods import Method
from gradtape.adaptation.outcome import Candidate, Outcome, Row, figure, right, verdict
from gradtape.evidence import Interval, paired_gain

_PROBED = 500  # rows of each domain that a probe is fitted to, and as many that it is measured on


def told(
    found: Found, read: Reading, data: Domains, select: str | None, labels: NDArray[Any] | None, seed: int
) -> Outcome:
    """Return what came of a search.

    Args:
        found: What was trained and chosen; the modules hold the weights that were chosen.
        read: How the data were read.
        data: Both domains.
        select: What chose, in words.
        labels: Of the target, in the user's words, (m,); looked at here, when everything has been chosen.
        seed: Of what is drawn here.
    """
    regression = read.task == "regression"
    candidates, places = _candidates(found, read, labels)
    source = places.index((0, len(found.trained[0].looks) - 1))
    chosen = places.index(found.chosen)
    oracle = None
    if labels is not None:
        oracle = int(np.argmax(np.array([each.accuracy for each in candidates], dtype=float)))
    table, gain = _table(found, read, data, candidates, (source, chosen, oracle), labels)
    aside = f"; {found.caution}" if found.caution else ""
    if found.shift is not None and found.shift.shifted:
        aside += "; the shares of the classes may differ between the domains, which adaptation of features cannot mend"
    if labels is not None and not regression:
        values, counts = np.unique(labels, return_counts=True)
        most = float(counts.max()) / len(labels)
        best = next(row.accuracy for row in table if row.name == "chosen")
        if best is not None and best.mean < most:
            aside += f"; {values[counts.argmax()]} for every row would be right in {most:.1%}"
    course = found.trained[found.chosen[0]].course
    return Outcome(
        candidates=candidates,
        source=source,
        chosen=chosen,
        oracle=oracle,
        select=select,
        table=table,
        gain=gain,
        verdict=verdict(gain, candidates[chosen].method, regression=regression, aside=aside),
        label_shift=None if found.shift is None else _plain(found.shift, [str(name) for name in read.classes.tolist()]),
        course=course,
        band=_band(found, data, course, seed) if any(name.endswith("domain accuracy") for name in course) else None,
        balance=_balance(found.method, data, seed),
        confusion=None if regression else _confusion(found.method, read, data, labels),
        findings=[finding._asdict() for finding in found.trained[found.chosen[0]].findings],
    )


def _candidates(
    found: Found, read: Reading, labels: NDArray[Any] | None
) -> tuple[list[Candidate], list[tuple[int, int]]]:
    candidates, places = [], []
    for index, (setting, trained) in enumerate(zip(found.settings, found.trained, strict=True)):
        for number, look in enumerate(trained.looks):
            accuracy = None
            if labels is not None:
                answers = read.said(look.answers.numpy())
                scores = right(answers, labels[evenly(len(labels))], regression=read.task == "regression")
                accuracy = float(scores.mean())
            candidates.append(Candidate(setting.method, setting.strength, look.step, look.scores, accuracy))
            places.append((index, number))
    return candidates, places


def _table(
    found: Found,
    read: Reading,
    data: Domains,
    candidates: list[Candidate],
    indices: tuple[int, int, int | None],
    labels: NDArray[Any] | None,
) -> tuple[list[Row], Interval | None]:
    regression = read.task == "regression"
    source, chosen, oracle = indices
    rows = []
    scores: dict[str, NDArray[np.float64]] = {}
    for name, index, method in (("source only", source, found.source), ("chosen", chosen, found.method)):
        each, interval = candidates[index], None
        if labels is not None and data.target is not None:
            scores[name] = right(read.said(seen(method, data.target)[1]), labels, regression=regression)
            interval = figure(scores[name], regression=regression)
        rows.append(Row(name, each.method, each.strength, each.step, interval))
    if oracle is None or not scores:
        return rows, None
    best = candidates[oracle]
    look = next(
        look
        for setting, trained in zip(found.settings, found.trained, strict=True)
        for look in trained.looks
        if (setting.method, setting.strength, look.step) == (best.method, best.strength, best.step)
    )
    assert labels is not None
    of_oracle = right(read.said(look.answers.numpy()), labels[evenly(len(labels))], regression=regression)
    rows.append(Row("oracle", best.method, best.strength, best.step, figure(of_oracle, regression=regression)))
    return rows, paired_gain(scores["chosen"], scores["source only"]) if len(labels) > 1 else None


def _plain(shift: Any, names: list[str]) -> dict[str, Any]:
    plain = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in shift._asdict().items()
    }
    return {**plain, "shifted": bool(shift.shifted), "p_value": float(shift.p_value), "sentence": shift.told(names)}


def _band(found: Found, data: Domains, course: dict[str, list[float]], seed: int) -> dict[str, Any] | None:
    """Return where a critic's accuracy should lie, by probes of the features before and after."""
    if data.target is None:
        return None
    before, after = (probe(method, data, seed) for method in (found.source, found.method))
    high = 0.5 + max(0.05, (before - 0.5) / 2)
    accuracy = next(values for name, values in course.items() if name.endswith("domain accuracy"))
    ended = float(np.mean(accuracy[-max(1, len(accuracy) // 10) :]))
    where = "where it should" if 0.45 <= ended <= high else "too high: it wins, and the features stay apart"
    if ended < 0.45:
        where = "too low: the two players run round in circles, so another seed or a lower strength may do better"
    sentence = (
        f"The critic ended at {ended:.2f}, {where}. It should come to lie between 0.50, chance, and {high:.2f}, half "
        f"way to the {before:.2f} with which a fresh linear probe tells the domains apart by the features of source "
        f"only; by those of the chosen method, a probe reaches {after:.2f}. A critic at 0.50 from the first step on "
        "has learnt nothing."
    )
    return {"low": 0.5, "high": high, "ended": ended, "before": before, "after": after, "sentence": sentence}


def probe(method: Method, data: Domains, seed: int) -> float:
    """Return how well a fresh logistic regression tells the domains apart by the features, on other rows.

    Source: the proxy of the distance of domains of Ben-David et al., Analysis of Representations for Domain Adaptation,
        NeurIPS 2006.
    """
    from sklearn.linear_model import LogisticRegression

    assert data.target is not None
    halves: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    random = seeding.generator(seed, "probe")
    n = min(len(data.source), len(data.target), 2 * _PROBED)
    for x in (data.source, data.target):
        z = seen(method, x[torch.randperm(len(x), generator=random)[:n].to(x.device)])[0]
        halves.append((z[: n // 2], z[n // 2 :]))
    sides = [np.concatenate(parts) for parts in zip(*halves, strict=True)]
    labels = [np.repeat([0, 1], [len(part) for part in parts]) for parts in zip(*halves, strict=True)]
    if not len(sides[0]):
        return 0.5
    scale = float(sides[0].std()) or 1.0  # one for all, or what the features have all but given up would count in full
    model = LogisticRegression(max_iter=300).fit(sides[0] / scale, labels[0])
    return float(model.score(sides[1] / scale, labels[1]))


def _balance(method: Method, data: Domains, seed: int) -> list[dict[str, Any]]:
    """Return per layer of the features how long the gradients of task and term are, and their cosine."""
    if data.target is None:
        return []
    random = seeding.generator(seed, "balance")
    rows, other = (torch.randperm(len(x), generator=random)[:256].to(x.device) for x in (data.source, data.target))
    layers = {name: layer for name, layer in method.features.named_modules() if list(layer.parameters(recurse=False))}
    parameters = [p for layer in layers.values() for p in layer.parameters(recurse=False) if p.requires_grad]
    batch = method.see(data.source[rows], data.labels[rows], data.target[other], data.domains[rows])
    term = method.term(batch)
    if term is None or not term.requires_grad or not parameters:
        return []
    both = []
    for loss in (method.supervised(batch), term):
        if not loss.requires_grad:
            return []
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        both.append({id(p): g for p, g in zip(parameters, found, strict=True) if g is not None})
    return [{"layer": name or "features", **_sizes(layer, *both)} for name, layer in layers.items()]


def _sizes(layer: nn.Module, task: dict[int, Tensor], term: dict[int, Tensor]) -> dict[str, float]:
    empty = torch.zeros(1)
    own = [id(p) for p in layer.parameters(recurse=False)]
    one, two = (torch.cat([grads.get(key, empty).reshape(-1).double().cpu() for key in own]) for grads in (task, term))
    sizes = float(one.norm()), float(two.norm())
    cosine = float(one @ two) / (sizes[0] * sizes[1]) if len(one) == len(two) and all(sizes) else 0.0
    return {"task": sizes[0], "domain": sizes[1], "cosine": cosine}


def _confusion(method: Method, read: Reading, data: Domains, labels: NDArray[Any] | None) -> dict[str, Any]:
    classes = read.classes
    x = data.validation if labels is None or data.target is None else data.target
    truth = classes[data.validation_labels.cpu().numpy()] if labels is None else labels
    answers = read.said(seen(method, x)[1])
    names = np.array(sorted({*map(str, truth.tolist()), *map(str, answers.tolist()), *map(str, classes.tolist())}))
    if classes.dtype.kind in "iu":
        names = np.array(sorted(names.tolist(), key=float))
    place = {name: index for index, name in enumerate(names.tolist())}
    counts = np.zeros((len(names), len(names)), int)
    for is_, said in zip(map(str, truth.tolist()), map(str, answers.tolist()), strict=True):
        counts[place[is_], place[said]] += 1
    return {
        "of": "source validation" if labels is None else "target",
        "classes": names.tolist(),
        "counts": counts.tolist(),
    }
