"""All that a question leaves behind: what its caller is told, what the gateway keeps, what both sides log.

Only what is named here may differ between two homes: what is random, what is the time, and with `numbers` masked, what
was released. A new field, column or line is compared like all others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import httpx

from tests.alike.inside import Inside

OWN_HEADERS: Final = frozenset({"date", "x-request-id"})
"""Of each reply: when it was made, and its number."""
_RECORD: Final = ("ledger", "time", "query_id", "snapshot")
OWN_IN_BODY: Final = frozenset(
    {"id", "query_id", "opening", "receipt.leaf_hash", "receipt.proof", "receipt.checkpoint"}
    | {f"receipt.record.{name}" for name in _RECORD}
    | {f"receipt.record.commitments.{name}" for name in ("sql", "purpose", "parameters", "release", "answer")}
)
"""Numbers of this query; the record's time; its home; hashes, which are salted, and of the snapshot."""
_NEW: Final = "query IN (SELECT id FROM query WHERE place > ?)"
KEPT: Final[Mapping[str, tuple[str, str]]] = {
    "query": ("SELECT * FROM query WHERE place > ?", "place"),
    "charge": (f"SELECT * FROM charge WHERE {_NEW}", "place"),
    "cells": (f"SELECT * FROM cells WHERE {_NEW}", "place"),
    "record": ("SELECT * FROM record WHERE seq > ?", "seq"),
    "secret": ("SELECT * FROM secret WHERE seq > ?", "seq"),
    "node": ("SELECT level, count(*) FROM node GROUP BY level", ""),
    "scope": ("SELECT * FROM scope", ""),
    "seat": ("SELECT lost, count(*) FROM seat GROUP BY lost", ""),
}
"""By table of the gateway's store: what is new after query `place` and record `seq`. Nodes are hashes, and a seat is a
number of a process. A table that is not listed is compared as it is."""
OWN_IN_STORE: Final[Mapping[str, frozenset[str]]] = {
    "query": frozenset({"id", "created", "snapshot", "release", "release_hash", "seat", "ticket"}),
    "charge": frozenset({"query"}),
    "cells": frozenset({"query"}),
    "record": frozenset({"time", "query", "body"}),
    "secret": frozenset({"salt"}),
    "landed": frozenset({"writer", "token", "at"}),
}
"""By table of the gateway's store. What a record's body says is looked at like a receipt's."""
KEPT_BEHIND: Final[Mapping[str, str]] = {
    "ticket": "SELECT dataset, state, loss, delta, accountant FROM ticket WHERE rowid > ?",
    "release": "SELECT plan_digest, policy_digest, mode, epsilon, source_digest, body FROM release WHERE rowid > ?",
}
"""By table of the data domain's file: it holds what may be shown again."""
_OWN_IN_LINES: Final = (
    (re.compile(r"\b(qry|req|tkt|rel)_[0-9a-f]+"), r"\1"),
    (re.compile(r"'ms': \d+\.\d"), "ms"),
)


_SAID: Final = ("rows", "intervals", "notes", "budget")
"""Of an exact answer: what it says, and how many numbers that leaves."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Of one question. Two of them are compared field by field."""

    status: int
    headers: Mapping[str, str]
    length: int
    body: Any
    stored: Mapping[str, list[Any]]
    lines: tuple[str, ...]
    counted: tuple[str, ...]
    """Lines of /metrics that have changed."""

    @property
    def outcome(self) -> str:
        """`answered`, `failed`, or the code of a refusal."""
        return str(self.body["status"] if self.status == 200 else self.body["code"])

    def without_numbers(self) -> Seen:
        """The same but for released numbers, and what hangs on them: the reply's length, and one note."""
        if self.outcome != "answered":
            return self
        releases = [(*row[:-1], _without_numbers(row[-1])) for row in self.stored["behind.release"]]
        return replace(
            self, body=without_numbers(self.body), length=0, stored={**self.stored, "behind.release": releases}
        )

    def without_exact_numbers(self) -> Seen:
        """The same but for all that mode `aggregate` says: what it shows, of which groups, and what it withholds."""
        if self.outcome != "answered":
            return self
        body = without_rows(self.body)
        stored = {name: rows for name, rows in self.stored.items() if name not in ("cells", "behind.release")}
        stored["record"] = [without_cells(row) for row in stored["record"]]
        return replace(self, body=body, length=0, stored=stored)

    def differences(self, other: Seen) -> list[str]:
        mine, its = self.parts(), other.parts()
        names = [*mine, *(name for name in its if name not in mine)]
        pairs = ((name, mine.get(name), its.get(name)) for name in names)
        return [f"{name}: {one!r} and {two!r}" for name, one, two in pairs if one != two]

    def parts(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in ("status", "headers", "length", "lines", "counted")}
        body = self.body if isinstance(self.body, dict) else {"": self.body}
        found |= {f"body.{name}": value for name, value in body.items()} | {"body": sorted(body)}
        return found | {f"stored.{name}": rows for name, rows in self.stored.items()}


@dataclass(frozen=True, slots=True)
class Watched:
    """A home of which each question is looked at by itself."""

    inside: Inside

    def ask(self, body: Mapping[str, Any]) -> Seen:
        """What one question leaves behind."""
        place, seq, behind, before = *self._ends(), self._ends_behind(), self._counters()
        del self.inside.lines[:]
        told = seen(self.inside.call("POST", "/v1/queries", dict(body)))
        lines = tuple(_line(line) for line in self.inside.lines)
        stored = self._kept(place, seq) | self._kept_behind(behind)
        counted = tuple(line for line in self._counters() if line not in before)
        return Seen(*told, stored, lines, counted)

    def _counters(self) -> list[str]:
        """Not how long something took, which is told in seconds: the clock has tests of its own."""
        lines = self.inside.service.metrics.text().splitlines()
        return [line for line in lines if "_seconds" not in line]

    def _ends(self) -> tuple[int, int]:
        with self.inside.service.store.reading() as view:
            row = view.one("SELECT (SELECT coalesce(max(place), 0) FROM query), (SELECT max(seq) FROM record)")
        assert row is not None
        return int(row[0]), int(row[1])

    def _ends_behind(self) -> dict[str, int]:
        with self.inside.store.reading() as connection:
            return {
                name: connection.execute(f"SELECT coalesce(max(rowid), 0) FROM {name}").fetchone()[0]
                for name in KEPT_BEHIND
            }

    def _kept(self, place: int, seq: int) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        with self.inside.service.store.reading() as view:
            tables = {str(name) for (name,) in view.all("SELECT name FROM sqlite_schema WHERE type = 'table'")}
            for table in sorted(tables):
                sql, after = KEPT.get(table, (f"SELECT * FROM {table}", ""))
                names = [str(column[1]) for column in view.all(f"PRAGMA table_info({table})")]
                values = {"place": (place,), "seq": (seq,), "": ()}[after]
                found[table] = [_row(table, names, row) for row in view.all(sql, values)]
        return found

    def _kept_behind(self, ends: Mapping[str, int]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        with self.inside.store.reading() as connection:
            for table, sql in KEPT_BEHIND.items():
                rows = connection.execute(sql, (ends[table],)).fetchall()
                found[f"behind.{table}"] = rows if table != "release" else [_release(row) for row in rows]
        return found


def seen(reply: httpx.Response) -> tuple[int, dict[str, str], int, Any]:
    """(status, headers, length, body) of a reply, without what is its own."""
    headers = {name: text for name, text in reply.headers.items() if name not in OWN_HEADERS}
    length = int(headers.pop("content-length"))
    return reply.status_code, headers, length, _masked(reply.json())


def without_rows(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without what it says, how many numbers that leaves, and how many it counts for."""
    kept = {name: value for name, value in body.items() if name not in _SAID}
    return {**kept, "receipt": without_cells(body["receipt"])}


def without_numbers(body: dict[str, Any]) -> dict[str, Any]:
    """An answer without released numbers, the intervals around them and the note that hangs on one."""
    kinds = [column["kind"] for column in body["columns"]]
    noisy = [kind != "key" for kind in kinds]

    def kept(lines: list[list[Any]]) -> list[list[Any]]:
        return [["number" if of else cell for cell, of in zip(line, noisy, strict=True)] for line in lines]

    notes = [[[note for note in cell or () if note != "near_threshold"] for cell in line] for line in body["notes"]]
    return {**body, "rows": kept(body["rows"]), "intervals": kept(body["intervals"]), "notes": notes}


def _masked(value: Any, place: str = "") -> Any:
    if place in OWN_IN_BODY and value is not None:
        return f"of length {len(value)}"
    if isinstance(value, dict):
        return {name: _masked(each, f"{place}.{name}".lstrip(".")) for name, each in value.items()}
    return value


def _row(table: str, columns: list[str], row: tuple[Any, ...]) -> dict[str, Any]:
    own = OWN_IN_STORE.get(table, frozenset())
    kept = {name: value for name, value in zip(columns, row, strict=False) if name not in own}
    if table == "record":
        kept["body"] = _masked({"receipt": {"record": json.loads(row[columns.index("body")])}})
    return kept


def _release(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of a stored release all but its snapshot's commitment."""
    body = json.loads(row[-1])
    body["snapshot"] = len(body["snapshot"])
    return (*row[:-1], body)


def _without_numbers(release: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in release.items() if name not in ("near_threshold", "statistics")}


def _line(line: str) -> str:
    for pattern, name in _OWN_IN_LINES:
        line = pattern.sub(name, line)
    return line


def without_cells(value: Any) -> Any:
    """Without the counts of numbers that were shown and withheld."""
    if isinstance(value, dict):
        return {name: without_cells(each) for name, each in value.items()}
    return "cells" if isinstance(value, str) and value.startswith("cells_") else value
