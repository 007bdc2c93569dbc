"""The gateway's own overhead: one small question, asked alone, and asked by several at once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from bench.client import Client, Reply
from bench.home import PURPOSES
from bench.questions import REFUSED, SMALL
from bench.stats import spread

PAUSE_S: Final = 0.15
"""Between questions asked alone, so that a warm worker waits: what a caller meets on a quiet machine."""
CLIENTS: Final = (1, 2, 4)
REUSED_RUN: Final = 0
Ask = Callable[[Client, int], Reply]


def new(client: Client, run: int) -> Reply:
    return client.ask(SMALL.ask(run), PURPOSES[SMALL.dataset])


def reused(client: Client, run: int) -> Reply:
    del run
    return client.ask(SMALL.ask(REUSED_RUN), PURPOSES[SMALL.dataset])


def refused(client: Client, run: int) -> Reply:
    del run
    return client.ask(REFUSED, PURPOSES[SMALL.dataset])


KINDS: Final[dict[str, tuple[Ask, str | None]]] = {
    "new": (new, None),
    "reused": (reused, None),
    "refused": (refused, "aggregate_not_allowed"),
}
"""Each with the code that it should give."""


def alone(client: Client, runs: range) -> dict[str, Any]:
    """Latency in ms of each kind, one question at a time."""
    new(client, REUSED_RUN)
    found: dict[str, Any] = {}
    for kind, (ask, _) in KINDS.items():
        seconds = []
        for run in runs:
            time.sleep(PAUSE_S)
            seconds.append(ask(client, run).seconds)
        taken = spread(seconds)
        found[kind] = {"p50_ms": round(1000 * taken.median, 1), "p95_ms": round(1000 * taken.p95, 1)}
    return found


def together(client: Client, seconds: float, first: int) -> dict[str, Any]:
    """Questions a second of each kind, for 1, 2 and 4 callers that ask without a pause. Constants from `first` on."""
    new(client, REUSED_RUN)
    numbers = itertools.count(first)
    return {kind: {str(n): _rate(client, n, seconds, kind, numbers) for n in CLIENTS} for kind in KINDS}


def _rate(client: Client, callers: int, seconds: float, kind: str, numbers: itertools.count[int]) -> dict[str, Any]:
    ask, expected = KINDS[kind]
    took: list[float] = []
    other: list[str] = []
    begin = time.monotonic()

    def call() -> None:
        own = client.another()
        while time.monotonic() - begin < seconds:
            reply = ask(own, next(numbers))
            if reply.code == expected:
                took.append(reply.seconds)
            else:
                other.append(reply.code or "answered")
        own.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed = time.monotonic() - begin
    found = spread(took) if took else None
    return {
        "per_second": round(len(took) / passed, 1),
        "p50_ms": round(1000 * found.median, 1) if found else None,
        "p95_ms": round(1000 * found.p95, 1) if found else None,
        "other": sorted(set(other)),
    }
