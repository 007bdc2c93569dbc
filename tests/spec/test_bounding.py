"""What the bounded SQL computes, on tables small enough to reckon by hand."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from policies.types import BIGINT, TEXT
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.lower import norms
from sandbox.relational.lower.keys import lower_keys
from sandbox.relational.lower.values import lower_values
from sandbox.relational.nodes import Filter, Join, Measure, Public, Relation, Release, Scan
from sandbox.relational.plan import plan_release
from tests.builders import World, load, make_world, policy_text

VISITS = Scan("visits", 0)


def world_with(visits: list[tuple[int, str, str | None]], **policy: object) -> World:
    """A world whose visits are (unit, kind, cost) as given."""
    world = make_world(load(policy_text(**policy)), random.Random(1))
    world.connection.execute("DELETE FROM visits_all").fetchall()
    for i, (unit, kind, cost) in enumerate(visits):
        row = [unit, i, 1, cost, kind]
        world.connection.execute("INSERT INTO visits_all VALUES (?, ?, ?, ?, ?, DATE '2021-05-05')", row).fetchall()
    return world


def exact(world: World, source: Relation, keys: tuple[Column | Call, ...], *measures: Measure) -> dict:
    plan = plan_release(Release(source, keys, measures), world.schema)
    assert world.policy.release.dp is not None
    lowered = lower_values(plan, world.schema, world.policy.release.dp.accountant, 10**6)
    return {row[: len(keys)]: row[len(keys) :] for row in world.rows(lowered)}


def test_nothing_is_bounded_below_the_declared_rows() -> None:
    world = world_with([(1, "in", "10.00"), (1, "in", "30.00"), (2, "out", "5.50")])
    cells = exact(world, VISITS, (Column("0.kind"),), Measure("sum", Column("0.cost")), Measure("count_rows", None))
    assert cells == {("in",): (4000, 2 * 1024), ("out",): (550, 1024)}


def test_a_unit_above_the_declared_rows_is_scaled_as_a_whole() -> None:
    """20 rows in one group and 20 in another, where 5 rows are declared: both groups keep the same share."""
    world = world_with([(1, kind, "1.00") for kind in ("in", "out") for _ in range(20)])
    cells = exact(world, VISITS, (Column("0.kind"),), Measure("count_rows", None))
    assert cells[("in",)] == cells[("out",)] == (3620,)  # 5 * 1024 / sqrt(2), rounded toward 0
    assert 2 * 3620**2 <= (5 * 1024) ** 2


def mean_of_a_heavy_unit(world: World) -> Fraction:
    ((count, total),) = exact(world, VISITS, (), Measure("avg", Column("0.cost"))).values()
    return 250 + 250 * Fraction(total, count)


HEAVY = [(1, "in", "400.00") for _ in range(1000)]


def test_a_mean_keeps_its_ratio_however_far_its_unit_is_scaled() -> None:
    assert abs(mean_of_a_heavy_unit(world_with(HEAVY)) - 400) < Fraction(1, 100)


def test_clamping_sum_and_count_apart_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: each component clamped to the norm by itself gives a mean of 500."""

    def apart(i, vector, accountant):
        most = norms.norm(vector, accountant)
        return [
            f"CAST(least(greatest(r{i}_{j}, -{most}), {most}) AS BIGINT) AS r{i}_{j}"
            for j in range(len(vector.components))
        ]

    monkeypatch.setattr(norms, "clamped", apart)
    assert abs(mean_of_a_heavy_unit(world_with(HEAVY)) - 400) > 50


def test_values_outside_the_range_are_clamped_and_nulls_count_for_nothing() -> None:
    world = world_with([(1, "in", "9999.00"), (2, "in", "-7.00"), (3, "in", None)])
    cells = exact(world, VISITS, (), Measure("sum", Column("0.cost")), Measure("count", Column("0.cost")))
    assert cells == {(): (50000, 2)}


def test_rows_whose_key_is_not_public_are_dropped() -> None:
    world = world_with([(1, "other", "1.00"), (2, "in", "1.00")])
    assert exact(world, VISITS, (Column("0.kind"),), Measure("count_rows", None)) == {("in",): (1024,)}


def test_bins_are_half_open_and_the_last_is_closed() -> None:
    world = world_with([(1, "in", c) for c in ("0.00", "49.99", "50.00", "500.00", "500.01", "-0.01")])
    cells = exact(world, VISITS, (Call("bin", (Column("0.cost"),)),), Measure("count_rows", None))
    assert {key: value[0] // 1024 for key, value in cells.items()} == {(0.0,): 2, (50.0,): 1, (100.0,): 1}


def test_units_are_counted_once_however_many_rows_they_have() -> None:
    world = world_with([(1, "in", "1.00")] * 4 + [(2, "in", "1.00")])
    assert exact(world, VISITS, (), Measure("count_units", None)) == {(): (2,)}


def test_a_left_join_keeps_units_without_a_partner() -> None:
    world = world_with([(1, "in", "1.00")])
    world.connection.execute("DELETE FROM people_all WHERE __unit > 2").fetchall()
    joined = Join(Scan("people", 0), Scan("visits", 1), "left", (("0.pid", "1.pid"),))
    cells = exact(world, joined, (Column("1.kind"),), Measure("count_units", None))
    assert cells == {("in",): (1024,), (None,): (2048,)}


def test_a_join_to_reference_data_groups_by_its_public_values() -> None:
    world = world_with([(1, "in", "1.00"), (2, "in", "2.00")])
    joined = Join(VISITS, Public("hospitals", 1), "inner", (("0.hospital", "1.id"),))
    assert exact(world, joined, (Column("1.level"),), Measure("sum", Column("0.cost"))) == {("city",): (300,)}


def test_a_unit_in_many_private_keys_keeps_the_same_few_whenever_asked() -> None:
    world = world_with([], groups_max=2, items_max=9)
    world.connection.execute("DELETE FROM items_all").fetchall()
    for drug in range(9):
        world.connection.execute("INSERT INTO items_all VALUES (1, 0, 1.0, ?)", [drug]).fetchall()
    plan = plan_release(Release(Scan("items", 0), (Column("0.drug"),), ()), world.schema)
    first, again = (sorted(world.rows(lower_keys(plan, world.schema, b"one", 1))) for _ in range(2))
    other = sorted(world.rows(lower_keys(plan, world.schema, b"two", 1)))
    assert first == again
    assert len(first) == len(other) == 2
    assert first != other


def test_keys_named_in_where_are_public() -> None:
    world = world_with([])
    named = Filter(
        Scan("people", 0),
        (Call("in", (Column("0.diagnosis"), Literal("flu", TEXT), Literal("gout", TEXT))),),
    )
    plan = plan_release(Release(named, (Column("0.diagnosis"),), (Measure("count_rows", None),)), world.schema)
    assert [key.keys for key in plan.keys] == [("flu", "gout")]


def test_a_filter_narrows_the_public_keys() -> None:
    world = world_with([])
    young = Filter(Scan("people", 0), (Call("less", (Column("0.age"), Literal(3, BIGINT))),))
    plan = plan_release(Release(young, (Column("0.age"),), (Measure("count_rows", None),)), world.schema)
    assert [key.keys for key in plan.keys] == [(0, 1, 2)]


def test_bins_are_shown_in_the_type_of_their_column() -> None:
    text = policy_text().replace("range = [-10, 250.5] }", "range = [-10, 250.5], bins = [0, 50.5, 100] }")
    world = make_world(load(text), random.Random(1))
    asked = Release(Scan("people", 0), (Call("bin", (Column("0.weight"),)),), (Measure("count_rows", None),))
    (key,) = plan_release(asked, world.schema).keys
    assert (key.keys, [type(edge) for edge in key.keys or ()]) == ((0.0, 50.5), [float, float])
