"""Calendar arithmetic over declared ranges: which years, months or days a date can fall into."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache

from sandbox.relational.facts import KEYS_MAX

FIRST = datetime(1, 1, 1)  # noqa: DTZ001  # timestamps of policies carry no zone
LAST = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001  # likewise


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
    "day_of_week": lambda day: day.isoweekday(),
    "day_of_year": lambda day: day.timetuple().tm_yday,
}
FULL: dict[str, tuple[int, int]] = {
    "quarter": (1, 4),
    "month": (1, 12),
    "week": (1, 53),
    "day": (1, 31),
    "day_of_week": (1, 7),
    "day_of_year": (1, 366),
}
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
    if part in ("quarter", "month", "day_of_year") and low.year == high.year:
        return PART[part](low), PART[part](high)
    if part == "day_of_week" and (high - low).days < 7 and low.isoweekday() <= high.isoweekday():
        return low.isoweekday(), high.isoweekday()
    return FULL[part]


def part_keys(part: str, low: date, high: date) -> tuple[int, ...] | None:
    """Every value of `part` between the days, ascending; None when there are more than KEYS_MAX."""
    first, last = part_bounds(part, low, high)
    step = 10 if part == "decade" else 1
    keys = tuple(range(first, last + 1, step))
    return keys if len(keys) <= KEYS_MAX else None


@lru_cache(maxsize=256)
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


CLOCK: dict[str, tuple[int, int]] = {"hour": (0, 23), "minute": (0, 59), "second": (0, 59)}


def clock_bounds(part: str, low: datetime, high: datetime) -> tuple[int, int]:
    """Least and greatest value of a part of the day; narrower than full where all coarser parts are the same."""
    coarser = {"hour": 10, "minute": 13, "second": 16}[part]  # characters of `2020-01-01 10:20:30` before the part
    if low.isoformat(sep=" ")[:coarser] != high.isoformat(sep=" ")[:coarser]:
        return CLOCK[part]
    found = {"hour": (low.hour, high.hour), "minute": (low.minute, high.minute), "second": (low.second, high.second)}
    return found[part]


def hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


@lru_cache(maxsize=256)
def hour_keys(low: datetime, high: datetime) -> tuple[datetime, ...] | None:
    """Every full hour between the moments, ascending; None when there are more than KEYS_MAX."""
    first = hour_of(low)
    count = (hour_of(high) - first) // timedelta(hours=1) + 1
    return tuple(first + timedelta(hours=i) for i in range(count)) if count <= KEYS_MAX else None


def _month_number(day: date) -> int:
    return 12 * day.year + day.month - 1


_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_DAYS = {"day": 1, "week": 7}


def steps_between(unit: str, first: date, last: date) -> int:
    """How many steps of `unit` lie between: borders crossed for months and longer, whole weeks for weeks."""
    if unit in _MONTHS:
        return _month_number(last) // _MONTHS[unit] - _month_number(first) // _MONTHS[unit]
    return int((last - first).days / _DAYS[unit])


def shifted(day: date, unit: str, count: int) -> date | None:
    """`count` steps on, or the last day of that month; None beyond the years 1 to 9999."""
    if unit in _DAYS:
        try:
            return day + timedelta(days=count * _DAYS[unit])
        except OverflowError:
            return None
    number = _month_number(day) + count * _MONTHS[unit]
    year, month = divmod(number, 12)
    if not 1 <= year <= 9999:
        return None
    return day.replace(year=year, month=month + 1, day=min(day.day, monthrange(year, month + 1)[1]))


def reach(unit: str, count: int) -> tuple[datetime | None, datetime | None]:
    """(the last moment that is too early, the first that is too late) to be moved within the years 1 to 9999.

    None where no moment is.
    """
    if unit in _DAYS:
        span = timedelta(days=abs(count) * _DAYS[unit])
        inside = span <= LAST - FIRST
        if count > 0:
            return None, (LAST - span + _TICK if inside else FIRST)
        return (FIRST + span - _TICK if inside else LAST) if count < 0 else None, None
    number = count * _MONTHS[unit]
    if count > 0:
        last = _month_number(date.max) - number + 1
        return None, _first_of(last) if last >= _month_number(date.min) else FIRST
    if count < 0:
        first = _month_number(date.min) - number
        return _first_of(first) - _TICK if first <= _month_number(date.max) else LAST, None
    return None, None


_TICK = timedelta(microseconds=1)


def _first_of(month_number: int) -> datetime:
    return datetime(month_number // 12, month_number % 12 + 1, 1)  # noqa: DTZ001  # timestamps of policies carry no zone
