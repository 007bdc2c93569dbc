"""One row's number as whole steps: by the rule that the guarantee of bounding states, and nothing of how it is written.

A whole or fixed-point column of a table is clamped and added up as it is. Anything else is clamped as a double, counted
in steps to the nearest, and clamped again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.scalar import facts_of
from tests.reference.doubles import Close, double
from tests.reference.scalars import Row, evaluate

NARROW = 18
"""Most digits of a decimal column that is added up as it is."""


@dataclass(frozen=True)
class Counted:
    """How the numbers of one argument are counted: between `low` and `high`, in whole `worth`."""

    low: Fraction
    high: Fraction
    worth: Fraction
    as_it_is: bool


def counting(argument: Expression, low: Fraction, high: Fraction, step: Fraction, facts: Facts) -> Counted:
    unit = _own_unit(argument, low, high, facts)
    return Counted(low, high, step, as_it_is=False) if unit is None else Counted(low, high, unit, as_it_is=True)


def _own_unit(argument: Expression, low: Fraction, high: Fraction, facts: Facts) -> Fraction | None:
    """What 1 of a table's own whole or decimal column is worth; None for anything else."""
    found = facts_of(argument, facts)
    if not isinstance(argument, Column) or found.source is None:
        return None
    if found.type.whole:
        return Fraction(1) if math.ceil(low) <= math.floor(high) else None
    if found.type.kind != "decimal" or (found.type.precision or 0) > NARROW:
        return None
    unit, most = Fraction(1, 10 ** (found.type.scale or 0)), 10 ** (found.type.precision or 0)
    fits = all((edge / unit).denominator == 1 and abs(edge / unit) < most for edge in (low, high))
    return unit if fits else None


def counted(argument: Expression, row: Row, how: Counted, facts: Facts) -> Close | None:
    """None where the row counts for nothing: null, NaN, infinite."""
    value = evaluate(argument, row, facts)
    if value is None or (not how.as_it_is and not math.isfinite(float(value))):
        return None
    return _steps(Fraction(value) if how.as_it_is else Fraction(float(value)), how)


@lru_cache(maxsize=2**16)
def _steps(value: Fraction, how: Counted) -> Close:
    if how.as_it_is:
        low, high = (math.ceil(how.low / how.worth), math.floor(how.high / how.worth))
        return Close(int(value / how.worth)).within(low, high)
    low, high = (Fraction(float(edge)) for edge in (how.low, how.high))
    steps = double(min(max(value, low), high)) / double(how.worth)
    return steps.nearest().within(math.floor(how.low / how.worth), math.ceil(how.high / how.worth))


def finite(argument: Expression, row: Row, facts: Facts) -> bool:
    value = evaluate(argument, row, facts)
    return value is not None and math.isfinite(float(value))
