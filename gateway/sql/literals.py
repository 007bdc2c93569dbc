"""Constants: numbers exactly, dates strictly, one form for each value."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal as OneOf

from gateway.errors import Refusal
from policies.types import BIGINT, BOOLEAN, DATE, DECIMAL_PRECISION_MAX, TEXT, TIMESTAMP, Type
from sandbox.relational.expressions import Literal, Position

_BIGINT_MAX = 2**63 - 1
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?", re.ASCII)
_WORDS_MAX = 40
_DAYS = {"day": 1, "week": 7}
_MONTHS = {"month": 1, "quarter": 3, "year": 12}
_EXPONENT_MAX = 1000
Cast = OneOf["date", "timestamp", "integer", "number", "text", "boolean"]


def null(at: Position | None) -> Literal:
    return Literal(None, TEXT, at)


def text(value: str, at: Position | None) -> Literal:
    return Literal(value, TEXT, at)


def boolean(at: Position | None, *, value: bool) -> Literal:
    return Literal(value, BOOLEAN, at)


def number(written: str, at: Position | None) -> Literal:
    """`written` as an exact number. Raises Refusal type_mismatch where it has too many digits."""
    try:
        value = Decimal(written)
    except InvalidOperation:
        raise _mismatch(f"`{written[:_WORDS_MAX]}` is not a number", at) from None
    return exact(value, at)


def exact(value: Decimal | int, at: Position | None) -> Literal:
    """`value` as an integer where it is whole and fits 64 bits, else as a decimal of at most 38 digits."""
    if isinstance(value, int):
        if abs(value) <= _BIGINT_MAX:
            return Literal(value, BIGINT, at)
        if abs(value) >= 10**DECIMAL_PRECISION_MAX:
            raise _mismatch("a number has at most 38 digits", at)
        value = Decimal(value)
    if not value.is_finite() or abs(value.adjusted()) > _EXPONENT_MAX:
        raise _mismatch("a number has at most 38 digits", at)
    sign, digits, exponent = value.as_tuple()
    exponent = int(exponent)  # finite, as checked above
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if digits == (0,):
        return Literal(0, BIGINT, at)
    if exponent > 0:
        digits, exponent = digits + (0,) * exponent, 0
    scale = -exponent
    precision = max(len(digits), scale)
    if precision > DECIMAL_PRECISION_MAX:
        raise _mismatch("a number has at most 38 digits", at)
    shortest = Decimal((sign, digits, exponent))
    if scale == 0 and abs(int(shortest)) <= _BIGINT_MAX:
        return Literal(int(shortest), BIGINT, at)
    return Literal(shortest, Type("decimal", precision, scale), at)


def negative(literal: Literal, at: Position | None) -> Literal:
    """`-literal`; null stays null."""
    value = literal.value
    if isinstance(value, Decimal):
        return exact(value.copy_negate(), at)
    return exact(-value, at) if isinstance(value, int) else literal


def as_time(literal: Literal, kind: OneOf["date", "timestamp"]) -> Literal:
    """A text, date or timestamp literal as `kind`. Raises Refusal type_mismatch."""
    value = literal.value
    if isinstance(value, str):
        value = _read_time(value, kind, literal.at)
    if kind == "timestamp":
        if isinstance(value, date) and not isinstance(value, datetime):
            value = datetime.combine(value, time())
        return Literal(value, TIMESTAMP, literal.at)
    if isinstance(value, datetime):
        if value.time() != time():
            raise _mismatch("a date is wanted here, without a time of day", literal.at)
        value = value.date()
    return Literal(value, DATE, literal.at)


def _read_time(written: str, kind: str, at: Position | None) -> date:
    try:
        if _DATE.fullmatch(written):
            return date.fromisoformat(written)
        if kind == "timestamp" and _TIMESTAMP.fullmatch(written):
            return datetime.fromisoformat(written)
    except ValueError:
        pass
    wanted = "a date such as '2024-05-31'" if kind == "date" else "a timestamp such as '2024-05-31 08:00:00'"
    raise _mismatch(f"`{written[:_WORDS_MAX]}` is not {wanted}", at)


def moved_by(literal: Literal, count: int, unit: str, at: Position | None) -> Literal:
    """A date or timestamp `count` steps of `unit` later; where a month is too short, its last day."""
    value = literal.value
    if not isinstance(value, date):
        raise AssertionError(value)
    try:
        if unit in _DAYS:
            return replace(literal, value=value + timedelta(days=count * _DAYS[unit]), at=at)
        months = value.year * 12 + value.month - 1 + count * _MONTHS[unit]
        year, month = divmod(months, 12)
        last = monthrange(year, month + 1)[1]
        return replace(literal, value=value.replace(year=year, month=month + 1, day=min(value.day, last)), at=at)
    except (ValueError, OverflowError):
        raise _mismatch("this date lies outside the years 1 to 9999", at) from None


def cast(literal: Literal, to: Cast) -> Literal:
    """A constant as another type, folded here: no cast ever reaches the engine."""
    if literal.value is None:
        return literal
    return _CAST[to](literal)


def _cast_number(literal: Literal) -> Literal:
    if isinstance(literal.value, str):
        return number(literal.value.strip(), literal.at)
    if literal.type.numeric:
        return literal
    raise _mismatch("this constant is not a number", literal.at)


def _cast_integer(literal: Literal) -> Literal:
    whole = _cast_number(literal)
    if whole.type.whole:
        return whole
    raise _mismatch("this constant is not a whole number", literal.at)


def _cast_time(kind: OneOf["date", "timestamp"]) -> Callable[[Literal], Literal]:
    def to_time(literal: Literal) -> Literal:
        if isinstance(literal.value, str | date):
            return as_time(literal, kind)
        raise _mismatch(f"this constant is not a {kind}", literal.at)

    return to_time


def _cast_text(literal: Literal) -> Literal:
    if isinstance(literal.value, str):
        return literal
    raise _mismatch("write the constant in quotes", literal.at)


def _cast_boolean(literal: Literal) -> Literal:
    if isinstance(literal.value, bool):
        return literal
    raise _mismatch("write `true` or `false`", literal.at)


_CAST: dict[Cast, Callable[[Literal], Literal]] = {
    "date": _cast_time("date"),
    "timestamp": _cast_time("timestamp"),
    "integer": _cast_integer,
    "number": _cast_number,
    "text": _cast_text,
    "boolean": _cast_boolean,
}


def moved(literal: Literal, at: Position | None) -> Literal:
    return replace(literal, at=at)


def _mismatch(message: str, at: Position | None) -> Refusal:
    return Refusal("type_mismatch", message, at=at)


def given(name: str, value: object, at: Position | None) -> Literal:
    """The parameter `name` as a constant. `value` comes from JSON: text, number, true or false."""
    if isinstance(value, bool):
        return boolean(at, value=value)
    if isinstance(value, str):
        return text(value, at)
    if isinstance(value, float):
        # The shortest text that reads back as this number: what the caller wrote in JSON.
        value = Decimal(repr(value))
    if isinstance(value, int | Decimal):
        try:
            return exact(value, at)
        except Refusal:
            raise Refusal("parameter_invalid", f"`${name}` is not a number of at most 38 digits", at=at) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return Literal(value, TIMESTAMP, at)
    elif isinstance(value, date):
        return Literal(value, DATE, at)
    raise Refusal(
        "parameter_invalid",
        f"`${name}` is neither text nor a number nor true or false",
        hint="for null write IS NULL; for a list write IN ($a, $b)",
        at=at,
    )
