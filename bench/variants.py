"""One policy written in several ways: other bounds, other keys, another accountant, from the same file."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

Document = dict[str, Any]
ROWS_MAX: Final = 1_000_000
"""The most that the format lets a unit have, and so what "no bound" means where it asks for one."""
SECTIONS_DEEP: Final = 3
"""Tables of a document this deep have a heading of their own; deeper ones stand in braces."""


def read(file: Path) -> Document:
    with file.open("rb") as stream:
        return tomllib.load(stream, parse_float=Decimal)


def text(document: Document) -> str:
    return "\n".join(_lines(document, ())) + "\n"


def released(document: Document, **settings: object) -> Document:
    """With other settings under `[release.dp]`; None takes one out."""
    changed = copy.deepcopy(document)
    section: Document = changed["release"]["dp"]
    for key, value in settings.items():
        section.pop(key, None)
        if value is not None:
            section[key] = value
    return changed


def wider(document: Document, factor: int) -> Document:
    """Every bound on what a unit adds, `factor` times as wide: ranges of measures, totals, rows."""
    changed = copy.deepcopy(document)
    for table in _private(changed):
        _more_rows(table, lambda rows: min(rows * factor, ROWS_MAX))
        for column in _measures(table):
            if "range" in column:
                column["range"] = [edge * factor for edge in column["range"]]
            if "total_per_unit_max" in column:
                column["total_per_unit_max"] *= factor
    return changed


def unbounded(document: Document, *, ranges: bool) -> Document:
    """No totals, and as many rows as the format lets a unit have. `ranges`: whether those of measures stay."""
    changed = copy.deepcopy(document)
    for table in _private(changed):
        _more_rows(table, lambda _: ROWS_MAX)
        for column in _measures(table):
            column.pop("total_per_unit_max", None)
            if not ranges:
                column.pop("range", None)
                column.pop("step", None)
    return changed


def with_facts(document: Document, facts: Mapping[str, Mapping[str, object]]) -> Document:
    """With other facts on columns or tables, by `table.column` or `table`; None takes one out."""
    changed = copy.deepcopy(document)
    for place, new in facts.items():
        table, _, column = place.partition(".")
        entry = changed["tables"][table]
        entry = entry["columns"][column] if column else entry
        for key, value in new.items():
            entry.pop(key, None)
            if value is not None:
                entry[key] = value
    return changed


def _private(document: Document) -> Iterator[Document]:
    yield from (table for table in document["tables"].values() if not table.get("public"))


def _measures(table: Document) -> Iterator[Document]:
    yield from (column for column in table["columns"].values() if column["role"] == "measure")


def _more_rows(table: Document, change: Callable[[int], int]) -> None:
    """The unit's own table has one row for each unit, whatever else is not known."""
    if "rows_per_unit_max" in table:
        table["rows_per_unit_max"] = change(table["rows_per_unit_max"])


def _lines(section: Document, path: tuple[str, ...]) -> Iterator[str]:
    def heads(value: object) -> bool:
        return isinstance(value, dict) and len(path) < SECTIONS_DEEP

    if path:
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in section.items():
        if not heads(value):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in section.items():
        if heads(value):
            yield from _lines(value, (*path, key))


def _key(key: str) -> str:
    return json.dumps(key, ensure_ascii=False) if not key.isascii() else key


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            return str(value)
        case Decimal():
            return f"{value:f}" if "." in f"{value:f}" else f"{value:f}.0"
        case date():
            return value.isoformat()
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case dict():
            return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
