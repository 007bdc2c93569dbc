"""What comes along where it is there at once: how much of what is late goes on for nobody."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from sandbox import soon as module
from sandbox.soon import LATE_MAX, Soon
from tests.waiting import eventually


class Slow:
    """Work that goes on until it may end."""

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.soon = Soon()

    def ask(self, about: str) -> str | None:
        return self.soon.get(about, self._work, 0.02)

    def _work(self) -> str:
        self.may_end.wait(60)
        return "done"

    def quick(self, about: str) -> str | None:
        return self.soon.get(about, lambda: "quick", 60)


@pytest.fixture
def slow() -> Iterator[Slow]:
    found = Slow()
    yield found
    found.may_end.set()


def test_what_goes_wrong_in_time_is_raised_by_who_waits(slow: Slow) -> None:
    def broken() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        slow.soon.get("a", broken, 60)
    assert slow.quick("a") == "quick"


def test_what_is_late_is_not_begun_again_before_it_is_over(slow: Slow) -> None:
    assert [slow.ask("a") for _ in range(5)] == [None] * 5
    assert len(slow.soon._late) == 1
    assert (slow.quick("a"), slow.quick("b")) == (None, "quick")
    slow.may_end.set()
    assert eventually(lambda: not slow.soon._late, 20)
    assert slow.quick("a") == "quick"


def going_on(slow: Slow) -> int:
    assert [slow.ask(str(number)) for number in range(3 * LATE_MAX)] == [None] * 3 * LATE_MAX
    return len(slow.soon._late)


def test_few_go_on_for_nobody(slow: Slow) -> None:
    assert going_on(slow) == LATE_MAX
    assert slow.quick("another") is None
    slow.may_end.set()
    assert eventually(lambda: not slow.soon._late, 20)
    assert slow.quick("another") == "quick"


def test_a_lane_without_that_bound_is_noticed(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_MAX", 999)
    assert going_on(slow) == 3 * LATE_MAX


def test_one_that_goes_wrong_late_is_over_as_well(slow: Slow) -> None:
    def broken() -> None:
        slow.may_end.wait(60)
        raise LookupError("no")

    assert slow.soon.get("a", broken, 0.02) is None
    slow.may_end.set()
    assert eventually(lambda: not slow.soon._late, 20)
    assert slow.quick("a") == "quick"
