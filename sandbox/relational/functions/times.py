"""Dates and timestamps: parts, first days, steps between and on. Bounds and keys come from declared ranges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache

from policies.types import BIGINT, DATE, INTEGER, TIMESTAMP, Value
from sandbox.relational import calendar
from sandbox.relational.expressions import TIME_STEPS, Call, Expression, Literal
from sandbox.relational.facts import Bounds, ColumnFacts, Edge, Refuse
from sandbox.relational.functions.numbers import whole_keys

STEPS_MAX = 100_000
"""Most steps that `date_add` takes: what it makes is then far within the engine's own calendar."""


def part(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = _time(call, 0, parts)
    days = _days(found.bounds)
    if days is not None:
        span: tuple[int, int] | None = calendar.part_bounds(call.function, *days)
        keys = calendar.part_keys(call.function, *days)
    else:
        span = calendar.FULL.get(call.function)
        keys = None if span is None else tuple(range(span[0], span[1] + 1))
    return ColumnFacts(INTEGER, f"the {call.function}", found.nullable, _exact(span), Fraction(1), keys)


def clock_part(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = _moment(call, parts)
    span = calendar.CLOCK[call.function]
    moments = _moments(found.bounds)
    if moments is not None:
        span = calendar.clock_bounds(call.function, *moments)
    keys = tuple(range(span[0], span[1] + 1))
    return ColumnFacts(INTEGER, f"the {call.function}", found.nullable, _exact(span), Fraction(1), keys)


def truncation(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = _time(call, 0, parts)
    unit = call.function.removeprefix("trunc_")
    days = _days(found.bounds)
    bounds = keys = None
    if days is not None:
        bounds = (calendar.START[unit](days[0]), calendar.START[unit](days[1]))
        keys = calendar.start_keys(unit, *days)
    return ColumnFacts(DATE, f"the first day of the {unit}", found.nullable, bounds, None, keys)


def hour_truncation(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = _moment(call, parts)
    moments = _moments(found.bounds)
    bounds = keys = None
    if moments is not None:
        bounds = (calendar.hour_of(moments[0]), calendar.hour_of(moments[1]))
        keys = calendar.hour_keys(*moments)
    return ColumnFacts(TIMESTAMP, "the hour", found.nullable, bounds, None, keys)


def difference(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """Steps from the second argument to the third: borders crossed, and whole weeks of seven days."""
    unit = step_name(call, 0)
    first, last = _time(call, 1, parts), _time(call, 2, parts)
    from_days, to_days = _days(first.bounds), _days(last.bounds)
    bounds = None
    if from_days is not None and to_days is not None:
        low = calendar.steps_between(unit, from_days[1], to_days[0])
        bounds = (Fraction(low), Fraction(calendar.steps_between(unit, from_days[0], to_days[1])))
    nullable = first.nullable or last.nullable
    return ColumnFacts(BIGINT, f"the number of {unit}s", nullable, bounds, Fraction(1), whole_keys(bounds))


def addition(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """Null where it leaves the years 1 to 9999."""
    found, unit, count = _time(call, 0, parts), step_name(call, 2), step_count(call)
    bounds: Bounds | None = None
    if found.bounds is not None:
        ends = _moved(found.bounds, unit, count)
        bounds = None if ends[0] is None or ends[-1] is None else (ends[0], ends[-1])
    keys = None if found.keys is None else _moved_keys(found.keys, unit, count)
    return ColumnFacts(found.type, "the later day", found.nullable or bounds is None, bounds, None, keys)


def _moved(values: Sequence[Value | Edge], unit: str, count: int) -> list[date | None]:
    return [calendar.shifted(value, unit, count) for value in values if isinstance(value, date)]


@lru_cache(maxsize=64)
def _moved_keys(keys: tuple[Value, ...], unit: str, count: int) -> tuple[Value, ...]:
    return tuple(dict.fromkeys(key for key in _moved(keys, unit, count) if key is not None))


def to_date(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = _time(call, 0, parts)
    days = _days(found.bounds)
    keys = None if days is None else calendar.start_keys("day", *days)
    return ColumnFacts(DATE, f"the day of {found.label}", found.nullable, days, None, keys)


def step_name(call: Call, place: int) -> str:
    found = call.arguments[place]
    if not isinstance(found, Literal) or found.value not in TIME_STEPS:
        detail = f"`{call.function}` counts in {', '.join(TIME_STEPS)}"
        raise Refuse("construct_not_allowed", detail, at=found.at or call.at)
    return str(found.value)


def step_count(call: Call) -> int:
    found: Expression = call.arguments[1]
    value = found.value if isinstance(found, Literal) else None
    if type(value) is not int or abs(value) > STEPS_MAX:
        detail = f"`date_add` takes a constant number of steps, {STEPS_MAX} at most"
        raise Refuse("construct_not_allowed", detail, at=found.at or call.at)
    return value


def _time(call: Call, place: int, parts: list[ColumnFacts]) -> ColumnFacts:
    found = parts[place]
    if not found.type.temporal:
        raise Refuse("type_mismatch", f"`{call.function}` needs a date, and {found.label} is none", at=call.at)
    return found


def _moment(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    found = parts[0]
    if found.type != TIMESTAMP:
        raise Refuse("type_mismatch", f"`{call.function}` needs a timestamp, and {found.label} is none", at=call.at)
    return found


def _days(bounds: Bounds | None) -> tuple[date, date] | None:
    if bounds is None or isinstance(bounds[0], Fraction) or isinstance(bounds[1], Fraction):
        return None
    return calendar.day_of(bounds[0]), calendar.day_of(bounds[1])


def _moments(bounds: Bounds | None) -> tuple[datetime, datetime] | None:
    """None too where a comparison with a day has made days of the bounds: those say nothing of hours."""
    if bounds is None or not isinstance(bounds[0], datetime) or not isinstance(bounds[1], datetime):
        return None
    return bounds[0], bounds[1]


def _exact(span: tuple[int, int] | None) -> Bounds | None:
    return None if span is None else (Fraction(span[0]), Fraction(span[1]))
