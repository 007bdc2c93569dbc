"""What the measures read from a row, and what each component makes of a unit's rows in one group.

A row carries each argument once: clamped, null where it counts for nothing. Whole and fixed-point columns are clamped
and summed as they are, anything else becomes a fixed-point integer row by row, so every sum is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.constants import clamp
from sandbox.relational.lower.integers import integer
from sandbox.relational.lower.scalars import double, number, scalar
from sandbox.relational.scalar import facts_of
from sandbox.relational.statistics import Argument, Component, Vector


@dataclass(frozen=True, slots=True)
class _Read:
    """A column of the base rows, and what one step of it is worth."""

    name: str
    worth: Fraction


@dataclass(frozen=True, slots=True)
class Inputs:
    """`columns` maps the SQL of each row value to the name that it has in the base rows."""

    columns: Mapping[str, str]
    reads: Mapping[Component, _Read] = field(default_factory=dict)

    def cell(self, component: Component, *, once: bool) -> str:
        """A component of one unit's cell before its clamp. With `once` the cell is the row itself."""
        if component.part == "rows":
            return str(component.grid) if once else f"count(*) * {component.grid}"
        if component.argument is None:
            return str(component.grid)  # a unit, by itself
        read = self.reads[component]
        count = f"(CASE WHEN {read.name} IS NULL THEN 0 ELSE 1 END)" if once else f"count({read.name})"
        total = f"coalesce({read.name if once else f'sum({read.name})'}, 0)"
        match component.part:
            case "present" | "finite":
                return f"{count} * {component.grid}"
            case "units":
                return f"CASE WHEN {count} > 0 THEN {component.grid} ELSE 0 END"
            case "value":
                return _in_steps(total, component.argument.step / read.worth)
            case "centred":
                return _centred(total, count, component.grid, component.argument, read.worth)
            case "square" | "product":
                return total
            case _:
                assert_never(component.part)


def inputs_of(vectors: Sequence[Vector], facts: Facts) -> Inputs:
    """The row values that the vectors need, each once."""
    columns: dict[str, str] = {}
    reads: dict[Component, _Read] = {}
    for vector in vectors:
        for component in vector.components:
            if component.argument is not None:
                written, worth = _row(component, component.argument, facts)
                reads[component] = _Read(columns.setdefault(written, f"y{len(columns)}"), worth)
    return Inputs(columns, reads)


def _row(component: Component, argument: Argument, facts: Facts) -> tuple[str, Fraction]:
    """(SQL of the row value, what one step of it is worth). Null, NaN and infinite arguments give null."""
    match component.part:
        case "present":
            return scalar(argument.expression, facts), Fraction(1)
        case "units":
            return f"CASE WHEN {scalar(argument.expression, facts)} THEN 1 END", Fraction(1)
        case "square":
            u = _unit_interval(argument, facts)
            return _polynomial(f"2 * {u} * {u} - 1", component, argument, facts), Fraction(1)
        case "product" if component.other is not None:
            written = f"{_unit_interval(argument, facts)} * {_unit_interval(component.other, facts)}"
            return _polynomial(written, component, argument, facts), Fraction(1)
        case _:
            return _fixed_point(component, argument, facts)


def _fixed_point(component: Component, argument: Argument, facts: Facts) -> tuple[str, Fraction]:
    """The clamped argument as an exact number: as it is, or in whole steps."""
    written, worth = integer(argument.expression, argument.low, argument.high, argument.step, facts)
    beside = _beside(component, facts)
    return (f"CASE WHEN {beside[0]} THEN {written} END" if beside else written), worth


def counted(expression: Expression, facts: Facts) -> str:
    """A value as a DOUBLE to be ordered by: numbers as they are, dates in days and timestamps in seconds since 1970.

    Null where it is none, or infinite: neither has a place in an order of numbers.
    """
    x = scalar(expression, facts)
    match facts_of(expression, facts).type.kind:
        case "date":
            return f"CASE WHEN isfinite({x}) THEN CAST(date_diff('day', DATE '1970-01-01', {x}) AS DOUBLE) END"
        case "timestamp":
            return f"CASE WHEN isfinite({x}) THEN floor(epoch({x})) END"
        case _:
            as_double = number(expression, facts)
            return f"CASE WHEN isfinite({as_double}) THEN {as_double} END"


def _polynomial(written: str, component: Component, argument: Argument, facts: Facts) -> str:
    """A polynomial of numbers in [-1, 1] in whole steps of the grid."""
    grid = component.grid
    steps = f"least(greatest(TRY_CAST(round(({written}) * {grid}) AS BIGINT), -{grid}), {grid})"
    return f"CASE WHEN {_finite(component, argument, facts)} THEN {steps} END"


def _unit_interval(argument: Argument, facts: Facts) -> str:
    """The clamped argument mapped to [-1, 1], as DOUBLE."""
    if not argument.half:
        return "CAST(0 AS DOUBLE)"
    return f"(({_clamped(argument, facts)} - {double(argument.middle)}) / {double(argument.half)})"


def _clamped(argument: Argument, facts: Facts) -> str:
    x = number(argument.expression, facts)
    low, high = double(argument.low), double(argument.high)
    return (
        f"({clamp(x, low, high)})"
        if isinstance(argument.expression, Column)
        else f"least(greatest({x}, {low}), {high})"
    )


def _finite(component: Component, argument: Argument, facts: Facts) -> str:
    return " AND ".join([f"isfinite({number(argument.expression, facts)})", *_beside(component, facts)])


def _beside(component: Component, facts: Facts) -> list[str]:
    """The condition that the other argument of a pair is a number too."""
    return [] if component.other is None else [f"isfinite({number(component.other.expression, facts)})"]


def _in_steps(total: str, step: Fraction) -> str:
    """A sum in steps: exact where it is counted in them already, else the nearest, as a DOUBLE of one unit alone."""
    if step == 1:
        return total
    if step.numerator == 1:
        return f"round(CAST({total} AS DOUBLE) * {double(step.denominator)})"
    return f"round(CAST({total} AS DOUBLE) / {double(step)})"


def _centred(total: str, count: str, grid: int, argument: Argument, worth: Fraction) -> str:
    """The sum of (x - middle) / half on the grid, toward 0: never beyond count x grid."""
    if not argument.half:
        return "0"
    moved = f"(CAST({total} AS DOUBLE) * {double(worth)} - {count} * {double(argument.middle)})"
    return f"trunc({moved} / {double(argument.half)} * {grid})"
