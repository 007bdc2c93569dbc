"""What a stored release answers besides its own question, for nothing and in agreement with what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import pytest

from policies.types import BIGINT, TEXT
from sandbox.protocol import Price
from sandbox.relational import normal
from sandbox.relational.expressions import Column, Expression, Literal
from sandbox.relational.nodes import (
    Filter,
    Join,
    Measure,
    Output,
    Relation,
    Release,
    Rollup,
    Scan,
    UnionAll,
    UnitAggregate,
    UnitMeasure,
)
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


# rows of which other columns are read

VISITS = Scan("visits", 0)
COUNTED, SPENT = UnitMeasure("count_rows", None), UnitMeasure("sum", COST)
N, S, K = Column("1.m0"), Column("1.m1"), Column("1.k0")
KIND = Column("0.kind")


def of_units(*measures: UnitMeasure, source: Relation = VISITS, number: int = 1) -> UnitAggregate:
    return UnitAggregate(source, (KIND,), measures, number)


def over(source: Relation, keys: tuple[Expression, ...], *measures: Measure) -> Stored:
    """A release with a number for each of `measures`: 10, 20, ... over all groups."""
    whole = stored(ROWS)
    return replace(
        whole,
        asked=Release(source, keys, measures),
        keys=(ReleasedKey(TEXT, public=True),) * len(keys),
        groups=(("in", "out")[: len(keys)],) if keys else ((),),
        near_threshold=(False,),
        statistics=tuple(numbers(10 * (i + 1)) for i in range(len(measures))),
        measures=tuple(ReleasedMeasure(m.function, BIGINT, i, clamped=False) for i, m in enumerate(measures)),
    )


def test_a_question_that_reads_fewer_columns_of_units_is_told_too() -> None:
    whole = over(of_units(COUNTED, SPENT), (K,), Measure("count", N), Measure("count", S))
    only = told(whole, (K,), Measure("count", N), source=of_units(SPENT))
    assert only == [("in", 20)]  # of what is spent, which is the first there


def test_so_is_one_that_reads_fewer_columns_of_a_union() -> None:
    both = ((KIND, COST), (Column("1.kind"), Column("1.cost")))
    union = UnionAll((VISITS, Scan("visits", 1)), both, 2)
    less = UnionAll((VISITS, Scan("visits", 1)), tuple((each[1],) for each in both), 2)
    whole = over(union, (Column("2.0"),), Measure("count", Column("2.1")), ROWS)
    assert told(whole, (), Measure("count", Column("2.0")), ROWS, source=less) == [(10, 20)]


def beside(first: str, second: str) -> tuple[Relation, Column, Column]:
    """People beside two alike: rows of their units and kinds. A column of either."""
    relation: Relation = PEOPLE
    for number in (2, 4):
        inner = UnitAggregate(Scan("visits", number - 1), (Column(f"{number - 1}.kind"),), (COUNTED,), number)
        relation = Join(relation, inner, "left", (("0.pid", f"{number}.unit"),))
    return relation, Column(first), Column(second)


def test_where_rows_are_made_of_two_alike_the_same_one_is_meant_throughout() -> None:
    """Alone each of the two is the other: by kind of the one the number of the other is another question."""
    source, kind, number = beside("2.k0", "2.m0")
    whole = over(source, (kind,), Measure("count", number), Measure("count", Column("4.m0")))
    assert measures_for(whole, Release(source, (kind,), (Measure("count", number),))) is not None
    fewer = normal.alone(Release(*_parts(*beside("2.k0", "2.m0"))))
    other = normal.alone(Release(*_parts(*beside("2.k0", "4.m0"))))
    assert fewer != other
    one = over(fewer.source, fewer.keys, *fewer.measures)
    assert measures_for(one, fewer) is not None
    assert measures_for(one, other) is None


def _parts(source: Relation, key: Column, number: Column) -> tuple[Relation, tuple[Column, ...], tuple[Measure, ...]]:
    return source, (key,), (Measure("count", number),)


@pytest.mark.parametrize(
    "source",
    [
        of_units(SPENT, source=Filter(VISITS, (Literal(value=True, type=TEXT),))),
        UnitAggregate(VISITS, (), (SPENT,), 1),
        UnitAggregate(VISITS, (Column("0.hospital"),), (SPENT,), 1),
        of_units(UnitMeasure("avg", COST)),
    ],
    ids=["other rows", "fewer keys of units", "other keys of units", "another measure of units"],
)
def test_other_rows_of_units_are_not_told(source: Relation) -> None:
    whole = over(of_units(COUNTED, SPENT), (), Measure("count", S))
    assert measures_for(whole, Release(of_units(SPENT), (), (Measure("count", N),))) is not None
    assert measures_for(whole, Release(source, (), (Measure("count", N),))) is None
