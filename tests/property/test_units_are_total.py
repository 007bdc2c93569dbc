"""Whatever the rows say, what is asked of each unit runs to its end: aggregates, windows, unions over poisoned rows."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from typing import get_args

import duckdb
import pytest

from policies.types import BIGINT
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Refuse
from sandbox.relational.lower import aggregates, relations, windows
from sandbox.relational.lower.relations import relation
from sandbox.relational.nodes import (
    Filter,
    Join,
    Relation,
    Scan,
    UnionAll,
    UnitAggregate,
    UnitFunction,
    UnitMeasure,
    Window,
    WindowColumn,
    WindowFunction,
)
from tests.made_expressions import Maker
from tests.poisoned_rows import COLUMNS, CONSTANTS, SCAN, Poisoned, poisoned

NESTED = 40
SEED = int(os.environ.get("BPK_SEED", "20261123"))


def arguments() -> Iterator[Expression]:
    """Every column of a poisoned table, a number of which two pass 64 bits, and nested expressions."""
    yield Literal(2**62, BIGINT)
    yield from (Column(f"0.{name}") for name in COLUMNS)
    maker = Maker(random.Random(SEED))
    for _ in range(NESTED):
        yield maker.make(maker.dice.choice(list(CONSTANTS)), 2)


def asked_of(x: Expression) -> Iterator[Relation]:
    """Everything that can be made of a value within a unit."""
    for function in get_args(UnitFunction):
        yield UnitAggregate(SCAN, (), (UnitMeasure(function, None if function == "count_rows" else x),), 5)
    yield UnitAggregate(SCAN, (x,), (UnitMeasure("count_rows", None),), 5)
    for function in get_args(WindowFunction):
        ranks = function in ("row_number", "rank", "dense_rank")
        order = ((x, True, False),) if ranks or function in ("lag", "lead") else ()
        argument = None if ranks or function == "count_rows" else x
        yield Window(SCAN, (WindowColumn(function, argument, (), order), WindowColumn("count_rows", None, (x,), ())), 6)
    yield UnionAll((SCAN, Scan("rows", 1)), ((x,), (Column("1.small"),)), 7)
    yield UnionAll((SCAN, SCAN), ((x,), (x,)), 7)
    again = Filter(Scan("rows", 1), (Call("is_null", (Column("1.letter"),)),))
    yield Join(SCAN, again, "anti", (("0.pid", "1.pid"),))


def troubles(world: Poisoned) -> Iterator[str | None]:
    """What went wrong with each relation that is not refused."""
    for x in arguments():
        for asked in asked_of(x):
            try:
                derive(asked, world.schema)
                sql = relation(asked, world.schema)
            except Refuse:
                continue
            try:
                world.engine.execute(f"SELECT count(*) FROM (SELECT DISTINCT * FROM ({sql}))").fetchall()
                yield None
            except duckdb.Error as error:
                yield f"{type(error).__name__} {str(error)[:200]}: {sql[:2000]}"


def test_what_is_asked_of_each_unit_runs_to_its_end() -> None:
    found = list(troubles(poisoned(random.Random(SEED))))
    print(f"\nrelations: {len(found)}")
    assert not [problem for problem in found if problem]
    assert len(found) > 1000


def _changed(m: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    for module in (relations, windows):
        honest = module.aggregate
        m.setattr(module, "aggregate", lambda *given, honest=honest, **more: change(honest(*given, **more)))


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a plain cast of a total": lambda m: _changed(m, lambda sql: sql.replace("TRY_CAST(sum(", "CAST(sum(")),
    "a plain cast of a row": lambda m: _changed(m, lambda sql: sql.replace("TRY_CAST(round(", "CAST(1e30 * round(")),
    "a sum of decimals as wide as they come": lambda m: m.setattr(
        aggregates, "_added", lambda x, facts: (aggregates.scalar(x, facts), aggregates.Fraction(1))
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_overflow_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[fault](monkeypatch)
    assert any(troubles(poisoned(random.Random(SEED)))), f"{fault} was not noticed"
