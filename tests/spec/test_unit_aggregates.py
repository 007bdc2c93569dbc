"""Aggregates within a unit, on tables small enough to reckon by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest

from policies.types import BIGINT
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.lower.relations import relation
from sandbox.relational.nodes import Filter, Join, Measure, Public, Relation, Scan, UnitAggregate, UnitMeasure
from sandbox.relational.plan import plan_release
from tests.spec.test_bounding import World, exact, world_with

VISITS = Scan("visits", 0)
COST, KIND, HOSPITAL = Column("0.cost"), Column("0.kind"), Column("0.hospital")
FOUR = [(1, "in", "10.00"), (1, "in", "30.00"), (1, "out", None), (2, "out", "5.50")]


def rows_of(world: World, asked: Relation) -> list[tuple[object, ...]]:
    return sorted(world.ask(relation(asked, world.schema)), key=repr)


def per_unit(*measures: UnitMeasure, keys: tuple[Expression, ...] = ()) -> UnitAggregate:
    return UnitAggregate(VISITS, keys, measures, 5)


EACH = {
    ("count_rows", None): (3, 1),
    ("count", COST): (2, 1),
    ("count", Column("0.pid")): (3, 1),
    ("count_distinct", KIND): (2, 1),
    ("count_distinct", Column("0.pid")): (1, 1),
    ("sum", COST): (40.0, 5.5),
    ("avg", COST): (20.0, 5.5),
    ("min", COST): (10, Fraction(11, 2)),
    ("max", KIND): ("out", "out"),
    ("sum", HOSPITAL): (3, 1),
    ("sum", Call("multiply", (COST, Literal(2, BIGINT)))): (80.0, 11.0),
}


@pytest.mark.parametrize("measure", EACH)
def test_an_aggregate_goes_over_the_rows_of_each_unit(measure: tuple[str, Expression | None]) -> None:
    function, argument = measure
    asked = per_unit(UnitMeasure(function, argument))  # type: ignore[arg-type]
    assert rows_of(world_with(FOUR), asked) == [(1, EACH[measure][0]), (2, EACH[measure][1])]


def test_a_key_splits_the_rows_of_a_unit() -> None:
    found = rows_of(world_with(FOUR), per_unit(UnitMeasure("count_rows", None), UnitMeasure("sum", COST), keys=(KIND,)))
    assert found == [(1, "in", 2, 40.0), (1, "out", 1, None), (2, "out", 1, 5.5)]


def test_people_can_be_counted_by_how_many_visits_they_have() -> None:
    """The counts are public keys up to the declared rows, and a unit above them counts in the last group."""
    world = world_with([*FOUR, *((3, "day", "1.00") for _ in range(40))])
    cells = exact(world, per_unit(UnitMeasure("count_rows", None)), (Column("5.m0"),), Measure("count_rows", None))
    assert cells == {(3,): (1,), (1,): (1,), (5,): (1,)}


def test_the_total_of_each_unit_can_be_averaged() -> None:
    world = world_with(FOUR)
    source = Filter(per_unit(UnitMeasure("sum", COST)), (Call("greater", (Column("5.m0"), Literal(6, BIGINT))),))
    assert exact(world, source, (), Measure("sum", Column("5.m0"))) == {(): (4000,)}


def facts(world: World, asked: Relation) -> Facts:
    return derive(asked, world.schema)


def test_without_keys_a_unit_has_one_row_by_structure() -> None:
    world = world_with(FOUR)
    once = facts(world, per_unit(UnitMeasure("count_rows", None)))
    assert (once.unit_once, once.multiplicity, once.columns["5.m0"].of_unit) == (True, 1, True)
    keyed = facts(world, per_unit(UnitMeasure("count_rows", None), keys=(KIND,)))
    assert (keyed.unit_once, keyed.multiplicity, keyed.columns["5.m0"].of_unit) == (False, 3, False)
    plain = facts(world, per_unit(keys=(HOSPITAL,)))
    assert (plain.unit_once, plain.multiplicity) == (False, 5)


def test_a_key_that_is_the_same_for_all_rows_of_a_unit_keeps_one_row() -> None:
    world = world_with(FOUR)
    people = Join(VISITS, Scan("people", 1), "inner", (("0.pid", "1.pid"),))
    found = facts(world, UnitAggregate(people, (Column("1.sex"),), (UnitMeasure("count_rows", None),), 5))
    assert (found.unit_once, found.multiplicity) == (True, 1)


def test_one_row_for_each_unit_needs_no_bounding() -> None:
    """The unit is in one group by structure, so counts are exact and noise is that of one."""
    world = world_with(FOUR)
    release = plan_release(_release(per_unit(UnitMeasure("count_rows", None))), world.schema)
    assert release.shape.unit_once
    (vector,) = release.vectors
    assert vector.norm.total == 1


def _release(source: Relation):
    from sandbox.relational.nodes import Release

    return Release(source, (Column("5.m0"),), (Measure("count_rows", None),))


def test_bounds_of_a_sum_grow_with_the_rows_and_stay_within_the_declared_total() -> None:
    found = facts(world_with(FOUR), per_unit(UnitMeasure("sum", COST), UnitMeasure("avg", COST)))
    assert (found.columns["5.m0"].bounds, found.columns["5.m1"].bounds) == ((0, 2500), (0, 500))
    income = UnitAggregate(Scan("people", 0), (), (UnitMeasure("sum", Column("0.income")),), 5)
    assert facts(world_with(FOUR, total=250), income).columns["5.m0"].bounds == (0, 250)


def test_rows_outside_their_declared_range_are_clamped_before_they_are_added() -> None:
    world = world_with([(1, "in", "600.00"), (1, "in", "-3.00"), (1, "in", "1.00")])
    assert rows_of(world, per_unit(UnitMeasure("sum", COST))) == [(1, 501.0)]


def test_a_sum_beyond_what_is_counted_is_null_and_no_failure() -> None:
    world = world_with(FOUR)
    world.connection.execute("ALTER TABLE visits_all ALTER hospital SET DATA TYPE BIGINT").fetchall()
    world.connection.execute("UPDATE visits_all SET hospital = 9223372036854775807").fetchall()
    found = rows_of(world, per_unit(UnitMeasure("sum", HOSPITAL), UnitMeasure("avg", HOSPITAL)))
    assert found == [(1, None, 2.0**63), (2, 2**63 - 1, 2.0**63)]


def test_what_cannot_be_added_exactly_is_refused() -> None:
    world = world_with(FOUR)
    halves = Call("divide", (HOSPITAL, Column("0.vid")))
    for function in ("sum", "avg"):
        with pytest.raises(Refuse) as caught:
            facts(world, per_unit(UnitMeasure(function, halves)))  # type: ignore[arg-type]
        assert caught.value.refused.code == "bound_missing"
    hidden = UnitMeasure("count_rows", Column("__unit"))
    for asked in (per_unit(UnitMeasure("sum", KIND)), per_unit(UnitMeasure("sum", None)), per_unit(hidden)):
        with pytest.raises(Refuse):
            facts(world, asked)


def test_reference_data_have_no_units_to_group_by() -> None:
    with pytest.raises(Refuse) as caught:
        facts(world_with(FOUR), UnitAggregate(Public("hospitals", 0), (), (UnitMeasure("count_rows", None),), 5))
    assert caught.value.refused.code == "construct_not_allowed"


def test_the_unit_of_a_row_can_be_joined_on() -> None:
    """People beside their totals: one row each, and those without a visit have nulls that can be put right."""
    world = world_with(FOUR)
    world.connection.execute("DELETE FROM people_all WHERE __unit NOT IN (1, 2, 3)").fetchall()
    totals = per_unit(UnitMeasure("count_rows", None))
    asked = Join(Scan("people", 9), totals, "left", (("9.pid", "5.unit"),))
    found = facts(world, asked)
    assert (found.unit_once, found.multiplicity, found.columns["5.m0"].of_unit) == (True, 1, True)
    number = Call("coalesce", (Column("5.m0"), Literal(0, BIGINT)))
    cells = exact(world, asked, (number,), Measure("count_rows", None))
    assert cells == {(3,): (1,), (1,): (1,), (0,): (1,)}
