"""Numbers: arithmetic, rounding, division of whole numbers, roots and logarithms, bins, casts to numbers.

Public keys of whole numbers come from declared ranges, or from the keys of the parts, put through the function.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.relational import intervals
from sandbox.relational.expressions import Call, Literal
from sandbox.relational.facts import KEYS_MAX, Bounds, ColumnFacts, Refuse, numeric_bounds
from sandbox.relational.merge import finest

DIGITS_MAX = 12
POWER_MAX = 16
"""Largest exponent of `power`, either way."""
EXACT_MAX = 2**53
"""Whole numbers up to here are exact as DOUBLE, so that a key is the very number that the rows give."""
WHOLE_MAX = 2**63 - 2**10
"""The largest DOUBLE that a BIGINT holds."""
MAPPED_MAX = 2_000
"""Most keys, or pairs of keys, that are put through a function one by one: the months of a lifetime."""
_WHOLE_TEXT = re.compile(r"-?[0-9]{1,15}")


def arithmetic(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    _want_numbers(call, parts)
    whole = call.function != "divide" and all(part.type.whole for part in parts)
    nullable = any(part.nullable for part in parts) or (call.function == "divide" and _may_be_zero(parts[1]))
    bounds = _by_intervals(_ARITHMETIC[call.function], parts)
    step = _arithmetic_step(call.function, parts)
    return _keyed(_computed(whole, nullable, bounds, step), call, parts)


def numeric(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    _want_numbers(call, parts)
    whole = call.function in ("floor", "ceil", "sign") or all(part.type.whole for part in parts)
    step = Fraction(1) if whole else finest(parts)
    if call.function == "round":
        digits = _digits(call)
        step = Fraction(1) if whole else Fraction(10) ** -digits
        known = parts[0].bounds
        bounds: Bounds | None = intervals.rounded(known, digits) if numeric_bounds(known) else None
    elif call.function in ("least", "greatest"):
        bounds = _extreme(call, parts)
    elif call.function == "sign":
        bounds = _by_intervals(intervals.sign, parts) or (Fraction(-1), Fraction(1))
    else:
        bounds = _by_intervals(_ROUNDING[call.function], parts)
    nullable = any(part.nullable for part in parts)
    return _keyed(_computed(whole, nullable, bounds, step), call, parts)


def whole_division(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """Null where the divisor is 0."""
    _want_numbers(call, parts)
    whole = all(part.type.whole for part in parts)
    nullable = any(part.nullable for part in parts) or _may_be_zero(parts[1])
    if call.function == "modulo":
        bounds = _by_intervals(intervals.modulo_whole if whole else intervals.modulo, parts)
        return _keyed(_computed(whole, nullable, bounds, finest(parts)), call, parts)
    rule = intervals.divide_whole if parts[1].type.whole else intervals.divide
    exact = _by_intervals(rule, parts)
    cut = intervals.cut(exact) if numeric_bounds(exact) else None
    return _keyed(_computed(whole=True, nullable=nullable, bounds=cut, step=Fraction(1)), call, parts)


def _may_be_zero(part: ColumnFacts) -> bool:
    return not numeric_bounds(part.bounds) or part.bounds[0] <= 0 <= part.bounds[1]


def root(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """Roots, logarithms, powers: bounds where the function is defined all over the argument's range."""
    if call.function == "power":
        return _power(call, parts)
    _want_numbers(call, parts)
    known = parts[0].bounds
    if not numeric_bounds(known):
        return ColumnFacts(DOUBLE, "the computed value", nullable=True)
    inside = known
    if call.function == "sqrt":
        inside = max(known[0], Fraction(0)), max(known[1], Fraction(0))  # what is negative becomes null
    bounds = intervals.rising(_CURVES[call.function], inside)
    nullable = parts[0].nullable or bounds is None or inside != known
    return ColumnFacts(DOUBLE, "the computed value", nullable, bounds)


def _power(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    exponent = call.arguments[1]
    value = exponent.value if isinstance(exponent, Literal) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not -POWER_MAX <= value <= POWER_MAX:
        detail = f"`power` takes a constant exponent from -{POWER_MAX} to {POWER_MAX}"
        raise Refuse("construct_not_allowed", detail, at=call.at)
    _want_numbers(call, parts)
    known = parts[0].bounds
    bounds = intervals.power(known, Fraction(value)) if numeric_bounds(known) else None
    step = parts[0].step
    grid = step ** int(value) if step is not None and value >= 0 and value == int(value) else None
    return ColumnFacts(DOUBLE, "the computed value", parts[0].nullable or bounds is None, bounds, grid)


def binned(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    _want_numbers(call, parts)
    (found,) = parts
    if found.bins is None:
        detail = f"`bin` needs a column with declared bins, and {found.label} has none"
        raise Refuse("column_not_groupable", detail, at=call.at)
    edges = found.bins
    return ColumnFacts(
        type=found.type,
        label=f"the bin of {found.label}",
        nullable=False,  # a value in no bin is null, and such rows make no group
        bounds=(Fraction(edges[0]), Fraction(edges[-2])),
        keys=tuple(_edge_key(edge, found.type) for edge in edges[:-1]),
    )


def to_number(call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """TRY_CAST: null where a text is no number, or a number no whole one of 64 bits."""
    (found,) = parts
    if not (found.type.numeric or found.type.kind in ("text", "boolean")):
        detail = f"{found.label} of type {found.type} cannot be cast to a number"
        raise Refuse("type_mismatch", detail, at=call.arguments[0].at or call.at)
    nullable = found.nullable or found.type.kind in ("text", "double")
    bounds = (Fraction(0), Fraction(1)) if found.type.kind == "boolean" else found.bounds
    whole = call.function == "to_integer"
    if whole and numeric_bounds(bounds):
        bounds = math.floor(bounds[0]) * Fraction(1), math.ceil(bounds[1]) * Fraction(1)
    keys = _text_keys(found.keys) if whole and found.type.kind == "text" else None
    if whole and keys is None:
        keys = whole_keys(bounds)
    step = Fraction(1) if whole or found.type.kind == "boolean" else found.step
    if keys is not None and bounds is None and keys:
        bounds = Fraction(min(keys)), Fraction(max(keys))
    return ColumnFacts(BIGINT if whole else DOUBLE, "the computed value", nullable, bounds, step, keys)


def whole_keys(bounds: Bounds | None) -> tuple[int, ...] | None:
    """Every whole number within `bounds`; None where there are more than KEYS_MAX, or they are not exact."""
    if not numeric_bounds(bounds) or max(abs(edge) for edge in bounds) > EXACT_MAX:
        return None
    low, high = math.ceil(bounds[0]), math.floor(bounds[1])
    return tuple(range(low, high + 1)) if high - low < KEYS_MAX else None


def _computed(whole: bool, nullable: bool, bounds: Bounds | None, step: Fraction | None) -> ColumnFacts:
    """Whole numbers that may be too large for 64 bits are doubles."""
    type_ = BIGINT if whole and fits_whole(bounds) else DOUBLE
    return ColumnFacts(type_, "the computed value", nullable, bounds, step)


def fits_whole(bounds: Bounds | None) -> bool:
    """Whether a whole number is a BIGINT wherever it lies in `bounds`; without any, beyond that it is null."""
    return not numeric_bounds(bounds) or max(abs(edge) for edge in bounds) <= WHOLE_MAX


def _keyed(found: ColumnFacts, call: Call, parts: list[ColumnFacts]) -> ColumnFacts:
    """`found` with its public keys, where it is whole."""
    if not found.type.whole:
        return found
    mapped = _mapped(call, parts)
    return replace(found, keys=whole_keys(found.bounds) if mapped is None else mapped)


def _mapped(call: Call, parts: list[ColumnFacts]) -> tuple[int, ...] | None:
    """The keys of the parts put through the function, each with each; None where that cannot be done."""
    rule, same = _EXACT.get(call.function), len(set(call.arguments)) == 1
    lists = [part.keys for part in parts if part.keys is not None and all(type(key) is int for key in part.keys)]
    if rule is None or len(lists) != len(parts) or (not same and math.prod(map(len, lists)) > MAPPED_MAX):
        return None
    found = {rule(*row) for row in (zip(*lists, strict=True) if same else itertools.product(*lists))}
    whole = sorted(value for value in found if value is not None)
    return tuple(whole) if all(abs(value) <= EXACT_MAX for value in whole) else None


def _want_numbers(call: Call, parts: list[ColumnFacts]) -> None:
    for argument, part in zip(call.arguments, parts, strict=True):
        if not part.type.numeric:
            detail = f"`{call.function}` needs numbers, and {part.label} is of type {part.type}"
            raise Refuse("type_mismatch", detail, at=argument.at)


def _by_intervals(rule: Callable[..., intervals.Interval | None], parts: list[ColumnFacts]) -> Bounds | None:
    known = [part.bounds for part in parts if numeric_bounds(part.bounds)]
    return rule(*known) if len(known) == len(parts) else None


def _arithmetic_step(function: str, parts: list[ColumnFacts]) -> Fraction | None:
    if function == "divide":
        return None
    if function == "multiply":
        first, second = (part.step for part in parts)
        return None if first is None or second is None else first * second
    return finest(parts)


def _extreme(call: Call, parts: list[ColumnFacts]) -> Bounds | None:
    """LEAST and GREATEST pass over nulls, so only what is never null holds the other values back."""
    rule = intervals.least if call.function == "least" else intervals.greatest
    known = [(part.bounds, part.nullable) for part in parts if numeric_bounds(part.bounds)]
    if len(known) != len(parts):
        return None
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


def _edge_key(edge: Decimal, type_: Type) -> Value:
    """The lower edge of a bin as a value of the binned column's type."""
    if type_.whole:
        return int(edge)
    return float(edge) if type_.kind == "double" else edge


def _text_keys(keys: tuple[Value, ...] | None) -> tuple[int, ...] | None:
    """Public words as numbers, where each is spelt plainly: the engine reads more spellings than are listed here."""
    words = [key for key in keys or () if isinstance(key, str) and _WHOLE_TEXT.fullmatch(key)]
    return tuple(sorted({int(word) for word in words})) if keys is not None and len(words) == len(keys) else None


def _int_divide(a: int, b: int) -> int | None:
    return None if b == 0 else int(Fraction(a, b))


def _modulo(a: int, b: int) -> int | None:
    return None if b == 0 else a - b * int(Fraction(a, b))


_ARITHMETIC: dict[str, Callable[..., intervals.Interval | None]] = {
    "add": intervals.add,
    "subtract": intervals.subtract,
    "multiply": intervals.multiply,
    "divide": intervals.divide,
    "negate": intervals.negate,
}
_ROUNDING: dict[str, Callable[[intervals.Interval], intervals.Interval]] = {
    "abs": intervals.absolute,
    "floor": intervals.floor,
    "ceil": intervals.ceil,
}
_CURVES: dict[str, tuple[Callable[[float], float], Fraction | None, Fraction | None]] = {
    # name -> (function, where it starts, where it ends)
    "sqrt": (math.sqrt, Fraction(0), None),
    "ln": (math.log, Fraction(1, 10**300), None),
    "log10": (math.log10, Fraction(1, 10**300), None),
    "log2": (math.log2, Fraction(1, 10**300), None),
    "exp": (math.exp, None, Fraction(708)),
}
_EXACT: dict[str, Callable[..., int | None]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "modulo": _modulo,
    "int_divide": _int_divide,
}
