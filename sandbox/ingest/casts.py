"""How a stored value becomes a value of its declared type: exactly, or it does not fit.

The engine's own casts are looser (`'1.5'` becomes the integer 2), so each pair of families says what fits. All
expressions are total: no row can make them raise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, assert_never

from policies.types import Kind, Type

Family = Literal["text", "whole", "float", "decimal", "boolean", "date", "timestamp", "other"]

TEXT_BYTES_MAX = 65_536
_WHOLE = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
_WHOLE |= {f"U{name}" for name in _WHOLE}
_FIRST_DAY, _LAST_DAY = "DATE '0001-01-01'", "DATE '9999-12-31'"
_FIRST_MOMENT, _END = "TIMESTAMP '0001-01-01 00:00:00'", "TIMESTAMP '10000-01-01 00:00:00'"
_ACCEPTED: dict[Kind, frozenset[Family]] = {
    "integer": frozenset({"text", "whole", "float", "decimal", "boolean"}),
    "bigint": frozenset({"text", "whole", "float", "decimal", "boolean"}),
    "double": frozenset({"text", "whole", "float", "decimal"}),
    "decimal": frozenset({"text", "whole", "float", "decimal"}),
    "text": frozenset({"text", "whole", "boolean", "date"}),
    "boolean": frozenset({"text", "whole", "boolean"}),
    "date": frozenset({"text", "date", "timestamp"}),
    "timestamp": frozenset({"text", "date", "timestamp"}),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Three engine expressions over one stored column. A row is bad when `bad` is true; `value` is then null."""

    value: str
    bad: str
    not_finite: str


def engine_type(declared: Type) -> str:
    """The engine's name of a declared type."""
    if declared.kind == "decimal":
        return f"DECIMAL({declared.precision},{declared.scale})"
    return "VARCHAR" if declared.kind == "text" else declared.kind.upper()


def family(stored: str) -> Family:
    """The family of an engine type as DESCRIBE writes it."""
    if stored in _WHOLE:
        return "whole"
    if stored.endswith("]"):
        return "other"
    head = stored.split("(", maxsplit=1)[0].split(" ", maxsplit=1)[0]
    if head.startswith("TIMESTAMP"):
        return "timestamp"
    known: dict[str, Family] = {
        "VARCHAR": "text", "ENUM": "text", "UUID": "text", "JSON": "text", "FLOAT": "float", "DOUBLE": "float",
        "DECIMAL": "decimal", "BOOLEAN": "boolean", "DATE": "date",
    }  # fmt: skip
    return known.get(head, "other")


def reading(column: str, stored: str, declared: Type) -> Reading | None:
    """How to read `column` (a quoted name) of engine type `stored` as `declared`; None where no value could fit."""
    kind = family(stored)
    if kind not in _ACCEPTED[declared.kind]:
        return None
    source = f"TRY_CAST({column} AS VARCHAR)" if kind == "text" else column
    whole = f"TRY_CAST({source} AS {engine_type(declared)})"
    if declared.kind in ("double", "decimal") or kind == "float":
        finite = _finite(source, kind)
        return _checked(source, whole, _fits(source, whole, kind, stored, declared), finite)
    return _checked(source, whole, _fits(source, whole, kind, stored, declared), None)


def _checked(source: str, cast: str, fits: str, finite: str | None) -> Reading:
    ok = f"({cast} IS NOT NULL AND {fits})"
    if finite is None:
        return Reading(f"CASE WHEN {ok} THEN {cast} END", f"({source} IS NOT NULL AND NOT {ok})", "FALSE")
    not_finite = f"({source} IS NOT NULL AND NOT {finite})"
    bad = f"({source} IS NOT NULL AND {finite} AND NOT {ok})"
    return Reading(f"CASE WHEN {finite} AND {ok} THEN {cast} END", bad, not_finite)


def _finite(source: str, kind: Family) -> str:
    if kind in ("text", "float"):
        return f"coalesce(isfinite(TRY_CAST({source} AS DOUBLE)), TRUE)"
    return "TRUE"


def _fits(source: str, cast: str, kind: Family, stored: str, declared: Type) -> str:
    if kind == "text":
        return _text_fits(source, cast, declared)
    match declared.kind:
        case "text":
            return "TRUE"
        case "double":
            return "TRUE"
        case "decimal" if kind == "float":
            return "TRUE"  # a binary fraction has no exact decimal: rounded to the scale
        case "timestamp":
            return _calendar(cast, declared)
        case "integer" | "bigint" | "decimal" | "boolean":
            return _same_after_return(source, cast, stored)
        case "date":
            return f"({_calendar(cast, declared)} AND {_same_after_return(source, cast, stored)})"
        case _:
            assert_never(declared.kind)


def _text_fits(source: str, cast: str, declared: Type) -> str:
    match declared.kind:
        case "text":
            return f"(strlen({source}) <= {TEXT_BYTES_MAX})"
        case "integer" | "bigint":
            return _matches(source, r"\s*[+-]?\d+(\.0*)?\s*")
        case "decimal":
            return _matches(source, rf"\s*[+-]?(\d+(\.\d{{0,{declared.scale}}}0*)?|\.\d{{1,{declared.scale}}}0*)\s*")
        case "double" | "boolean":
            return "TRUE"
        case "date":
            return f"({_matches(source, _DAY)} AND {_calendar(cast, declared)})"
        case "timestamp":
            return f"({_matches(source, _DAY + _TIME)} AND {_calendar(cast, declared)})"
        case _:
            assert_never(declared.kind)


_DAY = r"\d{4}-\d{2}-\d{2}"
_TIME = r"([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?)?"


def _matches(source: str, pattern: str) -> str:
    if re.search(r"['\n]", pattern):
        raise ValueError("a pattern that would have to be escaped")
    return f"regexp_full_match({source}, '{pattern}')"


def _calendar(cast: str, declared: Type) -> str:
    """Days that every side of the system can name; the engine's infinities are none.

    Compared in the value's own type: as a timestamp, a day far beyond the calendar would raise.
    """
    if declared.kind == "date":
        return f"({cast} BETWEEN {_FIRST_DAY} AND {_LAST_DAY})"
    return f"({cast} >= {_FIRST_MOMENT} AND {cast} < {_END})"


def _same_after_return(source: str, cast: str, stored: str) -> str:
    return f"coalesce(TRY_CAST({cast} AS {stored}) = {source}, FALSE)"
