"""Rows as lines of JSON: written by the worker, read by a service that does not trust it.

Whole numbers are JSON integers within 64 bits, decimals strings, doubles finite numbers, dates and timestamps ISO 8601.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NoReturn

from policies.types import Type, Value

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
ROW_BYTES_MAX: Final = 1 << 20
"""One line at most: what parses a line cannot be made to build more than a small multiple of it."""

_DECIMAL: Final = re.compile(r"-?(\d{1,38})(?:\.(\d{1,38}))?")


class RowsTooBig(Exception):
    """More rows or bytes than were asked for."""


class RowsWrong(Exception):
    """A value outside its type. The text never holds the value."""


def write_rows(rows: Iterable[Sequence[object]], shape: tuple[Type, ...], bytes_max: int) -> bytes:
    """The worker's side. Raises RowsTooBig, and RowsWrong for a value that the shape has no place for."""
    lines: list[bytes] = []
    size = 0
    for row in rows:
        plain = [_write(value, kind) for value, kind in zip(row, shape, strict=True)]
        line = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        size += len(line) + 1
        if len(line) > ROW_BYTES_MAX or size > bytes_max:
            raise RowsTooBig
        lines.append(line)
    return b"\n".join(lines)


def _write(value: object, kind: Type) -> object:
    if value is None:
        return None
    if kind.kind == "boolean" and isinstance(value, bool):
        return value
    if kind.whole and isinstance(value, int) and not isinstance(value, bool) and INT64_MIN <= value <= INT64_MAX:
        return value
    if kind.kind == "double" and isinstance(value, float) and math.isfinite(value):
        return value
    if kind.kind == "decimal" and isinstance(value, Decimal) and value.is_finite():
        return f"{value:f}"
    if kind.kind == "text" and isinstance(value, str):
        return value
    if kind.kind == "timestamp" and isinstance(value, datetime) and value.tzinfo is None:
        return value.isoformat()
    if kind.kind == "date" and isinstance(value, date) and not isinstance(value, datetime):
        return value.isoformat()
    raise RowsWrong


def read_rows(data: bytes, shape: tuple[Type, ...], rows_max: int) -> list[tuple[Value, ...]]:
    """The service's side: every value checked against `shape`. Raises RowsTooBig or RowsWrong."""
    if not data:
        return []
    if data.count(b"\n") >= rows_max:
        raise RowsTooBig
    return [_read_row(line, shape) for line in data.split(b"\n")]


def _read_row(line: bytes, shape: tuple[Type, ...]) -> tuple[Value, ...]:
    if len(line) > ROW_BYTES_MAX:
        raise RowsTooBig
    try:
        plain = json.loads(line, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RowsWrong from None
    if not isinstance(plain, list) or len(plain) != len(shape):
        raise RowsWrong
    return tuple(_read(value, kind) for value, kind in zip(plain, shape, strict=True))


def _no_constant(_: str) -> NoReturn:
    raise RowsWrong


def _read(value: object, kind: Type) -> Value:
    if value is None:
        return None
    if kind.whole and type(value) is int and INT64_MIN <= value <= INT64_MAX:
        return value
    if kind.kind == "boolean" and type(value) is bool:
        return value
    if kind.kind == "double" and type(value) is float and math.isfinite(value):
        return value
    if isinstance(value, str):
        return _read_text(value, kind)
    raise RowsWrong


def _read_text(text: str, kind: Type) -> Value:
    if kind.kind == "text":
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise RowsWrong  # half a surrogate pair could not be written again
        return text
    if kind.kind == "decimal":
        return _read_decimal(text, kind)
    if kind.temporal:
        return _read_time(text, kind)
    raise RowsWrong


def _read_decimal(text: str, kind: Type) -> Decimal:
    match = _DECIMAL.fullmatch(text) if text.isascii() else None
    precision, scale = kind.precision or 0, kind.scale or 0
    if match is None or len(match[2] or "") > scale or len(match[1].lstrip("0")) > precision - scale:
        raise RowsWrong
    return Decimal(text)


def _read_time(text: str, kind: Type) -> date | datetime:
    """Exactly the form that we write: what is read and written again must be the same text."""
    try:
        value = date.fromisoformat(text) if kind.kind == "date" else datetime.fromisoformat(text)
    except ValueError:
        raise RowsWrong from None
    if value.isoformat() != text or (isinstance(value, datetime) and value.tzinfo is not None):
        raise RowsWrong
    return value
