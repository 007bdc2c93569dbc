"""What a figure is expected to be, from declared counts alone: for sharing the price, and for accuracy told beforehand.

Rough on purpose: `count_about` units, a quarter of the declared rows each, values in the middle of their range, spread
evenly over the groups. Wrong by a factor it costs accuracy, never privacy.
"""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import assert_never

from policies.model import Accountant
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Argument, DistinctCount, Quantiles, Statistic, Vector


def rows_expected(plan: ReleasePlan) -> Fraction:
    """Rows in one group."""
    return units_expected(plan) * max(Fraction(1), Fraction(plan.shape.rows, 4))


def units_expected(plan: ReleasePlan) -> Fraction:
    """Units in one group; private groups are taken for as many as a unit may count in."""
    cells = plan.cells if plan.cells is not None else plan.shape.groups
    return Fraction(plan.units_about, max(1, cells))


def typical(argument: Argument) -> Fraction:
    """The size of a value: the middle of its range, or a quarter of it where it straddles 0."""
    straddles = argument.low < 0 < argument.high
    size = (argument.high - argument.low) / 4 if straddles else abs(argument.middle)
    return size or argument.step


def relative_noise(statistic: Statistic, plan: ReleasePlan, accountant: Accountant) -> Fraction:
    """The noise of a whole price beside what is expected: by this the price is shared, so that errors come out equal.

    Under zcdp noise falls with the root of its share, so the square is returned: shares go in proportion to it.
    """
    ratio = _ratio(statistic, plan, accountant)
    return ratio * ratio if accountant == "zcdp" else ratio


def _ratio(statistic: Statistic, plan: ReleasePlan, accountant: Accountant) -> Fraction:
    rows, many = rows_expected(plan), units_expected(plan)
    match statistic:
        case DistinctCount():
            return statistic.pairs / many
        case Quantiles():
            return statistic.rows * len(statistic.fractions) * 2 / rows
        case Vector():
            return _vector_ratio(statistic, rows, many, accountant)
        case _:
            assert_never(statistic)


def _vector_ratio(vector: Vector, rows: Fraction, units: Fraction, accountant: Accountant) -> Fraction:
    first = vector.components[0]
    norm = Fraction(isqrt(vector.norm.squared) if accountant == "zcdp" else vector.norm.total, first.grid)
    if first.part == "units":
        return norm / units
    if first.part != "value" or first.argument is None:
        return norm / rows
    if vector.loose:  # levels find what units really add, a few times what the middle one does, as with rows
        return 4 / units
    return norm * first.argument.step / (rows * typical(first.argument))
