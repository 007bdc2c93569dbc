"""What the policy declares and the proofs rest on, held against the staged rows: unique columns and fan-outs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import duckdb

from sandbox.ingest.job import Job
from sandbox.ingest.readers import quoted
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.stage import Staged


def check(con: duckdb.DuckDBPyConnection, job: Job, staged: Mapping[str, Staged]) -> None:
    """Raises IngestRefused on the first declared truth that does not hold."""
    for table, columns, why in dict.fromkeys(_unique(job)):
        _check_unique(con, staged[table], columns, why)
    for declared in job.tables:
        for column, most in declared.fan_out:
            _check_fan_out(con, staged[declared.name], column, most)


def _unique(job: Job) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """(table, columns that are together unique, what they are)."""
    for table in job.tables:
        if table.public and table.key:
            yield table.name, table.key, "the declared key"
        if table.link is not None:
            yield table.link.to_table, table.link.to_columns, f"linked to by table `{table.name}`"
        if table.name == job.unit_table and table.rows_per_unit_max == 1:
            yield table.name, (str(job.unit_column),), "the unit, with one row each"


def _check_unique(con: duckdb.DuckDBPyConnection, staged: Staged, columns: tuple[str, ...], why: str) -> None:
    """Rows with a null in one of `columns` equal nothing, so they may be many."""
    names = ", ".join(map(quoted, columns))
    known = " AND ".join(f"{quoted(column)} IS NOT NULL" for column in columns)
    row = con.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {staged.sql} WHERE {known} GROUP BY {names} HAVING count(*) > 1)"
    ).fetchone()
    if row is None or row[0]:
        one = row is not None and row[0] == 1
        words = ", ".join(f"`{column}`" for column in columns)
        several = len(columns) > 1
        what = f"columns {words} of table `{staged.table.name}` together are" if several else ""
        what = what or f"column {words} of table `{staged.table.name}` is"
        noun = ("combination" if several else "value") + ("" if one else "s")
        raise IngestRefused(
            f"{what} {why}, but {row[0] if row else 'some'} {noun} stand{'s' if one else ''} on more than one row"
        )


def _check_fan_out(con: duckdb.DuckDBPyConnection, staged: Staged, column: str, most: int) -> None:
    name = quoted(column)
    row = con.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {staged.sql} WHERE {name} IS NOT NULL GROUP BY {name}"
        f" HAVING count(*) > {int(most)})"
    ).fetchone()
    if row is None or row[0]:
        raise IngestRefused(
            f"column `{column}` of table `{staged.table.name}` has `fan_out` {most}, "
            f"but {row[0] if row else 'some'} of its values stand on more rows"
        )
