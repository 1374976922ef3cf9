"""The synthesizer: kinds, ranges, types and layouts come back; seeds, conditions, files, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open
from sklearn.base import clone
from sklearn.datasets import load_digits

from gradtape.errors import DataError, GradtapeError, InputError, RunError
from gradtape.synthesis import Synthesizer
from gradtape.synthesis._conditions import Conditions
from gradtape.synthesis._samples import Points, kind_of

TINY = {"steps": 2, "width": 2, "batch_size": 4, "device": "cpu"}
DRAWS = np.random.default_rng(0)
SQUARES = DRAWS.integers(0, 256, (24, 6, 5), dtype=np.uint8)


def fitted(X: object, y: object = None, **more: object) -> Synthesizer:
    return Synthesizer(**{**TINY, **more}).fit(X, y)


@pytest.mark.parametrize(
    ("X", "shape"),
    [
        (SQUARES, (6, 5)),
        (SQUARES[:, None] / 255.0, (1, 6, 5)),
        (np.repeat(SQUARES[..., None], 3, 3).astype(np.uint16) * 257, (6, 5, 3)),
        ((SQUARES.astype(np.float32) - 100) * 3, (6, 5)),
        (torch.from_numpy(SQUARES), (6, 5)),
        (torch.from_numpy(SQUARES).bfloat16()[:, None] / 256, (1, 6, 5)),
    ],
    ids=["uint8", "nchw in 0..1", "nhwc uint16", "signed floats", "tensor", "bfloat16"],
)
def test_images_come_back_in_their_kind(X, shape) -> None:
    made = fitted(X).sample(3)
    assert type(made) is type(X)
    assert made.dtype == X.dtype
    assert tuple(made.shape) == (3, *shape)
    values = made.float().numpy() if isinstance(made, torch.Tensor) else made.astype(float)
    of_data = X.float().numpy() if isinstance(X, torch.Tensor) else X.astype(float)
    assert values.min() >= min(0, of_data.min())
    assert values.max() <= (of_data.max() if of_data.max() > 1 else 1)
    assert values.max() - values.min() > 0.2 * (of_data.max() - of_data.min())  # not left in the networks' [-1, 1]


def test_images_go_through_the_networks_range_and_back_exactly() -> None:
    kind, samples = kind_of(SQUARES)
    assert samples.min() == -1
    assert samples.max() == 1
    assert np.array_equal(kind.decode(samples), SQUARES)


POINTS = np.stack(
    [
        DRAWS.normal(5e-6, 1e-6, 200),
        DRAWS.normal(-3e6, 1e6, 200),
        1e8 + DRAWS.normal(0, 1e-2, 200),
        np.full(200, 7.25),
        DRAWS.integers(0, 5, 200),
    ],
    axis=1,
)


def test_points_are_standardised_and_come_back_in_their_units() -> None:
    kind, seen = kind_of(POINTS)
    assert kind.shape == (4,)
    assert torch.allclose(seen.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(seen.std(0, unbiased=False), torch.ones(4), atol=1e-4)
    back = kind.decode(seen)
    assert np.allclose(back, POINTS, rtol=0, atol=1e-6 * POINTS.std(axis=0) + 1e-18)
    assert (back[:, 3] == 7.25).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, np.bool_])
def test_points_keep_their_type(dtype) -> None:
    X = DRAWS.integers(0, 2 if dtype is np.bool_ else 200, (30, 3)).astype(dtype)
    made = fitted(X).sample(50)
    assert made.dtype == dtype
    assert made.shape == (50, 3)
    assert type(fitted(torch.from_numpy(X)).sample(2)) is torch.Tensor


def test_huge_and_tiny_scales_do_not_overflow() -> None:
    X = DRAWS.normal(size=(40, 2)) * [1e200, 1e-200]
    kind, seen = kind_of(X)
    assert seen.isfinite().all()
    assert torch.allclose(seen.std(0, unbiased=False), torch.ones(2), atol=1e-4)
    assert np.allclose(kind.decode(seen), X, rtol=1e-4, atol=1e-6 * np.abs(X).max(axis=0))


def test_trained_points_have_the_means_and_deviations_of_the_data() -> None:
    X = np.random.default_rng(0).normal([3e-6, -2e5], [1e-6, 4e4], (300, 2))
    synthesizer = fitted(X, steps=800, width=24, batch_size=64)
    made = synthesizer.sample(2000)
    assert np.abs((made.mean(axis=0) - X.mean(axis=0)) / X.std(axis=0)).max() < 0.35
    assert np.abs(np.log(made.std(axis=0) / X.std(axis=0))).max() < 0.45
    assert synthesizer.quality_.n == 30
    assert synthesizer.quality_.value == dict(synthesizer.played_.quality)[synthesizer.quality_.step]


def test_same_seed_same_samples_and_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (fitted(POINTS, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(one.sample(7), again.sample(7))
    assert not np.array_equal(one.sample(7), other.sample(7))
    assert np.array_equal(one.sample(7), one.sample(7))
    assert not np.array_equal(one.sample(7), one.sample(7, seed=1))


@pytest.mark.parametrize("labels", [["cat", "dog"], [3, 7], [False, True], [b"a", b"b"]], ids=str)
def test_classes_of_any_type(labels) -> None:
    y = np.array(labels)[[0, 0, 0, 1] * 6]
    synthesizer = fitted(SQUARES, y)
    made, told = synthesizer.sample(8, return_y=True)
    assert made.shape == (8, 6, 5)
    assert told.dtype == y.dtype
    assert sorted(told.tolist()) == [labels[0]] * 6 + [labels[1]] * 2  # the proportions of the data
    assert synthesizer.classes_.tolist() == labels
    one = synthesizer.sample(2, labels[1], return_y=True)[1]
    assert one.tolist() == [labels[1]] * 2
    each = [labels[1], labels[0], labels[1]]
    assert synthesizer.sample(3, each, return_y=True)[1].tolist() == each
    with pytest.raises(InputError, match="y asks for class 'none'"):
        synthesizer.sample(1, "none")


def test_the_class_reaches_the_generator() -> None:
    synthesizer = fitted(SQUARES, [0, 1] * 12, width=8)
    zero, one = synthesizer.sample(4, 0).astype(float), synthesizer.sample(4, 1).astype(float)
    assert np.abs(zero - one).mean() > 1  # same latents, another class


@pytest.mark.parametrize("n", [1, 2, 5, 11, 40])
def test_proportions_by_largest_remainders(n) -> None:
    conditions = Conditions.of(np.repeat([0, 1, 2], [50, 30, 20]), 100)[0]
    counts = torch.bincount(conditions.drawn(n, torch.Generator().manual_seed(0)), minlength=3)
    assert counts.sum() == n
    assert (counts - n * torch.tensor([0.5, 0.3, 0.2])).abs().max() < 1


def test_attributes() -> None:
    y = DRAWS.normal([10.0, 1e5], [2.0, 1e3], (24, 2))
    conditions, told = Conditions.of(y, 24)
    assert torch.allclose(told.std(0, unbiased=False), torch.ones(2), atol=1e-4)
    assert np.allclose(conditions.given_back(told), y, rtol=1e-5)
    synthesizer = fitted(SQUARES, y)
    assert np.allclose(synthesizer.sample(3, [12.0, 1e5], return_y=True)[1], [[12.0, 1e5]] * 3, rtol=1e-5)
    drawn = synthesizer.sample(5, return_y=True)[1]
    assert np.abs(drawn[:, None] - y).sum(2).min(1).max() < 1  # rows of the data
    with pytest.raises(InputError, match="y has shape"):
        synthesizer.sample(3, 12.0)
    flat = fitted(POINTS, y=DRAWS.normal(size=200))
    assert flat.sample(2, 0.5, return_y=True)[1] == pytest.approx([0.5, 0.5], rel=1e-5)
    assert Conditions.of(np.array([0.0, 1.0, 2.0] * 8), 24)[0].classes == ("0", "1", "2")  # whole floats are classes


def test_save_and_load(tmp_path) -> None:
    path = tmp_path / "a" / "cats.safetensors"
    for X, y in ((SQUARES, np.array(["b", "a"] * 12, dtype=object)), (POINTS, DRAWS.normal(size=(200, 2)))):
        synthesizer = fitted(X, y, seed=4)
        synthesizer.save(path)
        again = Synthesizer.load(path)
        made, told = synthesizer.sample(9, return_y=True, seed=3)
        loaded, told_again = again.sample(9, return_y=True, seed=3)
        assert np.array_equal(made, loaded)
        assert made.dtype == loaded.dtype
        assert np.array_equal(told, told_again)
        assert again.quality_ == synthesizer.quality_
        assert again.findings_ == synthesizer.findings_
        content = path.read_bytes()
        again.save(path)
        assert path.read_bytes() == content
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["gradtape"])["synthesizer"]["kind"]["kind"] == "points"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="holds no synthesizer or is damaged"):
        Synthesizer.load(path)
    with pytest.raises(RunError, match="there is no file"):
        Synthesizer.load(tmp_path / "none")


def frame_like(columns: dict[str, list[object]]) -> object:
    """What the reader sees of a data frame of pandas, which is no dependency."""

    class Column(list):
        def to_numpy(self):
            kinds = {type(value) for value in self}
            return np.array(self, dtype=None if kinds <= {int, float} else object)

    class DataFrame(dict):
        __module__ = "pandas.core.frame"

        @property
        def columns(self):
            return list(self)

    return DataFrame({name: Column(values) for name, values in columns.items()})


def test_a_data_frame_comes_back_with_its_columns(monkeypatch) -> None:
    X = frame_like({"age": list(range(20)), "height": [1.5 + i / 50 for i in range(20)]})
    module = type("pandas", (), {"DataFrame": staticmethod(lambda columns: columns)})
    monkeypatch.setitem(__import__("sys").modules, "pandas", module)
    made = fitted(X).sample(6)
    assert list(made) == ["age", "height"]
    assert [column.dtype for column in made.values()] == [np.int64, np.float64]


REFUSED = [
    (np.where(np.arange(60).reshape(20, 3) == 31, np.nan, 1.0), "X has nan in row 10 of column 1: fill it in"),
    (np.where(np.arange(60).reshape(20, 3) == 5, np.inf, 1.0), "X has inf in row 1 of column 2: fill it in"),
    (np.array([["a", "1"]] * 20), "X has text in row 0 of column 0 ('a'): give columns of numbers only"),
    (np.array([[1, None]] * 20, dtype=object), "X has no value in row 0 of column 1: fill it in"),
    (frame_like({"age": [1] * 20, "city": ["Rome"] * 20}), "X has text in row 0 of column 'city' ('Rome'): give"),
    (np.ones((20, 3)), "all rows of X are the same: give rows that differ"),
    (np.ones((5, 3)), "X has 5 rows: give at least 10"),
    (np.ones(20), "X has shape (20,): give points as (n, columns)"),
    (np.zeros((5, 8, 8)), "there are 5 images: give at least 10"),
    (np.zeros((20, 8, 8, 2)), "X has shape (20, 8, 8, 2)"),
    (
        np.where(np.arange(1280).reshape(20, 8, 8) == 70, np.nan, 1.0),
        "X has 1 values that are not finite, the first in row 1",
    ),
    ("nowhere", "there is no file, folder or built-in data named 'nowhere'"),
]


@pytest.mark.parametrize(("X", "sentence"), REFUSED, ids=[sentence[:24] for _, sentence in REFUSED])
def test_what_is_refused(X, sentence) -> None:
    with pytest.raises((DataError, InputError)) as caught:
        fitted(X)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("y", "sentence"),
    [
        ([0, 1], "X has 24 samples and y has 2 rows: give one row of y per sample"),
        (np.full(24, np.nan), "y has nan in row 0 of column 0"),
        ([f"id {i}" for i in range(24)], "y has 24 classes for 24 samples: give classes that several samples share"),
        ([None] * 24, "y has labels that are not all of one kind"),
    ],
)
def test_labels_that_are_refused(y, sentence) -> None:
    with pytest.raises(GradtapeError) as caught:
        fitted(SQUARES, y)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 1}, "steps is 1: give a whole number from 2 up"),
        ({"batch_size": 2.5}, "batch_size is 2.5: give a whole number"),
        ({"on_failure": "pray"}, "on_failure is 'pray': use 'rollback' or 'report'"),
        ({"resume": True}, "resume needs a run: name the run folder"),
        ({"device": "abacus"}, "device 'abacus' cannot be used on this machine"),
    ],
)
def test_settings_that_are_refused(settings, sentence) -> None:
    with pytest.raises(InputError) as caught:
        fitted(SQUARES, **settings)
    assert str(caught.value).startswith(sentence)


def test_sampling_that_is_refused() -> None:
    with pytest.raises(InputError, match="this Synthesizer is not fitted: call fit"):
        Synthesizer().sample(3)
    synthesizer = fitted(SQUARES)
    for n in (0, -1, 2.0, True):
        with pytest.raises(InputError, match=f"n is {n!r}"):
            synthesizer.sample(n)
    with pytest.raises(InputError, match="y was asked for and fit was given none"):
        synthesizer.sample(2, 1)


def test_the_habits_of_scikit_learn() -> None:
    synthesizer = Synthesizer(seed=3, steps=2, width=2)
    assert synthesizer.get_params()["seed"] == 3
    assert clone(synthesizer).set_params(seed=4).seed == 4
    assert synthesizer.fit(POINTS) is synthesizer
    assert {name for name in vars(clone(synthesizer)) if name.endswith("_")} == set()


def test_copies_of_the_training_data_are_found() -> None:
    from gradtape.synthesis._weighed import MEMORISED, nearness_in_words, weigh
    from gradtape.synthesis.synthesizer import _divide
    from gradtape.training import Played

    samples = kind_of(load_digits().images[:300])[1]
    data = _divide(samples, None, 0, torch.device("cpu"))
    assert (len(data.train), len(data.held_out)) == (270, 30)
    assert not (data.train[:, None] == data.held_out).flatten(2).all(2).any()
    played = Played(10, 10, [(10, 0.5)], 0.1, [], [], "all 10 steps were made")
    copied = weigh(played, data, data.train[:100] + 0.01, None, 0)
    assert [finding.rule for finding in copied.findings] == [MEMORISED]
    assert copied.nearest["samples"][1].tolist() == copied.nearest["samples"][0].tolist()
    fresh = weigh(played, data, samples[-100:].clone().normal_(generator=torch.Generator().manual_seed(0)), None, 0)
    assert fresh.findings == []
    assert fresh.quality == (0.5, 0.1, 30, 10)
    few = weigh(played, data._replace(held_out=data.held_out[:2]), data.train[:100], None, 0)
    assert few.findings == []  # two held-out images tell nothing
    assert nearness_in_words(few.nearness, "images").startswith("With 2 held-out images it cannot be told")


def test_constant_columns_alone_are_no_shape_of_points() -> None:
    kind, seen = kind_of(POINTS[:, 2:4])
    assert isinstance(kind, Points)
    assert seen.shape == (200, 1)
    assert kind.decode(torch.zeros(2, 1))[:, 1].tolist() == [7.25, 7.25]
