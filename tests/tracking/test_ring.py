"""Numbers under way from an accelerator, played by a device that is only as fast as the test lets it be."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gradtape.tracking import _ring
from gradtape.tracking._ring import Ring


class Event:
    """Passes when the test says so; a wait for it is counted."""

    passed = 0
    recorded = 0
    waits = 0

    def record(self) -> None:
        type(self).recorded += 1
        self.number = self.recorded

    def query(self) -> bool:
        return self.number <= self.passed

    def synchronize(self) -> None:
        if not self.query():
            type(self).waits += 1


class Far(Tensor):
    """A tensor that says that it is on an accelerator."""

    @property
    def device(self) -> Any:  # type: ignore[override]
        return type("device", (), {"type": "accelerator"})()


def far(*numbers: float) -> Tensor:
    return torch.tensor(numbers).as_subclass(Far)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> type[Event]:
    Event.passed = Event.recorded = Event.waits = 0
    monkeypatch.setattr(_ring.torch, "get_device_module", lambda device: type("module", (), {"Event": Event}))
    return Event


def test_numbers_of_a_cpu_are_handed_on_at_once() -> None:
    ring, seen = Ring(), []
    ring.put(torch.tensor([1.5, 2.5]), seen.append)
    assert [numbers.tolist() for numbers in seen] == [[1.5, 2.5]]
    assert seen[0].dtype == np.float64


def test_numbers_are_handed_on_in_order_when_their_event_has_passed_and_never_before(events: type[Event]) -> None:
    ring, seen = Ring(), []
    for number in range(5):
        ring.put(far(number, number), lambda numbers: seen.append(numbers.tolist()))
    assert seen == []
    events.passed = 3
    ring.put(far(5, 5), lambda numbers: seen.append(numbers.tolist()))
    assert seen == [[0, 0], [1, 1], [2, 2]]
    assert events.waits == 0
    events.passed = 6
    ring.drain()
    assert seen == [[n, n] for n in range(6)]


def test_draining_waits_and_so_does_a_full_ring(events: type[Event]) -> None:
    ring, seen = Ring(), []
    for number in range(_ring._SLOTS + 2):
        ring.put(far(number), lambda numbers: seen.append(numbers.tolist()[0]))
    assert seen == [0, 1]
    assert events.waits == 2
    ring.drain()
    assert seen == list(range(_ring._SLOTS + 2))


def test_a_buffer_is_used_again_only_after_its_numbers_were_handed_on(events: type[Event]) -> None:
    ring, seen = Ring(), []
    ring.put(far(1.0), seen.append)
    ring.put(far(2.0), seen.append)
    events.passed = 2
    ring.drain()
    ring.put(far(3.0), seen.append)
    ring.put(far(4.0), seen.append)
    events.passed = 4
    ring.drain()
    assert [numbers.tolist() for numbers in seen] == [[1.0], [2.0], [3.0], [4.0]]
