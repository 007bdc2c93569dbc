"""HAVING, ORDER BY, LIMIT, windows, arithmetic, joins with public rows: DuckDB in memory, which never sees raw data."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Final

import duckdb

from policies.types import DATE, TIMESTAMP, Type, Value
from sandbox.publics import NO_PUBLICS, Publics
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.scalars import identifier, sql_type
from sandbox.relational.nodes import Output, Public, Release, Rollup, walk
from sandbox.relational.scalar import facts_of
from sandbox.release.above import Ground, Reads, above, substitute
from sandbox.release.above_sql import PLACE, ROW, lower, public_table
from sandbox.release.windows import ORDER
from sandbox.release.windows import shown as written

ROWS_MAX: Final = 100_000
"""Of an answer whose released rows meet several rows of a public table each."""
KEYS: Final = ("k", "g")
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


def outputs(plan: Output, released: Mapping[str, Type], publics: Publics = NO_PUBLICS) -> tuple[Shown, ...]:
    """The answer's columns over released columns `k0`, `m0`, ... Raises Refuse for what the types do not allow."""
    below = above(plan.source, Ground(released, publics))
    return tuple(
        Shown(name, substitute(e, below.stands), facts_of(e, below.facts).type, below.reads_of(e))
        for name, e in plan.columns
    )


def public_columns(plan: Output, released: Mapping[str, Type], publics: Publics) -> tuple[str, ...]:
    """Columns of public tables that stand beside the rows of the answer, as they are called there."""
    numbers = {node.number for node in walk(plan.source) if isinstance(node, Public)}
    found = above(plan.source, Ground(released, publics)).facts.columns
    return tuple(name for name in found if name.partition(".")[0] in map(str, numbers) and "." in name)


def is_plain(plan: Output) -> bool:
    """Whether the answer is the released columns themselves, in released order."""
    bottom = isinstance(plan.source, Release | Rollup)
    return bottom and all(isinstance(expression, Column) for _, expression in plan.columns)


def require_small(plan: Output, released: Mapping[str, Type], publics: Publics, groups: int | None) -> None:
    """Raises Refuse where joins could make more rows of `groups` released ones than an answer holds."""
    fan = above(plan.source, Ground(released, publics)).fan
    sets = sum(len(node.sets) for node in walk(plan) if isinstance(node, Rollup)) or 1
    if fan > 1 and (groups is None or groups * sets * fan > ROWS_MAX):
        detail = f"each released row would meet up to {fan} rows of public tables, and make the answer too large"
        hint = "join on columns whose values are unique in the public table"
        raise Refuse("result_too_large", detail, hint=hint, at=plan.source.at)


def run(
    plan: Output, released: Mapping[str, Type], rows: Sequence[Sequence[Value]], publics: Publics = NO_PUBLICS
) -> list[tuple[int, tuple[Value, ...]]]:
    """The answer's rows as (index of the released row, values), in order.

    `rows` are parallel to `released`. Never raises on numbers: arithmetic is total. A row that stands for several equal
    ones is told by the first of them.
    """
    if is_plain(plan):
        names = list(released)
        places = [names.index(each.name) for _, each in plan.columns if isinstance(each, Column)]
        return [(i, tuple(row[place] for place in places)) for i, row in enumerate(rows)]
    ground = Ground(released, publics)
    below = above(plan.source, ground).facts
    types = [facts_of(expression, below).type for _, expression in plan.columns]
    selected = ", ".join([ROW, *(written(expression, below) for _, expression in plan.columns)])
    sql = f"SELECT {selected} FROM ({lower(plan.source, ground)}) ORDER BY {ORDER}"
    with _private() as connection:
        _load(connection, "released", ROW, released, rows)
        for name in sorted({node.table for node in walk(plan) if isinstance(node, Public)} & set(publics)):
            table = publics[name]
            types_of = {column.name: column.type for column in table.columns}
            _load(connection, public_table(name), PLACE, types_of, table.rows)
        found = connection.execute(sql).fetchall()
    return [(row[0], tuple(_value(v, t) for v, t in zip(row[1:], types, strict=True))) for row in found]


def _private() -> duckdb.DuckDBPyConnection:
    """A connection of its own, whose temporary tables nobody else sees and which go with it."""
    with _LOCK:
        return _engine().cursor()


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    """One empty database for all answers: to make one takes longer than most answers do."""
    engine = duckdb.connect(":memory:", config={"threads": "1"})
    for setting in ("SET enable_external_access=false", "SET lock_configuration=true"):
        engine.execute(setting).fetchall()
    return engine


def _load(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    place: str,
    columns: Mapping[str, Type],
    rows: Sequence[Sequence[Value]],
) -> None:
    """All rows in one statement, column by column as text: a statement per row would take a second for a thousand."""
    names = [f"{place} BIGINT", *(f"{identifier(name)} {sql_type(type_)}" for name, type_ in columns.items())]
    connection.execute(f"CREATE TEMP TABLE {table} ({', '.join(names)})").fetchall()
    if rows:
        lists = [[None if value is None else str(value) for value in column] for column in zip(*rows, strict=True)]
        casts = [f"CAST(unnest(?::VARCHAR[]) AS {sql_type(type_)})" for type_ in columns.values()]
        numbers = f"unnest(range({len(rows)}))"
        connection.execute(f"INSERT INTO {table} SELECT {', '.join([numbers, *casts])}", lists).fetchall()


_LOCK: Final = threading.Lock()


def _value(value: object, type_: Type) -> Value:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | Decimal | str):
        return value
    if type_ in (DATE, TIMESTAMP):
        return value  # type: ignore[return-value]  # the engine returns date and datetime for these types
    raise TypeError
