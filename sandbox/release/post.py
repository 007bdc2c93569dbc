"""HAVING, ORDER BY, LIMIT and arithmetic over released rows: DuckDB in memory, which never sees raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import assert_never

import duckdb

from policies.types import BOOLEAN, DATE, TIMESTAMP, Type, Value
from sandbox.relational.expressions import Call, Case, Column, Expression, columns
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.lower.scalars import identifier, number, scalar, sql_type
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
from sandbox.relational.scalar import facts_of

ROW = identifier("__row")
ORDER = identifier("__order")


@dataclass(frozen=True, slots=True)
class Shown:
    """An output column: its name, what it is in terms of released columns, its type."""

    name: str
    expression: Expression
    type: Type

    @property
    def is_key(self) -> bool:
        return all(column.name.startswith("k") for column in columns(self.expression))


def outputs(plan: Output, released: Mapping[str, Type]) -> tuple[Shown, ...]:
    """The answer's columns over released columns `k0`, `m0`, ... Raises Refuse for what the types do not allow."""
    facts, known = _released_facts(released), {name: Column(name) for name in released}
    inner, below = _flatten(plan.source, facts, dict(known))
    return tuple(
        Shown(name, substitute(expression, inner), facts_of(expression, below).type)
        for name, expression in plan.columns
    )


def is_plain(plan: Output) -> bool:
    """Whether the answer is the released columns themselves, in released order."""
    return isinstance(plan.source, Release) and all(isinstance(expression, Column) for _, expression in plan.columns)


def substitute(expression: Expression, known: Mapping[str, Expression]) -> Expression:
    """`expression` with every column replaced by what it stands for."""
    match expression:
        case Column(name=name):
            return known.get(name, expression)
        case Call(function=function, arguments=arguments, at=at):
            return Call(function, tuple(substitute(a, known) for a in arguments), at)
        case Case(branches=branches, otherwise=otherwise, at=at):
            inner = tuple((substitute(c, known), substitute(v, known)) for c, v in branches)
            return Case(inner, substitute(otherwise, known), at)
        case _:
            return expression


def run(
    plan: Output, released: Mapping[str, Type], rows: Sequence[Sequence[Value]]
) -> list[tuple[int, tuple[Value, ...]]]:
    """The answer's rows as (index of the released row, values), in order.

    `rows` are parallel to `released`. Never raises on numbers: arithmetic is total.
    """
    facts = _released_facts(released)
    sql, below = _lower(plan.source, facts)
    shown = [facts_of(expression, below).type for _, expression in plan.columns]
    written = [_output(e, below, t) for (_, e), t in zip(plan.columns, shown, strict=True)]
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        names = ", ".join(f"{identifier(name)} {sql_type(type_)}" for name, type_ in released.items())
        connection.execute(f"CREATE TABLE released ({ROW} BIGINT, {names})").fetchall()
        if rows:
            _insert(connection, list(released.values()), rows)
        selected = ", ".join([ROW, *written])
        found = connection.execute(f"SELECT {selected} FROM ({sql}) ORDER BY {ORDER}").fetchall()
    return [(row[0], tuple(_value(v, t) for v, t in zip(row[1:], shown, strict=True))) for row in found]


def _insert(connection: duckdb.DuckDBPyConnection, types: list[Type], rows: Sequence[Sequence[Value]]) -> None:
    """All rows in one statement, column by column as text: a statement per row would take a second for a thousand."""
    lists = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
    casts = [f"CAST(unnest(?::VARCHAR[]) AS {sql_type(type_)})" for type_ in types]
    numbers = f"unnest(range({len(rows)}))"
    connection.execute(f"INSERT INTO released SELECT {', '.join([numbers, *casts])}", lists).fetchall()


_SETTINGS = ("SET enable_external_access=false", "SET lock_configuration=true")


def _released_facts(released: Mapping[str, Type]) -> Facts:
    found = {name: ColumnFacts(type_, "the released column", nullable=True) for name, type_ in released.items()}
    return Facts(found, None, None)


def _flatten(node: Relation, facts: Facts, known: dict[str, Expression]) -> tuple[dict[str, Expression], Facts]:
    """What each column above the release stands for, and its facts."""
    match node:
        case Release():
            return known, facts
        case Filter():
            inner, below = _flatten(node.source, facts, known)
            for condition in node.conditions:
                if facts_of(condition, below).type != BOOLEAN:
                    raise Refuse("type_mismatch", "a condition is expected here", at=condition.at)
            return inner, below
        case Sort():
            inner, below = _flatten(node.source, facts, known)
            for expression, _, _ in node.by:
                facts_of(expression, below)  # refuses here, before anything is paid for, what `run` could not write
            return inner, below
        case Limit():
            return _flatten(node.source, facts, known)
        case Project():
            inner, below = _flatten(node.source, facts, known)
            names = [f"{node.number}.{i}" for i in range(len(node.columns))]
            stands = {n: substitute(e, inner) for n, e in zip(names, node.columns, strict=True)}
            columns_ = {n: facts_of(e, below) for n, e in zip(names, node.columns, strict=True)}
            return stands, Facts(columns_, None, None)
        case Rollup() | Distinct() | Window():
            raise Refuse("construct_not_allowed", "this part of a question is not answered yet", at=node.at)
        case Scan() | Public() | Join() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


def _lower(node: Relation, facts: Facts) -> tuple[str, Facts]:
    """SQL of released rows with `__row` and `__order`, and the facts of its columns."""
    match node:
        case Release():
            return f"SELECT *, {ROW} AS {ORDER} FROM released", facts
        case Filter():
            inner, below = _lower(node.source, facts)
            conditions = " AND ".join(scalar(c, below) for c in node.conditions) or "TRUE"
            return f"SELECT * FROM ({inner}) WHERE {conditions}", below
        case Sort():
            inner, below = _lower(node.source, facts)
            by = ", ".join(_sort_key(e, d, n, below) for e, d, n in node.by)
            order = f"row_number() OVER (ORDER BY {by}, {ORDER}) AS {ORDER}"
            return f"SELECT * EXCLUDE ({ORDER}), {order} FROM ({inner})", below
        case Limit():
            inner, below = _lower(node.source, facts)
            count = "" if node.count is None else f" LIMIT {node.count}"
            return f"SELECT * FROM ({inner}) ORDER BY {ORDER}{count} OFFSET {node.offset}", below
        case Project():
            inner, below = _lower(node.source, facts)
            names = [f"{node.number}.{i}" for i in range(len(node.columns))]
            written = [f"{scalar(e, below)} AS {identifier(n)}" for n, e in zip(names, node.columns, strict=True)]
            found = Facts({n: facts_of(e, below) for n, e in zip(names, node.columns, strict=True)}, None, None)
            return f"SELECT {', '.join([ROW, ORDER, *written])} FROM ({inner})", found
        case Rollup() | Distinct() | Window():
            raise Refuse("construct_not_allowed", "this part of a question is not answered yet", at=node.at)
        case Scan() | Public() | Join() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


def _sort_key(expression: Expression, descending: bool, nulls_first: bool, facts: Facts) -> str:
    direction = "DESC" if descending else "ASC"
    return f"{scalar(expression, facts)} {direction} NULLS {'FIRST' if nulls_first else 'LAST'}"


def _output(expression: Expression, facts: Facts, type_: Type) -> str:
    """Bare columns as they are; computed numbers as DOUBLE, whole ones as the nearest integer."""
    if isinstance(expression, Column):
        return scalar(expression, facts)
    if type_.whole:
        return f"TRY_CAST(round({number(expression, facts)}) AS BIGINT)"
    return number(expression, facts) if type_.numeric else scalar(expression, facts)


def _value(value: object, type_: Type) -> Value:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | Decimal | str):
        return value
    if type_ in (DATE, TIMESTAMP):
        return value  # type: ignore[return-value]  # the engine returns date and datetime for these types
    raise TypeError
