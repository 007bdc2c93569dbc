"""Threads for questions: each caller has a lane of its own, so that a flood of one is not before others in a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")


@dataclass(slots=True)
class _Lane:
    free: asyncio.Semaphore
    users: int = 0


class Lanes:
    """Of the event loop alone. At most `each_max` threads for one caller, `threads_max` for all."""

    def __init__(self, each_max: int, threads_max: int) -> None:
        self._each_max = each_max
        self._threads_max = threads_max
        self._all: anyio.CapacityLimiter | None = None
        self._lanes: dict[str, _Lane] = {}

    async def run(self, caller: str, work: Callable[..., T], *arguments: object) -> T:
        """What `work` gives or raises, from a thread. What was begun is not broken off."""
        if self._all is None:  # which belongs to the loop that it is made in
            self._all = anyio.CapacityLimiter(self._threads_max)
        lane = self._lanes.get(caller)
        if lane is None:
            lane = self._lanes[caller] = _Lane(asyncio.Semaphore(self._each_max))
        lane.users += 1
        try:
            async with lane.free:
                return await anyio.to_thread.run_sync(partial(work, *arguments), limiter=self._all)
        finally:
            lane.users -= 1
            if not lane.users:
                del self._lanes[caller]
