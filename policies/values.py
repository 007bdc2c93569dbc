"""Bounds and group keys as a document has them, read by the column's type: nothing is converted, rounded or guessed."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Context, Decimal, Inexact
from typing import Final

from policies.model import Bound
from policies.problems import shown
from policies.types import Type, Value

TEXT_CHARACTERS_MAX: Final = 1_000
_LIMITS: Final = {"integer": (-(2**31), 2**31 - 1), "bigint": (-(2**63), 2**63 - 1)}
_EXACT: Final = Context(prec=200, traps=[Inexact])


def bound(raw: object, kind: Type) -> Bound:
    """An edge of a range as the column's type has it. Raises ValueError in an author's words."""
    if kind.temporal:
        return _time(raw, kind)
    if isinstance(raw, bool) or not isinstance(raw, int | Decimal):
        raise ValueError(f"{shown(raw)} is not a number")
    number = Decimal(raw)
    if kind.whole:
        low, high = _LIMITS[kind.kind]
        if not isinstance(raw, int):
            raise ValueError(f"{shown(raw)} is not a whole number, as type {shown(kind)} has them")
        if not low <= raw <= high:
            raise ValueError(f"{shown(raw)} does not fit into type {shown(kind)}")
    if kind.kind == "decimal" and not _fits(number, kind):
        raise ValueError(f"{shown(raw)} does not fit into type {shown(kind)}")
    return number


def value(raw: object, kind: Type) -> Value:
    """A group key as the column's type has it. Raises ValueError in an author's words."""
    if kind.whole:
        bound(raw, kind)
        return raw if isinstance(raw, int) else None
    if kind.temporal:
        return _time(raw, kind)
    if kind.kind == "boolean":
        if not isinstance(raw, bool):
            raise ValueError(f"{shown(raw)} is neither `true` nor `false`")
        return raw
    if not isinstance(raw, str):
        raise ValueError(f"{shown(raw)} is not a text in quotes")
    if len(raw) > TEXT_CHARACTERS_MAX:
        raise ValueError(f"a value is longer than {TEXT_CHARACTERS_MAX} characters")
    return raw


def _time(raw: object, kind: Type) -> date | datetime:
    if kind.kind == "timestamp":
        if not isinstance(raw, datetime):
            raise ValueError(f"{shown(raw)} is not a date with a time, such as 2026-12-31T23:59:59")
        if raw.tzinfo is not None:
            raise ValueError(f"{shown(raw)} has an offset; timestamps are written without one")
    elif isinstance(raw, datetime) or not isinstance(raw, date):
        raise ValueError(f"{shown(raw)} is not a date, such as 2026-12-31 without quotes")
    return raw


def _fits(number: Decimal, kind: Type) -> bool:
    """Whether decimal(p,s) holds `number` exactly."""
    assert kind.precision is not None  # noqa: S101  # `Type.parse` sets both for decimals
    assert kind.scale is not None  # noqa: S101  # see above
    whole = number.scaleb(kind.scale, _EXACT)
    return whole == whole.to_integral_value() and abs(whole) < 10**kind.precision
