"""The interval that an answer will have, told before it is paid for: from price and declared counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from policies.types import Value
from sandbox.relational.expressions import Column
from sandbox.release import noise, post, present
from sandbox.release.make import Job


def half_widths(job: Job, shown: Sequence[post.Shown]) -> tuple[Value, ...]:
    """Half the width of the 95 % interval per output column; None for keys and computed columns."""
    return tuple(_half_width(job, s) for s in shown)


def _half_width(job: Job, shown: post.Shown) -> Value:
    if not isinstance(shown.expression, Column) or shown.is_key:
        return None
    index = int(shown.expression.name[1:])
    vector, share = job.plan.vectors[index], job.budget.vectors[index]
    scale = noise.scale_of(vector, job.dp.accountant, share)
    main = vector.components[-1]
    if vector.measure.function == "avg":
        return _mean(job, scale, main.grid, main.high - main.low)
    half = scale.accuracy(present.ALPHA) * main.step / main.grid
    return present.as_value(half, shown.type, up=True)


def _mean(job: Job, scale: noise.Scale, grid: int, width: Fraction) -> Value:
    """With the declared number of units spread evenly over the groups; None where noise would drown it."""
    unit, cells = job.schema.policy.unit, job.plan.cells
    if unit is None or cells is None:
        return None
    count = Fraction(unit.count_about, max(1, cells)) * grid
    half = scale.accuracy(present.ALPHA / 2)
    if count <= 2 * half:
        return float(width / 2)
    return float(width / 2 * Fraction(half) / (count - half))
