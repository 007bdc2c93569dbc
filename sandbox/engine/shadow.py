"""The empty shadow of a dataset: its tables without rows, where every statement is bound before data is touched.

What fails here fails by types alone, so a binder error can never depend on what the rows say.
"""

from __future__ import annotations

import threading

import duckdb

from policies.model import Policy
from policies.types import Type
from sandbox.ingest.job import TAGS_TABLE
from sandbox.recent import Recent
from sandbox.relational.blocks import block_table
from sandbox.relational.lower.scalars import identifier, sql_type

REMEMBERED_MAX = 256
"""Statements; what has bound once binds for ever."""


class BindError(Exception):
    """Generated SQL that does not bind: a bug of ours, found before anything ran."""


class Shadow:
    """One in-memory catalogue per policy. Thread-safe."""

    def __init__(self, policy: Policy) -> None:
        self._lock = threading.Lock()
        self._bound: Recent[tuple[str, tuple[Type, ...]], None] = Recent(REMEMBERED_MAX)
        self._connection = duckdb.connect(":memory:", config={"threads": "1"})
        for table in policy.tables.values():
            kept = [c for c in table.columns.values() if c.role != "hidden" and (table.public or c.role != "unit")]
            columns = [f"{identifier(c.name)} {sql_type(c.type)}" for c in kept]
            columns += [] if table.public else [f"{identifier('__unit')} BIGINT"]
            columns = columns or [f"{identifier('__none')} INTEGER"]  # of a public table whose columns are all hidden
            blocks = () if table.public else policy.blocks
            for name in [block_table(table.name, block) for block in blocks] or [table.name]:
                self._connection.execute(f"CREATE TABLE {identifier(name)} ({', '.join(columns)})").fetchall()
        if "aggregate" in policy.release.modes:
            self._connection.execute(f"CREATE TABLE {TAGS_TABLE} (unit BIGINT, tag BIGINT)").fetchall()
        for setting in ("SET enable_external_access=false", "SET lock_configuration=true"):
            self._connection.execute(setting).fetchall()

    def bind(self, sql: str, shape: tuple[Type, ...]) -> None:
        """Binds `sql` and holds its columns against `shape`. Raises BindError."""
        self._bound.get((sql, shape), lambda: self._bind(sql, shape))

    def _bind(self, sql: str, shape: tuple[Type, ...]) -> None:
        try:
            with self._lock:
                found = [str(type_) for type_ in self._connection.sql(sql).types]
        except duckdb.Error as error:
            raise BindError(str(error)) from error
        expected = [sql_type(type_) for type_ in shape]
        if found != expected:
            raise BindError(f"columns are {found}, not {expected}")
