"""A classifier that unlearns a protected attribute, and says what that costs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn

from gradtape import seeding
from gradtape.adaptation._unlearning_figures import IN_WORDS, TradeOff, disparity, picture
from gradtape.adaptation._unlearning_game import By, Goal, Plan, Task, train
from gradtape.adaptation._unlearning_inputs import encoder, groups_of, is_frame, without_attribute
from gradtape.atomic import write_atomically
from gradtape.errors import InputError
from gradtape.evidence import proportion
from gradtape.training import single_thread

_STRENGTHS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 12.0, 20.0)
_HELD_OUT = 0.2  # share of the rows on which strengths are judged
_NEGLIGIBLE = 0.01  # a disparity that need not be cut further


class Unlearner(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Learns to predict a class while an adversary that guesses the attribute from the predictions is left guessing.

    Several strengths are tried. A fifth of the rows is held out, and on these the strength is chosen: the most accurate
    of those that leave at most ``tolerance`` of the plain predictor's disparity.

    Args:
        attribute: Name or position of the attribute's column in X. The predictor never sees this column, and
            ``predict`` takes tables with and without it. None: give the attribute to ``fit``.
        goal: "demographic_parity": predictions shall not depend on the attribute; "equalised_odds": nor shall they
            among rows of the same true class.
        by: "reversal": the gradient of the adversary's loss is reversed; "projection": the predictor's gradient also
            loses its part along it.
        strength: Weight of the adversary's mean loss beside the predictor's, from 0 up; "auto" chooses.
        strengths: What "auto" chooses among, beside 0.
        tolerance: Share of the plain predictor's disparity that may be left, in [0, 1]. 0.01 is never too much.
        steps: Steps of training at each strength; None is fifteen passes over the rows, at least 400.
        batch_size: Rows in a batch.
        width: Width of the predictor's two hidden layers.
        seed: Seed of everything random; the same seed gives the same predictions.

    Attributes:
        classes_: The classes.
        groups_: The groups of the attribute.
        trade_off_: A ``TradeOff`` per strength, the plain predictor first.
        chosen_: The one that predicts.

    Raises:
        InputError: A setting out of range, or an attribute that cannot be used.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> group = rng.integers(0, 2, 400)
        >>> X = rng.normal(size=(400, 3)) + group[:, None] * [1, 0, 0]
        >>> y = X[:, 0] + X[:, 1] > 0.5
        >>> model = Unlearner(strength=16, steps=100).fit(X, y, attribute=group)
        >>> plain, chosen = model.trade_off_
        >>> chosen.disparity.mean < plain.disparity.mean / 2
        True

    Source: Ganin and Lempitsky, ICML 2015 (reversal); Zhang, Lemoine and Mitchell, Mitigating Unwanted Biases with
    Adversarial Learning, AIES 2018 (projection).
    """

    def __init__(
        self,
        attribute: str | int | None = None,
        *,
        goal: str = "demographic_parity",
        by: str = "reversal",
        strength: float | str = "auto",
        strengths: Sequence[float] = _STRENGTHS,
        tolerance: float = 0.3,
        steps: int | None = None,
        batch_size: int = 512,
        width: int = 64,
        seed: int = 0,
    ) -> None:
        self.attribute = attribute
        self.goal = goal
        self.by = by
        self.strength = strength
        self.strengths = strengths
        self.tolerance = tolerance
        self.steps = steps
        self.batch_size = batch_size
        self.width = width
        self.seed = seed

    def fit(self, X: Any, y: ArrayLike, attribute: ArrayLike | None = None) -> Self:
        """Learn the class and unlearn the attribute.

        Args:
            X: A data frame with columns of numbers and of words, or rows of numbers (n, d). Missing numbers become the
                column's median; missing words are a word of their own.
            y: The class of each row, (n,).
            attribute: The attribute of each row, (n,), unless it is a column of X.

        Returns:
            This object.

        Raises:
            InputError: A setting out of range; no attribute, or two; an attribute that is constant, has missing values
                or a group of a single row; for equalised odds, a group that lacks a class.

        Warns:
            UserWarning: No strength left as little disparity as asked for.
        """
        goal, by, strengths = self._settings()
        if (self.attribute is None) == (attribute is None):
            raise InputError(
                "the attribute to unlearn was given " + ("twice" if attribute is not None else "nowhere"),
                remedy="name its column in Unlearner(attribute=...), or give its values to fit(X, y, attribute=...)",
            )
        inputs, column = without_attribute(X, self.attribute)
        truth = column_or_1d(y, warn=True)
        assert_all_finite(truth, input_name="y")
        check_classification_targets(truth)
        x = self._encoded(inputs, rows=len(truth), fitting=True)
        self.classes_, codes = np.unique(truth, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y holds one class only, {self.classes_[0]}", remedy="give rows of two classes or more")
        self.groups_, group = groups_of(column if attribute is None else attribute, len(truth))
        if goal == "equalised_odds":
            self._check_cells(codes, group)
        held = _held_out(group * len(self.classes_) + codes, self.seed)
        told, asked = torch.from_numpy(codes), torch.from_numpy(group)
        task = Task(x[~held], told[~held], asked[~held], goal)
        plan = Plan(by, self.width, self.steps, self.batch_size, self.seed)
        with single_thread():
            models = [train(task, strength, plan) for strength in strengths]
            predicted = [_probabilities(model, x[held]).argmax(1) for model in models]
        right = codes[held.numpy()]
        self.trade_off_ = [
            TradeOff(
                strength,
                proportion(int((said == right).sum()), len(right)),
                disparity(right, said, group[held.numpy()], goal, self.seed),
            )
            for strength, said in zip(strengths, predicted, strict=True)
        ]
        index = self._choice() if self.strength == "auto" else len(strengths) - 1
        self.chosen_, self._model = self.trade_off_[index], models[index]
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, (n,); X may come without the attribute's column."""
        probabilities = self.predict_proba(X)
        found: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return found

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (n, classes), in the order of ``classes_``."""
        check_is_fitted(self, "chosen_")
        inputs, _ = without_attribute(X, self.attribute, columns=self.n_features_in_)
        with single_thread():
            return _probabilities(self._model, self._encoded(inputs, fitting=False))

    def draw(self) -> str:
        """Return the trade-off as an SVG: accuracy against disparity, one point for each strength."""
        check_is_fitted(self, "chosen_")
        return picture(self.trade_off_, self.chosen_, self._settings()[0])

    def save_trade_off(self, path: str | os.PathLike[str]) -> None:
        """Write what ``draw`` returns to a file, which browsers and editors open; name it with .svg at the end.

        Raises:
            RunError: The file cannot be written.
        """
        write_atomically(path, self.draw())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _settings(self) -> tuple[Goal, By, list[float]]:
        goals: dict[str, Goal] = {
            "demographic_parity": "demographic_parity",
            "equalised_odds": "equalised_odds",
            "equalized_odds": "equalised_odds",
        }
        methods: dict[str, By] = {"reversal": "reversal", "projection": "projection"}
        for name, known in (("goal", goals), ("by", methods)):
            if getattr(self, name) not in known:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}", remedy=f"use one of {', '.join(map(repr, known))}"
                )
        for name in ("steps", "batch_size", "width"):
            value = getattr(self, name)
            if not (isinstance(value, int | np.integer) and value >= 1) and not (name == "steps" and value is None):
                raise InputError(f"{name} is {value!r}", remedy="give a whole number from 1 up")
        if not 0 <= self.tolerance <= 1:
            raise InputError(f"tolerance is {self.tolerance!r}", remedy="give a share from 0 to 1")
        asked = list(self.strengths) if self.strength == "auto" else [self.strength]
        if not asked or not all(isinstance(s, int | float) and 0 <= s < np.inf for s in asked):
            name = "strengths" if self.strength == "auto" else "strength"
            raise InputError(f"{name} is {getattr(self, name)!r}", remedy="give finite numbers from 0 up, or 'auto'")
        return goals[self.goal], methods[self.by], sorted({0.0, *(float(s) for s in asked)})

    def _encoded(self, X: Any, *, rows: int | None = None, fitting: bool) -> Tensor:
        """Return inputs as the network takes them, (n, d)."""
        if is_frame(X):
            validate_data(self, X, reset=fitting, skip_check_array=True)
        else:
            X = validate_data(self, X, reset=fitting, dtype=np.float64, ensure_all_finite="allow-nan")
        if rows is not None and len(X) != rows:
            raise InputError(f"there are {len(X)} rows of X and {rows} of y", remedy="give one class for each row")
        if fitting:
            self._encoder = encoder(X).fit(X)
        return torch.from_numpy(np.asarray(self._encoder.transform(X), dtype=np.float32))

    def _check_cells(self, codes: NDArray[np.int64], group: NDArray[np.int64]) -> None:
        counts = np.zeros((len(self.groups_), len(self.classes_)), dtype=int)
        np.add.at(counts, (group, codes), 1)
        if counts.min() < 2:
            g, c = np.unravel_index(counts.argmin(), counts.shape)
            raise InputError(
                f"the group {self.groups_[g]} has {counts[g, c]} rows of the class {self.classes_[c]}, and equalised "
                "odds compares groups class by class",
                remedy="merge small groups, or use goal='demographic_parity'",
            )

    def _choice(self) -> int:
        """Return the index of the most accurate strength that leaves little enough disparity."""
        left = [row.disparity.mean for row in self.trade_off_]
        enough = max(self.tolerance * left[0], _NEGLIGIBLE)
        able = [index for index, value in enumerate(left) if value <= enough]
        if able:
            return max(able, key=lambda index: self.trade_off_[index].accuracy.mean)
        least = int(np.argmin(left))
        warnings.warn(
            f"no strength brought the {IN_WORDS[self._settings()[0]]} from {left[0]:.3f} down to {enough:.3f}; the "
            f"least is {left[least]:.3f}, at strength {self.trade_off_[least].strength:g}, which was chosen: give "
            "other strengths or a greater tolerance, or merge small groups",
            stacklevel=3,
        )
        return least


def _held_out(cell: NDArray[np.int64], seed: int) -> Tensor:
    """Return which rows are held out, (n,): the same share of each group and class, at least one of two."""
    held = torch.zeros(len(cell), dtype=torch.bool)
    order = torch.randperm(len(cell), generator=seeding.generator(seed, "unlearning", "held out")).numpy()
    for value in np.unique(cell):
        rows = order[cell[order] == value]
        held[rows[: max(round(_HELD_OUT * len(rows)), min(1, len(rows) - 1))]] = True
    return held


@torch.no_grad()
def _probabilities(model: nn.Module, x: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = model(x).double().softmax(dim=1).numpy()
    return found
