"""From stored noisy integers to numbers, intervals and notes. All of it is post-processing of what was released."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from policies.types import Type, Value
from sandbox.notes import Note
from sandbox.release.noise import Scale
from sandbox.release.released import ReleasedMeasure

ALPHA = 0.05
"""1 - confidence of every interval."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A released number with the band that the noise alone leaves, in exact fractions."""

    value: Fraction
    low: Fraction
    high: Fraction


def estimate(measure: ReleasedMeasure, group: int, alpha: float = ALPHA) -> Estimate:
    """The number of one group, with its (1 - alpha) interval over the noise.

    Counts and sums: the exact quantile of the discrete noise. Means: the box of two intervals at alpha / 2, so the
    confidence is at least 1 - alpha.
    """
    noisy, scale = measure.noisy[group], Scale(measure.mechanism, measure.scale)
    if measure.function == "avg":
        return _mean(measure, noisy, scale, alpha)
    step = Fraction(measure.step) / measure.grid
    half = scale.accuracy(alpha)
    value, low, high = noisy[0] * step, (noisy[0] - half) * step, (noisy[0] + half) * step
    if measure.type.whole and measure.function != "sum":
        return Estimate(Fraction(round(value)), Fraction(math.floor(low)), Fraction(math.ceil(high)))
    return Estimate(value, low, high)


def _mean(measure: ReleasedMeasure, noisy: tuple[int, ...], scale: Scale, alpha: float) -> Estimate:
    low, high = measure.bounds
    middle, half_range = (low + high) / 2, (high - low) / 2
    half = scale.accuracy(alpha / 2)
    count, total = noisy
    if count <= 0:
        return Estimate(middle, low, high)
    value = _between(Fraction(total, count))
    if count - half <= 0:
        return Estimate(middle + half_range * value, low, high)
    corners = [Fraction(t, c) for t in (total - half, total + half) for c in (count - half, count + half)]
    return Estimate(
        middle + half_range * value,
        middle + half_range * _between(min(corners)),
        middle + half_range * _between(max(corners)),
    )


def _between(ratio: Fraction) -> Fraction:
    """A mean of values in [-1, 1] is known to lie there."""
    return max(Fraction(-1), min(Fraction(1), ratio))


def as_value(number: Fraction, type_: Type, *, up: bool | None = None) -> Value:
    """An exact number as a value of `type_`; edges of intervals are rounded outward (`up` or down)."""
    if type_.whole:
        return _whole(number, up)
    if type_.kind == "decimal":
        unit = 10 ** (type_.scale or 0)
        return Decimal(_whole(number * unit, up)).scaleb(-(type_.scale or 0))
    nearest = float(number)
    if up is None or Fraction(nearest) == number:
        return nearest
    return math.nextafter(nearest, math.inf if up else -math.inf)


def _whole(number: Fraction, up: bool | None) -> int:
    if up is None:
        return round(number)
    return math.ceil(number) if up else math.floor(number)


def notes(measure: ReleasedMeasure, *, near_threshold: bool) -> tuple[Note, ...] | None:
    """What the interval does not cover: functions of policy, plan and released numbers only."""
    found: list[Note] = []
    if measure.clamped:
        found.append("may_be_clipped")
    if near_threshold:
        found.append("near_threshold")
    return tuple(found) or None
