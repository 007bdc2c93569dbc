"""Scalar expressions as DuckDB SQL that cannot raise, whatever the rows say.

Arithmetic runs in DOUBLE (integers stay exact below 2^53; overflow is inf, which every measure and key discards),
division by 0 is null, casts are TRY_CAST. `TRY()` is never used: it is slow per failing row, which is a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from policies.types import Type
from sandbox.relational.expressions import COMPARISONS, Call, Case, Column, Expression, Literal
from sandbox.relational.facts import ColumnFacts, Facts
from sandbox.relational.lower.constants import INT64_MAX, INT64_MIN, constant, double, identifier, sql_type, text
from sandbox.relational.lower.functions import WRITERS, as_number
from sandbox.relational.merge import bare_null, merge
from sandbox.relational.scalar import facts_of

__all__ = ["double", "identifier", "number", "scalar", "sql_type", "text", "together"]


def scalar(expression: Expression, facts: Facts) -> str:
    """SQL of `expression` over a relation with `facts`, whose columns carry the model's own names."""
    match expression:
        case Column(name=name):
            return identifier("__unit") if name in (facts.unit or ()) else identifier(name)
        case Literal():
            return constant(expression)
        case Case():
            return _case(expression, facts)
        case Call():
            return _call(expression, facts)
        case _:
            assert_never(expression)


def number(expression: Expression, facts: Facts) -> str:
    """SQL of a numeric expression as DOUBLE."""
    return as_number(scalar(expression, facts))


def _case(case: Case, facts: Facts) -> str:
    values = [value for _, value in case.branches] + [case.otherwise]
    merged = facts_of(case, facts).type
    shown = [_of_type(value, merged, facts) for value in values]
    branches = zip(case.branches, shown[:-1], strict=True)
    body = " ".join(f"WHEN {scalar(condition, facts)} THEN {value}" for (condition, _), value in branches)
    return f"CASE {body} ELSE {shown[-1]} END"


def _call(call: Call, facts: Facts) -> str:
    if call.function in COMPARISONS or call.function == "in":
        return _comparison(call, facts)
    if call.function == "coalesce":
        return _coalesce(call, facts)
    written = [scalar(argument, facts) for argument in call.arguments]
    return WRITERS[call.function](call, written, [facts_of(argument, facts) for argument in call.arguments])


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
    kinds = [facts_of(a, facts) for a in call.arguments]
    if kinds[0].type.numeric and not all(map(_plain_whole, call.arguments, kinds)):
        sides = [number(a, facts) for a in call.arguments]
    elif kinds[0].type.temporal and len({k.type for k in kinds}) > 1:
        sides = [f"CAST({scalar(a, facts)} AS TIMESTAMP)" for a in call.arguments]
    else:
        sides = [scalar(a, facts) for a in call.arguments]
    if call.function == "in":
        return f"({sides[0]} IN ({', '.join(sides[1:])}))"
    return f"({sides[0]} {_SIGNS[call.function]} {sides[1]})"


def _plain_whole(expression: Expression, found: ColumnFacts) -> bool:
    """An integer column of a table, or a constant, which the engine compares exactly."""
    if isinstance(expression, Literal):
        return type(expression.value) is int and INT64_MIN <= expression.value <= INT64_MAX
    return isinstance(expression, Column) and found.type.whole and found.source is not None


def _coalesce(call: Call, facts: Facts) -> str:
    merged = facts_of(call, facts).type
    return f"coalesce({', '.join(_of_type(argument, merged, facts) for argument in call.arguments)})"


def _of_type(value: Expression, merged: Type, facts: Facts) -> str:
    """One of several values that together have a type: numbers meet as DOUBLE, a bare NULL takes the others' type."""
    if bare_null(value):
        return constant(Literal(None, merged))
    return number(value, facts) if merged.numeric else scalar(value, facts)


def together(values: Sequence[Expression], below: Sequence[Facts]) -> list[str]:
    """SQL of values of several relations that make one column: of one type to the engine, named where it must be."""
    found = [facts_of(value, facts) for value, facts in zip(values, below, strict=True)]
    merged = merge(found, values, "UNION ALL", None).type
    plain = all(part.type == merged and part.source is not None for part in found)
    return [
        scalar(value, facts) if plain and not bare_null(value) else _of_type(value, merged, facts)
        for value, facts in zip(values, below, strict=True)
    ]
