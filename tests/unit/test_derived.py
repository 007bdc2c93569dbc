"""What a stored release answers besides its own question, for nothing and in agreement with what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from policies.types import BIGINT, TEXT
from sandbox.protocol import Price
from sandbox.relational.expressions import Column, Expression, Literal
from sandbox.relational.nodes import Filter, Measure, Output, Release, Rollup, Scan
from sandbox.release.answer import answer
from sandbox.release.derived import measures_for
from sandbox.release.released import Release as Stored
from sandbox.release.released import ReleasedGrid, ReleasedKey, ReleasedMeasure, ReleasedStatistic

PEOPLE = Scan("people", 0)
SEX, ACTIVE, COST = Column("0.sex"), Column("0.active"), Column("0.cost")
ROWS, COUNT, SUM, MEAN = (
    Measure("count_rows"),
    Measure("count", COST),
    Measure("sum", COST),
    Measure("avg", COST),
)
UNITS = Measure("count_units")
KEYS = (SEX, ACTIVE)
GROUPS = (("F", "no"), ("F", "yes"), ("M", "no"), ("M", "yes"))


def numbers(*values: int, grid: int = 1, arguments: tuple[ReleasedGrid, ...] = ()) -> ReleasedStatistic:
    return ReleasedStatistic("gaussian", 2.0, grid, arguments, None, tuple((value,) for value in values))


def stored(*measures: Measure, public: bool = True) -> Stored:
    known = {
        ROWS: (numbers(10, 20, 30, 40), BIGINT),
        COUNT: (numbers(1024, 2048, 4096, 8192, grid=1024), BIGINT),
        SUM: (numbers(100, 200, 300, 600, arguments=(ReleasedGrid("0", "100", "1/2"),)), BIGINT),
        UNITS: (numbers(1, 2, 3, 4), BIGINT),
    }
    return Stored(
        format="bpk-release-2",
        dataset="clinic",
        asked=Release(PEOPLE, KEYS, measures),
        policy_digest="q",
        snapshot="s",
        mode="dp",
        price=Price(1, 0, 0),
        keys=(ReleasedKey(TEXT, public=True), ReleasedKey(TEXT, public=public)),
        groups=GROUPS,
        near_threshold=(False,) * 4,
        statistics=tuple(known[m][0] for m in measures),
        measures=tuple(ReleasedMeasure(m.function, known[m][1], i, clamped=False) for i, m in enumerate(measures)),
        units_dropped=False,
    )


def told(release: Stored, keys: Sequence[Expression], *measures: Measure, source: object = PEOPLE) -> list[tuple]:
    asked = Release(source, tuple(keys), measures)  # type: ignore[arg-type]
    columns = [*(f"k{i}" for i in range(len(keys))), *(f"m{i}" for i in range(len(measures)))]
    return list(answer(release, "rel", "hash", Output(asked, tuple((c, Column(c)) for c in columns))).rows)


def test_fewer_measures_in_another_order_say_the_same() -> None:
    whole = stored(ROWS, COUNT, SUM)
    assert told(whole, KEYS, SUM, ROWS)[0] == ("F", "no", 50, 10)


def test_keys_in_another_order_say_the_same() -> None:
    assert told(stored(ROWS), (ACTIVE, SEX), ROWS)[1] == ("yes", "F", 20)


def test_coarser_groups_are_sums_of_what_was_said() -> None:
    whole = stored(ROWS, SUM)
    assert told(whole, (SEX,), ROWS) == [("F", 30), ("M", 70)]
    assert told(whole, (), SUM, ROWS) == [(600, 100)]


def test_the_interval_of_a_sum_of_groups_grows_with_the_root_of_their_number() -> None:
    plan = Output(Release(PEOPLE, (), (ROWS,)), (("n", Column("m0")),))
    found = answer(stored(ROWS), "rel", "hash", plan)
    low, high = found.intervals[0][0] or (0, 0)
    assert Fraction(high) - Fraction(low) == 2 * 8  # 1.96 times 2 times the root of 4, outward
    assert found.notes == ((("rolled_up",),),)


def test_a_mean_is_told_from_its_sum_and_count() -> None:
    whole = stored(COUNT, SUM)
    assert told(whole, KEYS, MEAN)[0] == ("F", "no", 50.0)
    assert told(whole, (), MEAN) == [(40.0,)]


def test_a_mean_of_a_count_that_may_be_nothing_is_null() -> None:
    nothing = replace(stored(COUNT, SUM), statistics=(numbers(0, -5, 1, 1, grid=1024), stored(SUM).statistics[0]))
    assert told(nothing, KEYS, MEAN)[0] == ("F", "no", None)


@pytest.mark.parametrize(
    ("release", "wanted"),
    [
        (stored(ROWS), Release(Filter(PEOPLE, (Literal(value=True, type=TEXT),)), KEYS, (ROWS,))),
        (stored(ROWS), Release(PEOPLE, (*KEYS, Column("0.age")), (ROWS,))),
        (stored(ROWS), Release(PEOPLE, KEYS, (SUM,))),
        (stored(SUM), Release(PEOPLE, KEYS, (MEAN,))),
        (stored(COUNT, SUM), Release(PEOPLE, KEYS, (Measure("avg", Column("0.age")),))),
        (stored(ROWS, public=False), Release(PEOPLE, (SEX,), (ROWS,))),
        (stored(UNITS), Release(PEOPLE, (SEX,), (UNITS,))),
    ],
    ids=[
        "other rows",
        "finer groups",
        "another measure",
        "no count",
        "another argument",
        "groups that may have been kept back",
        "units that may be in both groups",
    ],
)
def test_what_cannot_be_told_is_not(release: Stored, wanted: Release) -> None:
    assert measures_for(release, wanted) is None
    with pytest.raises(LookupError):
        answer(release, "rel", "hash", Output(wanted, ()))


def test_a_roll_up_adds_its_groups_and_marks_what_it_left_out() -> None:
    asked = Release(PEOPLE, KEYS, (ROWS,))
    rollup = Rollup(asked, ((0, 1), (0,), ()))
    columns = ("k0", "k1", "g0", "g1", "m0")
    found = answer(stored(ROWS), "rel", "hash", Output(rollup, tuple((c, Column(c)) for c in columns)))
    assert found.rows == (
        ("F", "no", 0, 0, 10),
        ("F", "yes", 0, 0, 20),
        ("M", "no", 0, 0, 30),
        ("M", "yes", 0, 0, 40),
        ("F", None, 0, 1, 30),
        ("M", None, 0, 1, 70),
        (None, None, 1, 1, 100),
    )
    assert found.notes[0][4] is None
    assert found.notes[4][4] == ("rolled_up",)


def test_a_release_without_groups_tells_nothing_of_coarser_ones() -> None:
    empty = replace(stored(ROWS), groups=(), near_threshold=(), statistics=(numbers(),))
    assert measures_for(empty, Release(PEOPLE, (), (ROWS,))) is None
    assert measures_for(empty, Release(PEOPLE, KEYS, (ROWS,))) is not None
