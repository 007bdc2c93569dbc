"""What the measures read from a row, and what each component makes of a unit's rows in one group.

A row carries each argument once: clamped, null where it counts for nothing. Whole and fixed-point columns are clamped
and summed as they are, anything else becomes a fixed-point integer row by row, so every sum is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from sandbox.relational.expressions import Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.integers import integer
from sandbox.relational.lower.scalars import double, scalar
from sandbox.relational.measures import Component, Vector


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
    return integer(argument, component.low, component.high, component.step, facts)


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
