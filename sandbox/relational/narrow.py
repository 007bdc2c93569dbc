"""What WHERE says about columns and expressions: comparisons with constants narrow bounds and public keys."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import compress, repeat
from typing import Any, TypeVar

from policies.types import BOOLEAN, Value
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Bounds, ColumnFacts, Edge, Facts, Refuse, numeric_bounds
from sandbox.relational.scalar import facts_of

Name = TypeVar("Name")
Said = tuple[Expression, Callable[[ColumnFacts], ColumnFacts]]
"""What a condition is about, and what is known of that where it holds."""


def apply(conditions: tuple[Expression, ...], facts: Facts) -> Facts:
    """Facts of the rows where all `conditions` are true. A row's fate hangs on that row alone.

    Guarantee: rows are only left out. Where a number that no two rows of a unit share must be 1, a unit keeps one row.
    Source: docs/explanation/guarantees/window.md
    """
    parts: list[Expression] = []
    for condition in conditions:
        if facts_of(condition, facts).type != BOOLEAN:
            raise Refuse("type_mismatch", "WHERE needs a condition", at=condition.at)
        parts += _conjuncts(condition)
    found = _narrowed([said for part in parts if (said := _said(part)) is not None], facts)
    once = facts.unit_once or any(_keeps_one(part, facts) for part in parts)
    if once:
        found = replace(found, columns=_of_unit(found.columns), computed=_of_unit(found.computed))
    return replace(found, multiplicity=_rows(found.columns, facts, once=once), unit_once=once)


def _narrowed(every: list[Said], facts: Facts) -> Facts:
    """Columns first: what is computed of them is then known as well as it can be."""
    columns, computed = dict(facts.columns), dict(facts.computed)
    for subject, change in every:
        if isinstance(subject, Column) and subject.name in columns:
            columns[subject.name] = change(columns[subject.name])
    for subject, change in every:
        if not isinstance(subject, Column | Literal):
            computed[subject] = change(facts_of(subject, replace(facts, columns=columns, computed=computed)))
    return replace(facts, columns=columns, computed=computed)


def _of_unit(known: Mapping[Name, ColumnFacts]) -> dict[Name, ColumnFacts]:
    return {name: replace(column, of_unit=True) for name, column in known.items()}


def _keeps_one(condition: Expression, facts: Facts) -> bool:
    """Whether it holds for one row of a unit at most, whatever the rows say: a row number counts from 1 on."""
    match condition:
        case Call(function=test, arguments=(Column(name=name), Literal(value=int() | Decimal() as value))):
            numbering, seen = facts.numbered.get(name), _seen(value)
            first = test == "equal" or (test == "less_equal" and seen < 2) or (test == "less" and seen <= 2)
            return numbering is not None and numbering.alone and first
    return False


def _seen(value: int | Decimal) -> Fraction:
    """The constant that the engine compares with, the nearest DOUBLE: 1.99999999999999999999 is 2 there."""
    return Fraction(float(value))


def _rows(columns: Mapping[str, ColumnFacts], facts: Facts, *, once: bool) -> int | None:
    """Most rows of a unit that are left, as declared: as many for each row number as share it."""
    if facts.multiplicity is None:
        return None
    rows = 1 if once else facts.multiplicity
    for name, numbering in facts.numbered.items():
        bounds, keys = columns[name].bounds, columns[name].keys
        if numeric_bounds(bounds):
            count = max(0, math.floor(bounds[1]) - math.ceil(bounds[0]) + 1)
            rows = min(rows, numbering.most * (count if keys is None else min(count, len(keys))))
    return max(rows, 1)


def _conjuncts(condition: Expression) -> list[Expression]:
    if isinstance(condition, Call) and condition.function == "and":
        return [part for argument in condition.arguments for part in _conjuncts(argument)]
    return [condition]


def _said(condition: Expression) -> Said | None:
    match condition:
        case Call(function="not", arguments=(Call(function="is_null", arguments=(subject,)),)):
            return subject, lambda known: replace(known, nullable=False)
        case Call(function="or" | "in"):
            listed = _listed(condition)
            return None if listed is None else (listed[0], lambda known: _one_of(known, listed[1]))
        case Call(function=test, arguments=(subject, Literal(value=value))) if test in _TESTS:
            return subject, lambda known: _compare(known, test, value)
        case _:
            return None


def _listed(condition: Expression) -> tuple[Expression, tuple[Value, ...]] | None:
    """The one thing that a condition is about and the values that it may have: `=`, IN, or several of them with OR."""
    match condition:
        case Call(function="equal" | "in", arguments=(subject, *rest)):
            values = tuple(part.value for part in rest if isinstance(part, Literal))
            return (subject, values) if len(values) == len(rest) else None
        case Call(function="or", arguments=arguments):
            parts = [_listed(argument) for argument in arguments]
            known = [part for part in parts if part is not None]
            if len(known) < len(parts) or len({subject for subject, _ in known}) > 1:
                return None
            return known[0][0], tuple(value for _, values in known for value in values)
    return None


def _one_of(column: ColumnFacts, values: tuple[Value, ...]) -> ColumnFacts:
    """A null among the values matches no row."""
    values = tuple(value for value in values if value is not None)
    wanted = {_comparable(value) for value in values}
    kept = _keep(_named(column, values), lambda key: _comparable(key) in wanted)
    edges = [edge for value in values if isinstance(edge := _comparable(value), Fraction | date | datetime)]
    if kept.bounds is None or not edges or len({type(edge) for edge in edges}) > 1 or len(edges) < len(values):
        return kept
    least, greatest = min(edges), max(edges)
    return replace(kept, bounds=_cut(_cut(kept.bounds, "greater_equal", least), "less_equal", greatest))


def _compare(column: ColumnFacts, function: str, value: Value) -> ColumnFacts:
    column = _named(column, (value,)) if function == "equal" and value is not None else column
    edge = _comparable(value)
    kept = replace(column, keys=None if column.keys is None else _kept(column.keys, function, value), nullable=False)
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


def _comparable(value: Value) -> Any:
    """Numbers as fractions, so that 1, 1.0 and a Decimal meet; a timestamp at midnight is its day."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal | float):
        return Fraction(value)
    return value


def _kept(keys: tuple[Value, ...], function: str, value: Value) -> tuple[Value, ...]:
    """The keys that stand so to `value`. Often they are thousands of days: what is of one type is compared as it is."""
    test, edge = _TESTS[function], _comparable(value)
    if set(map(type, keys)) == {type(value)}:
        return tuple(compress(keys, map(test, keys, repeat(value))))

    def holds(key: Any) -> bool:
        if isinstance(key, datetime) != isinstance(edge, datetime):
            return True  # a day against a time of day: keep the key, the row-wise condition decides
        return type(key) is type(edge) and test(key, edge)

    return tuple(key for key in keys if holds(_comparable(key)))


_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "equal": operator.eq,
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
}
