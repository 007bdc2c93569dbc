"""Windows within a unit, on tables small enough to reckon by hand."""

from __future__ import annotations

import pytest

from policies.types import BIGINT
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Literal
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.relations import relation
from sandbox.relational.nodes import (
    Filter,
    Join,
    Measure,
    Order,
    Project,
    Public,
    Relation,
    Scan,
    Window,
    WindowColumn,
    WindowFunction,
)
from sandbox.relational.plan import plan_release
from tests.spec.test_bounding import World, exact, world_with

VISITS = Scan("visits", 0)
COST, KIND = Column("0.cost"), Column("0.kind")
BY_COST: Order = ((COST, False, False),)
ROWS = [(1, "in", "30.00"), (1, "out", "10.00"), (1, "in", "20.00"), (1, "in", "20.00"), (2, "out", "5.00")]


def shown(world: World, column: WindowColumn) -> list[tuple[object, ...]]:
    """(unit, cost, the window's value), in order of unit and cost."""
    asked = Window(VISITS, (column,), 6)
    sql = f'SELECT "__unit", CAST("0.cost" AS DOUBLE), "6.w0" FROM ({relation(asked, world.schema)}) ORDER BY ALL'
    return world.ask(sql)


def numbered(test: str, value: int, *partition: Column) -> Filter:
    window = Window(VISITS, (WindowColumn("row_number", None, partition, BY_COST),), 6)
    return Filter(window, (Call(test, (Column("6.w0"), Literal(value, BIGINT))),))


EXPECTED: dict[WindowFunction, list[object]] = {
    "row_number": [1, 2, 3, 4, 1],
    "rank": [1, 2, 2, 4, 1],
    "dense_rank": [1, 2, 2, 3, 1],
}


@pytest.mark.parametrize("function", EXPECTED)
def test_ranks_count_within_each_unit(function: WindowFunction) -> None:
    found = shown(world_with(ROWS), WindowColumn(function, None, (), BY_COST))
    assert [row[2] for row in found] == EXPECTED[function]


def test_neighbours_are_those_of_the_same_unit() -> None:
    world = world_with(ROWS)
    before = shown(world, WindowColumn("lag", COST, (), BY_COST))
    assert [None if v is None else float(str(v)) for *_, v in before] == [None, 10, 20, 20, None]
    later = shown(world, WindowColumn("lead", COST, (), BY_COST, offset=3))
    assert [None if v is None else float(str(v)) for *_, v in later] == [30, None, None, None, None]


def test_an_aggregate_goes_over_its_whole_partition() -> None:
    world = world_with(ROWS)
    assert [row[2] for row in shown(world, WindowColumn("sum", COST, (), ()))] == [80.0, 80.0, 80.0, 80.0, 5.0]
    assert [row[2] for row in shown(world, WindowColumn("count_rows", None, (KIND,), ()))] == [1, 3, 3, 3, 1]
    unit = Column("0.pid")
    assert [row[2] for row in shown(world, WindowColumn("max", COST, (unit,), ()))] == [30, 30, 30, 30, 5]


def test_the_first_row_of_each_unit_is_one_row() -> None:
    world = world_with(ROWS)
    assert derive(numbered("equal", 1), world.schema).unit_once
    cells = exact(world, numbered("equal", 1), (KIND,), Measure("sum", COST))
    assert cells == {("out",): (1500,)}
    release = plan_release(_by_kind(numbered("equal", 1)), world.schema)
    assert (release.shape.unit_once, release.vectors[0].norm.total) == (True, 1)


def _by_kind(source: Relation):
    from sandbox.relational.nodes import Release

    return Release(source, (KIND,), (Measure("count_rows", None),))


@pytest.mark.parametrize(
    ("source", "once", "rows"),
    [
        (numbered("equal", 2), True, 1),
        (numbered("less_equal", 1), True, 1),
        (numbered("less", 2), True, 1),
        (numbered("less_equal", 2), False, 2),
        (numbered("greater_equal", 5), False, 1),  # declared: a unit may have more rows than it should
        (numbered("not_equal", 1), False, 4),
        (numbered("equal", 1, KIND), False, 3),
        (numbered("less_equal", 1, Column("0.hospital")), False, 5),
        (numbered("equal", 1, Column("0.pid")), True, 1),
    ],
)
def test_what_a_row_number_leaves_of_a_unit(source: Relation, once: bool, rows: int) -> None:
    facts = derive(source, world_with(ROWS).schema)
    assert (facts.unit_once, facts.multiplicity) == (once, rows)


def test_a_row_number_is_known_through_projections_and_semi_joins_and_no_further() -> None:
    schema = world_with(ROWS).schema
    window = Window(VISITS, (WindowColumn("row_number", None, (), BY_COST),), 6)
    projected = Project(window, 7, (Column("6.w0"), Column("0.pid")))
    assert derive(projected, schema).numbered["7.0"].alone
    assert derive(Join(window, Public("hospitals", 8), "semi", (("0.hospital", "8.id"),)), schema).numbered
    assert derive(Join(window, Public("hospitals", 8), "left", (("0.hospital", "8.id"),)), schema).numbered
    assert not derive(Join(window, Public("codes", 8), "left", (("0.hospital", "8.hospital"),)), schema).numbered
    assert not derive(Join(window, Scan("visits", 8), "inner", (("0.pid", "8.pid"),)), schema).numbered


def test_ranks_are_public_keys_up_to_the_declared_rows() -> None:
    facts = derive(Window(VISITS, (WindowColumn("rank", None, (), BY_COST),), 6), world_with(ROWS).schema)
    assert facts.columns["6.w0"].keys == (1, 2, 3, 4, 5)


def test_what_is_the_same_in_the_whole_unit_is_known_to_be() -> None:
    columns = (WindowColumn("sum", COST, (), ()), WindowColumn("sum", COST, (KIND,), ()))
    facts = derive(Window(VISITS, columns, 6), world_with(ROWS).schema)
    assert [facts.columns[f"6.w{i}"].of_unit for i in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    ("source", "column"),
    [
        (VISITS, WindowColumn("sum", COST, (), BY_COST)),
        (VISITS, WindowColumn("row_number", COST, (), BY_COST)),
        (VISITS, WindowColumn("lag", None, (), BY_COST)),
        (VISITS, WindowColumn("lag", COST, (), BY_COST, offset=-1)),
        (VISITS, WindowColumn("sum", KIND, (), ())),
        (VISITS, WindowColumn("row_number", None, (), ((Column("0.nothing"), False, False),))),
        (Public("hospitals", 0), WindowColumn("row_number", None, (), ())),
    ],
)
def test_what_has_no_window_is_refused(source: Relation, column: WindowColumn) -> None:
    with pytest.raises(Refuse) as caught:
        derive(Window(source, (column,), 6), world_with(ROWS).schema)
    assert caught.value.refused.detail[0].islower() or caught.value.refused.detail[0] in "`S"
