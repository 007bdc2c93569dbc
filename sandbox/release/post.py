"""HAVING, ORDER BY, LIMIT, windows and arithmetic over released rows: DuckDB in memory, which never sees raw data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb

from policies.types import DATE, TIMESTAMP, Type, Value
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.lower.scalars import identifier, sql_type
from sandbox.relational.nodes import Output, Release, Rollup
from sandbox.relational.scalar import facts_of
from sandbox.release.above import Reads, above, substitute
from sandbox.release.above_sql import ROW, lower
from sandbox.release.windows import ORDER
from sandbox.release.windows import shown as written

KEYS = ("k", "g")
"""First letters of released columns that are no noisy numbers: keys, and whether they are rolled up."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An output column: its name, what it is in terms of its row's released columns, its type.

    `reads` holds every released column that it is made of, of this row or another.
    """

    name: str
    expression: Expression
    type: Type
    reads: Reads

    @property
    def is_key(self) -> bool:
        return all(name.startswith(KEYS) for name in self.reads)


def outputs(plan: Output, released: Mapping[str, Type]) -> tuple[Shown, ...]:
    """The answer's columns over released columns `k0`, `m0`, ... Raises Refuse for what the types do not allow."""
    below = above(plan.source, released)
    return tuple(
        Shown(name, substitute(e, below.stands), facts_of(e, below.facts).type, below.reads_of(e))
        for name, e in plan.columns
    )


def is_plain(plan: Output) -> bool:
    """Whether the answer is the released columns themselves, in released order."""
    bottom = isinstance(plan.source, Release | Rollup)
    return bottom and all(isinstance(expression, Column) for _, expression in plan.columns)


def run(
    plan: Output, released: Mapping[str, Type], rows: Sequence[Sequence[Value]]
) -> list[tuple[int, tuple[Value, ...]]]:
    """The answer's rows as (index of the released row, values), in order.

    `rows` are parallel to `released`. Never raises on numbers: arithmetic is total. A row that stands for several equal
    ones is told by the first of them.
    """
    below = above(plan.source, released).facts
    types = [facts_of(expression, below).type for _, expression in plan.columns]
    selected = ", ".join([ROW, *(written(expression, below) for _, expression in plan.columns)])
    sql = f"SELECT {selected} FROM ({lower(plan.source, released)}) ORDER BY {ORDER}"
    with duckdb.connect(":memory:", config={"threads": "1"}) as connection:
        for setting in _SETTINGS:
            connection.execute(setting).fetchall()
        _load(connection, released, rows)
        found = connection.execute(sql).fetchall()
    return [(row[0], tuple(_value(v, t) for v, t in zip(row[1:], types, strict=True))) for row in found]


def _load(connection: duckdb.DuckDBPyConnection, released: Mapping[str, Type], rows: Sequence[Sequence[Value]]) -> None:
    """All rows in one statement, column by column as text: a statement per row would take a second for a thousand."""
    names = [f"{ROW} BIGINT", *(f"{identifier(name)} {sql_type(type_)}" for name, type_ in released.items())]
    connection.execute(f"CREATE TABLE released ({', '.join(names)})").fetchall()
    if rows:
        lists = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
        casts = [f"CAST(unnest(?::VARCHAR[]) AS {sql_type(type_)})" for type_ in released.values()]
        numbers = f"unnest(range({len(rows)}))"
        connection.execute(f"INSERT INTO released SELECT {', '.join([numbers, *casts])}", lists).fetchall()


_SETTINGS = ("SET enable_external_access=false", "SET lock_configuration=true")


def _value(value: object, type_: Type) -> Value:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | Decimal | str):
        return value
    if type_ in (DATE, TIMESTAMP):
        return value  # type: ignore[return-value]  # the engine returns date and datetime for these types
    raise TypeError
