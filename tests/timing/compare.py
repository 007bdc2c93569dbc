"""Two homes asked the same questions in turn: what differs in an answer, and whether the clock tells which it was.

Two processes that do the same differ by a few tenths of a millisecond for as long as they live, for their memory lies
elsewhere. So homes are started anew, now the one first and now the other, and a sample is what all starts give.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, variance
from typing import Any, Final

import httpx

from tests.served_home import Served

WARM_UP: Final = 5
"""Requests of each plan to each side after a start, which do not count."""
T_MAX: Final = 4.5
"""Above it the means of two samples differ for certain: the threshold of the test vector leakage assessment."""
CROPS: Final = (1.0, 0.95, 0.9, 0.75, 0.5)
"""Parts of the sample that are compared, without the slowest rest: a difference may be hidden under what is rare and
large. Source: Reparaz, Balasch and Verbauwhede, Dude, is my code constant time? (DATE 2017)."""
_OWN: Final = frozenset({"x-request-id", "date"})
"""Headers that differ from reply to reply."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Of one pair and plan."""

    t: float
    """Welch's, the largest over all crops."""
    auc: float
    """The probability that a request to the one home takes longer than one to the other."""
    auc_upper: float
    """The end of its 95 % interval that is farther from a half, as a distance above a half."""
    with_ms: float
    without_ms: float
    """Medians."""
    differences: tuple[str, ...]
    """What differs besides time and released numbers."""

    @property
    def told_apart(self) -> bool:
        return abs(self.t) >= T_MAX


def literals(dice: random.Random) -> Iterator[str]:
    """Constants that were not asked for before."""
    known: set[str] = set()
    while True:
        text = f"{dice.randrange(10_000_000) / 100_000:.5f}"
        if text not in known:
            known.add(text)
            yield text


@dataclass(slots=True)
class Sample:
    """What one plan took on both sides, over all starts of the two homes."""

    sql: str
    dice: random.Random
    times: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    """Seconds."""
    differences: list[str] = field(default_factory=list)
    constants: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self.constants = literals(self.dice)

    def ask(self, sides: tuple[Served, Served], requests: int) -> None:
        """Asks both sides so often, in random order, each time with another constant, after some that warm up."""
        for number in range(WARM_UP + requests):
            text = self.sql.format(x=next(self.constants))
            seen: dict[int, dict[str, Any]] = {}
            for side in self.dice.sample((0, 1), 2):
                begin = time.perf_counter()
                reply = sides[side].ask(text, epsilon="0.1")
                taken = time.perf_counter() - begin
                seen[side] = shape(reply)
                if number >= WARM_UP:
                    self.times[side].append(taken)
            self.differences += [f"{text}: {name}" for name in seen[0] if seen[0][name] != seen[1][name]]

    def compared(self) -> Compared:
        area, upper = auc(*self.times)
        medians = [1000 * sorted(each)[len(each) // 2] for each in self.times]
        return Compared(largest_t(*self.times), area, upper, medians[0], medians[1], tuple(self.differences))


def shape(reply: httpx.Response) -> dict[str, Any]:
    """A reply without its released numbers and its own names."""
    body = reply.json()
    rows = body.pop("rows", [])
    columns = body.get("columns", [])
    keys = [i for i, column in enumerate(columns) if column["kind"] == "key"]
    body.pop("id", None)
    body.pop("query_id", None)
    receipt = body.pop("receipt", None)
    body.pop("opening", None)
    intervals = body.pop("intervals", [])
    return {
        "status": reply.status_code,
        "headers": {name: value for name, value in reply.headers.items() if name not in _OWN},
        "body": body,
        "keys": [[row[i] for i in keys] for row in rows],
        "intervals": [[cell is None for cell in row] for row in intervals],
        "receipt": None if receipt is None else (sorted(receipt), receipt["index"], sorted(receipt["record"])),
    }


def largest_t(one: Sequence[float], other: Sequence[float]) -> float:
    found = []
    for part in CROPS:
        most = sorted([*one, *other])[math.ceil(part * (len(one) + len(other))) - 1]
        found.append(_t([each for each in one if each <= most], [each for each in other if each <= most]))
    return max(found, key=abs)


def _t(one: Sequence[float], other: Sequence[float]) -> float:
    """Welch's. A side that has (almost) nothing left below the crop is told apart by that alone."""
    if min(len(one), len(other)) < 2:
        return math.inf
    spread = variance(one) / len(one) + variance(other) / len(other)
    return (fmean(one) - fmean(other)) / math.sqrt(spread) if spread else 0.0


def auc(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """By ranks, with the standard error of Hanley and McNeil (1982)."""
    ranked = sorted([(each, 1) for each in one] + [(each, 0) for each in other])
    ranks = sum(rank for rank, (_, of_one) in enumerate(ranked, start=1) if of_one)
    n, m = len(one), len(other)
    area = (ranks - n * (n + 1) / 2) / (n * m)
    high = max(area, 1 - area)
    q1, q2 = high / (2 - high), 2 * high**2 / (1 + high)
    error = math.sqrt((high * (1 - high) + (n - 1) * (q1 - high**2) + (m - 1) * (q2 - high**2)) / (n * m))
    return area, min(1.0, high + 1.96 * error)
