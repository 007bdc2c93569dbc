"""Medians, percentiles, and how far an answer is from the truth."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Row = Sequence[Any]
TIMES: Final = 3
"""What latency is aimed at, as a multiple of bare DuckDB; `aims.PLUS_MS` comes on top."""


@dataclass(frozen=True, slots=True)
class Spread:
    median: float
    p95: float


def spread(values: Sequence[float]) -> Spread:
    """Raises ValueError where there are no values."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    return Spread(statistics.median(ordered), ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))])


def over(private: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Milliseconds that each run took above TIMES its bare twin; seconds come in."""
    return [round(1000 * (a - TIMES * b), 1) for a, b in zip(private, bare, strict=True)]


@dataclass(frozen=True, slots=True)
class Errors:
    """Relative errors of all cells of one answer. A group that is not in the answer counts as wrong by 100 %."""

    relative: list[float]
    groups: int
    lost: int


def errors(exact: Sequence[Row], answered: Sequence[Row], keys: int) -> Errors:
    """Rows are matched by their first `keys` columns. Cells whose truth is 0 or null have no relative error."""
    found = {_key(row, keys): row for row in answered}
    relative: list[float] = []
    lost = 0
    for row in exact:
        match = found.get(_key(row, keys))
        lost += match is None
        for place in range(keys, len(row)):
            truth = None if row[place] is None else float(row[place])
            if truth:
                got = None if match is None else match[place]
                relative.append(1.0 if got is None else abs(float(got) - truth) / abs(truth))
    return Errors(relative, len(exact), lost)


def _key(row: Row, keys: int) -> tuple[str, ...]:
    return tuple(str(part) for part in row[:keys])
