"""What unlearning sex and race costs and brings on Adult, beside fairlearn's mitigations.

``python benchmarks/unlearning.py [--seeds 5] [--quick] [--attribute sex] [--data-dir FOLDER]``, one CPU thread.

Each seed divides the 32,561 rows anew: a fifth is tested on, a fifth of the rest is for choosing, the others are learnt
from. The protected column is no input of any predictor; ``ThresholdOptimizer`` needs it to predict. "plain" is the
same network without an adversary. fairlearn's adversary has the same network, batches and passes over the rows; "tuned"
chooses its rate and α by ``Unlearner``'s rule. ``ExponentiatedGradient``, of a logistic regression, and
``ThresholdOptimizer``, on the plain network, are told to leave a quarter of the disparity, as far as they can be told.
Figures are of the test rows, by fairlearn.metrics.
"""

from __future__ import annotations

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from fairlearn.adversarial import AdversarialFairnessClassifier
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from fairlearn.postprocessing import ThresholdOptimizer
from fairlearn.reductions import DemographicParity, EqualizedOdds, ExponentiatedGradient
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from gradtape.adaptation._unlearning_inputs import encoder
from gradtape.adaptation.unlearning import Unlearner
from gradtape.evidence import mean_interval

ALPHAS = (0.3, 1.0, 3.0, 10.0)
RATES = (1e-3, 3e-3)
SHORT = {"demographic_parity": "DP", "equalised_odds": "EO"}
THEIRS = {"demographic_parity": "demographic_parity", "equalised_odds": "equalized_odds"}
MEASURES = {"demographic_parity": demographic_parity_difference, "equalised_odds": equalized_odds_difference}


class Rows(NamedTuple):
    """Part of the data."""

    X: pd.DataFrame
    y: np.ndarray
    group: np.ndarray


Predict = Callable[[Rows], np.ndarray]


class Score(NamedTuple):
    """Figures of one seed on the test rows."""

    accuracy: float
    parity: float
    odds: float
    seconds: float


def adult(folder: Path, attribute: str) -> Rows:
    table = pd.read_csv(folder / "adult" / "adult.csv", skipinitialspace=True)
    y = (table.pop("income") == ">50K").to_numpy().astype(int)
    return Rows(table.drop(columns=[attribute]), y, table[attribute].to_numpy(dtype=object))


def take(rows: Rows, index: np.ndarray) -> Rows:
    return Rows(rows.X.iloc[index], rows.y[index], rows.group[index])


def parts(rows: Rows, seed: int) -> tuple[Rows, Rows, Rows]:
    """Return what is learnt from, what is chosen on, what is tested on; shares of groups are those of the whole."""
    rest, test = train_test_split(np.arange(len(rows.y)), test_size=0.2, random_state=seed, stratify=rows.group)
    train, choose = train_test_split(rest, test_size=0.2, random_state=seed, stratify=rows.group[rest])
    return take(rows, train), take(rows, choose), take(rows, test)


class Setting(NamedTuple):
    """What contenders of one seed are given; the reference is the plain network, learnt from the training rows."""

    train: Rows
    choose: Rows
    both: Rows
    reference: Unlearner
    seed: int
    quick: bool

    @property
    def steps(self) -> dict[str, Any]:
        """Return what makes trainings short."""
        return {"steps": 150, "strengths": (4.0, 16.0)} if self.quick else {}

    def allowed(self, goal: str) -> float:
        """Return a quarter of the reference's disparity on the rows for choosing."""
        return 0.25 * self.apart(goal, self.reference.predict(self.choose.X))

    def apart(self, goal: str, said: np.ndarray) -> float:
        """Return the disparity of predictions for the rows for choosing."""
        return float(MEASURES[goal](self.choose.y, said, sensitive_features=self.choose.group))


def setting(train: Rows, choose: Rows, seed: int, quick: bool) -> Setting:
    both = Rows(pd.concat([train.X, choose.X]), np.r_[train.y, choose.y], np.r_[train.group, choose.group])
    steps = 150 if quick else None
    reference = Unlearner(seed=seed, strength=0.0, steps=steps).fit(train.X, train.y, attribute=train.group)
    return Setting(train, choose, both, reference, seed, quick)


def contenders(given: Setting) -> Iterator[tuple[str, Callable[[], Predict]]]:
    """Yield (name, function that fits and returns the function from test rows to predictions)."""
    yield "plain", partial(ours, given, strength=0.0)
    for goal, short in SHORT.items():
        for by in ("reversal", "projection"):
            yield f"{by}, {short}", partial(ours, given, goal=goal, by=by)
        yield f"fairlearn adversary, {short}", partial(adversary, given, goal)
        yield f"fairlearn adversary tuned, {short}", partial(tuned, given, goal)
        yield f"ExponentiatedGradient, {short}", partial(reduction, given, goal)
        yield f"ThresholdOptimizer, {short}", partial(thresholds, given, goal)


def ours(given: Setting, **settings: Any) -> Predict:
    rows = given.both
    model = Unlearner(seed=given.seed, **settings, **given.steps).fit(rows.X, rows.y, attribute=rows.group)
    print(f"    {settings}: chosen {model.chosen_}", flush=True)
    return lambda test: model.predict(test.X)


def encoded(rows: Rows) -> tuple[Any, Callable[[pd.DataFrame], np.ndarray]]:
    """Return numbers as ``Unlearner`` makes them, and how it makes them of other rows."""
    made = encoder(rows.X).fit(rows.X)
    return made.transform(rows.X), made.transform


def adversary(given: Setting, goal: str, alpha: float = 1.0, rate: float = 1e-3) -> Predict:
    X, encode = encoded(given.train)
    model = AdversarialFairnessClassifier(
        backend="torch",
        predictor_model=[64, "relu", 64, "relu"],
        adversary_model=[32, "relu", 32, "relu"],
        constraints=THEIRS[goal],
        alpha=alpha,
        learning_rate=rate,
        batch_size=512,
        epochs=1 if given.quick else 15,
        random_state=given.seed,
    )
    model.fit(X, given.train.y, sensitive_features=given.train.group)
    return lambda rows: np.asarray(model.predict(encode(rows.X)))


def tuned(given: Setting, goal: str) -> Predict:
    """Choose by Unlearner's rule: the most accurate of those that leave a quarter of the plain disparity."""
    grid = [(1.0, 3e-3), (0.3, 3e-3)] if given.quick else [(alpha, rate) for alpha in ALPHAS for rate in RATES]
    found = []
    for alpha, rate in grid:
        try:
            predict = adversary(given, goal, alpha, rate)
        except RuntimeError as error:  # its losses become NaN
            print(f"    fairlearn adversary, alpha {alpha}, rate {rate}: {error}", flush=True)
            continue
        said = predict(given.choose)
        found.append((given.apart(goal, said), float((said == given.choose.y).mean()), predict))
    able = [one for one in found if one[0] <= given.allowed(goal)] or [min(found, key=lambda one: one[0])]
    return max(able, key=lambda one: one[1])[2]


def reduction(given: Setting, goal: str) -> Predict:
    rows = given.both
    X, encode = encoded(rows)
    bound = given.allowed(goal) / 2  # from the mean of all groups
    constraint = (DemographicParity if goal == "demographic_parity" else EqualizedOdds)(difference_bound=bound)
    model = ExponentiatedGradient(LogisticRegression(max_iter=200), constraint, max_iter=5 if given.quick else 50)
    model.fit(X, rows.y, sensitive_features=rows.group)
    return lambda test: np.asarray(model.predict(encode(test.X), random_state=given.seed))


def thresholds(given: Setting, goal: str) -> Predict:
    model = ThresholdOptimizer(
        estimator=given.reference,
        constraints=THEIRS[goal],
        prefit=True,
        predict_method="predict_proba",
        tol=given.allowed(goal) if goal == "demographic_parity" else None,  # it knows none for equalised odds
    )
    model.fit(given.choose.X, given.choose.y, sensitive_features=given.choose.group)
    return lambda test: np.asarray(model.predict(test.X, sensitive_features=test.group, random_state=given.seed))


def score(predict: Predict, test: Rows, seconds: float) -> Score:
    said = predict(test)
    return Score(
        float((said == test.y).mean()),
        float(demographic_parity_difference(test.y, said, sensitive_features=test.group)),
        float(equalized_odds_difference(test.y, said, sensitive_features=test.group)),
        seconds,
    )


def table(found: dict[str, list[Score]]) -> Iterator[str]:
    def shown(values: list[float], digits: int = 3) -> str:
        if len(values) < 2:
            return f"{values[0]:.{digits}f}"
        interval = mean_interval(values)
        return f"{interval.mean:.{digits}f} ± {interval.high - interval.mean:.{digits}f}"

    yield "| | accuracy | points lost | DP difference | cut, % | EO difference | cut, % | seconds |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, scores in found.items():
        pairs = list(zip(found["plain"], scores, strict=True))
        cells = [
            shown([s.accuracy for s in scores], 4),
            shown([100 * (p.accuracy - s.accuracy) for p, s in pairs], 2),
            shown([s.parity for s in scores]),
            shown([100 * (1 - s.parity / p.parity) for p, s in pairs], 0),
            shown([s.odds for s in scores]),
            shown([100 * (1 - s.odds / p.odds) for p, s in pairs], 0),
            f"{np.mean([s.seconds for s in scores]):.0f}",
        ]
        yield f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="short trainings, to see that it runs")
    parser.add_argument("--attribute", choices=("sex", "race"), action="append")
    parser.add_argument("--only", default="", help="contenders whose name holds this, beside the plain one")
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("GRADTAPE_DATA", "../shared/data")))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # of convergence, and of a strength that did not reach the tolerance
    for attribute in asked.attribute or ("sex", "race"):
        rows = adult(asked.data_dir, attribute)
        found: dict[str, list[Score]] = {}
        for seed in range(asked.seeds):
            train, choose, test = parts(rows, seed)
            for name, fit in contenders(setting(train, choose, seed, asked.quick)):
                if asked.only not in name and name != "plain":
                    continue
                began = time.process_time()
                predict = fit()
                found.setdefault(name, []).append(score(predict, test, time.process_time() - began))
                print(f"  {attribute}, seed {seed}, {name}: {found[name][-1]}", flush=True)
        print(f"\n{attribute}, {asked.seeds} seeds, mean ± 95 % interval\n", flush=True)
        print("\n".join(table(found)), "\n", flush=True)


if __name__ == "__main__":
    main()
