"""Names, types and constants as DuckDB SQL."""

from __future__ import annotations

import sys
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from policies.types import Type
from sandbox.relational.expressions import Literal

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


UNIT = identifier("__unit")
"""The hidden column that says whose row it is."""
ITEM = identifier("__item")
"""The hidden column that says which row of which table it is, where a question needs to know."""
ITEMS_PER_TABLE = 2**40


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def nearest(value: Fraction | Decimal | int) -> float:
    """The nearest finite double to an exact number."""
    most = Fraction(sys.float_info.max)
    return float(min(max(Fraction(value), -most), most))


def double(value: Fraction | Decimal | int) -> str:
    """The same in SQL."""
    return f"CAST({text(repr(nearest(value)))} AS DOUBLE)"


def clamp(x: str, low: str, high: str) -> str:
    """`x` or the nearer of two constants; null stays null, and NaN, which stands above all numbers, becomes `high`.

    `x` is written four times: for a column, or for what is short. `least` and `greatest` would take three to five
    times as long.
    """
    return (
        f"CASE WHEN {x} BETWEEN {low} AND {high} THEN {x} WHEN {x} < {low} THEN {low} WHEN {x} > {high} THEN {high} END"
    )


def moment(value: date) -> str:
    """A timestamp or a day."""
    if isinstance(value, datetime):
        return f"TIMESTAMP {text(value.isoformat(sep=' '))}"
    return f"DATE {text(value.isoformat())}"


def sql_type(type_: Type) -> str:
    names = {"text": "VARCHAR", "decimal": f"DECIMAL({type_.precision},{type_.scale})"}
    return names.get(type_.kind, type_.kind.upper())


def constant(literal: Literal) -> str:
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
        case date():
            return moment(literal.value)
