"""Relations as DuckDB SQL: each node a SELECT that offers the model's own column names, and the hidden `__unit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from sandbox.relational.derive import derive
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.lower.aggregates import aggregate
from sandbox.relational.lower.scalars import identifier, scalar, together
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    JoinKind,
    Limit,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    UnionAll,
    UnitAggregate,
    Window,
    WindowColumn,
)
from sandbox.relational.rules.windows import partition

UNIT = identifier("__unit")


def relation(node: Relation, schema: Schema) -> str:
    """SQL of a relation below a release."""
    match node:
        case Scan(table=table, number=number) | Public(table=table, number=number):
            return _table(table, number, derive(node, schema))
        case Project():
            return _project(node, derive(node.source, schema), schema)
        case Filter():
            below = derive(node.source, schema)
            conditions = " AND ".join(scalar(c, below) for c in node.conditions) or "TRUE"
            return f"SELECT * FROM ({relation(node.source, schema)}) WHERE {conditions}"
        case Join():
            return _join(node, schema)
        case UnionAll():
            return _union_all(node, schema)
        case UnitAggregate():
            return _unit_aggregate(node, schema)
        case Window():
            return _window(node, schema)
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be read as rows", at=node.at)
        case _:
            assert_never(node)


def _table(table: str, number: int, facts: Facts) -> str:
    prefix = f"{number}."
    columns = [f"{identifier(name.removeprefix(prefix))} AS {identifier(name)}" for name in facts.columns]
    return f"SELECT {', '.join(_unit(facts) + columns)} FROM {identifier(table)}"


def _union_all(node: UnionAll, schema: Schema) -> str:
    """Each input brings its own hidden unit along; columns get one type by name.

    Source: docs/explanation/guarantees/union.md
    """
    below = [derive(each, schema) for each in node.inputs]
    shown = derive(node, schema).columns
    places = [i for i in range(len(node.columns[0])) if f"{node.number}.{i}" in shown]
    written = {i: together([values[i] for values in node.columns], below) for i in places}
    parts = []
    for part, each in enumerate(node.inputs):
        columns = [f"{written[i][part]} AS {identifier(f'{node.number}.{i}')}" for i in places]
        parts.append(f"SELECT {', '.join([UNIT, *columns])} FROM ({relation(each, schema)})")
    return " UNION ALL ".join(parts)


def _unit_aggregate(node: UnitAggregate, schema: Schema) -> str:
    """Guarantee: grouped by the hidden unit in every case, so that a row is made of rows of one unit.

    Source: docs/explanation/guarantees/unit-aggregate.md
    """
    below = derive(node.source, schema)
    keys = [identifier(f"{node.number}.k{i}") for i in range(len(node.keys))]
    made = [f"{scalar(key, below)} AS {name}" for key, name in zip(node.keys, keys, strict=True)]
    rows = f"SELECT {', '.join(['*', *made])} FROM ({relation(node.source, schema)})"
    measures = [
        f"{aggregate(measure.function, measure.argument, below)} AS {identifier(f'{node.number}.m{i}')}"
        for i, measure in enumerate(node.measures)
    ]
    groups = [UNIT, *keys]
    return f"SELECT {', '.join([*groups, *measures])} FROM ({rows}) GROUP BY {', '.join(groups)}"


def _window(node: Window, schema: Schema) -> str:
    """Guarantee: every window is partitioned by the hidden unit, whatever else by.

    Of several columns that hang on an order each sees those before it, and breaks its ties by them: two rows that are
    the same may get any number and any neighbour, but not each number with any neighbour.
    Source: docs/explanation/guarantees/window.md
    """
    below, sql = derive(node.source, schema), relation(node.source, schema)
    pending: list[str] = []
    numbered: list[str] = []
    for i, column in enumerate(node.columns):
        name, ordered = identifier(f"{node.number}.w{i}"), column.function in ("row_number", "lag", "lead")
        if ordered and numbered:
            sql, pending = f"SELECT {', '.join(['*', *pending])} FROM ({sql})", []
        pending.append(f"{_window_column(column, below, numbered)} AS {name}")
        numbered += [name] if ordered else []
    return f"SELECT {', '.join(['*', *pending])} FROM ({sql})"


def _window_column(column: WindowColumn, below: Facts, numbered: list[str]) -> str:
    parts = [UNIT, *(scalar(part, below) for part in partition(column, below))]
    within = f"PARTITION BY {', '.join(parts)}"
    given = [_term(expression, below, descending, first) for expression, descending, first in column.order]
    match column.function:
        case "row_number":
            return f"row_number() OVER ({within}{_ordered([*given, *_ties(column, below), *numbered])})"
        case "rank" | "dense_rank":
            return f"{column.function}() OVER ({within}{_ordered(given)})"
        case "lag" | "lead":
            argument = scalar(column.argument, below) if column.argument is not None else "NULL"
            order = _ordered([*given, *_ties(column, below), *numbered])
            return f"{column.function}({argument}, {column.offset}) OVER ({within}{order})"
        case _:
            return aggregate(column.function, column.argument, below, over=f" OVER ({within})")


def _ordered(terms: list[str]) -> str:
    return f" ORDER BY {', '.join(terms)}" if terms else ""


def _term(expression: Expression, below: Facts, descending: bool, nulls_first: bool) -> str:
    direction, nulls = "DESC" if descending else "ASC", "FIRST" if nulls_first else "LAST"
    return f"{scalar(expression, below)} {direction} NULLS {nulls}"


def _ties(column: WindowColumn, below: Facts) -> list[str]:
    """Every column that may still differ, in one sequence: rows that tie then are the same, whichever is first.

    Where ties were left to the engine, another unit's rows could decide which of two rows comes first. What is the
    same in all rows of a unit cannot break a tie, nor can what is in the order or the partition already.
    """
    named = {each.name for each in (*column.partition, *(e for e, _, _ in column.order)) if isinstance(each, Column)}
    open_ = sorted(name for name, found in below.columns.items() if not found.of_unit and name not in named)
    return [f"{identifier(name)} NULLS LAST" for name in open_]


def _unit(facts: Facts) -> list[str]:
    return [UNIT] if facts.private else []


def _project(node: Project, below: Facts, schema: Schema) -> str:
    columns = [
        f"{scalar(expression, below)} AS {identifier(f'{node.number}.{i}')}"
        for i, expression in enumerate(node.columns)
        if not (isinstance(expression, Column) and expression.name in (below.unit or ()))
    ]
    return f"SELECT {', '.join(_unit(below) + columns)} FROM ({relation(node.source, schema)})"


def _join(node: Join, schema: Schema) -> str:
    """Two relations with units always meet on the unit, whatever else is equated.

    Guarantee: every row of the result belongs to the one unit of the rows it was made of.
    Source: docs/explanation/guarantees/join.md
    """
    derive(node, schema)  # what may not meet is refused here too, whoever asks
    left, right = derive(node.left, schema), derive(node.right, schema)
    unit = [f"l.{UNIT}"] if left.private else [f"r.{UNIT}"] if right.private else []
    columns = [f"l.{identifier(n)}" for n in left.columns]
    if node.kind in ("inner", "left"):
        columns += [f"r.{identifier(n)}" for n in right.columns]
    conditions = " AND ".join(_conditions(node, left, right))
    sides = f"({relation(node.left, schema)}) AS l {_JOINS[node.kind]} ({relation(node.right, schema)}) AS r"
    return f"SELECT {', '.join(unit + columns) or '1'} FROM {sides} ON {conditions}"


_JOINS: dict[JoinKind, str] = {"inner": "JOIN", "left": "LEFT JOIN", "semi": "SEMI JOIN", "anti": "ANTI JOIN"}


def _conditions(node: Join, left: Facts, right: Facts) -> Iterator[str]:
    if left.private and right.private:
        yield f"l.{UNIT} = r.{UNIT}"
    for first, second in node.on:
        if first in (left.unit or ()) and second in (right.unit or ()):
            continue
        if first in (left.unit or ()) or second in (right.unit or ()):
            detail = "the protected unit can only be joined to the protected unit"
            raise Refuse("join_not_allowed", detail, at=node.at)
        one, other = left.columns[first], right.columns[second]
        if one.type != other.type and not (one.type.whole and other.type.whole):
            detail = f"{one.label} and {other.label} have different types"
            raise Refuse("type_mismatch", detail, at=node.at)
        yield f"l.{identifier(first)} = r.{identifier(second)}"
