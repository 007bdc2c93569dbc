"""All rows of one store, copied into another one that is empty: for backups, whatever the stores are."""

from __future__ import annotations

from typing import Final

from gateway.store import Reading, Transaction
from gateway.stores.schema import SCHEMAS, Guard, NoGuard, Table

PAGE: Final = 500
VALUES_MAX: Final = 10_000
"""Parameters of one statement; SQLite takes 32,766, PostgreSQL 65,535."""
KEYS: Final = {
    "scope": ("id",),
    "query": ("place",),
    "charge": ("query", "scope"),
    "record": ("seq",),
    "node": ("level", "place"),
    "secret": ("seq", "name"),
    "cells": ("query",),
    "seat": ("id",),
    "declared": ("name",),
    "revoked": ("kind", "name"),
    "cosigned": ("day",),
    "handover": ("size",),
    "stamped": ("day",),
}
"""What a page of rows goes on from. A table that is not here would be a copy with a hole: a test looks."""


def _guards() -> tuple[Guard, ...]:
    """Those that stand in the newest schema."""
    standing: dict[str, Guard] = {}
    for steps in SCHEMAS:
        for step in steps:
            if isinstance(step, Guard):
                standing[step.name] = step
            elif isinstance(step, NoGuard):
                del standing[step.name]
    return tuple(standing.values())


GUARDS: Final = _guards()
TABLES: Final = tuple(step.name for steps in SCHEMAS for step in steps if isinstance(step, Table))
"""In an order in which rows name only rows that are there already."""


def copy(view: Reading, tx: Transaction) -> None:
    """Both of the newest schema, the target without its guards. What its schema itself wrote is written over."""
    for table in reversed(TABLES):
        tx.write(f"DELETE FROM {table}")  # noqa: S608  # names of the schema
    for table in TABLES:
        _copy_table(view, tx, table, KEYS[table])


def _copy_table(view: Reading, tx: Transaction, table: str, key: tuple[str, ...]) -> None:
    names, marks = ", ".join(key), ", ".join("?" * len(key))
    last: tuple[object, ...] | None = None
    while True:
        beyond = "" if last is None else f"WHERE ({names}) > ({marks})"
        sql = f"SELECT {names}, t.* FROM {table} t {beyond} ORDER BY {names} LIMIT {PAGE}"  # noqa: S608  # likewise
        rows = view.all(sql, last or ())
        if not rows:
            return
        last = rows[-1][: len(key)]
        _insert(tx, table, [row[len(key) :] for row in rows])


def _insert(tx: Transaction, table: str, rows: list[tuple[object, ...]]) -> None:
    width = len(rows[0])
    each = VALUES_MAX // width
    for start in range(0, len(rows), each):
        part = rows[start : start + each]
        marks = ", ".join([f"({', '.join('?' * width)})"] * len(part))
        tx.write(f"INSERT INTO {table} VALUES {marks}", [value for row in part for value in row])  # noqa: S608  # likewise
