"""The un-private twin: DuckDB alone, with as many threads as a worker, on the snapshot's own tables and on Parquet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from bench.data import Dataset
from policies.load import load_policy
from policies.model import Table

THREADS: Final = 2
MEMORY: Final = "1024MiB"
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Timed:
    rows: list[Row]
    seconds: float


class Bare:
    """A dataset under the policy's own names."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @classmethod
    def on_snapshot(cls, data: Dataset, snapshot: Path) -> Bare:
        """The very tables that the workers read: narrow, sorted by unit; the unit's column gets its name back."""
        connection = _connect()
        connection.execute(f"ATTACH '{snapshot}' AS published (READ_ONLY)")
        policy = load_policy(data.policy / "policy.toml")
        for name, table in policy.tables.items():
            unit = _unit_column(table)
            renamed = f" RENAME (__unit AS {_quoted(unit)})" if unit else ""
            connection.execute(f"CREATE VIEW {_quoted(name)} AS SELECT *{renamed} FROM published.{_quoted(name)}")
        return cls(connection)

    @classmethod
    def on_parquet(cls, data: Dataset) -> Bare:
        connection = _connect()
        for name, file in data.parquet.items():
            connection.execute(f"CREATE VIEW {_quoted(name)} AS FROM '{file}'")
        return cls(connection)

    def run(self, sql: str) -> Timed:
        begin = time.monotonic()
        rows = self._connection.execute(sql).fetchall()
        return Timed(rows, time.monotonic() - begin)


def _connect() -> duckdb.DuckDBPyConnection:
    return duckdb.connect(config={"threads": str(THREADS), "memory_limit": MEMORY})


def _unit_column(table: Table) -> str | None:
    return next((column.name for column in table.columns.values() if column.role == "unit"), None)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
