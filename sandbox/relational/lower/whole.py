"""A row's part of an exact sum as a whole number: a column, or the product of two, in steps.

Whole and decimal columns are taken exactly. A double is put on a grid of 2^-20, row by row, so that the sum does not
hang on the order of rows; so is a product in which a double occurs. What does not fit 64 bits counts as null.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sandbox.relational.expressions import Column
from sandbox.relational.facts import Facts
from sandbox.relational.lower.integers import NARROW_MAX
from sandbox.relational.lower.scalars import number, scalar
from sandbox.relational.scalar import facts_of

GRID = Fraction(1, 2**20)


def worth(factors: Sequence[Column], facts: Facts) -> Fraction:
    """What 1 of the whole number is."""
    if not all(_exact(factor, facts) for factor in factors):
        return GRID
    found = Fraction(1)
    for factor in factors:
        found *= Fraction(1, 10 ** (facts_of(factor, facts).type.scale or 0))
    return found


def whole(factors: Sequence[Column], facts: Facts) -> str:
    """SQL of a BIGINT; null where a factor is null, NaN or infinite. Cannot raise."""
    if not factors:
        return "CAST(1 AS BIGINT)"
    if all(_exact(factor, facts) for factor in factors):
        steps = [f"CAST({_steps(factor, facts)} AS HUGEINT)" for factor in factors]
        return f"TRY_CAST({' * '.join(steps)} AS BIGINT)"
    product = " * ".join(f"({number(factor, facts)})" for factor in factors)
    return f"CASE WHEN isfinite({product}) THEN TRY_CAST(round({product} * {GRID.denominator}) AS BIGINT) END"


def _exact(factor: Column, facts: Facts) -> bool:
    """Whether the engine holds it as a whole or fixed-point number: a computed one is a DOUBLE to it."""
    found = facts_of(factor, facts)
    narrow = found.type.kind == "decimal" and (found.type.precision or 0) <= NARROW_MAX
    return found.source is not None and (found.type.whole or narrow)


def _steps(factor: Column, facts: Facts) -> str:
    """64 bits hold the steps of every narrow decimal, so the product of two fits the engine's 128."""
    scale = facts_of(factor, facts).type.scale or 0
    x = scalar(factor, facts)
    return f"TRY_CAST({x} * {10**scale} AS BIGINT)" if scale else f"TRY_CAST({x} AS BIGINT)"
