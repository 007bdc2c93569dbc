"""What the measures read from a row, and what each component makes of a unit's rows in one group.

A row carries each argument once: clamped, null where it counts for nothing. Whole and fixed-point columns are clamped
and summed as they are, anything else becomes a fixed-point integer row by row, so every sum is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from policies.types import Type
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.scalars import double, number, scalar, sql_type, text
from sandbox.relational.measures import Component, Vector
from sandbox.relational.scalar import facts_of

NARROW_MAX = 18
"""Digits of decimals that are summed as they are: no number of rows that fits a disk can overflow their sum."""


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
        if component.part == "units":
            return str(component.grid)
        if component.part == "rows":
            return str(component.grid) if once else f"count(*) * {component.grid}"
        read = self.reads[component]
        count = f"(CASE WHEN {read.name} IS NULL THEN 0 ELSE 1 END)" if once else f"count({read.name})"
        if component.part in ("present", "finite"):
            return f"{count} * {component.grid}"
        total = f"coalesce({read.name if once else f'sum({read.name})'}, 0)"
        if component.part == "value":
            return _in_steps(total, component.step / read.worth)
        return _centred(total, count, component, read.worth)


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


def _row(component: Component, argument: Expression, facts: Facts) -> tuple[str, Fraction]:
    """(SQL of the row value, what one step of it is worth). Null, NaN and infinite arguments give null."""
    if component.part == "present":
        return scalar(argument, facts), Fraction(1)
    edges = _native_edges(component, argument, facts)
    if edges is not None:
        x = scalar(argument, facts)
        return f"CASE WHEN {x} IS NOT NULL THEN least(greatest({x}, {edges[0]}), {edges[1]}) END", Fraction(1)
    x = number(argument, facts)
    clamped = f"least(greatest({x}, {double(component.low)}), {double(component.high)})"
    low, high = math.floor(component.low / component.step), math.ceil(component.high / component.step)
    steps = f"least(greatest(TRY_CAST(round({clamped} / {double(component.step)}) AS BIGINT), {low}), {high})"
    return f"CASE WHEN isfinite({x}) THEN {steps} END", component.step


def _native_edges(component: Component, argument: Expression, facts: Facts) -> tuple[str, str] | None:
    """The bounds in the column's own type, where argument is a bare whole or decimal column that can hold them."""
    if not isinstance(argument, Column):
        return None
    type_ = facts_of(argument, facts).type
    if type_.whole:
        low, high = math.ceil(component.low), math.floor(component.high)
        return (f"CAST({low} AS BIGINT)", f"CAST({high} AS BIGINT)") if low <= high else None
    narrow = type_.kind == "decimal" and (type_.precision or 0) <= NARROW_MAX
    if narrow and _fits(component.low, type_) and _fits(component.high, type_):
        return _decimal(component.low, type_), _decimal(component.high, type_)
    return None


def _fits(bound: Fraction, type_: Type) -> bool:
    steps = bound * 10 ** (type_.scale or 0)
    return steps.denominator == 1 and bool(abs(steps) < 10 ** (type_.precision or 0))


def _decimal(bound: Fraction, type_: Type) -> str:
    scale = type_.scale or 0
    exact = Decimal(int(bound * 10**scale)).scaleb(-scale)
    return f"CAST({text(format(exact, 'f'))} AS {sql_type(type_)})"


def _in_steps(total: str, step: Fraction) -> str:
    """A sum in steps: exact where it is counted in them already, else the nearest, as a DOUBLE of one unit alone."""
    if step == 1:
        return total
    if step.numerator == 1:
        return f"round(CAST({total} AS DOUBLE) * {double(step.denominator)})"
    return f"round(CAST({total} AS DOUBLE) / {double(step)})"


def _centred(total: str, count: str, component: Component, worth: Fraction) -> str:
    """The sum of (x - middle) / half on the grid, toward 0: never beyond count x grid."""
    half, middle = (component.high - component.low) / 2, (component.high + component.low) / 2
    if not half:
        return "0"
    moved = f"(CAST({total} AS DOUBLE) * {double(worth)} - {count} * {double(middle)})"
    return f"trunc({moved} / {double(half)} * {component.grid})"
