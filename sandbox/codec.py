"""One generic codec for every frozen record that crosses the socket or is hashed.

A dataclass becomes {"@": class name, field: value, ...}; tuples become lists; Decimal, date and datetime become tagged
strings. Decoding builds only classes that were registered, with exactly their fields and the declared types: the peer
on the other side of the socket is not trusted.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import types
import typing
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

DEPTH_MAX = 400
DIGITS_MAX = 60
"""Of an integer."""
TEXT_MAX = 1_000
"""Of a decimal's text; and its exponent, either way."""


class CodecError(ValueError):
    """Bytes that are no record of ours. The message names the place, never a value."""


def encode(value: object, *, positions: bool = True) -> Any:
    """`value` as plain JSON data. Without `positions`, fields called `at` are left out (for digests)."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Decimal):
        return {"@": "decimal", "v": str(value)}
    if isinstance(value, datetime):
        return {"@": "datetime", "v": value.isoformat()}
    if isinstance(value, date):
        return {"@": "date", "v": value.isoformat()}
    if isinstance(value, float):
        return {"@": "float", "v": value.hex()}
    if isinstance(value, tuple):
        return [encode(item, positions=positions) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        plain: dict[str, Any] = {"@": type(value).__name__}
        for name in _field_names(type(value)):
            if positions or name != "at":
                plain[name] = encode(getattr(value, name), positions=positions)
        return plain
    raise TypeError(f"no encoding for {type(value).__name__}")


def dumps(value: object, *, positions: bool = True) -> bytes:
    """Canonical bytes: keys sorted, no white space, UTF-8."""
    return _TO_JSON.encode(encode(value, positions=positions)).encode()


def digest(value: object) -> str:
    """Hex SHA-256 of the canonical bytes without positions."""
    return hashlib.sha256(dumps(value, positions=False)).hexdigest()


T = typing.TypeVar("T")


def loads(data: bytes, expected: type[T]) -> T:
    """The record of type `expected` in `data`. Raises CodecError."""
    return decode(parse(data), expected)


def parse(data: bytes) -> object:
    """Plain JSON data: UTF-8, no name twice, no number without end. Raises CodecError."""
    try:
        return _FROM_JSON.decode(data.decode())
    except (ValueError, RecursionError) as error:
        raise CodecError("not JSON") from error


def _names_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise ValueError("too many digits")
    return int(text)


def _no_constant(text: str) -> object:
    raise ValueError(text)


_TO_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)
_FROM_JSON = json.JSONDecoder(object_pairs_hook=_names_once, parse_int=_integer, parse_constant=_no_constant)


def decode(plain: object, expected: type[T]) -> T:
    """`plain` as `expected`, every field checked against its declared type. Raises CodecError."""
    try:
        return typing.cast("T", _decode(plain, expected, expected.__name__, 0))
    except RecursionError as error:
        raise CodecError(f"{expected.__name__}: nested too deeply") from error


def _decode(plain: object, expected: Any, place: str, depth: int) -> object:
    if depth > DEPTH_MAX:
        raise CodecError(f"{place}: nested too deeply")
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return _decode_union(plain, typing.get_args(expected), place, depth)
    if origin is typing.Literal:
        if plain in typing.get_args(expected) and isinstance(plain, str):
            return plain
        raise CodecError(f"{place}: not one of the allowed words")
    if origin is tuple:
        return _decode_tuple(plain, typing.get_args(expected), place, depth)
    if dataclasses.is_dataclass(expected):
        return _decode_record(plain, expected, place, depth)
    return _decode_atom(plain, expected, place)


def _decode_union(plain: object, options: tuple[Any, ...], place: str, depth: int) -> object:
    if isinstance(plain, dict) and isinstance(tag := plain.get("@"), str):
        for option in options:
            if getattr(option, "__name__", None) == tag or _ATOM_TAGS.get(option) == tag:
                return _decode(plain, option, place, depth)
        raise CodecError(f"{place}: `{tag[:40]}` is not allowed here")
    if plain is None and type(None) in options:
        return None
    for option in options:
        if option in (bool, int, str):
            if type(plain) is option:
                return _decode_atom(plain, option, place)
        elif option is not type(None) and not dataclasses.is_dataclass(option) and option not in _ATOM_TAGS:
            return _decode(plain, option, place, depth)
    raise CodecError(f"{place}: a value of another type")


def _decode_tuple(plain: object, arguments: tuple[Any, ...], place: str, depth: int) -> tuple[object, ...]:
    if not isinstance(plain, list):
        raise CodecError(f"{place}: not a list")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_decode(item, arguments[0], f"{place}[]", depth + 1) for item in plain)
    if len(plain) != len(arguments):
        raise CodecError(f"{place}: a list of another length")
    return tuple(_decode(item, kind, f"{place}[]", depth + 1) for item, kind in zip(plain, arguments, strict=True))


def _decode_record(plain: object, expected: Any, place: str, depth: int) -> object:
    if not isinstance(plain, dict) or plain.get("@") != expected.__name__:
        raise CodecError(f"{place}: not a {expected.__name__}")
    hints = field_types(expected)
    if set(plain) - {"@"} != set(hints):
        raise CodecError(f"{place}: {expected.__name__} with other fields")
    inner = {name: _decode(plain[name], kind, f"{place}.{name}", depth + 1) for name, kind in hints.items()}
    return expected(**inner)


@cache
def _field_names(record: type) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(record))


@cache
def field_types(record: type) -> dict[str, Any]:
    """The declared type of every field of a dataclass."""
    hints = typing.get_type_hints(record)
    return {f.name: hints[f.name] for f in dataclasses.fields(record)}


_ATOM_TAGS: dict[Any, str] = {Decimal: "decimal", date: "date", datetime: "datetime", float: "float"}


def _decode_atom(plain: object, expected: Any, place: str) -> object:
    if expected is str and type(plain) is str:
        if not plain.isascii() and not _encodable(plain):
            raise CodecError(f"{place}: half of a character")
        return plain
    if expected in (bool, int) and type(plain) is expected:
        return plain
    if expected is type(None) and plain is None:
        return None
    if isinstance(plain, dict) and set(plain) == {"@", "v"} and plain["@"] == _ATOM_TAGS.get(expected):
        text = plain["v"]
        if not isinstance(text, str):
            raise CodecError(f"{place}: not text")
        try:
            return _atom(text, expected)
        except (ValueError, ArithmeticError) as error:
            raise CodecError(f"{place}: unreadable") from error
    raise CodecError(f"{place}: not a {getattr(expected, '__name__', expected)}")


def _encodable(text: str) -> bool:
    """Half a pair of surrogates, which JSON can write, is no text: it could not be written again."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _atom(text: str, expected: Any) -> object:
    """Raises ValueError, ArithmeticError."""
    if len(text) > TEXT_MAX:
        raise ValueError("too long")
    if expected is Decimal:
        number = Decimal(text)
        if not number.is_finite() or abs(number.adjusted()) > TEXT_MAX:
            raise ValueError("not finite, or far out")
        return number
    if expected is float:
        found = float.fromhex(text)
        if not math.isfinite(found):
            raise ValueError("not finite")
        return found
    moment = expected.fromisoformat(text)
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        raise ValueError("with a zone")  # it could not be compared with ours
    return moment
