"""Keys and bounds of calendar parts, held against every single day."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.types import DATE
from sandbox.relational import calendar
from sandbox.relational.expressions import Call, Column
from sandbox.relational.facts import KEYS_MAX, ColumnFacts, Facts
from sandbox.relational.lower.scalars import scalar

DAYS = st.dates(min_value=date(1, 1, 1), max_value=date(9999, 12, 31))
SPANS = st.integers(0, 1200) | st.sampled_from([0, 1, 6, 7, 28, 30, 31, 364, 365, 366, 3652, 3653, 4000])


def every_day(low: date, high: date) -> list[date]:
    return [low + timedelta(days=i) for i in range((high - low).days + 1)]


@st.composite
def ranges(draw: st.DrawFn) -> tuple[date, date]:
    low = draw(DAYS | st.sampled_from([date(1999, 12, 27), date(2000, 2, 28), date(2020, 12, 28), date(1, 1, 1)]))
    return low, min(date.max, date.fromordinal(min(date.max.toordinal(), low.toordinal() + draw(SPANS))))


@pytest.mark.parametrize("part", calendar.PART)
@settings(max_examples=60, deadline=None)
@given(ranges())
def test_bounds_and_keys_of_a_part_hold_every_day(part: str, span: tuple[date, date]) -> None:
    found = {calendar.PART[part](day) for day in every_day(*span)}
    low, high = calendar.part_bounds(part, *span)
    assert low <= min(found)
    assert max(found) <= high
    keys = calendar.part_keys(part, *span)
    assert keys is not None
    assert found <= set(keys)
    assert list(keys) == sorted(set(keys))
    assert all(low <= key <= high for key in keys)


@pytest.mark.parametrize("part", ["year", "decade"])
@settings(max_examples=40, deadline=None)
@given(ranges())
def test_years_and_decades_have_no_key_too_many(part: str, span: tuple[date, date]) -> None:
    assert calendar.part_keys(part, *span) == tuple(sorted({calendar.PART[part](day) for day in every_day(*span)}))


@pytest.mark.parametrize("part", calendar.START)
@settings(max_examples=60, deadline=None)
@given(ranges())
def test_first_days_are_those_of_every_day_and_no_other(part: str, span: tuple[date, date]) -> None:
    expected = sorted({calendar.START[part](day) for day in every_day(*span)})
    assert calendar.start_keys(part, *span) == tuple(expected)


@pytest.mark.parametrize("part", calendar.START)
def test_all_of_time_is_too_many_keys_or_all_of_them(part: str) -> None:
    """From the first day there is to the last: no day is left out, and nothing runs over the edge."""
    keys = calendar.start_keys(part, date.min, date.max)
    if part in ("year", "decade"):
        assert keys is not None
        assert len(keys) == {"year": 9999, "decade": 1000}[part]
        assert keys[0] == date.min
    else:
        assert keys is None


def test_no_more_keys_than_the_model_carries() -> None:
    assert len(calendar.start_keys("day", date(2000, 1, 1), date(2000, 1, 1) + timedelta(days=KEYS_MAX - 1)) or ()) == (
        KEYS_MAX
    )
    assert calendar.start_keys("day", date(2000, 1, 1), date(2000, 1, 1) + timedelta(days=KEYS_MAX)) is None


def test_the_engine_counts_days_as_the_calendar_does() -> None:
    """A thousand days around each odd spot: turns of years with 53 weeks, leap days, the first days there are."""
    facts = Facts({"d": ColumnFacts(DATE, "d", nullable=False)}, None, None)
    starts = [date(1, 1, 1), date(1999, 6, 1), date(2019, 6, 1), date(9997, 6, 1)]
    days = [day for first in starts for day in every_day(first, first + timedelta(days=900))]
    written = {
        **{part: scalar(Call(part, (Column("d"),)), facts) for part in calendar.PART},
        **{f"trunc_{part}": scalar(Call(f"trunc_{part}", (Column("d"),)), facts) for part in calendar.START},
    }
    with duckdb.connect(":memory:", config={"threads": "1"}) as engine:
        engine.execute("CREATE TABLE days AS SELECT unnest(?::DATE[]) AS d", [days]).fetchall()
        rows = engine.execute(f"SELECT d, {', '.join(written.values())} FROM days").fetchall()
    for row in rows:
        expected = [calendar.PART[p](row[0]) for p in calendar.PART] + [
            calendar.START[p](row[0]) for p in calendar.START
        ]
        assert list(row[1:]) == expected, row[0]


def test_the_day_of_a_timestamp_is_its_day() -> None:
    assert calendar.day_of(datetime(2020, 2, 29, 23, 59)) == date(2020, 2, 29)  # noqa: DTZ001  # no zone in policies
    assert calendar.day_of(date(2020, 2, 29)) == date(2020, 2, 29)


def test_a_calendar_that_forgets_the_last_week_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(calendar.FULL, "week", (1, 52))
    days = every_day(date(2020, 12, 1), date(2021, 1, 31))
    keys = calendar.part_keys("week", days[0], days[-1])
    assert not {calendar.PART["week"](day) for day in days} <= set(keys or ())
