"""Facts of windows: columns beside the rows of a relation, computed within one unit."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from policies.types import BIGINT
from sandbox.relational.aggregates import aggregate_facts, rows_max, same_in_all_rows
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import ColumnFacts, Facts, Numbering, Refuse
from sandbox.relational.functions.numbers import whole_keys
from sandbox.relational.nodes import Window, WindowColumn
from sandbox.relational.rules.units import groups_max
from sandbox.relational.scalar import facts_of

OFFSET_MAX = 10_000


def window(node: Window, below: Facts) -> Facts:
    """Facts of rows with window columns. Raises Refuse.

    Guarantee: each window is partitioned by the hidden unit, so what stands in a row hangs on rows of its unit alone;
    no row is added or lost. Ties are broken by every column that there is, so nothing hangs on the order of rows.
    Source: docs/explanation/guarantees/window.md
    """
    if not below.private:
        raise Refuse("construct_not_allowed", "windows over reference data are not answered", at=node.at)
    columns, numbered = dict(below.columns), dict(below.numbered)
    for i, column in enumerate(node.columns):
        name = f"{node.number}.w{i}"
        columns[name] = _column(column, node, below)
        if column.function == "row_number":
            parts = partition(column, below)
            most = groups_max([facts_of(part, below) for part in parts], below)
            numbered[name] = Numbering(most, alone=same_in_all_rows(below, parts))
    return replace(below, columns=columns, numbered=numbered)


def partition(column: WindowColumn, below: Facts) -> tuple[Expression, ...]:
    """What a window is partitioned by beside the hidden unit, which may be named and is there in any case."""
    return tuple(
        part for part in column.partition if not (isinstance(part, Column) and part.name in (below.unit or ()))
    )


def _column(column: WindowColumn, node: Window, below: Facts) -> ColumnFacts:
    at = column.at or node.at
    parts = partition(column, below)
    for expression in (*parts, *(term for term, _, _ in column.order)):
        facts_of(expression, below)
    match column.function:
        case "row_number" | "rank" | "dense_rank":
            if column.argument is not None:
                raise Refuse("aggregate_not_allowed", "a rank takes no argument", at=at)
            bounds = (Fraction(1), Fraction(rows_max(below)))
            found = ColumnFacts(BIGINT, "the rank", nullable=False, bounds=bounds, step=Fraction(1))
            return replace(found, keys=whole_keys(bounds), of_unit=below.unit_once)
        case "lag" | "lead":
            if column.argument is None or not 0 <= column.offset <= OFFSET_MAX:
                detail = f"`{column.function}` takes an argument and an offset from 0 to {OFFSET_MAX}"
                raise Refuse("aggregate_not_allowed", detail, at=at)
            found = facts_of(column.argument, below)
            return replace(found, nullable=True, of_unit=below.unit_once)
        case _:
            if column.order:
                hint = "leave ORDER BY out, or use `row_number`, `rank`, `lag`, `lead`"
                raise Refuse("construct_not_allowed", "running aggregates are not answered", hint=hint, at=at)
            found = aggregate_facts(column.function, column.argument, below, at)
            return replace(found, of_unit=same_in_all_rows(below, parts))
