"""What came out: the arm chosen on validation, the test set opened once, the evidence on the samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gradtape.augmentation.experiment import ARMS, BASELINE, CONTROLS, MIX, SYNTHETIC, TITLES, Experiment
from gradtape.data import ImageSet, SealedTest
from gradtape.evidence import (
    Comparison,
    Interval,
    compare,
    fidelity,
    nearest_distances,
    paired_per_group,
    per_group,
    proportion,
)
from gradtape.nets import ImageClassifier
from gradtape.seeding import derive
from gradtape.synthesis import Samples
from gradtape.training import Progress, features, predict, train_classifier

_FRESH_LIMIT = 2000
_ENOUGH = 40
_NEIGHBOURS = 5
_JUDGE_STEPS = 400


def choose(validation: Mapping[str, list[float]], among: tuple[str, ...]) -> str:
    """Return the arm with the highest mean validation accuracy; the first named wins a tie."""
    return max(among, key=lambda arm: float(np.mean(validation[arm])))


def measure(experiment: Experiment, validation: Mapping[str, list[float]], sealed: SealedTest) -> dict[str, Any]:
    """Choose on validation, then open the test set and compare every arm with the real images alone."""
    chosen, best = choose(validation, ARMS), choose(validation, (*SYNTHETIC, MIX))
    control = choose(validation, CONTROLS)
    test = sealed.open()
    repeats = experiment.settings.repeats
    correct = {
        arm: np.stack([_predicted(experiment, repeat, arm, test) == test.labels for repeat in range(repeats)])
        for arm in ARMS
    }
    scores = {arm: right.mean(axis=1).tolist() for arm, right in correct.items()}
    comparison = compare(scores, BASELINE, best)
    claim, versus = comparison.claim(), compare(scores, control, best)
    beyond = versus.claim()
    classes = list(test.classes)
    base = per_group(correct[BASELINE], test.labels, classes)
    ours = per_group(correct[best], test.labels, classes)
    gains = paired_per_group(correct[best], correct[BASELINE], test.labels, classes)
    return {
        "arms": {
            arm: {
                "title": TITLES[arm],
                "kind": "baseline" if arm == BASELINE else "control" if arm in CONTROLS else "synthetic",
                "validation": validation[arm],
                "test": scores[arm],
                "mean": comparison.arm(arm).mean.to_dict(),
                "gain": None if arm == BASELINE else _interval(comparison.arm(arm).gain),
                "claim": None if arm == BASELINE else comparison.claim(arm).to_dict(),
            }
            for arm in ARMS
        },
        "chosen": chosen,
        "best_synthetic": best,
        "best_control": control,
        "verdict": {
            "helped": claim.helps,
            "sentence": _sentence(experiment, best, claim.helps, comparison.arm(best).gain),
            "beyond_control": {"helped": beyond.helps, "sentence": _beyond(control, versus)},
            "advice": _advice(chosen, compare(scores, BASELINE, None if chosen == BASELINE else chosen)),
        },
        "per_class": [
            {"name": a.name, "n": a.n, "real": a.value, "best_synthetic": b.value, "gain": g.to_dict()["interval"]}
            for a, b, g in zip(base, ours, gains, strict=True)
        ],
    }


def weigh(experiment: Experiment, device: torch.device, progress: Progress) -> dict[str, Any]:
    """Weigh each synthetic maker's samples of the first repeat against fresh real images that nothing was made from."""
    data, seed = experiment.data, experiment.settings.seed
    train = experiment.rows(0)
    rest = np.setdiff1d(experiment.split.pool, train)
    apart = len(rest) >= _ENOUGH
    others = np.random.default_rng(derive(seed, "fresh")).permutation(rest if apart else experiment.validation)
    fresh = data.take(others[:_FRESH_LIMIT])
    progress.stage("evidence")
    judge = _judge(experiment, device) if apart else None

    def describe(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        if judge is None:
            return images.reshape(len(images), -1).astype(np.float64)
        return features(judge, torch.from_numpy(images).to(device)).cpu().numpy().astype(np.float64)

    half = len(fresh) // 2
    seen = describe(fresh.images)
    known = data.images[train].reshape(len(train), -1)
    control = fresh.images.reshape(len(fresh), -1)
    makers = {}
    for name in SYNTHETIC:
        samples = experiment.samples(0, name)
        images = samples.images.cpu().numpy()
        near = nearest_distances(known, images.reshape(len(images), -1), control, seed=derive(seed, "near", name))
        made = describe(images)
        enough = half > _NEIGHBOURS and len(made) > _NEIGHBOURS
        close = (
            fidelity(made, seen[:half], seen[half:], _NEIGHBOURS, derive(seed, "fidelity", name)) if enough else None
        )
        makers[name] = {
            "n": len(images),
            "fidelity": None if close is None else close.to_dict(),
            "nearness": near.to_dict(),
            "nearness_sentence": near.sentence("images"),
            "agreement": None if judge is None else _agreement(judge, samples, data.classes),
        }
    ceiling = None
    if judge is not None:
        right = predict(judge, torch.from_numpy(fresh.images).to(device)).cpu().numpy() == fresh.labels
        ceiling = proportion(int(right.sum()), len(right)).to_dict()
    return {
        "makers": makers,
        "agreement_of_real": ceiling,
        "fresh": len(fresh),
        "fresh_from": "pool" if apart else "validation",
        "space": "features of a judge trained on the validation images" if judge else "pixels",
    }


def _sentence(experiment: Experiment, best: str, helps: str, gain: Interval | None) -> str:
    """Say in words whether the synthetic data helped; "no" where the interval covers 0."""
    assert gain is not None
    real = len(experiment.rows(0))
    answer = {
        "yes": "Yes. They raised test accuracy",
        "no": "No. They changed test accuracy by no more than chance might",
        "hurts": "No. They lowered test accuracy",
    }.get(helps, "It cannot be told. Every repeat gave the same change in test accuracy")
    added = experiment.settings.added * real
    what = f"{added:,} synthetic images ({TITLES[best]}) beside {real:,} real ones"
    return f"{answer}: {what}, {_figures(gain)}."


def _beyond(control: str, comparison: Comparison) -> str:
    """Say how the synthetic data did beside the best classic control."""
    gain = comparison.arm(comparison.chosen or "").gain
    assert gain is not None
    read = {"yes": "better", "hurts": "worse"}.get(
        comparison.claim().helps, "no difference that can be told from chance"
    )
    return f"Against {control} ({TITLES[control]}), the best control on validation: {read}, {_figures(gain)}."


def _advice(chosen: str, comparison: Comparison) -> str:
    """Say what validation chose, and what the test says of that."""
    if chosen == BASELINE:
        mean = comparison.arm(BASELINE).mean
        return f"Validation chose to add nothing: train on the real images alone, {mean.mean:.1%} on test."
    arm = comparison.arm(chosen)
    assert arm.gain is not None
    claim, advice = {
        "yes": ("a gain", f"Train with {chosen}"),
        "hurts": ("a loss", "Train on the real images alone"),
    }.get(
        comparison.claim().helps,
        ("no gain that can be told from chance", "Train on the real images alone, or ask again with more repeats"),
    )
    found = f"Validation chose {chosen} ({TITLES[chosen]}): {arm.mean.mean:.1%} on test; {claim}, {_figures(arm.gain)}."
    return f"{found} {advice}."


def _figures(gain: Interval) -> str:
    ends = f"{points(gain.low)} to {points(gain.high)}"
    return f"{points(gain.mean)} points, {gain.level:.0%} interval {ends}, {gain.n} repeats"


def points(value: float) -> str:
    """Return a gain in points with its sign: one decimal, or as many as keep it from looking like 0.

    >>> points(1.25), points(-0.004), points(1e-15)
    ('+1.2', '-0.004', '+0.0')
    """
    if abs(value) >= 0.05:
        return f"{value:+.1f}"
    return f"{value:+.1g}" if abs(value) >= 1e-3 else "+0.0"


def _predicted(experiment: Experiment, repeat: int, arm: str, test: ImageSet) -> npt.NDArray[np.int64]:
    model = experiment.model(repeat, arm)
    device = next(model.parameters()).device
    predicted: npt.NDArray[np.int64] = predict(model, torch.from_numpy(test.images).to(device)).cpu().numpy()
    return predicted


def _judge(experiment: Experiment, device: torch.device) -> torch.nn.Module:
    """Train a classifier on the validation images, which no maker and no arm was trained on."""
    data = experiment.data.take(experiment.validation)
    seed = derive(experiment.settings.seed, "judge")
    _, channels, height, width = data.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        judge = ImageClassifier((channels, height, width), len(data.classes)).to(device)
    targets = torch.nn.functional.one_hot(torch.from_numpy(data.labels), len(data.classes)).float()
    steps = max(_JUDGE_STEPS, experiment.settings.steps)
    train_classifier(judge, torch.from_numpy(data.images).to(device), targets.to(device), steps=steps, seed=seed)
    return judge


def _agreement(judge: torch.nn.Module, samples: Samples, classes: tuple[str, ...]) -> dict[str, Any]:
    labels = samples.targets.argmax(1)
    right = (predict(judge, samples.images) == labels).cpu().numpy()
    figures = per_group(right, labels.cpu().numpy(), list(classes))
    return {
        "all": proportion(int(right.sum()), len(right)).to_dict(),
        "per_class": {figure.name: figure.value for figure in figures},
    }


def _interval(interval: Any) -> Any:
    return None if interval is None else interval.to_dict()
