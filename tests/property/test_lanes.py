"""Threads for callers: whoever asks much waits for himself alone, no thread stands idle, nobody is remembered."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.lanes import Lanes

EXAMPLES = int(os.environ.get("BPK_LANES", "2000" if os.environ.get("BPK_LONG") else "60"))
PATIENCE_S = 60.0
"""Only a test that fails waits so long."""
Make = Callable[[int, int], Lanes]


class Boundless(Lanes):
    """No lane ends before all threads are taken."""

    def __init__(self, each_max: int, threads_max: int) -> None:
        super().__init__(threads_max, threads_max)


class OneQueue(Lanes):
    """Without lanes: all threads are everybody's, in the order in which they are asked for."""

    async def run(self, caller: str, work: Callable[..., Any], *arguments: object) -> Any:
        return await super().run("everybody", work, *arguments)


class Hoarding(Lanes):
    """Keeps the lane of whoever was here once."""

    async def run(self, caller: str, work: Callable[..., Any], *arguments: object) -> Any:
        result = await super().run(caller, work, *arguments)
        self._lanes[caller] = object()  # type: ignore[assignment]
        return result


class Held:
    """Work that is held where it has begun, until it is let go."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self.gates: dict[int, threading.Event] = {}
        self.callers: dict[int, str] = {}
        self.over = False

    def work(self, number: int, caller: str) -> int:
        """On a thread. Every third breaks."""
        gate = threading.Event()
        self.loop.call_soon_threadsafe(self._began, number, caller, gate)
        gate.wait(PATIENCE_S)
        if number % 3 == 0:
            raise ValueError(number)
        return number

    def _began(self, number: int, caller: str, gate: threading.Event) -> None:
        self.gates[number], self.callers[number] = gate, caller
        if self.over:
            gate.set()
        self.changed.set()

    async def until(self, count: int) -> None:
        """So many are held."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.gates) < count:
                self.changed.clear()
                await self.changed.wait()

    def of_each(self) -> Counter[str]:
        return Counter(self.callers[number] for number in self.gates)

    def let_go(self, number: int) -> None:
        self.gates.pop(number).set()

    def end(self) -> None:
        self.over = True
        for gate in self.gates.values():
            gate.set()


async def all_served(
    make: Make, each_max: int, threads_max: int, callers: list[str], seed: int, *, at_first: int = 0
) -> None:
    """Every moment has as many at work as there may be: of no caller more, of all together no fewer.

    The first moment is looked at when `at_first` are at work, where that is more.
    """
    dice, lanes, held = random.Random(seed), make(each_max, threads_max), Held()
    tasks = [asyncio.create_task(lanes.run(caller, held.work, n, caller)) for n, caller in enumerate(callers)]
    left = Counter(callers)
    try:
        while left.total():
            expected = min(threads_max, sum(min(each_max, count) for count in left.values()))
            await held.until(max(expected, at_first))
            assert max(held.of_each().values()) <= each_max, "more threads of one caller than are his"
            assert held.of_each().total() <= threads_max
            number = dice.choice(sorted(held.gates))
            held.let_go(number)
            left[callers[number]] -= 1
            await asyncio.wait([tasks[number]], timeout=PATIENCE_S)
    finally:
        held.end()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [result if isinstance(result, int) else result.args[0] for result in results] == list(range(len(callers)))  # type: ignore[union-attr]
    assert [isinstance(result, ValueError) for result in results] == [n % 3 == 0 for n in range(len(callers))]
    assert not lanes._lanes, "a caller who is gone is remembered"


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(coroutine)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    each_max=st.integers(1, 3),
    threads_max=st.integers(1, 6),
    callers=st.lists(st.sampled_from("abcd"), min_size=1, max_size=12),
    seed=st.integers(0, 2**32),
)
def test_no_caller_has_more_than_his_lane_and_no_thread_stands_idle(
    each_max: int, threads_max: int, callers: list[str], seed: int
) -> None:
    run(all_served(Lanes, each_max, threads_max, callers, seed))


def test_planted_lanes_without_an_end_are_noticed() -> None:
    with pytest.raises(AssertionError, match="more threads of one caller"):
        run(all_served(Boundless, 2, 6, ["a"] * 8, 1, at_first=6))


def test_planted_a_lane_that_is_kept_is_noticed() -> None:
    with pytest.raises(AssertionError, match="is remembered"):
        run(all_served(Hoarding, 2, 6, ["a"] * 4, 1))


async def flooded(lanes: Lanes) -> list[str]:
    """In which order callers begin, when one has asked twenty times before another asks once. They end one by one."""
    held = Held()
    asked = [*["flood"] * 20, "other"]
    tasks = [asyncio.create_task(lanes.run(caller, held.work, 3 * n + 1, caller)) for n, caller in enumerate(asked)]
    await held.until(3)
    for _ in asked:
        await held.until(1)
        held.let_go(next(iter(held.gates)))
    await asyncio.gather(*tasks)
    return list(held.callers.values())


def test_a_flood_of_one_caller_is_not_before_another_in_a_queue() -> None:
    assert "other" in asyncio.run(flooded(Lanes(2, 3)))[:3]


def test_planted_in_one_queue_the_flood_is_before_all_others() -> None:
    assert "other" in asyncio.run(flooded(OneQueue(3, 3)))[-3:]


def test_whoever_gives_up_while_he_waits_takes_no_thread_and_is_forgotten() -> None:
    async def test() -> None:
        lanes, held = Lanes(1, 1), Held()
        first = asyncio.create_task(lanes.run("a", held.work, 1, "a"))
        await held.until(1)
        waiting = [asyncio.create_task(lanes.run(caller, held.work, 2, caller)) for caller in ("a", "b")]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        assert all(
            isinstance(gone, asyncio.CancelledError) for gone in await asyncio.gather(*waiting, return_exceptions=True)
        )
        assert set(lanes._lanes) == {"a"}
        held.let_go(1)
        assert await first == 1
        assert held.callers == {1: "a"}
        assert not lanes._lanes

    run(test())
