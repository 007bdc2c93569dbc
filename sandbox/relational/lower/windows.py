"""Windows within a unit as DuckDB SQL: what stands in a row hangs on rows of its unit alone, in whatever order."""

from __future__ import annotations

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.aggregates import aggregate
from sandbox.relational.lower.constants import UNIT, identifier
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.nodes import Window, WindowColumn
from sandbox.relational.rules.windows import partition


def window(node: Window, source: str, below: Facts) -> str:
    """SQL of `source`, which has the facts `below`, with the columns of `node` beside.

    Guarantee: every window is partitioned by the hidden unit, whatever else by.

    Of several columns that hang on an order each sees those before it, and breaks its ties by them: two rows that are
    the same may get any number and any neighbour, but not each number with any neighbour.
    Source: docs/explanation/guarantees/window.md
    """
    sql, pending, numbered = source, list[str](), list[str]()
    for i, column in enumerate(node.columns):
        name, ordered = identifier(f"{node.number}.w{i}"), column.function in ("row_number", "lag", "lead")
        if ordered and numbered:
            sql, pending = f"SELECT {', '.join(['*', *pending])} FROM ({sql})", []
        pending.append(f"{_column(column, below, numbered)} AS {name}")
        numbered += [name] if ordered else []
    return f"SELECT {', '.join(['*', *pending])} FROM ({sql})"


def _column(column: WindowColumn, below: Facts, numbered: list[str]) -> str:
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
