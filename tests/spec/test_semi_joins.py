"""EXISTS, NOT EXISTS and UNION ALL, on tables small enough to reckon by hand."""

from __future__ import annotations

from datetime import date

import pytest

from policies.types import TEXT
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.relations import relation
from sandbox.relational.nodes import Filter, Join, JoinKind, Public, Relation, Scan, UnionAll
from tests.spec.test_bounding import World, world_with

PEOPLE, VISITS, HOSPITALS = Scan("people", 0), Scan("visits", 1), Public("hospitals", 2)
ROWS = [(1, "in", "30.00"), (1, "out", "10.00"), (2, "out", "5.00")]


def world() -> World:
    found = world_with(ROWS)
    found.connection.execute("DELETE FROM people_all WHERE __unit NOT IN (1, 2, 3)").fetchall()
    found.connection.execute("UPDATE visits_all SET hospital = CASE vid WHEN 0 THEN 3 WHEN 1 THEN 99 END").fetchall()
    return found


def units_of(asked: Relation) -> list[int]:
    here = world()
    return sorted(int(str(row[0])) for row in here.ask(relation(asked, here.schema)))


def kinds(kind: str) -> Filter:
    return Filter(VISITS, (Call("equal", (Column("1.kind"), Literal(kind, TEXT))),))


@pytest.mark.parametrize(("kind", "expected"), [("semi", [1]), ("anti", [2, 3])])
def test_people_are_chosen_by_what_they_did(kind: JoinKind, expected: list[int]) -> None:
    assert units_of(Join(PEOPLE, kinds("in"), kind, (("0.pid", "1.pid"),))) == expected


@pytest.mark.parametrize(("kind", "expected"), [("semi", [1]), ("anti", [1, 2])])
def test_rows_are_chosen_by_reference_data_and_a_null_has_no_partner(kind: JoinKind, expected: list[int]) -> None:
    assert units_of(Join(VISITS, HOSPITALS, kind, (("1.hospital", "2.id"),))) == expected


def test_the_facts_are_those_of_the_left_side() -> None:
    schema = world().schema
    left = derive(PEOPLE, schema)
    for kind in ("semi", "anti"):
        assert derive(Join(PEOPLE, VISITS, kind, (("0.pid", "1.pid"),)), schema) == left  # type: ignore[arg-type]


def test_what_stands_in_a_public_table_is_a_public_key() -> None:
    schema = world().schema
    found = derive(Join(VISITS, HOSPITALS, "semi", (("1.hospital", "2.id"),)), schema).columns["1.hospital"]
    assert (found.keys, found.nullable) == ((0, 1, 2, 3), False)
    assert derive(Join(VISITS, HOSPITALS, "anti", (("1.hospital", "2.id"),)), schema).columns["1.hospital"].keys is None


@pytest.mark.parametrize(
    ("join", "code"),
    [
        (Join(HOSPITALS, VISITS, "semi", (("2.id", "1.hospital"),)), "join_not_allowed"),
        (Join(HOSPITALS, VISITS, "anti", (("2.id", "1.hospital"),)), "join_not_allowed"),
        (Join(PEOPLE, VISITS, "semi", (("0.age", "1.hospital"),)), "join_not_allowed"),
        (Join(PEOPLE, VISITS, "semi", ()), "join_not_allowed"),
        (Join(PEOPLE, HOSPITALS, "semi", (("0.sex", "2.id"),)), "type_mismatch"),
        (Join(PEOPLE, HOSPITALS, "semi", (("0.pid", "2.id"),)), "join_not_allowed"),
        (Join(PEOPLE, VISITS, "anti", (("0.pid", "1.nothing"),)), "column_unknown"),
    ],
)
def test_what_would_tell_of_others_is_refused(join: Join, code: str) -> None:
    with pytest.raises(Refuse) as caught:
        relation(join, world().schema)
    assert caught.value.refused.code == code


def both(*columns: tuple[Column | Literal, Column | Literal]) -> UnionAll:
    first, second = zip(*columns, strict=True)
    return UnionAll((PEOPLE, VISITS), (first, second), 7)


def test_a_union_has_the_rows_of_all() -> None:
    assert units_of(both((Column("0.born"), Column("1.seen")))) == [1, 1, 1, 2, 2, 3]


def test_the_facts_of_a_union_are_those_of_either_side() -> None:
    facts = derive(
        both(
            (Column("0.pid"), Column("1.pid")),
            (Column("0.born"), Column("1.seen")),
            (Column("0.sex"), Column("1.kind")),
        ),
        world().schema,
    )
    assert (facts.unit, facts.multiplicity, facts.unit_once, facts.unique) == ({"7.0"}, 6, False, frozenset())
    assert facts.columns["7.1"].bounds == (date(1950, 1, 1), date(2022, 12, 31))
    assert facts.columns["7.2"].keys == ("F", "M", "in", "out", "day")
    assert facts.columns["7.2"].nullable
    assert not facts.columns["7.2"].of_unit


@pytest.mark.parametrize(
    ("union", "code"),
    [
        (both((Column("0.pid"), Column("1.vid"))), "aggregate_not_allowed"),
        (both((Column("0.sex"), Column("1.seen"))), "type_mismatch"),
        (UnionAll((PEOPLE, VISITS), ((Column("0.sex"),), ()), 7), "type_mismatch"),
        (UnionAll((PEOPLE,), ((Column("0.sex"),),), 7), "type_mismatch"),
        (UnionAll((PEOPLE, HOSPITALS), ((Column("0.sex"),), (Column("2.level"),)), 7), "construct_not_allowed"),
        (UnionAll((HOSPITALS, HOSPITALS), ((Column("2.level"),), (Column("2.level"),)), 7), "construct_not_allowed"),
    ],
)
def test_rows_that_do_not_go_together_are_refused(union: UnionAll, code: str) -> None:
    with pytest.raises(Refuse) as caught:
        derive(union, world().schema)
    assert caught.value.refused.code == code
