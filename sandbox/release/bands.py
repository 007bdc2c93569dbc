"""Intervals of arithmetic over released numbers: every noisy number at a shared confidence, then interval arithmetic.

With k noisy numbers in an expression each takes its interval at 1 - alpha / k, so by the union bound the result holds
with at least 1 - alpha. What has no rule has no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction

from policies.types import Value
from sandbox.relational import intervals
from sandbox.relational.expressions import Call, Column, Expression, Literal, columns

Band = tuple[Fraction, Fraction]


def noisy_columns(expression: Expression) -> frozenset[str]:
    """The released measures that `expression` names."""
    return frozenset(column.name for column in columns(expression) if column.name.startswith("m"))


def exactly(value: Value) -> Band | None:
    """A number that has no noise; None where it is none."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return Fraction(value), Fraction(value)


def band(expression: Expression, known: Mapping[str, Band | None]) -> Band | None:
    """The interval of `expression`, given those of its columns."""
    match expression:
        case Column(name=name):
            return known.get(name)
        case Literal(value=value):
            if (
                value is None
                or isinstance(value, bool)
                or (not isinstance(value, int | float) and not expression.type.numeric)
            ):
                return None
            exact = Fraction(value)  # type: ignore[arg-type]  # a numeric literal is int or Decimal
            return exact, exact
        case Call(function=function, arguments=arguments) if function in _RULES:
            inner = [band(argument, known) for argument in arguments[: 1 if function == "round" else None]]
            parts = [part for part in inner if part is not None]
            return _RULES[function](parts, expression) if len(parts) == len(inner) else None
        case _:
            return None


def _rounded(parts: list[Band], call: Expression) -> Band | None:
    digits = 0
    if isinstance(call, Call) and len(call.arguments) > 1 and isinstance(call.arguments[1], Literal):
        value = call.arguments[1].value
        digits = value if isinstance(value, int) else 0
    return intervals.rounded(parts[0], digits)


_RULES: dict[str, Callable[[list[Band], Expression], Band | None]] = {
    "add": lambda p, _: intervals.add(p[0], p[1]),
    "subtract": lambda p, _: intervals.subtract(p[0], p[1]),
    "multiply": lambda p, _: intervals.multiply(p[0], p[1]),
    "divide": lambda p, _: intervals.divide(p[0], p[1]),
    "negate": lambda p, _: intervals.negate(p[0]),
    "abs": lambda p, _: intervals.absolute(p[0]),
    "floor": lambda p, _: intervals.floor(p[0]),
    "ceil": lambda p, _: intervals.ceil(p[0]),
    "least": lambda p, _: intervals.least(p),
    "greatest": lambda p, _: intervals.greatest(p),
    "round": _rounded,
}
