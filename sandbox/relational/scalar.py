"""Facts of a scalar expression over a relation: type, bounds, nulls, grid, whether it is a function of the unit.

One function per family of the closed list. What has no rule here cannot be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeGuard

from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, INTEGER, TEXT, Kind, Type, Value
from sandbox.relational import calendar, intervals
from sandbox.relational.expressions import (
    ARITHMETIC,
    COMPARISONS,
    DATE_PARTS,
    DATE_TRUNCATIONS,
    FUNCTIONS,
    NUMERIC,
    Call,
    Case,
    Column,
    Expression,
    Literal,
)
from sandbox.relational.facts import Bounds, ColumnFacts, Edge, Facts, Refuse

DIGITS_MAX = 12


def facts_of(expression: Expression, facts: Facts) -> ColumnFacts:
    """Facts of `expression` over a relation with `facts`. Raises Refuse (`type_mismatch`, `column_unknown`)."""
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


def numeric_bounds(bounds: Bounds | None) -> TypeGuard[tuple[Fraction, Fraction]]:
    """Whether `bounds` are bounds of a number."""
    return bounds is not None and isinstance(bounds[0], Fraction) and isinstance(bounds[1], Fraction)


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
    for condition, _ in case.branches:
        _must_be_boolean(condition, facts)
    parts = [facts_of(value, facts) for _, value in case.branches]
    parts.append(facts_of(case.otherwise, facts))
    conditions = [facts_of(condition, facts) for condition, _ in case.branches]
    merged = _merge(parts, [*(value for _, value in case.branches), case.otherwise], "CASE", case)
    return replace(merged, of_unit=merged.of_unit and all(c.of_unit for c in conditions))


def _merge(parts: list[ColumnFacts], values: Sequence[Expression], word: str, where: Case | Call) -> ColumnFacts:
    """Facts of a value that is one of `parts`, the facts of `values`. A bare NULL takes the others' type."""
    bare = [isinstance(value, Literal) and value.value is None for value in values]
    typed = [part for part, null in zip(parts, bare, strict=True) if not null] or parts
    type_ = typed[0].type
    for part in typed[1:]:
        if part.type != type_ and not (part.type.numeric and type_.numeric):
            raise Refuse("type_mismatch", f"the results of {word} must all have one type", at=where.at)
    if type_.numeric and not all(part.type == type_ for part in typed):
        type_ = BIGINT if all(part.type.whole for part in typed) else DOUBLE
    bounds = [part.bounds for part in typed]
    keys: tuple[object, ...] | None = ()
    for part in typed:
        keys = None if keys is None or part.keys is None else tuple(dict.fromkeys((*keys, *part.keys)))
    return ColumnFacts(
        type=type_,
        label=word,
        nullable=any(part.nullable for part in parts),
        bounds=_hull([b for b in bounds if b is not None]) if all(b is not None for b in bounds) else None,
        step=_finest(typed),
        keys=keys,  # type: ignore[arg-type]  # values of keys are values
        of_unit=all(part.of_unit for part in parts),
    )


def _hull(bounds: list[Bounds]) -> Bounds | None:
    if not bounds:
        return None
    numbers = [b for b in bounds if numeric_bounds(b)]
    if len(numbers) == len(bounds):
        return intervals.hull(numbers)
    return None


def _call(call: Call, facts: Facts) -> ColumnFacts:
    name = call.function
    if name not in FUNCTIONS:
        raise Refuse("function_not_allowed", f"`{name}` is not a function of the closed list", at=call.at)
    fewest, most = FUNCTIONS[name]
    if len(call.arguments) < fewest or (most is not None and len(call.arguments) > most):
        raise Refuse("function_not_allowed", f"`{name}` has a wrong number of arguments", at=call.at)
    for family, rule in _RULES:
        if name in family:
            found = rule(call, facts)
            arguments = [facts_of(a, facts) for a in call.arguments]
            return replace(found, of_unit=all(a.of_unit for a in arguments), source=None, declared=None)
    raise Refuse("function_not_allowed", f"`{name}` has no rule", at=call.at)


def _number(expression: Expression, facts: Facts, word: str) -> ColumnFacts:
    found = facts_of(expression, facts)
    if not found.type.numeric:
        raise Refuse(
            "type_mismatch", f"`{word}` needs numbers, and {found.label} is of type {found.type}", at=expression.at
        )
    return found


def _must_be_boolean(expression: Expression, facts: Facts) -> ColumnFacts:
    found = facts_of(expression, facts)
    if found.type != BOOLEAN:
        raise Refuse("type_mismatch", "a condition is expected here", at=expression.at)
    return found


def _arithmetic(call: Call, facts: Facts) -> ColumnFacts:
    parts = [_number(a, facts, call.function) for a in call.arguments]
    whole = call.function != "divide" and all(part.type.whole for part in parts)
    nullable = any(part.nullable for part in parts) or call.function == "divide"
    return ColumnFacts(
        type=BIGINT if whole else DOUBLE,
        label="the computed value",
        nullable=nullable,
        bounds=_arithmetic_bounds(call.function, parts),
        step=_arithmetic_step(call.function, parts),
    )


def _arithmetic_bounds(function: str, parts: list[ColumnFacts]) -> Bounds | None:
    known = [part.bounds for part in parts if numeric_bounds(part.bounds)]
    if len(known) != len(parts):
        return None
    if function == "negate":
        return intervals.negate(known[0])
    rule: dict[str, Callable[[intervals.Interval, intervals.Interval], intervals.Interval | None]] = {
        "add": intervals.add,
        "subtract": intervals.subtract,
        "multiply": intervals.multiply,
        "divide": intervals.divide,
    }
    return rule[function](known[0], known[1])


def _arithmetic_step(function: str, parts: list[ColumnFacts]) -> Fraction | None:
    if function == "divide":
        return None
    if function == "multiply":
        first, second = (part.step for part in parts)
        return None if first is None or second is None else first * second
    return _finest(parts)


def _finest(parts: list[ColumnFacts]) -> Fraction | None:
    """The finest grid of `parts`; None where one of them has no grid."""
    steps = [part.step for part in parts if part.step is not None]
    return min(steps) if len(steps) == len(parts) else None


def _comparison(call: Call, facts: Facts) -> ColumnFacts:
    parts = [facts_of(a, facts) for a in call.arguments]
    _comparable(parts, call)
    return ColumnFacts(BOOLEAN, "the condition", any(p.nullable for p in parts), keys=(False, True))


def _comparable(parts: list[ColumnFacts], call: Call) -> None:
    first = parts[0].type
    for part in parts[1:]:
        both_numbers = first.numeric and part.type.numeric
        both_times = first.temporal and part.type.temporal
        if not (both_numbers or both_times or first == part.type):
            detail = f"{parts[0].label} of type {first} cannot be compared with {part.label} of type {part.type}"
            raise Refuse("type_mismatch", detail, at=call.at)


def _logic(call: Call, facts: Facts) -> ColumnFacts:
    parts = [_must_be_boolean(a, facts) for a in call.arguments]
    return ColumnFacts(BOOLEAN, "the condition", any(p.nullable for p in parts), keys=(False, True))


def _in(call: Call, facts: Facts) -> ColumnFacts:
    if not all(isinstance(a, Literal) and a.value is not None for a in call.arguments[1:]):
        raise Refuse("construct_not_allowed", "IN takes a list of constants", at=call.at)
    return _comparison(call, facts)


def _is_null(call: Call, facts: Facts) -> ColumnFacts:
    facts_of(call.arguments[0], facts)
    return ColumnFacts(BOOLEAN, "the condition", nullable=False, keys=(False, True))


def _like(call: Call, facts: Facts) -> ColumnFacts:
    subject, pattern = facts_of(call.arguments[0], facts), call.arguments[1]
    if subject.type != TEXT or not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise Refuse("type_mismatch", "LIKE compares text with a constant pattern", at=call.at)
    return ColumnFacts(BOOLEAN, "the condition", subject.nullable, keys=(False, True))


def _coalesce(call: Call, facts: Facts) -> ColumnFacts:
    parts = [facts_of(a, facts) for a in call.arguments]
    return replace(_merge(parts, call.arguments, "COALESCE", call), nullable=all(part.nullable for part in parts))


def _time(call: Call, facts: Facts) -> ColumnFacts:
    found = facts_of(call.arguments[0], facts)
    if not found.type.temporal:
        raise Refuse("type_mismatch", f"`{call.function}` needs a date, and {found.label} is none", at=call.at)
    return found


def _date_part(call: Call, facts: Facts) -> ColumnFacts:
    found = _time(call, facts)
    bounds = keys = None
    if found.bounds is not None:
        low, high = (calendar.day_of(edge) for edge in found.bounds if not isinstance(edge, Fraction))
        first, last = calendar.part_bounds(call.function, low, high)
        bounds = (Fraction(first), Fraction(last))
        keys = calendar.part_keys(call.function, low, high)
    return ColumnFacts(INTEGER, f"the {call.function}", found.nullable, bounds, Fraction(1), keys)


def _date_truncation(call: Call, facts: Facts) -> ColumnFacts:
    found = _time(call, facts)
    part = call.function.removeprefix("trunc_")
    bounds = keys = None
    if found.bounds is not None:
        low, high = (calendar.day_of(edge) for edge in found.bounds if not isinstance(edge, Fraction))
        bounds = (calendar.START[part](low), calendar.START[part](high))
        keys = calendar.start_keys(part, low, high)
    return ColumnFacts(DATE, f"the first day of the {part}", found.nullable, bounds, None, keys)


def _bin(call: Call, facts: Facts) -> ColumnFacts:
    argument = call.arguments[0]
    found = _number(argument, facts, "bin")
    if found.declared is None or found.declared.bins is None:
        detail = f"`bin` needs a column with declared bins, and {found.label} has none"
        raise Refuse("column_not_groupable", detail, at=call.at)
    edges = found.declared.bins
    return ColumnFacts(
        type=found.type,
        label=f"the bin of {found.label}",
        nullable=False,  # a value in no bin is null, and such rows make no group
        bounds=(Fraction(edges[0]), Fraction(edges[-2])),
        keys=tuple(_edge_key(edge, found.type) for edge in edges[:-1]),
    )


def _edge_key(edge: Decimal, type_: Type) -> Value:
    """The lower edge of a bin as a value of the binned column's type."""
    if type_.whole:
        return int(edge)
    return float(edge) if type_.kind == "double" else edge


def _numeric(call: Call, facts: Facts) -> ColumnFacts:
    parts = [_number(a, facts, call.function) for a in call.arguments]
    known = [part.bounds for part in parts if numeric_bounds(part.bounds)]
    nullable = any(part.nullable for part in parts)
    whole = all(part.type.whole for part in parts)
    type_ = BIGINT if whole or call.function in ("floor", "ceil") else DOUBLE
    bounds: Bounds | None = None
    step = Fraction(1) if type_.whole else _finest(parts)
    if call.function == "round":
        digits = _digits(call)
        step = Fraction(1) if type_.whole else Fraction(10) ** -digits
        bounds = intervals.rounded(known[0], digits) if known else None
    elif len(known) == len(parts):
        bounds = _NUMERIC_BOUNDS[call.function](known) if call.function in _NUMERIC_BOUNDS else _extreme(call, parts)
    return ColumnFacts(type_, "the computed value", nullable, bounds, step)


def _extreme(call: Call, parts: list[ColumnFacts]) -> Bounds | None:
    """LEAST and GREATEST pass over nulls, so only what is never null holds the other values back."""
    rule = intervals.least if call.function == "least" else intervals.greatest
    known = [(part.bounds, part.nullable) for part in parts if numeric_bounds(part.bounds)]
    never_null = [bounds for bounds, nullable in known if not nullable]
    whole = intervals.hull([bounds for bounds, _ in known])
    if not never_null:
        return whole
    held = rule(never_null)
    return (whole[0], held[1]) if call.function == "least" else (held[0], whole[1])


def _digits(call: Call) -> int:
    if len(call.arguments) == 1:
        return 0
    digits = call.arguments[1]
    if not isinstance(digits, Literal) or type(digits.value) is not int or not 0 <= digits.value <= DIGITS_MAX:
        raise Refuse("construct_not_allowed", "`round` takes a constant number of digits from 0 to 12", at=call.at)
    return digits.value


_NUMERIC_BOUNDS: dict[str, Callable[[list[intervals.Interval]], intervals.Interval]] = {
    "abs": lambda known: intervals.absolute(known[0]),
    "floor": lambda known: intervals.floor(known[0]),
    "ceil": lambda known: intervals.ceil(known[0]),
}

_RULES: tuple[tuple[tuple[str, ...], Callable[[Call, Facts], ColumnFacts]], ...] = (
    (ARITHMETIC, _arithmetic),
    (COMPARISONS, _comparison),
    (("and", "or", "not"), _logic),
    (("in",), _in),
    (("is_null",), _is_null),
    (("like",), _like),
    (("coalesce",), _coalesce),
    (DATE_PARTS, _date_part),
    (DATE_TRUNCATIONS, _date_truncation),
    (("bin",), _bin),
    (NUMERIC, _numeric),
)
