"""Scalar expressions over one row, as plain Python. Numbers that are computed are floats, as they are in the engine."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import Facts
from tests.reference.doubles import nearest

Row = Mapping[str, Any]
INT64 = 2**63


def evaluate(expression: Expression, row: Row, facts: Facts) -> Any:
    """The value of `expression` in one row. Raises KeyError for a function that the reference does not know."""
    match expression:
        case Column(name=name):
            return row[name]
        case Literal(value=value):
            return value
        case Case(branches=branches, otherwise=otherwise):
            taken = next((value for test, value in branches if evaluate(test, row, facts) is True), otherwise)
            return as_float(evaluate(taken, row, facts))
        case Call(function="bin", arguments=(argument,)):
            return _bin(number(argument, row, facts), argument, facts)
        case Call(function=function, arguments=arguments):
            return FUNCTIONS[function](*(evaluate(argument, row, facts) for argument in arguments))
    raise AssertionError(expression)


def number(expression: Expression, row: Row, facts: Facts) -> float | None:
    found = evaluate(expression, row, facts)
    return None if found is None else float(found)


def as_float(value: Any) -> Any:
    """A number as a float, anything else as it is: values of several branches meet as doubles."""
    return float(value) if is_number(value) else value


def is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def canonical(value: Any) -> Any:
    """What is one value to SQL is one value here: every NaN, and 0 with either sign."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return value


def order(first: Any, second: Any) -> int:
    """-1, 0 or 1. NaN is above every number, and equal to itself."""
    if isinstance(first, datetime) != isinstance(second, datetime):
        first, second = _moment(first), _moment(second)
    if is_number(first) and not (type(first) is int and type(second) is int):
        pair = (float(first), float(second))
        first, second = ((math.isnan(x), 0.0 if math.isnan(x) else x) for x in pair)
    return (first > second) - (first < second)


def to_bigint(value: Any) -> int | None:
    """A cast to 64 bits: halves to even from a float, away from 0 from a decimal; null where it does not fit."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, Decimal):
        found = int(Fraction(abs(value)) + Fraction(1, 2)) * (1 if value >= 0 else -1)
    else:
        found = round(value)
    return found if -INT64 <= found < INT64 else None


def _moment(value: date) -> datetime:
    return value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)  # noqa: DTZ001  # policies carry no zone


def _bin(x: float | None, argument: Expression, facts: Facts) -> float | None:
    assert isinstance(argument, Column)
    bins = facts.columns[argument.name].bins
    assert bins is not None
    edges = [float(edge) for edge in bins]
    for low, high in pairwise(edges):
        if x is not None and (low <= x < high or (high == edges[-1] and x == high)):
            return low
    return None


def _strict(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Null in, null out."""
    return lambda *parts: None if any(part is None for part in parts) else rule(*parts)


def _floats(rule: Callable[..., Any]) -> Callable[..., Any]:
    return _strict(lambda *parts: rule(*map(float, parts)))


def _compared(test: Callable[[int], bool]) -> Callable[..., Any]:
    return _strict(lambda a, b: test(order(a, b)))


def _and(*parts: Any) -> bool | None:
    return False if False in parts else None if None in parts else True


def _or(*parts: Any) -> bool | None:
    return True if True in parts else None if None in parts else False


def _extreme(sign: int) -> Callable[..., Any]:
    """LEAST and GREATEST pass over nulls."""

    def found(*parts: Any) -> float | None:
        best = None
        for part in parts:
            if part is not None and (best is None or order(float(part), best) == sign):
                best = float(part)
        return best

    return found


def _modulo(a: float, b: float) -> float | None:
    if b == 0:
        return None
    return math.fmod(a, b) if math.isfinite(a) and not math.isnan(b) else math.nan


def _cut(x: float) -> float:
    return float(math.trunc(x)) if math.isfinite(x) else x


def _round(x: Any, digits: int = 0) -> float:
    """The exact value of the double, halves away from 0."""
    found = float(x)
    return nearest(Fraction(found) * 10**digits) / 10**digits if math.isfinite(found) else found


def _sqrt(x: float) -> float | None:
    return None if x < 0 else math.sqrt(x)


def _like(x: str, pattern: str) -> bool:
    parts = [".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern]
    return re.fullmatch("".join(parts), x, re.DOTALL) is not None


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": _floats(lambda a, b: a + b),
    "subtract": _floats(lambda a, b: a - b),
    "multiply": _floats(lambda a, b: a * b),
    "divide": _floats(lambda a, b: a / b if b else None),
    "modulo": _floats(_modulo),
    "int_divide": _floats(lambda a, b: _cut(a / b) if b else None),
    "negate": _floats(lambda x: -x),
    "abs": _floats(abs),
    "sqrt": _floats(_sqrt),
    "round": _strict(_round),
    "least": _extreme(-1),
    "greatest": _extreme(1),
    "to_integer": to_bigint,
    "equal": _compared(lambda o: o == 0),
    "not_equal": _compared(lambda o: o != 0),
    "less": _compared(lambda o: o < 0),
    "less_equal": _compared(lambda o: o <= 0),
    "greater": _compared(lambda o: o > 0),
    "greater_equal": _compared(lambda o: o >= 0),
    "in": _strict(lambda x, *listed: any(order(x, other) == 0 for other in listed)),
    "and": _and,
    "or": _or,
    "not": _strict(lambda x: not x),
    "is_null": lambda x: x is None,
    "coalesce": lambda *parts: as_float(next((part for part in parts if part is not None), None)),
    "like": _strict(_like),
    "starts_with": _strict(lambda x, word: x.startswith(word)),
    "lower": _strict(str.lower),
    "upper": _strict(str.upper),
    "left": _strict(lambda x, count: x[:count]),
    "year": _strict(lambda x: x.year),
    "month": _strict(lambda x: x.month),
    "decade": _strict(lambda x: x.year // 10 * 10),
    "week": _strict(lambda x: x.isocalendar()[1]),
    "day_of_week": _strict(lambda x: x.isoweekday()),
    "trunc_month": _strict(lambda x: date(x.year, x.month, 1)),
    "trunc_week": _strict(lambda x: date(x.year, x.month, x.day) - timedelta(x.weekday())),
}
"""What random questions use; a function that is missing here fails the comparison, so the reference grows with them."""
