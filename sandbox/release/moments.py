"""Means, variances, covariances and slopes from noisy moments, with the box that the noise leaves.

Moments are of u and v in [-1, 1]; the columns' ranges turn back what a mean or a variance is there. Everything takes
intervals: points where the estimate is wanted, boxes where its interval is, so the interval holds whenever every noisy
sum lies within its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isqrt

from sandbox.relational import intervals
from sandbox.relational.intervals import Interval
from sandbox.relational.nodes import MeasureFunction
from sandbox.release.released import ReleasedGrid

ONE: Interval = (Fraction(-1), Fraction(1))
ROOT_STEPS = 10**12
"""Roots are taken in steps of its inverse, outward."""


def figure(
    function: MeasureFunction, grids: tuple[ReleasedGrid, ...], sums: Sequence[Interval], grid: int
) -> Interval | None:
    """What `function` may be where the noisy sums may be `sums`, in steps of 1 / `grid`; None where it may be anything.

    `grids` are those of its arguments in SQL's order: of y and x for a slope of y over x.
    """
    rows = _scaled(sums[0], Fraction(1, grid))
    if function == "avg":
        return _back(ratio(sums[1], sums[0]), grids[0])
    if len(grids) == 1:
        spread = variance(ratio(sums[1], sums[0]), square_mean(sums[2], sums[0]))
        found = _scaled(spread if function.endswith("_pop") else _sample(spread, rows), grids[0].half ** 2)
        return root(found) if function.startswith("stddev") else found
    return _of_pairs(function, grids, sums, rows)


def _of_pairs(
    function: MeasureFunction, grids: tuple[ReleasedGrid, ...], sums: Sequence[Interval], rows: Interval
) -> Interval | None:
    y, x = grids
    u, v = ratio(sums[1], sums[0]), ratio(sums[2], sums[0])
    together = covariance(ratio(sums[3], sums[0]), u, v)
    first, second = (variance(m, square_mean(s, sums[0])) for m, s in ((u, sums[4]), (v, sums[5])))
    match function:
        case "covar_pop":
            return _scaled(together, y.half * x.half)
        case "covar_samp":
            return _scaled(_sample(together, rows), y.half * x.half)
        case "corr":
            spread = root(intervals.multiply(first, second))
            found = intervals.divide(together, spread)
            return None if found is None else _within(found, ONE)
        case "regr_slope" | "regr_intercept":
            found = intervals.divide(together, second)
            if found is None or not x.half:
                return None
            slope = _scaled(found, y.half / x.half)
            if function == "regr_slope":
                return slope
            return intervals.subtract(_back(u, y), intervals.multiply(slope, _back(v, x)))
        case _:
            raise AssertionError(function)


def _back(mean: Interval, grid: ReleasedGrid) -> Interval:
    """From [-1, 1] to the range of the column."""
    return grid.middle + grid.half * mean[0], grid.middle + grid.half * mean[1]


def _scaled(inner: Interval, factor: Fraction) -> Interval:
    return intervals.multiply(inner, (factor, factor))


def ratio(total: Interval, count: Interval) -> Interval:
    """A mean of numbers in [-1, 1]; all of [-1, 1] where the count may be 0."""
    if count[0] <= 0:
        return ONE
    found = intervals.divide(total, count)
    return ONE if found is None else _within(found, ONE)


def square_mean(total: Interval, count: Interval) -> Interval:
    """E[u^2] from the mean of 2u^2 - 1."""
    low, high = ratio(total, count)
    return (low + 1) / 2, (high + 1) / 2


def variance(mean: Interval, square: Interval) -> Interval:
    """E[u^2] - E[u]^2, within [0, 1]."""
    return _within(intervals.subtract(square, _squared(mean)), (Fraction(0), Fraction(1)))


def covariance(product: Interval, u: Interval, v: Interval) -> Interval:
    return _within(intervals.subtract(product, intervals.multiply(u, v)), ONE)


def root(inner: Interval) -> Interval:
    """Square roots of numbers that are not negative."""
    return Fraction(isqrt(int(inner[0] * ROOT_STEPS**2)), ROOT_STEPS), _root_above(inner[1])


def _root_above(number: Fraction) -> Fraction:
    exact = number * ROOT_STEPS**2
    whole = -(-exact.numerator // exact.denominator)
    found = isqrt(whole)
    return Fraction(found if found * found == whole else found + 1, ROOT_STEPS)


def _sample(value: Interval, rows: Interval) -> Interval:
    """Of a sample: times n / (n - 1), which is 2 for the smallest sample that has a variance."""
    factors = [n / (n - 1) if n > 2 else Fraction(2) for n in rows]  # below two rows there is none
    return intervals.multiply(value, (min(factors), max(factors)))


def _squared(inner: Interval) -> Interval:
    low, high = intervals.absolute(inner)
    return low * low, high * high


def _within(inner: Interval, outer: Interval) -> Interval:
    return min(max(inner[0], outer[0]), outer[1]), max(min(inner[1], outer[1]), outer[0])
