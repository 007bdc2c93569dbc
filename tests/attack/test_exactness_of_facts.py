"""Facts that hold in exact numbers and not in the engine's DOUBLE: a constant next to 2, a key above 2^53."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest

from policies.types import BIGINT, Type
from sandbox.relational import narrow
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Schema
from sandbox.relational.lower import relations
from sandbox.relational.nodes import (
    Filter,
    Join,
    Measure,
    Project,
    Public,
    Relation,
    Release,
    Scan,
    Window,
    WindowColumn,
)
from sandbox.relational.plan import plan_release
from tests.builders import World, load, make_world, policy_text
from tests.sensitivity import looks

NUMBERED = Window(Scan("visits", 0), (WindowColumn("row_number", None, (), ((Column("0.vid"), False, False),)),), 1)
NEXT_TO_TWO = Literal(Decimal("1.99999999999999999999"), Type("decimal", 21, 20))
LARGE = 2**62


def violations(world: World, source: Relation) -> set[str]:
    plan = plan_release(Release(source, (), (Measure("count_rows"),)), world.schema)
    return {found for found in looks(random.Random(1), world, plan, range(world.units)) if found}


def first_rows(constant: Literal) -> Relation:
    return Filter(NUMBERED, (Call("less_equal", (Column("1.w0"), constant)),))


@pytest.mark.parametrize("constant", [Literal(1, BIGINT), Literal(Decimal("1.5"), Type("decimal", 2, 1)), NEXT_TO_TWO])
def test_a_row_number_below_two_is_judged_as_the_engine_compares_it(constant: Literal) -> None:
    world = make_world(load(policy_text()), random.Random(1))
    assert violations(world, first_rows(constant)) == set()


def test_a_row_number_that_is_judged_exactly_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "_seen", lambda value: value)
    assert violations(make_world(load(policy_text()), random.Random(1)), first_rows(NEXT_TO_TWO))


def world_of_large_keys() -> World:
    """Every person leads to a hospital of its own, whose number differs from a thousand others by little."""
    text = policy_text()
    text = text.replace(
        'age = { type = "integer", role = "dimension", range = [0, 99] }',
        'age = { type = "bigint", role = "key", joins = ["hospitals.id"] }',
    )
    text = text.replace(
        '[tables.hospitals.columns]\nid = { type = "integer"', '[tables.hospitals.columns]\nid = { type = "bigint"'
    )
    text = text.replace('joins = ["hospitals.id", "codes.hospital"]', 'joins = ["codes.hospital"]')
    world = make_world(load(text), random.Random(1))
    run = world.connection.execute
    for statement in (
        "DROP VIEW hospitals",
        f"CREATE TABLE hospitals AS SELECT CAST({LARGE} + i AS BIGINT) AS id, 'city' AS level FROM range(1000) t(i)",
        "DROP VIEW people",
        "ALTER TABLE people_all ALTER age TYPE BIGINT",
        f"UPDATE people_all SET age = {LARGE} + __unit",
        "CREATE VIEW people AS SELECT * FROM people_all WHERE __unit <> getvariable('gone')",
    ):
        run(statement).fetchall()
    return World(world.policy, Schema(world.policy, {"hospitals": {}, "codes": {}}), world.connection, world.units)


COMPUTED = Call("coalesce", (Column("0.age"), Literal(0, BIGINT)))


def joined(key: Expression) -> Relation:
    return Join(Project(Scan("people", 0), 1, (key,)), Public("hospitals", 2), "inner", (("1.0", "2.id"),))


@pytest.mark.parametrize("key", [Column("0.age"), COMPUTED])
def test_a_row_meets_one_row_of_a_unique_key_however_large(key: Expression) -> None:
    assert violations(world_of_large_keys(), joined(key)) == set()


def test_an_equality_in_the_engines_own_type_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "_equal", lambda type_, left, right: f"{left} = {right}")
    assert violations(world_of_large_keys(), joined(COMPUTED))
