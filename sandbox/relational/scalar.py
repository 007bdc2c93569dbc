"""Facts of a scalar expression over a relation: type, bounds, nulls, grid, whether it is a function of the unit.

The rules of the functions stand in `functions/`, one module per family. What has no rule there cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import assert_never

from policies.types import BOOLEAN, Kind
from sandbox.relational import expressions
from sandbox.relational.expressions import FUNCTIONS, Call, Case, Column, Expression, Literal
from sandbox.relational.facts import ColumnFacts, Edge, Facts, Refuse, numeric_bounds
from sandbox.relational.functions import logic, numbers, texts, times
from sandbox.relational.merge import merge

__all__ = ["facts_of", "numeric_bounds"]

Rule = Callable[[Call, list[ColumnFacts]], ColumnFacts]


def facts_of(expression: Expression, facts: Facts) -> ColumnFacts:
    """Facts of `expression` over a relation with `facts`. Raises Refuse (`type_mismatch`, `column_unknown`)."""
    if facts.computed and expression in facts.computed:
        return facts.computed[expression]
    match expression:
        case Column(name=name, at=at):
            if name in (facts.unit or ()):
                raise Refuse("aggregate_not_allowed", "the protected unit can only be counted and joined on", at=at)
            if name not in facts.columns:
                raise Refuse("column_unknown", "the question names a column that its relation does not offer", at=at)
            return facts.columns[name]
        case Literal():
            return _literal(expression)
        case Case():
            return _case(expression, facts)
        case Call():
            return _call(expression, facts)
        case _:
            assert_never(expression)


_LITERAL_KINDS: dict[Kind, tuple[type, ...]] = {
    "integer": (int,),
    "bigint": (int,),
    "double": (int, Decimal),
    "decimal": (int, Decimal),
    "text": (str,),
    "boolean": (bool,),
    "date": (date,),
    "timestamp": (datetime,),
}


def _literal(literal: Literal) -> ColumnFacts:
    """A constant of its own type and no other: the engine would cast one side, row by row, and could raise."""
    value = literal.value
    if value is not None and type(value) not in _LITERAL_KINDS[literal.type.kind]:
        raise Refuse("type_mismatch", f"a constant of type {literal.type} holds another kind of value", at=literal.at)
    edge: Edge | None = None
    if isinstance(value, date | datetime):
        edge = value
    elif literal.type.numeric and value is not None and not isinstance(value, str | bool):
        edge = Fraction(value)
    return ColumnFacts(
        type=literal.type,
        label="a constant",
        nullable=value is None,
        bounds=None if edge is None else (edge, edge),
        step=_grid(edge) if isinstance(edge, Fraction) else None,
        keys=() if value is None else (value,),
        of_unit=True,
    )


def _grid(value: Fraction) -> Fraction:
    """The coarsest power of ten that `value` is a multiple of; 1 at most."""
    step = Fraction(1)
    while (value / step).denominator != 1 and step > Fraction(1, 10**12):
        step /= 10
    return step


def _case(case: Case, facts: Facts) -> ColumnFacts:
    conditions = [facts_of(condition, facts) for condition, _ in case.branches]
    for found, (condition, _) in zip(conditions, case.branches, strict=True):
        if found.type != BOOLEAN:
            raise Refuse("type_mismatch", "a condition is expected here", at=condition.at)
    values = [*(value for _, value in case.branches), case.otherwise]
    merged = merge([facts_of(value, facts) for value in values], values, "CASE", case.at)
    return replace(merged, of_unit=merged.of_unit and all(c.of_unit for c in conditions))


def _call(call: Call, facts: Facts) -> ColumnFacts:
    name = call.function
    if name not in FUNCTIONS:
        raise Refuse("function_not_allowed", f"`{name}` is not a function of the closed list", at=call.at)
    fewest, most = FUNCTIONS[name]
    if len(call.arguments) < fewest or (most is not None and len(call.arguments) > most):
        raise Refuse("function_not_allowed", f"`{name}` has a wrong number of arguments", at=call.at)
    if name not in _RULES:
        raise Refuse("function_not_allowed", f"`{name}` has no rule", at=call.at)
    parts = [facts_of(argument, facts) for argument in call.arguments]
    found = _RULES[name](call, parts)
    return replace(found, of_unit=all(part.of_unit for part in parts), source=None, declared=None, bins=None)


def _each(names: Iterable[str], rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names, rule)


_RULES: dict[str, Rule] = {
    **_each(expressions.ARITHMETIC, numbers.arithmetic),
    **_each(expressions.NUMERIC, numbers.numeric),
    "sign": numbers.numeric,
    **_each(expressions.WHOLE_DIVISION, numbers.whole_division),
    **_each(expressions.ROOTS, numbers.root),
    "bin": numbers.binned,
    **_each(("to_integer", "to_double"), numbers.to_number),
    **_each(expressions.COMPARISONS, logic.comparison),
    **_each(expressions.LOGIC, logic.logic),
    "in": logic.in_list,
    "is_null": logic.is_null,
    "coalesce": logic.coalesce,
    **_each(expressions.TEXT_TO_TEXT, texts.to_text),
    "length": texts.length,
    **_each(expressions.TEXT_TESTS, texts.test),
    **_each((*expressions.DATE_PARTS, *expressions.DAY_PARTS), times.part),
    **_each(expressions.CLOCK_PARTS, times.clock_part),
    **_each(expressions.DATE_TRUNCATIONS, times.truncation),
    "trunc_hour": times.hour_truncation,
    "date_diff": times.difference,
    "date_add": times.addition,
    "to_date": times.to_date,
}
"""A rule for every function of the closed list."""
