"""Aggregates over rows of one unit as DuckDB SQL: exact, whatever the order of rows, and total.

`over` is empty for GROUP BY, and the OVER clause of a window. No sum is of doubles: numbers are added up as integers
or narrow decimals, and become a double once, from the exact total.
"""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from sandbox.relational.aggregates import distinct_max, grid_of, native_decimal, rows_max
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.integers import integer
from sandbox.relational.lower.scalars import double, number, scalar
from sandbox.relational.nodes import UnitFunction
from sandbox.relational.scalar import facts_of


def aggregate(function: UnitFunction, argument: Expression | None, facts: Facts, over: str = "") -> str:
    """SQL of an aggregate over a relation with `facts`; see `sandbox/relational/aggregates.py` for what it is.

    Source: docs/explanation/guarantees/unit-aggregate.md
    """
    if argument is None:
        return _at_most(f"count(*){over}", rows_max(facts))
    x = scalar(argument, facts)
    match function:
        case "count" | "count_rows":
            return _at_most(f"count({x}){over}", rows_max(facts))
        case "count_distinct":
            return _at_most(f"count(DISTINCT {x}){over}", distinct_max(argument, facts, None))
        case "sum":
            value, worth = _added(argument, facts)
            total = f"sum({value}){over}"
            return f"TRY_CAST({total} AS BIGINT)" if facts_of(argument, facts).type.whole else _double(total, worth)
        case "avg":
            value, worth = _added(argument, facts)
            return f"({_double(f'sum({value}){over}', worth)} / nullif(count({value}){over}, 0))"
        case "min" | "max":
            return f"{function}({_ordered(argument, facts)}){over}"
        case _:
            assert_never(function)


def _at_most(count: str, most: int) -> str:
    """Rows beyond the declared ones count for nothing more, so that a group is found for every unit."""
    return f"least({count}, CAST({most} AS BIGINT))"


def _added(argument: Expression, facts: Facts) -> tuple[str, Fraction]:
    """(SQL of what is added up, what 1 of it is worth): null where the row counts for nothing."""
    found = facts_of(argument, facts)
    grid = grid_of(found, argument, "SUM", argument.at)
    if grid is not None:
        return integer(argument, grid.low, grid.high, grid.step, facts)
    x = scalar(argument, facts)
    return (x if native_decimal(found, argument) else f"TRY_CAST({x} AS BIGINT)"), Fraction(1)


def _double(total: str, worth: Fraction) -> str:
    exact = f"CAST({total} AS DOUBLE)"
    if worth.numerator == 1:
        return exact if worth == 1 else f"({exact} / {double(worth.denominator)})"
    return f"({exact} * {double(worth)})"


def _ordered(argument: Expression, facts: Facts) -> str:
    """A value to be compared: as it is in the table, or a finite double."""
    found = facts_of(argument, facts)
    if not found.type.numeric or (isinstance(argument, Column) and found.source and found.type.kind != "double"):
        return scalar(argument, facts)
    x = number(argument, facts)
    return f"CASE WHEN isfinite({x}) THEN {x} END"
