"""Second step: one dense integer per unit, and the way from each private table's rows to it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from sandbox.ingest.job import TAGS_TABLE, IngestTable, Job
from sandbox.ingest.readers import quoted
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.stage import Staged

UNITS = "units"


@dataclass(frozen=True, slots=True)
class WithUnit:
    """`sql` offers the rows of a staged table that have a unit, as alias `s`, with `u.id` beside them."""

    sql: str
    link: tuple[str, ...]
    """Columns of the staged table that lead on; null in one of them means that the row has no unit."""


def number_units(con: duckdb.DuckDBPyConnection, job: Job, staged: Mapping[str, Staged]) -> None:
    """Makes the table `units(value, id)`: ids are dense from 0, over the unit's own table and all direct links to it.

    The order is that of a digest under a key that nobody keeps: an id says nothing of where a row stood, nor who it is.
    Raises IngestRefused when there are more units than the policy's `count_max`.
    """
    sides = [
        f"SELECT TRY_CAST({quoted(column)} AS VARCHAR) AS value FROM {staged[table].sql}"
        for table, column in _sides(job)
    ]
    con.execute(
        f"CREATE TABLE {UNITS}_unordered AS SELECT DISTINCT value FROM ({' UNION ALL '.join(sides)})"
        " WHERE value IS NOT NULL"
    )
    row = con.execute(f"SELECT count(*) FROM {UNITS}_unordered").fetchone()
    if row is None or row[0] > job.count_max:
        raise IngestRefused("the data hold more units than the policy's `count_max` allows")
    key = secrets.token_hex(32)
    con.execute(
        f"CREATE TABLE {UNITS} AS SELECT value,"
        f" CAST(row_number() OVER (ORDER BY sha256('{key}' || value)) - 1 AS {job.unit_type}) AS id"
        f" FROM {UNITS}_unordered"
    )
    con.execute(f"DROP TABLE {UNITS}_unordered")


def tag_units(con: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Writes the table of tags: 60 bits of a keyed digest of each unit's own value, the same in every snapshot.

    Raises IngestRefused where two units would share one, which happens once in a million snapshots of a million units.
    """
    tag = f"CAST('0x' || substr({digest_of(job.tag_key)}, 1, 15) AS BIGINT)"
    con.execute(f"CREATE TABLE out.main.{TAGS_TABLE} AS SELECT id AS unit, {tag} AS tag FROM {UNITS} ORDER BY unit")
    row = con.execute(f"SELECT count(*), count(DISTINCT tag) FROM out.main.{TAGS_TABLE}").fetchone()
    if row is None or row[0] != row[1]:
        raise IngestRefused("two units came by the same tag; nothing can be told of who was behind an answer")


def digest_of(key: str) -> str:
    """SQL of the hex digest of a unit's own `value` under the hex `key`."""
    return f"sha256('{key}' || value)"


def _sides(job: Job) -> list[tuple[str, str]]:
    """(table, column) pairs whose values are units."""
    own = next(table for table in job.tables if table.name == job.unit_table)
    sides = [(own.name, str(job.unit_column))]
    unit_kind = type_of(own, str(job.unit_column))
    for table in job.tables:
        if is_direct(job, table) and table.link is not None:
            (column,) = table.link.columns
            kind = type_of(table, column)
            if kind != unit_kind and not {kind, unit_kind} <= {"integer", "bigint"}:
                raise IngestRefused(
                    f"link column `{column}` of table `{table.name}` is declared `{kind}`, "
                    f"but `{job.unit_column}` of table `{job.unit_table}` is `{unit_kind}`"
                )
            sides.append((table.name, column))
    return sides


def is_direct(job: Job, table: IngestTable) -> bool:
    """Whether the link of `table` ends at the unit's own column: its rows are about units even without a partner."""
    link = table.link
    return link is not None and (link.to_table, link.to_columns) == (job.unit_table, (job.unit_column,))


def type_of(table: IngestTable, column: str) -> str:
    return next(str(listed.type) for listed in table.columns if listed.name == column)


def with_unit(job: Job, table: IngestTable, staged: Mapping[str, Staged]) -> WithUnit:
    """How to find the unit of each row of `table`, through as many links as it takes."""
    source = f"{staged[table.name].sql} AS s"
    if table.name == job.unit_table or is_direct(job, table):
        own = table.name == job.unit_table or table.link is None
        column = str(job.unit_column) if own or table.link is None else table.link.columns[0]
        value = f"TRY_CAST(s.{quoted(column)} AS VARCHAR)"
        return WithUnit(f"{source} JOIN {UNITS} AS u ON {value} = u.value", (column,))
    if table.link is None:
        raise IngestRefused(f"table `{table.name}` is private, but no link leads from it to the unit")
    parent = next(other for other in job.tables if other.name == table.link.to_table)
    above = with_unit(job, parent, staged).sql
    partners = ", ".join(f"s.{quoted(column)} AS partner{i}" for i, column in enumerate(table.link.to_columns))
    equal = " AND ".join(f"s.{quoted(column)} = u.partner{i}" for i, column in enumerate(table.link.columns))
    return WithUnit(f"{source} JOIN (SELECT {partners}, u.id FROM {above}) AS u ON {equal}", table.link.columns)
