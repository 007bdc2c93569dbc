"""Calendar arithmetic over declared ranges: which years, months or days a date can fall into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta

from sandbox.relational.facts import KEYS_MAX


def day_of(edge: date | datetime) -> date:
    return edge.date() if isinstance(edge, datetime) else edge


def _quarter(day: date) -> int:
    return (day.month - 1) // 3 + 1


PART: dict[str, Callable[[date], int]] = {
    "year": lambda day: day.year,
    "quarter": _quarter,
    "month": lambda day: day.month,
    "week": lambda day: day.isocalendar().week,
    "day": lambda day: day.day,
    "decade": lambda day: day.year // 10 * 10,
}
FULL: dict[str, tuple[int, int]] = {"quarter": (1, 4), "month": (1, 12), "week": (1, 53), "day": (1, 31)}
"""Parts that come round again; `year` and `decade` do not."""

START: dict[str, Callable[[date], date]] = {
    "year": lambda day: date(day.year, 1, 1),
    "quarter": lambda day: date(day.year, 3 * _quarter(day) - 2, 1),
    "month": lambda day: date(day.year, day.month, 1),
    "week": lambda day: day - timedelta(days=day.weekday()),
    "day": lambda day: day,
    "decade": lambda day: date(max(1, day.year // 10 * 10), 1, 1),
}
_LONGEST = {"year": 366, "quarter": 92, "month": 31, "week": 7, "day": 1, "decade": 3653}


def part_bounds(part: str, low: date, high: date) -> tuple[int, int]:
    """Least and greatest value of `part` over days from `low` to `high`."""
    if part in ("year", "decade"):
        return PART[part](low), PART[part](high)
    if part == "day" and low.year == high.year and low.month == high.month:
        return low.day, high.day
    if part in ("quarter", "month") and low.year == high.year:
        return PART[part](low), PART[part](high)
    return FULL[part]


def part_keys(part: str, low: date, high: date) -> tuple[int, ...] | None:
    """Every value of `part` between the days, ascending; None when there are more than KEYS_MAX."""
    first, last = part_bounds(part, low, high)
    step = 10 if part == "decade" else 1
    keys = tuple(range(first, last + 1, step))
    return keys if len(keys) <= KEYS_MAX else None


def start_keys(part: str, low: date, high: date) -> tuple[date, ...] | None:
    """First days of every `part` between the days, ascending; None when there are more than KEYS_MAX."""
    if (high - low).days // _LONGEST[part] > KEYS_MAX:
        return None
    keys = tuple(_starts(part, low, high))
    return keys if len(keys) <= KEYS_MAX else None


def _starts(part: str, low: date, high: date) -> Iterator[date]:
    current, last = START[part](low), START[part](high)
    while current < last:
        yield current
        current = START[part](current + timedelta(days=_LONGEST[part]))
    yield last
