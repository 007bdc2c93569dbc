"""Rows as integers, so that every sum over them is exact, whatever their order.

Whole and fixed-point columns are clamped and summed as they are; anything else becomes a fixed-point integer row by
row. An engine's sum of doubles hangs on the order of rows, and so on who else is in the table.
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

from policies.types import Type
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.constants import clamp, nearest
from sandbox.relational.lower.scalars import double, number, scalar, sql_type, text
from sandbox.relational.scalar import facts_of

NARROW_MAX = 18
"""Digits of decimals that are summed as they are: no number of rows that fits a disk can overflow their sum."""


def integer(argument: Expression, low: Fraction, high: Fraction, step: Fraction, facts: Facts) -> tuple[str, Fraction]:
    """(SQL of a row's value between `low` and `high`, what 1 of it is worth): whole steps, or a narrow decimal.

    Null, NaN and infinite arguments give null.
    """
    edges = _native_edges(argument, low, high, facts)
    if edges is not None:
        return clamp(scalar(argument, facts), *edges), Fraction(1)
    x, grid = number(argument, facts), double(step)
    first, last = math.floor(low / step), math.ceil(high / step)
    least, most = _rounded(low, step), _rounded(high, step)
    within = f"TRY_CAST(round({x} / {grid}) AS BIGINT)"
    if least < first or most > last:  # a grid as fine as doubles themselves
        within = f"least(greatest({within}, {first}), {last})"
    outside = f"CASE WHEN {x} < {double(low)} THEN {max(least, first)} ELSE {min(most, last)} END"
    inside = f"{x} BETWEEN {double(low)} AND {double(high)}"
    return f"CASE WHEN {inside} THEN {within} WHEN isfinite({x}) THEN {outside} END", step


def _rounded(bound: Fraction, step: Fraction) -> int:
    """The steps that the engine makes of a value at `bound`: the nearest number of them, halves away from zero.

    Dividing by a constant and rounding keep the order of doubles, so what lies between two bounds becomes steps between
    theirs.
    """
    exact = Fraction(nearest(bound) / nearest(step))
    away = math.floor(abs(exact) + Fraction(1, 2))
    return away if exact >= 0 else -away


def _native_edges(argument: Expression, low: Fraction, high: Fraction, facts: Facts) -> tuple[str, str] | None:
    """The bounds in the column's own type, where argument is a table's whole or decimal column that can hold them.

    A computed column of whole numbers is a DOUBLE to the engine, which adds those up in any order.
    """
    if not isinstance(argument, Column):
        return None
    found = facts_of(argument, facts)
    type_ = found.type
    if found.source is None:
        return None
    if type_.whole:
        first, last = math.ceil(low), math.floor(high)
        return (f"CAST({first} AS BIGINT)", f"CAST({last} AS BIGINT)") if first <= last else None
    narrow = type_.kind == "decimal" and (type_.precision or 0) <= NARROW_MAX
    if narrow and _fits(low, type_) and _fits(high, type_):
        return _decimal(low, type_), _decimal(high, type_)
    return None


def _fits(bound: Fraction, type_: Type) -> bool:
    steps = bound * 10 ** (type_.scale or 0)
    return steps.denominator == 1 and bool(abs(steps) < 10 ** (type_.precision or 0))


def _decimal(bound: Fraction, type_: Type) -> str:
    scale = type_.scale or 0
    exact = Decimal(int(bound * 10**scale)).scaleb(-scale)
    return f"CAST({text(format(exact, 'f'))} AS {sql_type(type_)})"
