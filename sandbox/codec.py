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
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

DEPTH_MAX = 400
DIGITS_MAX = 60
"""Of an integer."""
TEXT_MAX = 1_000
"""Of a decimal's text; and its exponent, either way."""


class CodecError(ValueError):
    """Bytes that are no record of ours. The message names the place, never a value."""


def encode(value: object, *, positions: bool = True) -> Any:
    """`value` as plain JSON data. Without `positions`, fields called `at` are left out (for digests)."""
    kind: Any = type(value)
    return value if kind in _PLAIN else _writer(kind)(value, positions)


Writer = Callable[[Any, bool], Any]
_PLAIN: Final = frozenset({str, int, bool, type(None)})


@cache
def _writer(kind: type) -> Writer:
    """How values of a type are written: found once for each, for everything that is asked goes through here."""
    if issubclass(kind, str | int):
        return lambda value, _: value
    if issubclass(kind, Decimal):
        return lambda value, _: {"@": "decimal", "v": str(value)}
    if issubclass(kind, datetime):
        return lambda value, _: {"@": "datetime", "v": value.isoformat()}
    if issubclass(kind, date):
        return lambda value, _: {"@": "date", "v": value.isoformat()}
    if issubclass(kind, float):
        return lambda value, _: {"@": "float", "v": value.hex()}
    if issubclass(kind, tuple):
        return lambda value, positions: [encode(item, positions=positions) for item in value]
    if dataclasses.is_dataclass(kind):
        return _record_writer(kind)
    raise TypeError(f"no encoding for {kind.__name__}")


def _record_writer(record: type) -> Writer:
    names = tuple(f.name for f in dataclasses.fields(record))
    counting = tuple(name for name in names if name != "at")

    def write(value: Any, positions: bool) -> Any:
        plain: dict[str, Any] = {"@": record.__name__}
        for name in names if positions else counting:
            field = getattr(value, name)
            kind: Any = type(field)
            plain[name] = field if kind in _PLAIN else _writer(kind)(field, positions)
        return plain

    return write


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
        return typing.cast("T", _reader(typing.cast("Any", expected))(plain, 0))
    except _Wrong as wrong:
        raise CodecError(f"{expected.__name__}{''.join(reversed(wrong.place))}: {wrong.words}") from wrong
    except RecursionError as error:
        raise CodecError(f"{expected.__name__}: nested too deeply") from error


class _Wrong(Exception):
    """What is wrong, and where: the inmost part of the place first."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words
        self.place: list[str] = []


Reader = Callable[[object, int], object]
"""Makes a value of plain data that lies so deep. Raises _Wrong."""


@cache
def _reader(expected: Any) -> Reader:
    """How a declared type is read: found once for each."""
    origin = typing.get_origin(expected)
    if origin in (typing.Union, types.UnionType):
        return _union_reader(typing.get_args(expected))
    if origin is typing.Literal:
        return _word_reader(typing.get_args(expected))
    if origin is tuple:
        return _tuple_reader(typing.get_args(expected))
    if dataclasses.is_dataclass(expected):
        return _record_reader(expected)
    return lambda plain, _: _read_atom(plain, expected)


def _word_reader(words: tuple[Any, ...]) -> Reader:
    def read(plain: object, _: int) -> object:
        if isinstance(plain, str) and plain in words:
            return plain
        raise _Wrong("not one of the allowed words")

    return read


def _union_reader(options: tuple[Any, ...]) -> Reader:
    tagged = {_ATOM_TAGS.get(each, getattr(each, "__name__", None)): each for each in reversed(options)}
    bare = {type(None), bool, int, str, *_ATOM_TAGS}
    at = next((at for at, each in enumerate(options) if each not in bare and not dataclasses.is_dataclass(each)), None)
    plain_types = frozenset(options[:at]) & {bool, int, str}
    readers: dict[str, Reader] = {}

    def read(plain: object, depth: int) -> object:
        if isinstance(plain, dict) and isinstance(tag := plain.get("@"), str):
            if tag not in tagged:
                raise _Wrong(f"`{tag[:40]}` is not allowed here")
            if tag not in readers:
                readers[tag] = _reader(tagged[tag])
            return readers[tag](plain, depth)
        if plain is None and type(None) in options:
            return None
        if type(plain) in plain_types:
            return _read_atom(plain, type(plain))
        if at is not None:
            return _reader(options[at])(plain, depth)
        raise _Wrong("a value of another type")

    return read


def _tuple_reader(arguments: tuple[Any, ...]) -> Reader:
    endless = len(arguments) == 2 and arguments[1] is Ellipsis
    readers: list[Reader] = []

    def read(plain: object, depth: int) -> object:
        _require_shallow(depth)
        if not isinstance(plain, list):
            raise _Wrong("not a list")
        if not endless and len(plain) != len(arguments):
            raise _Wrong("a list of another length")
        if not readers:  # not before: records hold one another
            readers[:] = [_reader(each) for each in arguments[: 1 if endless else None]]
        try:
            if endless:
                (reader,) = readers
                return tuple([reader(item, depth + 1) for item in plain])
            return tuple([reader(item, depth + 1) for reader, item in zip(readers, plain, strict=True)])
        except _Wrong as wrong:
            wrong.place.append("[]")
            raise

    return read


def _record_reader(expected: Any) -> Reader:
    fields: dict[str, Reader] = {}

    def read(plain: object, depth: int) -> object:
        _require_shallow(depth)
        if not isinstance(plain, dict) or plain.get("@") != expected.__name__:
            raise _Wrong(f"not a {expected.__name__}")
        if not fields:
            fields.update({name: _reader(kind) for name, kind in field_types(expected).items()})
        if plain.keys() - _TAG != fields.keys():
            raise _Wrong(f"{expected.__name__} with other fields")
        inner = {}
        name = ""
        try:
            for name, reader in fields.items():
                inner[name] = reader(plain[name], depth + 1)
        except _Wrong as wrong:
            wrong.place.append(f".{name}")
            raise
        return expected(**inner)

    return read


_TAG: Final = frozenset({"@"})


def _require_shallow(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise _Wrong("nested too deeply")


@cache
def field_types(record: type) -> dict[str, Any]:
    """The declared type of every field of a dataclass."""
    hints = typing.get_type_hints(record)
    return {f.name: hints[f.name] for f in dataclasses.fields(record)}


_ATOM_TAGS: dict[Any, str] = {Decimal: "decimal", date: "date", datetime: "datetime", float: "float"}


def _read_atom(plain: object, expected: Any) -> object:
    if expected is str and type(plain) is str:
        if not plain.isascii() and not _encodable(plain):
            raise _Wrong("half of a character")
        return plain
    if expected in (bool, int) and type(plain) is expected:
        return plain
    if expected is type(None) and plain is None:
        return None
    if isinstance(plain, dict) and set(plain) == {"@", "v"} and plain["@"] == _ATOM_TAGS.get(expected):
        text = plain["v"]
        if not isinstance(text, str):
            raise _Wrong("not text")
        try:
            return _atom(text, expected)
        except (ValueError, ArithmeticError) as error:
            raise _Wrong("unreadable") from error
    raise _Wrong(f"not a {getattr(expected, '__name__', expected)}")


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
