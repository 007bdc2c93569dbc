"""The kinds of value that a key of a document may have, checked as they are read. Messages are an author's words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from policies.problems import shown
from policies.types import Type

NAME_LENGTH_MAX = 63
DIGITS_MAX = 38
LIST_MAX = 10_000
KEY_COLUMNS_MAX = 16
"""Most columns of one key or link."""
RESERVED_PREFIX = "__"
"""Names that begin so are the data domain's own, as the column of unit ids is."""

_NAME = r"[^\x00-@\[-^`{-\x7f][^\x00-/:-@\[-^`{-\x7f]{0,62}"
"""A name for editors: in their expressions `\\w` is ASCII alone, so it says what a name does not hold."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Document(BaseModel):
    """Base of every table of a document: nothing is converted, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def identifier(name: str) -> str:
    """`name` of a dataset, table or column. One spelling only, so that no two names look or fold alike by encoding."""
    if not name.isidentifier():
        raise ValueError(f"{shown(name)} is not a name; names have letters, digits and `_`, and begin with a letter")
    if len(name) > NAME_LENGTH_MAX:
        raise ValueError(f"{shown(name)} is longer than {NAME_LENGTH_MAX} characters")
    if name.startswith(RESERVED_PREFIX):
        raise ValueError(f"{shown(name)} begins with `__`, and such names are reserved")
    if unicodedata.normalize("NFKC", name) != name:
        raise ValueError(f"{shown(name)} holds characters with a second spelling; write {shown(_plain(name))}")
    return name


def folded(name: str) -> str:
    """What the engine tells names apart by: letter case does not count there."""
    return unicodedata.normalize("NFKC", name).casefold()


def qualified(name: str) -> str:
    """`table.column`."""
    table, dot, column = name.partition(".")
    if not dot:
        raise ValueError(f"{shown(name)} does not name a column; write `table.column`")
    identifier(table)
    identifier(column)
    return name


def line(text: str) -> str:
    """One line of text for people: not empty, no control characters."""
    if not text.strip():
        raise ValueError("this may not be empty")
    if _CONTROL.search(text):
        raise ValueError("this must be one line without control characters")
    return text


def finite(raw: object) -> Decimal:
    """An exact number. Digits and exponent are limited, so that arithmetic on it stays exact and cheap."""
    if isinstance(raw, bool) or not isinstance(raw, int | Decimal):
        raise ValueError("a number is expected")
    if isinstance(raw, int) and abs(raw) >= 10**DIGITS_MAX:
        raise ValueError(f"this number has more than {DIGITS_MAX} digits")
    number = Decimal(raw)
    if not number.is_finite():
        raise ValueError("infinity and `nan` are no numbers here; write a finite number")
    exponent = number.as_tuple().exponent
    if number and (len(number.as_tuple().digits) > DIGITS_MAX or number.adjusted() >= DIGITS_MAX):
        raise ValueError(f"this number has more than {DIGITS_MAX} digits")
    if not isinstance(exponent, int) or abs(exponent) > DIGITS_MAX:
        raise ValueError(f"this number has more than {DIGITS_MAX} digits")
    return number


def day(raw: object) -> date:
    if isinstance(raw, datetime) or not isinstance(raw, date):
        raise ValueError("a date without quotes is expected, such as 2026-12-31")
    return raw


def scalar(raw: object) -> Any:
    """A bound or value, whose kind is checked later against the column's type."""
    if isinstance(raw, bool | str | date):
        return raw
    if isinstance(raw, int | Decimal):
        finite(raw)
        return raw
    raise ValueError("a number, a text in quotes, a date or `true`/`false` is expected")


def _one_or_several(check: Callable[[str], str], raw: object) -> tuple[str, ...]:
    """A name in quotes, or a list of at least two: a list of one would be a second spelling of the same."""
    if isinstance(raw, str):
        return (check(raw),)
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise ValueError("a name in quotes is expected, or a list of names in square brackets")
    return _several(check, raw)


def _several(check: Callable[[str], str], raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(name, str) for name in raw):
        raise ValueError("a list of names in square brackets is expected")
    if not 2 <= len(raw) <= KEY_COLUMNS_MAX:
        raise ValueError(f"a list names 2 to {KEY_COLUMNS_MAX} columns; write one column without brackets")
    for name in raw:
        check(name)
        if raw.count(name) > 1:
            raise ValueError(f"{shown(name)} is listed twice")
    return tuple(raw)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name)


def _type(raw: object) -> Type:
    if not isinstance(raw, str):
        raise ValueError('a type in quotes is expected, such as "integer"')
    return Type.parse(raw)


def _list_schema(pattern: str) -> dict[str, Any]:
    items = {"type": "string", "pattern": pattern}
    return {"type": "array", "items": items, "minItems": 2, "maxItems": KEY_COLUMNS_MAX, "uniqueItems": True}


Name = Annotated[str, AfterValidator(identifier), WithJsonSchema({"type": "string", "pattern": f"^{_NAME}$"})]
ColumnName = Annotated[
    str, AfterValidator(qualified), WithJsonSchema({"type": "string", "pattern": rf"^{_NAME}\.{_NAME}$"})
]
Names = Annotated[
    tuple[str, ...],
    PlainValidator(partial(_several, identifier)),
    WithJsonSchema(_list_schema(f"^{_NAME}$")),
]
NameOrNames = Annotated[
    tuple[str, ...],
    PlainValidator(partial(_one_or_several, identifier)),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": f"^{_NAME}$"}, _list_schema(f"^{_NAME}$")]}),
]
"""One name, or several in a list, which are read alike."""
ColumnNameOrNames = Annotated[
    tuple[str, ...],
    PlainValidator(partial(_one_or_several, qualified)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": rf"^{_NAME}\.{_NAME}$"},
                _list_schema(rf"^{_NAME}\.{_NAME}$"),
            ]
        }
    ),
]
Line = Annotated[str, Field(max_length=500), AfterValidator(line)]
Number = Annotated[Decimal, PlainValidator(finite), WithJsonSchema({"type": "number"})]
Day = Annotated[date, PlainValidator(day), WithJsonSchema({"type": "string", "format": "date"})]
Scalar = Annotated[Any, PlainValidator(scalar), WithJsonSchema({"type": ["number", "string", "boolean"]})]
Edge = Annotated[Any, PlainValidator(scalar), WithJsonSchema({"type": ["number", "string"]})]
TypeName = Annotated[
    Type,
    PlainValidator(_type),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^(integer|bigint|double|text|boolean|date|timestamp|decimal\(\d{1,2},\s*\d{1,2}\))$",
        }
    ),
]
Share = Annotated[Decimal, PlainValidator(finite), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1})]
