"""COUNT(DISTINCT x): which values a unit with too many keeps is a function of its values, not of how rows lie."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from policies.types import Value
from sandbox.relational.expressions import Call, Column, Expression
from sandbox.relational.lower import distinct
from sandbox.relational.nodes import Measure, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.relational.statistics import DistinctCount
from tests.builders import World, load, make_world, policy_text

PRICES = ("0.0", "-0.0", "nan", "-nan", "1.0", "2.0", "inf")
SEEDS = [bytes([i]) for i in range(20)]


def world_of(prices: tuple[str, ...]) -> World:
    world = make_world(load(policy_text(groups_max=2)), random.Random(1), units=2)
    world.connection.execute("DELETE FROM items_all").fetchall()
    for price in prices:
        number = f"{'-' * price.startswith('-')}CAST('{price.removeprefix('-')}' AS DOUBLE)"
        world.connection.execute(f"INSERT INTO items_all VALUES (1, 1, {number}, 1)").fetchall()
    return world


def kept(world: World, argument: Expression, seed: bytes) -> list[tuple[Value, ...]]:
    plan = plan_release(Release(Scan("items", 0), (), (Measure("count_distinct", argument),)), world.schema)
    (statistic,) = plan.statistics
    assert isinstance(statistic, DistinctCount)
    lowered = distinct.lower_distinct(plan, statistic, world.schema, seed)
    return world.rows(replace(lowered, select="SELECT CAST(abs(CAST(x AS DOUBLE)) AS VARCHAR) FROM few ORDER BY ALL"))


def choices_of_both_orders(argument: Expression) -> list[bool]:
    worlds = world_of(PRICES), world_of(PRICES[::-1])
    return [kept(worlds[0], argument, seed) == kept(worlds[1], argument, seed) for seed in SEEDS]


@pytest.mark.parametrize("argument", [Column("0.price"), Call("negate", (Column("0.price"),))])
def test_what_a_unit_keeps_does_not_hang_on_the_order_of_its_rows(argument: Expression) -> None:
    assert all(choices_of_both_orders(argument))


def test_zero_with_two_signs_ranked_by_its_text_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "_spelled", lambda statistic, plan: "x")
    assert not all(choices_of_both_orders(Column("0.price")))
