"""The interval that an answer will have, told before it is paid for: from price and declared counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from policies.types import Value
from sandbox.relational.expressions import Column, columns
from sandbox.release import bands, noise, post, present
from sandbox.release.make import Job


@dataclass(frozen=True, slots=True)
class Expected:
    """What an output column will be like. Never from data: the same for every snapshot."""

    half_width: Fraction
    """Half the width of its interval."""
    value: Fraction | None
    """The number itself: the declared number of units, evenly over the groups, each with one row and a value in the
    middle of its range. None where nothing is declared."""


def half_widths(job: Job, shown: Sequence[post.Shown], alpha: float = present.ALPHA) -> tuple[Value, ...]:
    """Half the width of the (1 - alpha) interval per output column; None for keys and where there is no rule."""
    return tuple(_half_width(expected(job, s, alpha), s) for s in shown)


def _half_width(found: Expected | None, shown: post.Shown) -> Value:
    return None if found is None else present.as_value(found.half_width, shown.type, up=True)


def values(job: Job, shown: Sequence[post.Shown]) -> tuple[Value, ...]:
    """What each output column is expected to be near to; None where nothing is declared."""
    found = [expected(job, s) for s in shown]
    return tuple(
        None if e is None or e.value is None else present.as_value(e.value, s.type)
        for e, s in zip(found, shown, strict=True)
    )


def expected(job: Job, shown: post.Shown, alpha: float = present.ALPHA) -> Expected | None:
    """What to expect of an output column at 1 - alpha; None for keys and where there is no rule."""
    if isinstance(shown.expression, Column):
        return None if shown.is_key else _released(job, shown.expression, alpha)
    names = columns(shown.expression)
    if not names or not shown.type.numeric:
        return None
    points: dict[str, bands.Band | None] = {}
    known: dict[str, bands.Band | None] = {}
    for column in names:
        part = _released(job, column, alpha / len(bands.noisy_columns(shown.expression)))
        if part is None or part.value is None:
            return None
        points[column.name] = (part.value, part.value)
        known[column.name] = (part.value - part.half_width, part.value + part.half_width)
    point, band = bands.band(shown.expression, points), bands.band(shown.expression, known)
    if point is None or band is None:
        return None
    return Expected(max(point[0] - band[0], band[1] - point[0]), point[0])


def _released(job: Job, column: Column, alpha: float) -> Expected | None:
    """What to expect of a released measure; None for what is none."""
    if column.name not in bands.noisy_columns(column):
        return None
    index = int(column.name[1:])
    vector, share = job.plan.vectors[index], job.budget.vectors[index]
    scale, main, units = noise.scale_of(vector, job.dp.accountant, share), vector.components[-1], _units(job)
    middle = (main.low + main.high) / 2
    if vector.measure.function == "avg":
        half = _mean(units, scale, main.grid, main.high - main.low, alpha)
        return None if half is None else Expected(half, middle)
    each = middle if vector.measure.function == "sum" else Fraction(1)
    return Expected(Fraction(scale.accuracy(alpha)) * main.step / main.grid, None if units is None else units * each)


def _units(job: Job) -> Fraction | None:
    """Units of one group, as declared and spread evenly; None where the groups are not known beforehand."""
    unit, cells = job.schema.policy.unit, job.plan.cells
    return None if unit is None or cells is None else Fraction(unit.count_about, max(1, cells))


def _mean(units: Fraction | None, scale: noise.Scale, grid: int, width: Fraction, alpha: float) -> Fraction | None:
    """Half the declared range where noise would drown it."""
    if units is None:
        return None
    count, half = units * grid, scale.accuracy(alpha / 2)
    return width / 2 if count <= 2 * half else width / 2 * half / (count - half)
