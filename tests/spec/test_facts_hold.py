"""Facts that the bounding rests on, held against rows: what a wrong one would let through, and what a gateway that
makes up plans by itself could do with one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TEXT, TIMESTAMP, Type, Value
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Case, Column, Literal
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.lower import cells
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.lower.values import lower_values
from sandbox.relational.nodes import (
    Filter,
    Join,
    Measure,
    Project,
    Relation,
    Release,
    Scan,
    UnionAll,
    UnitAggregate,
    Window,
    WindowColumn,
    find_release,
)
from sandbox.relational.plan import plan_release
from sandbox.relational.scalar import facts_of
from tests.spec.test_bounding import World, world_with

NOTHING = Facts({}, None, None)
VISITS, ITEMS, PEOPLE = Scan("visits", 0), Scan("items", 0), Scan("people", 1)
COUNT = Measure("count_rows", None)


def heavy_world(accountant: str) -> World:
    """One unit, a woman, with as many items as declared on each of two visits, one of them `in`, one `out`."""
    world = world_with([(1, "in", "1.00"), (1, "out", "1.00")], accountant=accountant)
    for table, row in (("people", "1, 'F', 50, 1, 1.0, 'flu', DATE '1980-01-01', TRUE"), ("items", "")):
        world.connection.execute(f"DELETE FROM {table}_all").fetchall()
        if row:
            world.connection.execute(f"INSERT INTO {table}_all VALUES ({row})").fetchall()
    world.connection.execute("INSERT INTO items_all SELECT 1, range % 2, 1.0, 1 FROM range(16)").fetchall()
    return world


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_a_left_join_on_more_than_the_unit_may_put_one_unit_into_several_groups(accountant: str) -> None:
    """The sex of a person is a function of the unit, but whether a row finds a partner is not."""
    world = heavy_world(accountant)
    sql = (
        "SELECT x.sex, COUNT(*) FROM items i LEFT JOIN (SELECT p.sex, v.vid FROM people p JOIN visits v "
        "ON v.pid = p.pid WHERE v.kind = 'in') x ON i.vid = x.vid GROUP BY x.sex"
    )
    plan = plan_release(find_release(read(sql, {}, {"clinic": world.policy}, SqlLimits()).plan), world.schema)
    (vector,) = plan.vectors
    counts = [row[-1] for row in world.rows(lower_values(plan, world.schema, accountant, 10**6))]
    assert len(counts) == 2
    assert not plan.shape.one_group
    if accountant == "zcdp":
        assert sum(int(n or 0) ** 2 for n in counts) <= vector.norm.squared
    else:
        assert sum(abs(int(n or 0)) for n in counts) <= vector.norm.total


@pytest.mark.parametrize(
    ("join", "expected"),
    [
        (Join(VISITS, PEOPLE, "left", (("0.pid", "1.pid"),)), True),
        (Join(VISITS, PEOPLE, "inner", (("0.pid", "1.pid"),)), True),
        (Join(VISITS, PEOPLE, "left", (("0.pid", "1.pid"), ("0.hospital", "1.age"))), False),
        (Join(VISITS, PEOPLE, "inner", (("0.pid", "1.pid"), ("0.hospital", "1.age"))), True),
    ],
)
def test_what_is_known_of_a_unit_survives_a_join_where_all_its_rows_share_a_fate(join: Join, expected: bool) -> None:
    facts = derive(join, heavy_world("zcdp").schema)
    assert facts.columns["1.sex"].of_unit is expected
    assert not facts.columns["0.kind"].of_unit


def test_two_sides_of_a_join_never_carry_one_name_twice() -> None:
    """Facts would be those of the right side, and the values those of the left."""
    left = Project(VISITS, 7, (Column("0.kind"), Column("0.pid")))
    right = Project(PEOPLE, 7, (Column("1.sex"), Column("1.pid")))
    twice: list[Relation] = [
        Join(left, right, "inner", (("7.1", "7.1"),)),
        Join(Scan("visits", 0), Scan("visits", 0), "inner", (("0.pid", "0.pid"),)),
        Join(Scan("visits", 0), Scan("people", 0), "inner", (("0.pid", "0.pid"),)),
    ]
    for join in twice:
        with pytest.raises(Refuse) as caught:
            plan_release(Release(join, (), (COUNT,)), heavy_world("zcdp").schema)
        assert caught.value.refused.code == "construct_not_allowed"


def test_no_part_of_a_question_makes_a_name_that_stands_below_it() -> None:
    """To the engine the name would be the lower one's: a filter that leaves one row a unit would look elsewhere."""
    schema = heavy_world("zcdp").schema
    other = Window(VISITS, (WindowColumn("count_rows", None, (), ()),), 6)
    first = Filter(
        Window(other, (WindowColumn("row_number", None, (), ()),), 6),
        (Call("equal", (Column("6.w0"), Literal(1, BIGINT))),),
    )
    names = Project(VISITS, 7, (Column("0.kind"), Column("0.pid")))
    twice: list[Relation] = [
        first,
        Project(names, 7, (Column("7.0"),)),
        UnitAggregate(Project(VISITS, 7, (Column("0.kind"),)), (Column("7.0"),), (), 7),
        UnionAll((names, names), ((Column("7.0"),), (Column("7.0"),)), 7),
    ]
    for relation in twice:
        with pytest.raises(Refuse) as caught:
            derive(relation, schema)
        assert caught.value.refused.code == "construct_not_allowed"


WRONG: list[tuple[Value, Type]] = [
    ("abc", INTEGER), (5, TEXT), (True, BIGINT), (1, BOOLEAN), (1.5, DOUBLE), ("2020-01-01", DATE),
    (datetime(2020, 1, 1), DATE), (date(2020, 1, 1), TIMESTAMP), (Decimal("1.5"), INTEGER),  # noqa: DTZ001  # timestamps of policies carry no zone
]  # fmt: skip


@pytest.mark.parametrize(("value", "type_"), WRONG)
def test_a_constant_is_of_its_type(value: Value, type_: Type) -> None:
    """Else the engine casts row by row, and raises for some rows and not for others: one exact bit for a failure."""
    with pytest.raises(Refuse) as caught:
        facts_of(Literal(value, type_), NOTHING)
    assert caught.value.refused.code == "type_mismatch"


def test_a_column_without_any_public_value_keeps_its_type() -> None:
    """Only a bare NULL takes the type of its neighbours."""
    nobody = Filter(PEOPLE, (Call("in", (Column("1.sex"), Literal("Z", TEXT))),))
    facts = derive(Join(VISITS, nobody, "left", (("0.pid", "1.pid"),)), heavy_world("zcdp").schema)
    assert (facts.columns["1.sex"].keys, facts.columns["1.sex"].nullable) == ((), True)
    mixed = Call("coalesce", (Column("1.sex"), Literal(5, BIGINT)))
    with pytest.raises(Refuse) as caught:
        facts_of(mixed, facts)
    assert caught.value.refused.code == "type_mismatch"
    branch = Case(((Literal(value=True, type=BOOLEAN), Literal(None, TEXT)),), Literal(5, BIGINT))
    assert facts_of(branch, facts).type == BIGINT


def test_every_decade_is_a_date_that_can_be_returned() -> None:
    """Year 0 is no date outside the engine: one row of the years 1 to 9 failed the whole answer, for all to see."""
    world = heavy_world("zcdp")
    days = {"0001-01-01": date(1, 1, 1), "0009-12-31": date(1, 1, 1), "0010-01-01": date(10, 1, 1), "1987-05-06": None}
    for day, expected in days.items():
        world.connection.execute(f"UPDATE visits_all SET seen = DATE '{day}'").fetchall()
        plan = plan_release(Release(VISITS, (Call("trunc_decade", (Column("0.seen"),)),), (COUNT,)), world.schema)
        base = cells.base(plan, world.schema, {}).sql
        found = world.connection.execute(f"SELECT DISTINCT g0 FROM ({base})").fetchall()
        assert found == [(expected or date(1980, 1, 1),)]
    world.connection.execute("UPDATE visits_all SET seen = NULL").fetchall()
    assert world.connection.execute(f"SELECT DISTINCT g0 FROM ({base})").fetchall() == [(None,)]


def test_the_least_integer_is_a_constant_like_others() -> None:
    """As a DOUBLE it made doubles of the keys beside it, and those near the other end could not be cast back."""
    least, greatest = (scalar(Literal(value, BIGINT), NOTHING) for value in (-(2**63), 2**63 - 1))
    world = heavy_world("zcdp")
    found = world.connection.execute(
        f"SELECT CAST(s AS BIGINT) FROM (VALUES ({least}), ({greatest})) AS v(s)"
    ).fetchall()
    assert found == [(-(2**63),), (2**63 - 1,)]
