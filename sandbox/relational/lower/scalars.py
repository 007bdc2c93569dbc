"""Scalar expressions as DuckDB SQL that cannot raise, whatever the rows say.

Arithmetic runs in DOUBLE (integers stay exact below 2^53; overflow is inf, which every measure and key discards),
division by 0 is null, casts are TRY_CAST. `TRY()` is never used: it is slow per failing row, which is a clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import assert_never

from policies.types import Type
from sandbox.relational.expressions import (
    COMPARISONS,
    DATE_PARTS,
    DATE_TRUNCATIONS,
    Call,
    Case,
    Column,
    Expression,
    Literal,
)
from sandbox.relational.facts import Facts
from sandbox.relational.scalar import facts_of

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def double(value: Fraction | Decimal | int) -> str:
    """The nearest DOUBLE to an exact number."""
    return f"CAST({text(repr(float(value)))} AS DOUBLE)"


def scalar(expression: Expression, facts: Facts) -> str:
    """SQL of `expression` over a relation with `facts`, whose columns carry the model's own names."""
    match expression:
        case Column(name=name):
            return identifier("__unit") if name in (facts.unit or ()) else identifier(name)
        case Literal():
            return _literal(expression)
        case Case():
            return _case(expression, facts)
        case Call():
            return _call(expression, facts)
        case _:
            assert_never(expression)


def number(expression: Expression, facts: Facts) -> str:
    """SQL of a numeric expression as DOUBLE."""
    return f"CAST({scalar(expression, facts)} AS DOUBLE)"


def _literal(literal: Literal) -> str:
    match literal.value:
        case None:
            return f"CAST(NULL AS {sql_type(literal.type)})"
        case bool():
            return "TRUE" if literal.value else "FALSE"
        case int() if INT64_MIN <= literal.value <= INT64_MAX:
            return f"CAST({literal.value} AS BIGINT)"
        case int() | Decimal() | float():
            return double(Fraction(literal.value))
        case str():
            return text(literal.value)
        case datetime():
            return f"TIMESTAMP {text(literal.value.isoformat(sep=' '))}"
        case date():
            return f"DATE {text(literal.value.isoformat())}"


def sql_type(type_: Type) -> str:
    names = {"text": "VARCHAR", "decimal": f"DECIMAL({type_.precision},{type_.scale})"}
    return names.get(type_.kind, type_.kind.upper())


def _case(case: Case, facts: Facts) -> str:
    values = [value for _, value in case.branches] + [case.otherwise]
    as_number = facts_of(case, facts).type.numeric
    shown = [number(v, facts) if as_number else scalar(v, facts) for v in values]
    branches = zip(case.branches, shown[:-1], strict=True)
    body = " ".join(f"WHEN {scalar(condition, facts)} THEN {value}" for (condition, _), value in branches)
    return f"CASE {body} ELSE {shown[-1]} END"


def _call(call: Call, facts: Facts) -> str:
    name = call.function
    if name in _OPERATORS:
        first, second = (number(a, facts) for a in call.arguments)
        return _OPERATORS[name](first, second)
    if name in COMPARISONS or name == "in":
        return _comparison(call, facts)
    if name in ("and", "or"):
        return "(" + f" {name.upper()} ".join(scalar(a, facts) for a in call.arguments) + ")"
    if name in DATE_PARTS:
        return _PARTS[name](scalar(call.arguments[0], facts))
    if name in DATE_TRUNCATIONS:
        return _truncated(name.removeprefix("trunc_"), scalar(call.arguments[0], facts))
    return _OTHERS[name](call, facts)


def _truncated(part: str, day: str) -> str:
    """The first day of `part`. The decade of the years 1 to 9 starts on the first day there is: year 0 is no date
    outside the engine, and a row that cannot be returned would fail the whole answer."""
    start = f"TRY_CAST(date_trunc({text(part)}, {day}) AS DATE)"
    return f"CASE WHEN {day} < DATE '0010-01-01' THEN DATE '0001-01-01' ELSE {start} END" if part == "decade" else start


_OPERATORS: dict[str, Callable[[str, str], str]] = {
    "add": lambda a, b: f"({a} + {b})",
    "subtract": lambda a, b: f"({a} - {b})",
    "multiply": lambda a, b: f"({a} * {b})",
    "divide": lambda a, b: f"({a} / NULLIF({b}, 0))",
}
_SIGNS = {
    "equal": "=",
    "not_equal": "<>",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}


def _comparison(call: Call, facts: Facts) -> str:
    """Both sides get one type by name: an implicit cast of a column to a constant's type could raise."""
    kinds = [facts_of(a, facts) for a in call.arguments if not _is_unit(a, facts)]
    if kinds and kinds[0].type.numeric and not all(_plain_whole(a, facts) for a in call.arguments):
        sides = [number(a, facts) for a in call.arguments]
    elif kinds and kinds[0].type.temporal and len({k.type for k in kinds}) > 1:
        sides = [f"CAST({scalar(a, facts)} AS TIMESTAMP)" for a in call.arguments]
    else:
        sides = [scalar(a, facts) for a in call.arguments]
    if call.function == "in":
        return f"({sides[0]} IN ({', '.join(sides[1:])}))"
    return f"({sides[0]} {_SIGNS[call.function]} {sides[1]})"


def _is_unit(expression: Expression, facts: Facts) -> bool:
    return isinstance(expression, Column) and expression.name in (facts.unit or ())


def _plain_whole(expression: Expression, facts: Facts) -> bool:
    """An integer column or constant, which the engine compares exactly."""
    if isinstance(expression, Literal):
        return type(expression.value) is int and INT64_MIN <= expression.value <= INT64_MAX
    if not isinstance(expression, Column):
        return False
    found = facts_of(expression, facts)
    return found.type.whole and found.source is not None


_PARTS: dict[str, Callable[[str], str]] = {
    "year": lambda x: f"CAST(year({x}) AS BIGINT)",
    "quarter": lambda x: f"CAST(quarter({x}) AS BIGINT)",
    "month": lambda x: f"CAST(month({x}) AS BIGINT)",
    "week": lambda x: f"CAST(weekofyear({x}) AS BIGINT)",
    "day": lambda x: f"CAST(day({x}) AS BIGINT)",
    "decade": lambda x: f"CAST(floor(CAST(year({x}) AS DOUBLE) / 10) * 10 AS BIGINT)",
}


def _is_null(call: Call, facts: Facts) -> str:
    return f"({scalar(call.arguments[0], facts)} IS NULL)"


def _not(call: Call, facts: Facts) -> str:
    return f"(NOT {scalar(call.arguments[0], facts)})"


def _like(call: Call, facts: Facts) -> str:
    return f"({scalar(call.arguments[0], facts)} LIKE {scalar(call.arguments[1], facts)})"


def _coalesce(call: Call, facts: Facts) -> str:
    as_number = facts_of(call, facts).type.numeric
    parts = [number(a, facts) if as_number else scalar(a, facts) for a in call.arguments]
    return f"COALESCE({', '.join(parts)})"


def _bin(call: Call, facts: Facts) -> str:
    """Half-open bins, the last one closed; the key is the lower edge, as DOUBLE."""
    declared = facts_of(call.arguments[0], facts).declared
    edges = (declared.bins if declared is not None else None) or ()
    x = number(call.arguments[0], facts)
    body = ""
    for i, (low, high) in enumerate(pairwise(edges)):
        upper = "<=" if i == len(edges) - 2 else "<"
        body += f" WHEN {x} >= {double(low)} AND {x} {upper} {double(high)} THEN {double(low)}"
    return f"CASE{body} ELSE NULL END"


def _function(sql_name: str) -> Callable[[Call, Facts], str]:
    def write(call: Call, facts: Facts) -> str:
        return f"{sql_name}({', '.join(number(a, facts) for a in call.arguments)})"

    return write


def _round(call: Call, facts: Facts) -> str:
    digits = call.arguments[1].value if len(call.arguments) > 1 and isinstance(call.arguments[1], Literal) else 0
    return f"round({number(call.arguments[0], facts)}, {digits})"


def _negate(call: Call, facts: Facts) -> str:
    return f"(- {number(call.arguments[0], facts)})"


_OTHERS: dict[str, Callable[[Call, Facts], str]] = {
    "is_null": _is_null,
    "not": _not,
    "like": _like,
    "coalesce": _coalesce,
    "bin": _bin,
    "negate": _negate,
    "round": _round,
    "abs": _function("abs"),
    "floor": _function("floor"),
    "ceil": _function("ceil"),
    "least": _function("least"),
    "greatest": _function("greatest"),
}
