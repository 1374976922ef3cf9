"""When what is read, and what a budget does to it: by figures, without a clock."""

from itertools import pairwise

import pytest

from gradtape.tracking._schedule import BASE, DEAR_INTERVAL, DEAR_WIDEST, SIZES, SIZES_WIDEST, Schedule

DEAR = ("a", "b", "c", "d", "e")


def fitted(budget: float | None, step: float, base: float, sizes: float, dear: float) -> tuple[int, int] | None:
    schedule = Schedule(DEAR, budget)
    found = None
    for _ in range(32):
        found = schedule.stepped({BASE: base, SIZES: sizes, **dict.fromkeys(DEAR, dear / len(DEAR))}, step)
    return found


@pytest.mark.parametrize("every", [16, 32, 64])
def test_each_dear_measure_is_read_once_per_interval_and_no_two_at_a_step(every: int) -> None:
    schedule = Schedule(DEAR, None)
    schedule.dear_interval = every
    due = [schedule.dear_due(step) for step in range(4 * every)]
    assert max(len(names) for names in due) == 1
    for name in DEAR:
        steps = [step for step, names in enumerate(due) if name in names]
        assert len(steps) == 4
        assert {later - earlier for earlier, later in pairwise(steps)} == {every}


def test_more_measures_than_steps_are_all_read() -> None:
    schedule = Schedule([f"m{i}" for i in range(40)], None)
    read = [name for step in range(DEAR_INTERVAL) for name in schedule.dear_due(step)]
    assert sorted(read) == sorted(f"m{i}" for i in range(40))


def test_no_budget_changes_nothing() -> None:
    assert fitted(None, 0.1, 0.05, 0.05, 5.0) is None


@pytest.mark.parametrize(
    ("base", "sizes", "dear", "wanted"),
    [
        (1e-4, 1e-4, 1e-3, (1, DEAR_INTERVAL)),  # 1 ms is allowed: all of it fits
        (4e-4, 4e-4, 1e-3, (1, DEAR_INTERVAL)),  # 0.6 left: sizes may have 0.42; 0.2 left for 1/16 of 1
        (4e-4, 5e-4, 1e-3, (2, DEAR_INTERVAL)),
        (4e-4, 16e-4, 1e-3, (4, DEAR_INTERVAL)),  # 0.4 a step
        (4e-4, 4e-4, 6.4e-3, (1, 32)),  # 0.2 left for dear
        (4e-4, 4e-4, 1e-1, (1, DEAR_WIDEST)),
        (2e-3, 4e-4, 1e-3, (SIZES_WIDEST, DEAR_WIDEST)),  # gradient norms alone are over the budget
    ],
)
def test_what_does_not_fit_is_read_more_rarely(base: float, sizes: float, dear: float, wanted: tuple[int, int]) -> None:
    assert fitted(0.01, 0.1, base, sizes, dear) == wanted


def test_short_steps_are_read_in_full() -> None:
    assert fitted(0.01, 0.002, 0.001, 0.001, 0.01) == (1, DEAR_INTERVAL)


def test_one_interrupted_reading_does_not_count_as_dear() -> None:
    schedule = Schedule(DEAR, 0.01)
    for index in range(32):
        spent = {BASE: 1e-4, SIZES: 1.0 if index == 20 else 1e-4}
        found = schedule.stepped(spent, 1.1 if index == 20 else 0.1)
    assert found == (1, DEAR_INTERVAL)


def test_what_is_read_rarely_is_said() -> None:
    schedule = Schedule(DEAR, 0.01)
    assert schedule.said() == ""
    schedule.sizes_interval, schedule.dear_interval = 4, 128
    assert schedule.said() == (
        "read weights and updates every 4 steps and dear measures every 128 steps, to stay within 1.0% of the step time"
    )
    schedule.share = 0.07
    assert schedule.said().endswith("and reading still takes 7.0% of the step time, where 1.0% is allowed")
