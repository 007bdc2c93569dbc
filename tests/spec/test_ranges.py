"""Ranges that are narrowed: which ends there are, what is counted for them, and a mean over the chosen range."""

from __future__ import annotations

import contextlib
import random
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from policies.types import DATE
from sandbox.relational import price as pricing
from sandbox.relational.expressions import Call, Column
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.ranges import lower_ranges
from sandbox.relational.lower.values import lower_values
from sandbox.relational.nodes import Measure, Output, Release, Scan
from sandbox.relational.plan import ReleasePlan, plan_release
from sandbox.relational.ranges import drawn_in, ends_of, fitted
from sandbox.relational.statistics import Argument, Quantiles, Vector
from sandbox.release.answer import answer
from tests.builders import World, load, make_world, policy_text
from tests.noiseless import exact_release, job_of
from tests.spec.test_bounding import world_with

PEOPLE = Scan("people", 0)
INCOME = Column("0.income")


def world_of(incomes: list[int], low: int, high: int) -> World:
    world = make_world(load(policy_text(income=(low, high))), random.Random(1))
    world.connection.execute("DELETE FROM people_all").fetchall()
    for unit, income in enumerate(incomes):
        row = [unit, "F", 30, income, 1.0, "flu", True]
        world.connection.execute(
            "INSERT INTO people_all VALUES (?, ?, ?, ?, ?, ?, DATE '1980-01-01', ?)", row
        ).fetchall()
    return world


def plan_of(world: World, *measures: Measure) -> ReleasePlan:
    return plan_release(Release(PEOPLE, (), measures), world.schema)


MEAN = Measure("avg", INCOME)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100_000, [("up", 0, 100_000)]),
        (18_000, 100_000, [("up", 18_000, 82_000)]),
        (-100_000, -18_000, [("down", -18_000, 82_000)]),
        (-4_000, 100_000, [("up", 0, 100_000), ("down", 0, 4_000)]),
        (0, 200, []),
    ],
)
def test_a_range_reaches_from_its_point_nearest_to_0(
    low: int, high: int, expected: list[tuple[bool, int, int]]
) -> None:
    ends = ends_of(plan_of(world_of([], low, high), MEAN))
    assert [(end.side, end.anchor, end.reach) for end in ends] == expected


def test_each_unit_counts_once_per_end_by_its_furthest_value() -> None:
    world = world_of([0, 1, 2, 3, 1000, -50, 10**9], -4_000, 100_000)
    plan = plan_of(world, MEAN)
    ends = ends_of(plan)
    rows = {(number, level): units for number, level, units in world.rows(lower_ranges(plan, ends, world.schema))}
    assert {key: n for key, n in rows.items() if key[0] == 0} == {
        (0, 0): 3,  # 0, 1 and -50
        (0, 2): 1,
        (0, 4): 1,
        (0, 20): 1,
        (0, ends[0].levels): 1,
    }
    assert {key: n for key, n in rows.items() if key[0] == 1} == {(1, 0): 6, (1, 12): 1}


def test_a_level_reaches_as_far_as_its_name_says() -> None:
    (end,) = ends_of(plan_of(world_of([], 0, 100_000), MEAN))
    assert [end.at(level) for level in (0, 1, 2, 20, end.levels)] == [1, 2, 2, 1024, 100_000]


def test_values_beyond_the_chosen_range_count_as_its_edge() -> None:
    world = world_of([100, 200, 90_000], 0, 100_000)
    plan = plan_of(world, MEAN)
    narrow = drawn_in(plan, ends_of(plan), [20])
    (vector,) = narrow.vectors
    assert vector.arguments == (Argument(INCOME, Fraction(0), Fraction(1024)),)
    assert vector.norm == plan.vectors[0].norm
    ((count, total),) = world.rows(lower_values(narrow, world.schema, "zcdp", 1000))
    assert isinstance(count, int)
    assert isinstance(total, int)
    mean = 512 + 512 * Fraction(total, count)
    assert abs(mean - Fraction(100 + 200 + 1024, 3)) < Fraction(1, 100)


def test_a_column_without_a_range_has_a_mean() -> None:
    text = policy_text(income=(0, 1000)).replace(", range = [0, 1000], step = 1 }", " }")
    world = make_world(load(text), random.Random(1))
    plan = plan_of(world, MEAN)
    assert [end.reach for end in ends_of(plan)] == [2**31 - 1, 2**31 - 1]
    assert isinstance(plan.statistics[0], Vector)


def test_the_grid_of_a_quantile_is_laid_over_the_chosen_range() -> None:
    world = world_of([], 0, 10**9)
    plan = plan_of(world, Measure("quantile", INCOME, fraction=Decimal("0.5")))
    wide, narrow = plan.statistics[0], drawn_in(plan, ends_of(plan), [20]).statistics[0]
    assert isinstance(wide, Quantiles)
    assert isinstance(narrow, Quantiles)
    assert (wide.coarser, narrow.coarser) == (True, False)
    assert (narrow.cells, narrow.cell) == (1025, 1)


def test_the_rows_of_a_unit_that_weigh_in_a_quantile_are_chosen_too() -> None:
    world = world_with([(1, "in", "1.00")] * 3 + [(2, "in", "2.00")] + [(3, "in", None)] * 9, visits_max=1000)
    median = Measure("quantile", Column("0.cost"), fraction=Decimal("0.5"))
    plan = plan_release(Release(Scan("visits", 0), (), (median,)), world.schema)
    (end,) = ends_of(plan)
    assert (end.side, end.reach) == ("rows", 1000)
    rows = world.rows(lower_ranges(plan, (end,), world.schema))
    assert sorted(rows) == [(0, 0, 2), (0, 4, 1)]
    narrow = drawn_in(plan, (end,), [4]).statistics[0]
    assert isinstance(narrow, Quantiles)
    assert narrow.rows == 4


def test_the_median_of_dates_is_a_date() -> None:
    world = world_with([(unit, "in", "1.00") for unit in range(9)])
    world.connection.execute("UPDATE visits_all SET seen = DATE '2020-03-01' + CAST(__unit AS INTEGER)").fetchall()
    asked = Release(Scan("visits", 0), (), (Measure("quantile", Column("0.seen"), fraction=Decimal("0.5")),))
    dp = world.policy.release.dp
    assert dp is not None
    plan = Output(asked, (("m", Column("m0")),))
    found = answer(exact_release(job_of(plan, world.schema, dp), world.rows), "rel", "hash", plan)
    assert found.rows == ((date(2020, 3, 5),),)
    assert found.columns[0].type == DATE


def unpaid_choices() -> list[int]:
    """The epsilons at which a price is named although some choice has nothing to spend."""
    world, found = world_of([], 0, 100_000), []
    dp = world.policy.release.dp
    assert dp is not None
    for measure in (MEAN, Measure("quantile", INCOME, fraction=Decimal("0.5"))):
        plan = plan_of(world, measure)
        for epsilon in (10**9 // 2**i for i in range(30)):
            with contextlib.suppress(Refuse):
                (share,) = pricing.price(plan, dp, epsilon).shares
                statistic = plan.statistics[0]
                spent = share.of_choice(statistic) if isinstance(statistic, Quantiles) else share.values
                found += [] if spent > 0 and (share.ends > 0 or not ends_of(plan)) else [epsilon]
    return found


def test_an_epsilon_that_leaves_nothing_for_a_choice_is_refused() -> None:
    assert unpaid_choices() == []


def test_a_price_that_looks_at_the_values_alone_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricing, "_enough", lambda statistic, share, ends: share.values > 0)
    assert unpaid_choices()


def test_quantiles_of_too_many_groups_are_refused_beforehand() -> None:
    world = world_of([], 0, 100_000)
    keys = (Column("0.age"), Call("trunc_month", (Column("0.born"),)))
    with pytest.raises(Refuse) as caught:
        plan_release(Release(PEOPLE, keys, (Measure("quantile", INCOME, fraction=Decimal("0.5")),)), world.schema)
    assert caught.value.refused.code == "result_too_large"


def test_the_grid_of_a_quantile_fits_the_groups_that_were_released() -> None:
    world = world_of([], 0, 10**9)
    asked = Release(PEOPLE, (Column("0.diagnosis"),), (Measure("quantile", INCOME, fraction=Decimal("0.5")),))
    plan = plan_release(asked, world.schema)
    few, many = fitted(plan, 10).statistics[0], fitted(plan, 6_000).statistics[0]
    assert isinstance(few, Quantiles)
    assert isinstance(many, Quantiles)
    assert few == plan.statistics[0]
    assert many.coarse <= 17
