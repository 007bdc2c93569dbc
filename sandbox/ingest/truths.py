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
    for table, column, why in dict.fromkeys(_unique(job)):
        _check_unique(con, staged[table], column, why)
    for declared in job.tables:
        for column, most in declared.fan_out:
            _check_fan_out(con, staged[declared.name], column, most)


def _unique(job: Job) -> Iterator[tuple[str, str, str]]:
    for table in job.tables:
        if table.public and table.key is not None:
            yield table.name, table.key, "is the declared key"
        if table.link is not None:
            yield table.link.to_table, table.link.to_column, f"is linked to by table `{table.name}`"
        if table.name == job.unit_table and table.rows_per_unit_max == 1:
            yield table.name, str(job.unit_column), "is the unit, with one row each"


def _check_unique(con: duckdb.DuckDBPyConnection, staged: Staged, column: str, why: str) -> None:
    name = quoted(column)
    row = con.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {staged.sql} WHERE {name} IS NOT NULL GROUP BY {name}"
        " HAVING count(*) > 1)"
    ).fetchone()
    if row is None or row[0]:
        count = "values" if row is None or row[0] != 1 else "value"
        raise IngestRefused(
            f"column `{column}` of table `{staged.table.name}` {why}, but {row[0] if row else 'some'} {count} "
            f"stand{'s' if count == 'value' else ''} on more than one row"
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
