"""Dates that the policy opens in certain forms only (`via`): a date of birth by year, say, and no finer."""

from __future__ import annotations

from sandbox.relational.expressions import DATE_PARTS, DATE_TRUNCATIONS, Call, Column, Expression


def unit_of(expression: Expression) -> tuple[str, Column] | None:
    """(unit, column) where `expression` is a part or a truncation of a bare column."""
    if not isinstance(expression, Call) or expression.function not in (*DATE_PARTS, *DATE_TRUNCATIONS):
        return None
    inner = expression.arguments[0]
    if not isinstance(inner, Column):
        return None
    return expression.function.removeprefix("trunc_"), inner
