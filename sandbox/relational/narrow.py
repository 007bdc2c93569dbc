"""What WHERE says about columns: comparisons with constants narrow bounds and public keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from policies.types import BOOLEAN, Value
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Bounds, ColumnFacts, Edge, Facts, Refuse
from sandbox.relational.scalar import facts_of


def apply(conditions: tuple[Expression, ...], facts: Facts) -> Facts:
    """Facts of the rows where all `conditions` are true. A row's fate hangs on that row alone."""
    columns = dict(facts.columns)
    for condition in conditions:
        if facts_of(condition, facts).type != BOOLEAN:
            raise Refuse("type_mismatch", "WHERE needs a condition", at=condition.at)
        for part in _conjuncts(condition):
            _narrow(part, columns)
    return facts.with_columns(columns)


def _conjuncts(condition: Expression) -> list[Expression]:
    if isinstance(condition, Call) and condition.function == "and":
        return [part for argument in condition.arguments for part in _conjuncts(argument)]
    return [condition]


def _narrow(condition: Expression, columns: dict[str, ColumnFacts]) -> None:
    match condition:
        case Call(function="not", arguments=(Call(function="is_null", arguments=(Column(name=name),)),)):
            if name in columns:
                columns[name] = replace(columns[name], nullable=False)
        case Call(function=function, arguments=(Column(name=name), Literal(value=value), *more)) if name in columns:
            if function == "in":
                listed = (value, *(m.value for m in more if isinstance(m, Literal)))
                columns[name] = _keep(_named(columns[name], listed), lambda key: any(_same(key, v) for v in listed))
            elif function in _TESTS and not more:
                columns[name] = _compare(columns[name], function, value)


def _compare(column: ColumnFacts, function: str, value: Value) -> ColumnFacts:
    test = _TESTS[function]
    column = _named(column, (value,)) if function == "equal" else column
    kept = _keep(column, lambda key: test(_comparable(key), _comparable(value)))
    edge = _comparable(value)
    if column.bounds is None or function == "not_equal" or not isinstance(edge, Fraction | date | datetime):
        return kept
    return replace(kept, bounds=_cut(column.bounds, function, edge))


def _named(column: ColumnFacts, values: tuple[Value, ...]) -> ColumnFacts:
    """Private keys that the question itself names are public: the operator knew them, and every one is answered."""
    kinds: dict[str, type] = {"text": str, "integer": int, "bigint": int}
    wanted = kinds.get(column.type.kind)
    if column.keys is not None or wanted is None or not all(type(value) is wanted for value in values):
        return column
    return replace(column, keys=tuple(dict.fromkeys(sorted(values))))  # type: ignore[type-var]  # all of one kind


def _cut(bounds: Bounds, function: str, edge: Edge) -> Bounds:
    """Bounds cut at `edge`; a cut that leaves nothing leaves one point, for the clamp must stay a clamp."""
    low, high = (_like(b, edge) for b in bounds)
    point = min(max(edge, low), high)
    if function in ("greater", "greater_equal"):
        return point, high
    if function in ("less", "less_equal"):
        return low, point
    return point, point


def _like(bound: Edge, edge: Edge) -> Edge:
    """A date bound as a datetime where it meets one, and the other way round."""
    if isinstance(edge, datetime) and not isinstance(bound, datetime | Fraction):
        return datetime(bound.year, bound.month, bound.day)  # noqa: DTZ001  # timestamps of policies carry no zone
    if isinstance(bound, datetime) and not isinstance(edge, datetime | Fraction):
        return bound.date()
    return bound


def _keep(column: ColumnFacts, test: Callable[[Value], bool]) -> ColumnFacts:
    keys = None if column.keys is None else tuple(key for key in column.keys if test(key))
    return replace(column, keys=keys, nullable=False)


def _same(first: Value, second: Value) -> bool:
    return bool(_comparable(first) == _comparable(second))


def _comparable(value: Value) -> Any:
    """Numbers as fractions, so that 1, 1.0 and a Decimal meet; a timestamp at midnight is its day."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal | float):
        return Fraction(value)
    return value


def _order(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def apply_test(first: Any, second: Any) -> bool:
        if isinstance(first, datetime) != isinstance(second, datetime):
            return True  # a day against a time of day: keep the key, the row-wise condition decides
        return type(first) is type(second) and test(first, second)

    return apply_test


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": _order(lambda a, b: a == b),
    "not_equal": _order(lambda a, b: a != b),
    "less": _order(lambda a, b: a < b),
    "less_equal": _order(lambda a, b: a <= b),
    "greater": _order(lambda a, b: a > b),
    "greater_equal": _order(lambda a, b: a >= b),
}
