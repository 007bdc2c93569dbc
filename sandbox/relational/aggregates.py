"""Facts of aggregates over rows of one unit: over all of them, or over those of a group or window.

They are exact, so that the values of one unit never hang on the order of rows, and so not on who else is there. What
cannot be added up exactly is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import assert_never

from policies.types import BIGINT, DOUBLE
from sandbox.relational.expressions import Column, Expression, Position
from sandbox.relational.facts import Bounds, ColumnFacts, Facts, Refuse, numeric_bounds
from sandbox.relational.functions.numbers import whole_keys
from sandbox.relational.nodes import UnitFunction
from sandbox.relational.scalar import facts_of

ROWS_MAX = 2**53
"""Where counts saturate, whatever is declared."""
STEPS_MAX = 2**52
"""Most steps of a grid: up to here a double is exact."""
GRID = 2**40
"""Steps of a range: halves of halves of the column's own grid where it has one, which so stays exact."""
NARROW_MAX = 18
"""Digits of decimals that are summed as they are: no number of rows that fits a disk can overflow their sum."""


@dataclass(frozen=True, slots=True)
class Grid:
    """How a number is made an integer before it is added up: clamped, then counted in steps."""

    low: Fraction
    high: Fraction
    step: Fraction


def aggregate_facts(
    function: UnitFunction, argument: Expression | None, facts: Facts, at: Position | None
) -> ColumnFacts:
    """Facts of an aggregate over rows of one unit of a relation. Raises Refuse (`bound_missing`, `type_mismatch`)."""
    rows = rows_max(facts)
    match function:
        case "count_rows":
            if argument is not None:
                raise Refuse("aggregate_not_allowed", "rows are counted without an argument", at=at)
            return _count(1, rows)
        case "count":
            found = _counted(argument, facts, at)
            return _count(0 if found is None or found.nullable else 1, rows)
        case "count_distinct":
            return _count(0, distinct_max(argument, facts, at))
        case "sum":
            return _sum(_number(argument, facts, "SUM", at), argument, rows, at)
        case "avg":
            found = _number(argument, facts, "AVG", at)
            grid_of(found, argument, "AVG", at)
            bounds = found.bounds if numeric_bounds(found.bounds) else None
            return ColumnFacts(DOUBLE, "the average", found.nullable, bounds)
        case "min" | "max":
            found = _given(argument, facts, at)
            return replace(found, label=f"the {'least' if function == 'min' else 'greatest'} of {found.label}")
        case _:
            assert_never(function)


def rows_max(facts: Facts) -> int:
    return max(1, min(facts.multiplicity or 1, ROWS_MAX))


def distinct_max(argument: Expression | None, facts: Facts, at: Position | None) -> int:
    """Most values that one unit can have, as declared."""
    found = _counted(argument, facts, at)
    if found is None:
        return 1
    return rows_max(facts) if found.keys is None else max(1, min(rows_max(facts), len(found.keys)))


def grid_of(found: ColumnFacts, argument: Expression | None, word: str, at: Position | None) -> Grid | None:
    """The grid to add up on; None where values are whole, or narrow decimals of a table, and are added as they are."""
    if not numeric_bounds(found.bounds):
        if found.type.whole or native_decimal(found, argument):
            return None
        hint = "use columns with a declared range, or whole numbers"
        detail = f"{word} of {found.label} has no declared bounds, so it cannot be added up exactly"
        raise Refuse("bound_missing", detail, hint=hint, at=at)
    low, high = found.bounds
    width = max(high - low, abs(low), abs(high), Fraction(1, 10**12))
    if found.type.whole:
        return Grid(low, high, Fraction(1)) if width <= STEPS_MAX else None
    if found.step is None:
        return Grid(low, high, width / GRID)
    finer = math.floor(GRID * found.step / width)
    return Grid(low, high, found.step / 2 ** (finer.bit_length() - 1) if finer else width / GRID)


def native_decimal(found: ColumnFacts, argument: Expression | None) -> bool:
    """Whether to the engine it is a decimal whose sum is exact."""
    bare = isinstance(argument, Column) and found.source is not None
    return bare and found.type.kind == "decimal" and (found.type.precision or 0) <= NARROW_MAX


def _count(least: int, most: int) -> ColumnFacts:
    bounds = (Fraction(min(least, most)), Fraction(most))
    return ColumnFacts(BIGINT, "the count", nullable=False, bounds=bounds, step=Fraction(1), keys=whole_keys(bounds))


def _counted(argument: Expression | None, facts: Facts, at: Position | None) -> ColumnFacts | None:
    """Facts of what is counted; None for the unit itself."""
    if isinstance(argument, Column) and argument.name in (facts.unit or ()):
        return None
    return _given(argument, facts, at)


def _given(argument: Expression | None, facts: Facts, at: Position | None) -> ColumnFacts:
    if argument is None:
        raise Refuse("aggregate_not_allowed", "this aggregate needs an argument", at=at)
    return facts_of(argument, facts)


def _number(argument: Expression | None, facts: Facts, word: str, at: Position | None) -> ColumnFacts:
    found = _given(argument, facts, at)
    if not found.type.numeric:
        detail = f"{word} needs a number, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=at)
    return found


def _sum(found: ColumnFacts, argument: Expression | None, rows: int, at: Position | None) -> ColumnFacts:
    grid = grid_of(found, argument, "SUM", at)
    whole, bounds = found.type.whole, None
    if numeric_bounds(found.bounds):
        low, high = found.bounds
        bounds = _within_total((min(low, rows * low), max(high, rows * high)), found)
    return ColumnFacts(
        type=BIGINT if whole else DOUBLE,
        label="the sum",
        nullable=found.nullable or grid is None,  # a sum beyond 64 bits is null
        bounds=bounds,
        step=found.step,
        keys=whole_keys(bounds) if whole else None,
    )


def _within_total(bounds: tuple[Fraction, Fraction], found: ColumnFacts) -> Bounds:
    if found.declared is None or found.declared.total_per_unit_max is None:
        return bounds
    total = Fraction(found.declared.total_per_unit_max)
    return min(max(bounds[0], -total), total), max(min(bounds[1], total), -total)


def same_in_all_rows(facts: Facts, expressions: Sequence[Expression]) -> bool:
    """Whether each of `expressions` has one value in all rows of a unit."""
    return facts.unit_once or all(facts_of(expression, facts).of_unit for expression in expressions)
