"""Counts for the custodian: what the data are, held against what the policy declares. Never a value."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import duckdb

from policies.types import Value
from sandbox.ingest.job import UNIT_COLUMN, ColumnReport, IngestColumn, TableReport
from sandbox.ingest.readers import literal, quoted
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.stage import Staged


def report_table(con: duckdb.DuckDBPyConnection, staged: Staged, out: str, link: tuple[str, ...] | None) -> TableReport:
    """The report on the finished table `out`. `link` are the columns that led to the unit; None for public tables."""
    table = staged.table
    kept = _one(con, f"SELECT count(*) FROM {out}")
    unlinked = " OR ".join(f"{quoted(column)} IS NULL" for column in link or ())
    null = 0 if link is None else _one(con, f"SELECT count(*) FROM {staged.sql} WHERE {unlinked}")
    columns = [column for column in table.columns if column.role not in ("hidden", "unit")]
    return TableReport(
        table=table.name,
        rows_read=staged.rows,
        rows_kept=kept,
        rows_without_unit=null,
        rows_without_partner=staged.rows - kept - null,
        units=None if link is None else _one(con, f"SELECT count(DISTINCT {UNIT_COLUMN}) FROM {out}"),
        units_above_rows_per_unit_max=None if link is None else _units_above(con, out, table.rows_per_unit_max),
        columns=tuple(_column(con, out, column, staged.not_finite[column.name]) for column in columns),
    )


def _one(con: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = con.execute(sql).fetchone()
    if row is None:
        raise IngestRefused("the finished tables cannot be counted")
    return int(row[0])


def _units_above(con: duckdb.DuckDBPyConnection, out: str, most: int | None) -> int:
    having = f"HAVING count(*) > {int(most)}" if most is not None else "HAVING FALSE"
    return _one(con, f"SELECT count(*) FROM (SELECT 1 FROM {out} GROUP BY {UNIT_COLUMN} {having})")


def _column(con: duckdb.DuckDBPyConnection, out: str, column: IngestColumn, not_finite: int) -> ColumnReport:
    name = quoted(column.name)
    null = "FALSE" if column.nullable else f"{name} IS NULL"
    below = "FALSE" if column.low is None else f"{name} < {_constant(column.low, column)}"
    above = "FALSE" if column.high is None else f"{name} > {_constant(column.high, column)}"
    outside = "FALSE"
    if column.values is not None:
        listed = ", ".join(_constant(value, column) for value in column.values if value is not None)
        outside = f"{name} NOT IN ({listed})" if listed else f"{name} IS NOT NULL"
    counts = ", ".join(f"count(*) FILTER ({condition})" for condition in (null, below, above, outside))
    row = con.execute(f"SELECT {counts} FROM {out}").fetchone()
    if row is None:
        raise IngestRefused("the finished tables cannot be counted")
    return ColumnReport(column.name, row[0], not_finite, *row[1:])


def _constant(value: Value, column: IngestColumn) -> str:
    """A declared bound or value. Numbers stay numbers, so that a bound finer or wider than the column's type counts."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | Decimal):
        return f"CAST('{value:f}' AS DOUBLE)" if column.type.kind == "double" else f"{value:f}"
    if isinstance(value, float):
        return f"CAST('{value!r}' AS DOUBLE)"
    if isinstance(value, datetime):
        return f"TIMESTAMP '{value:%Y-%m-%d %H:%M:%S.%f}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return literal(str(value))
