"""From an aggregate to the integer vector that is released for it: components, grids and the norm of one unit.

Each measure is one mechanism over one vector with an entry per group and component. What a unit adds to that vector is
scaled down to the norm below before it is summed, so the norm is the sensitivity, whatever the rows say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.nodes import Measure
from sandbox.relational.scalar import facts_of, numeric_bounds

CENTRED_GRID = 2**20
"""Grid of a centred mean: values in [-1, 1] become integers up to this."""
COUNT_GRID = 2**10
"""Grid of counts whose unit may have to be scaled: rounding toward 0 then loses at most a thousandth."""
NORM_MAX = 2**52
"""Norms stay where doubles are exact and squares fit the engine's 128 bits."""
STEPS_MAX = 2**40

Part = Literal["rows", "present", "finite", "value", "centred", "units"]


@dataclass(frozen=True, slots=True)
class Component:
    """One integer per row, or per unit and group where `part` is `units`.

    `rows` is `grid` for every row, `present` where the argument is not null, `finite` where it is a number; `value` is
    the clamped argument in steps of `step`, `centred` the clamped argument mapped from [low, high] to [-grid, grid].
    """

    part: Part
    grid: int
    argument: Expression | None = None
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    step: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Vector:
    """What one measure releases, and the most that one unit adds to it over all groups and components."""

    measure: Measure
    components: tuple[Component, ...]
    norm_squared: int
    """Bound on the squared L2 norm (zcdp)."""
    norm_sum: int
    """Bound on the L1 norm (pure)."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How often one unit may occur: what the norms depend on."""

    rows: int
    """Most rows per unit, declared."""
    groups: int
    """Most groups per unit that are counted: L0."""
    one_group: bool
    """A unit is in one group at most, by structure."""
    all_groups: bool
    """No unit can be in more than `groups` groups, by structure."""
    unit_once: bool


def vector_of(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    """The vector of one aggregate. Raises Refuse (`bound_missing`, `type_mismatch`).

    Guarantee: the norms bound what one unit can add after the bounding that `lower` writes into the SQL.
    Source: docs/explanation/guarantees/sum.md, mean.md
    """
    match measure.function:
        case "count_rows":
            return _count(measure, Component("rows", _count_grid(shape)), shape)
        case "count":
            argument = _argument(measure)
            if not (isinstance(argument, Column) and argument.name in (facts.unit or ())):
                facts_of(argument, facts)
            return _count(measure, Component("present", _count_grid(shape), argument), shape)
        case "count_units":
            grid = 1 if shape.one_group or shape.all_groups else COUNT_GRID
            groups = 1 if shape.one_group else shape.groups
            return Vector(measure, (Component("units", grid),), grid * grid * groups, grid * groups)
        case "sum":
            return _sum(measure, facts, shape)
        case "avg":
            return _mean(measure, facts, shape)
        case _:
            raise Refuse("aggregate_not_allowed", "this aggregate is not answered yet", at=measure.at)


def _argument(measure: Measure) -> Expression:
    if measure.argument is None:
        raise Refuse("aggregate_not_allowed", "this aggregate needs an argument", at=measure.at)
    return measure.argument


def _count_grid(shape: Shape) -> int:
    """Whole numbers are enough where no unit can lie in several groups: its clamp is then exact."""
    return 1 if shape.one_group else COUNT_GRID


def _count(measure: Measure, component: Component, shape: Shape) -> Vector:
    most = component.grid * shape.rows
    return Vector(measure, (component,), _norm(most, measure) ** 2, most)


def _sum(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    """A unit's rows add at most rows x the largest value, or the declared total, on the grid of the column."""
    argument = _argument(measure)
    found, low, high = _bounded(argument, measure, facts)
    step = _step(found, low, high)
    largest = max(abs(_steps(low, step)), abs(_steps(high, step)))
    most = shape.rows * largest
    if found.declared is not None and found.declared.total_per_unit_max is not None:
        most = min(most, _steps(Fraction(found.declared.total_per_unit_max), step))
    component = Component("value", 1, argument, low, high, step)
    return Vector(measure, (component,), _norm(max(most, 1), measure) ** 2, max(most, 1))


def _mean(measure: Measure, facts: Facts, shape: Shape) -> Vector:
    """(1, u) per row with u centred in [-1, 1]: one norm for numerator and denominator, and so one price."""
    argument = _argument(measure)
    found, low, high = _bounded(argument, measure, facts)
    grid, step = CENTRED_GRID, _step(found, low, high)
    components = (
        Component("finite", grid, argument, low, high, step),
        Component("centred", grid, argument, low, high, step),
    )
    _norm(2 * grid * shape.rows, measure)
    return Vector(measure, components, 2 * grid * grid * shape.rows**2, 2 * grid * shape.rows)


def _bounded(argument: Expression, measure: Measure, facts: Facts) -> tuple[ColumnFacts, Fraction, Fraction]:
    found = facts_of(argument, facts)
    word = measure.function.upper()
    if not found.type.numeric:
        detail = f"{word} needs a number, and {found.label} is of type {found.type}"
        raise Refuse("type_mismatch", detail, at=argument.at or measure.at)
    if not numeric_bounds(found.bounds):
        hint = "use columns with a declared range, and divide only by what cannot be 0"
        detail = f"{word} of {found.label} has no declared bounds, so its noise cannot be sized"
        raise Refuse("bound_missing", detail, hint=hint, at=argument.at or measure.at)
    return found, found.bounds[0], found.bounds[1]


def _step(found: ColumnFacts, low: Fraction, high: Fraction) -> Fraction:
    """The grid: the column's own where it is fine enough to matter and coarse enough to carry."""
    width = max(high - low, abs(low), abs(high), Fraction(1, 10**12))
    if found.step is None:
        return width / CENTRED_GRID
    step = found.step
    while width / step > STEPS_MAX:
        step *= 10
    return step


def _steps(value: Fraction, step: Fraction) -> int:
    """`value` in steps, away from 0."""
    exact = value / step
    return math.ceil(exact) if exact >= 0 else math.floor(exact)


def _norm(most: int, measure: Measure) -> int:
    if most > NORM_MAX:
        hint = "narrow the range of the column, or ask for a coarser step in the policy"
        raise Refuse("bound_missing", "the declared bounds are too wide to be exact", hint=hint, at=measure.at)
    return most
