"""From stored noisy integers to numbers, intervals and notes. All of it is post-processing of what was released."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from policies.types import Type, Value
from sandbox.notes import Note
from sandbox.relational import intervals
from sandbox.relational.intervals import Interval
from sandbox.release import moments
from sandbox.release.noise import Scale
from sandbox.release.released import ReleasedGrid, ReleasedMeasure, ReleasedStatistic

ALPHA = 0.05
"""1 - confidence of every interval."""
_COUNTS = ("count_rows", "count", "count_units", "count_distinct")
_CHOSEN = ("quantile", "min", "max")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A released number, null where it is undefined, with the band that the noise leaves, where one is known."""

    value: Fraction | None
    band: Interval | None


@dataclass(frozen=True, slots=True)
class Cell:
    """Noisy numbers of one group, or of `merged` groups added up."""

    noisy: tuple[int, ...]
    merged: int = 1


def estimate(
    measure: ReleasedMeasure, statistics: Sequence[ReleasedStatistic], cells: Sequence[Cell], alpha: float = ALPHA
) -> Estimate:
    """The number of one group, with its (1 - alpha) interval over the noise. `cells` are parallel to `statistics`.

    Counts and sums: the exact quantile of the discrete noise. Means, variances and their like: the box of all noisy
    sums at a shared confidence, so the confidence is at least 1 - alpha. Chosen cells have no interval.
    """
    statistic, cell = statistics[measure.statistic], cells[measure.statistic]
    if measure.function in _CHOSEN:
        return _chosen(measure, statistic.arguments[0], cell.noisy[measure.place])
    if measure.divisor is not None:
        return _quotient(measure, statistics, cells, alpha)
    if measure.function in _COUNTS:
        number, (low, high) = _count(statistic, cell, alpha)
        return Estimate(Fraction(round(number)), (Fraction(math.floor(low)), Fraction(math.ceil(high))))
    if measure.function == "sum":
        return Estimate(*_sum(statistic, cell, alpha))
    half = Scale(statistic.mechanism, statistic.scale).accuracy(alpha / len(cell.noisy), cell.merged)
    found = moments.figure(measure.function, statistic.arguments, _boxes(cell.noisy, 0), statistic.grid)
    return _within(
        found, moments.figure(measure.function, statistic.arguments, _boxes(cell.noisy, half), statistic.grid)
    )


def _quotient(
    measure: ReleasedMeasure, statistics: Sequence[ReleasedStatistic], cells: Sequence[Cell], alpha: float
) -> Estimate:
    """A mean as a released sum over a released count; each has its interval at half the error."""
    divisor = measure.divisor or 0
    total, totals = _sum(statistics[measure.statistic], cells[measure.statistic], alpha / 2)
    count, counts = _count(statistics[divisor], cells[divisor], alpha / 2)
    return _within(
        intervals.divide((total, total), (count, count)) if count > 0 else None,
        intervals.divide(totals, counts) if counts[0] > 0 else None,
    )


def _within(found: Interval | None, band: Interval | None) -> Estimate:
    value = None if found is None else (found[0] + found[1]) / 2
    if value is None or band is None:
        return Estimate(value, None)
    return Estimate(value, (min(value, band[0]), max(value, band[1])))


def _count(statistic: ReleasedStatistic, cell: Cell, alpha: float) -> tuple[Fraction, Interval]:
    return _first(statistic, cell, alpha, Fraction(1, statistic.grid))


def _sum(statistic: ReleasedStatistic, cell: Cell, alpha: float) -> tuple[Fraction, Interval]:
    return _first(statistic, cell, alpha, Fraction(statistic.arguments[0].step))


def _first(statistic: ReleasedStatistic, cell: Cell, alpha: float, step: Fraction) -> tuple[Fraction, Interval]:
    """The first number of a cell, in steps of `step`, with its interval."""
    half, noisy = Scale(statistic.mechanism, statistic.scale).accuracy(alpha, cell.merged), cell.noisy[0]
    return noisy * step, ((noisy - half) * step, (noisy + half) * step)


def _boxes(noisy: Sequence[int], half: int) -> tuple[Interval, ...]:
    """Noisy sums with `half` on each side."""
    return tuple((Fraction(number - half), Fraction(number + half)) for number in noisy)


def _chosen(measure: ReleasedMeasure, grid: ReleasedGrid, cell: int) -> Estimate:
    """The value of a cell of the column's own grid, or the middle of a coarser one."""
    low, high = grid.bounds
    value = low + (cell + (Fraction(1, 2) if measure.coarse else 0)) * Fraction(grid.step)
    return Estimate(min(value, high), None)


def as_value(number: Fraction, type_: Type, *, up: bool | None = None) -> Value:
    """An exact number as a value of `type_`; edges of intervals are rounded outward (`up` or down)."""
    if type_.whole:
        return _whole(number, up)
    if type_.kind == "date":
        return date(1970, 1, 1) + timedelta(days=_whole(number, up))
    if type_.kind == "timestamp":
        return datetime(1970, 1, 1) + timedelta(seconds=_whole(number, up))  # noqa: DTZ001  # policies' carry no zone
    if type_.kind == "decimal":
        unit = 10 ** (type_.scale or 0)
        return Decimal(_whole(number * unit, up)).scaleb(-(type_.scale or 0))
    nearest = float(number)
    if up is None or Fraction(nearest) == number:
        return nearest
    return math.nextafter(nearest, math.inf if up else -math.inf)


def fits(number: Fraction, type_: Type) -> bool:
    """Whether `type_` holds a number of this size."""
    if type_.whole:
        return abs(number) < 2**63
    if type_.kind == "decimal":
        return bool(abs(number) * 10 ** (type_.scale or 0) < 10 ** (type_.precision or 0))
    return abs(number) < Fraction(sys.float_info.max)


def _whole(number: Fraction, up: bool | None) -> int:
    if up is None:
        return round(number)
    return math.ceil(number) if up else math.floor(number)


def notes(measure: ReleasedMeasure, *, near_threshold: bool, merged: bool, units_dropped: bool) -> tuple[Note, ...]:
    """What the interval does not cover: functions of policy, plan and released numbers only."""
    found: list[Note] = []
    if measure.clamped:
        found.append("may_be_clipped")
    if near_threshold:
        found.append("near_threshold")
    if measure.coarse:
        found.append("quantile_grid")
    if measure.function in ("min", "max"):
        found.append("labelled_quantile")
    if merged:
        found.append("rolled_up")
    if units_dropped:
        found.append("units_without_id_dropped")
    return tuple(found)
