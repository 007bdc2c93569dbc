"""First step of a build: every file of a table, cast to the declared types, into one staging table."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from sandbox.ingest.casts import Reading, engine_type, reading
from sandbox.ingest.job import IngestColumn, IngestTable
from sandbox.ingest.readers import Source, opened, quoted
from sandbox.ingest.refused import IngestRefused


@dataclass(frozen=True, slots=True)
class Staged:
    """A table of the build's own: all rows as read. Its columns are those that are shown, joined on or linked by."""

    table: IngestTable
    sql: str
    rows: int
    not_finite: dict[str, int]


def stage(con: duckdb.DuckDBPyConnection, table: IngestTable, number: int, needed: frozenset[str]) -> Staged:
    """Reads `table`. `needed` names the columns that links use, besides those that are not hidden.

    Raises IngestRefused.
    """
    columns = [column for column in table.columns if column.role != "hidden" or column.name in needed]
    name = f"s{number}"
    declared = ", ".join(f"{quoted(column.name)} {engine_type(column.type)}" for column in columns)
    con.execute(f"CREATE TABLE {name} ({declared or '__none BOOLEAN'})")
    rows, not_finite = 0, {column.name: 0 for column in columns}
    for file in table.files:
        with opened(con, table.name, file) as source:
            readings = _readings(table, columns, source, file.shown)
            counts = _count(con, table, readings, source, file.shown)
            _insert(con, name, readings, source)
        rows += counts.rows
        for column, count in counts.not_finite.items():
            not_finite[column] += count
    return Staged(table, name, rows, not_finite)


def _readings(table: IngestTable, columns: list[IngestColumn], source: Source, file: str) -> dict[str, Reading]:
    missing = [column.name for column in columns if column.name not in source.columns]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise IngestRefused(f"file `{file}` of table `{table.name}` lacks {names}, which the policy lists")
    found = {}
    for column in columns:
        reference, stored = source.columns[column.name]
        how = reading(reference, stored, column.type)
        if how is None:
            raise IngestRefused(
                f"column `{column.name}` of table `{table.name}` is declared `{column.type}`, but file `{file}` "
                "stores a kind of value that cannot be read as that"
            )
        found[column.name] = how
    return found


@dataclass(frozen=True, slots=True)
class _Counts:
    rows: int
    not_finite: dict[str, int]


def _count(
    con: duckdb.DuckDBPyConnection, table: IngestTable, readings: dict[str, Reading], source: Source, file: str
) -> _Counts:
    counts = ["count(*)"]
    for how in readings.values():
        counts += [f"count(*) FILTER ({how.bad})", f"count(*) FILTER ({how.not_finite})"]
    row = con.execute(f"SELECT {', '.join(counts)} FROM {source.sql}").fetchone()
    if row is None:
        raise IngestRefused(f"file `{file}` of table `{table.name}` cannot be read")
    types = {column.name: column.type for column in table.columns}
    for name, bad in zip(readings, row[1::2], strict=True):
        if bad:
            raise IngestRefused(
                f"column `{name}` of table `{table.name}` is declared `{types[name]}`, but {_rows(bad)} of file "
                f"`{file}` {'holds a value' if bad == 1 else 'hold values'} that do{'es' if bad == 1 else ''} not fit"
            )
    return _Counts(row[0], dict(zip(readings, row[2::2], strict=True)))


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _insert(con: duckdb.DuckDBPyConnection, name: str, readings: dict[str, Reading], source: Source) -> None:
    values = ", ".join(how.value for how in readings.values()) or "NULL"
    try:
        con.execute(f"INSERT INTO {name} SELECT {values} FROM {source.sql}")
    except duckdb.Error:
        # The same columns were read to their end a moment ago: what fails now is writing them.
        raise IngestRefused("the snapshot cannot be written: the disk is full, or memory ran out") from None
