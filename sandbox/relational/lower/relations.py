"""Relations as DuckDB SQL: each node a SELECT that offers the model's own column names, and the hidden `__unit`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from sandbox.relational.derive import derive
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.lower.scalars import identifier, scalar
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
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
)

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
        case UnionAll() | UnitAggregate() | Window():
            raise Refuse("construct_not_allowed", "this part of a question is not answered yet", at=node.at)
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be read as rows", at=node.at)
        case _:
            assert_never(node)


def _table(table: str, number: int, facts: Facts) -> str:
    prefix = f"{number}."
    columns = [f"{identifier(name.removeprefix(prefix))} AS {identifier(name)}" for name in facts.columns]
    return f"SELECT {', '.join(_unit(facts) + columns)} FROM {identifier(table)}"


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
    left, right = derive(node.left, schema), derive(node.right, schema)
    unit = [f"l.{UNIT}"] if left.private else [f"r.{UNIT}"] if right.private else []
    columns = [f"l.{identifier(n)}" for n in left.columns] + [f"r.{identifier(n)}" for n in right.columns]
    kind = "JOIN" if node.kind == "inner" else "LEFT JOIN"
    conditions = " AND ".join(_conditions(node, left, right))
    sides = f"({relation(node.left, schema)}) AS l {kind} ({relation(node.right, schema)}) AS r"
    return f"SELECT {', '.join(unit + columns)} FROM {sides} ON {conditions}"


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
