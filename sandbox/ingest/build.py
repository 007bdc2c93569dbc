"""A build: files staged, truths checked, units numbered, tables finished and sorted, counts for the custodian."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb

from policies.types import Value
from sandbox import codec, publics
from sandbox.ingest import truths
from sandbox.ingest.blocks import cut_table, cut_units
from sandbox.ingest.job import UNIT_COLUMN, Built, IngestColumn, IngestTable, Job, PublicKeys, Report, TableReport
from sandbox.ingest.readers import literal, quoted
from sandbox.ingest.refused import IngestRefused
from sandbox.ingest.report import report_table
from sandbox.ingest.stage import Staged, stage
from sandbox.ingest.units import number_units, tag_units, with_unit
from sandbox.publics import PublicColumn, PublicRows

DATA = "data.duckdb"
STAGE = "stage.duckdb"
SPILL = "spill"
PUBLIC_KEYS_MAX = 10_000


def build(job: Job) -> Built:
    """Writes `data.duckdb` into the build folder. Raises IngestRefused."""
    folder = Path(job.build)
    try:
        built = _build(job, folder)
    except duckdb.OutOfMemoryException:
        raise IngestRefused("the build needs more memory or disk than it may use") from None
    except (duckdb.IOException, duckdb.FatalException):
        raise IngestRefused("the snapshot cannot be written: the disk is full, or its folder is gone") from None
    if (folder / f"{DATA}.wal").exists():
        raise IngestRefused("the snapshot cannot be written: its changes were not checkpointed")
    return built


def _build(job: Job, folder: Path) -> Built:
    with _connect(job, folder) as con:
        con.execute(f"ATTACH {literal(str(folder / DATA))} AS out")
        staged = _stage_all(con, job)
        truths.check(con, job, staged)
        if job.unit_table is not None:
            number_units(con, job, staged)
        blocks: tuple[tuple[str, int], ...] = ()
        if job.blocks is not None:
            blocks = cut_units(con, job, job.blocks, staged)
        elif job.tag_key:
            tag_units(con, job)
        reports = tuple(_finish(con, job, staged[table.name], staged) for table in job.tables)
        keys = tuple(keys for table in job.tables if table.public for keys in _public_keys(con, table))
        rows = _small([found for table in job.tables if table.public and (found := _public_rows(con, table))])
        con.execute("CHECKPOINT out")
        con.execute("DETACH out")
    return Built(keys, rows, Report(reports), blocks)


def _connect(job: Job, folder: Path) -> duckdb.DuckDBPyConnection:
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": job.threads,
        "async_threads": "1",
        "memory_limit": f"{job.memory_mb}MB",
        "temp_directory": str(folder / SPILL),
        "max_temp_directory_size": f"{job.file_bytes}B",
        "autoload_known_extensions": False,
        "autoinstall_known_extensions": False,
        "allow_community_extensions": False,
        "allow_unsigned_extensions": False,
        "allow_extension_repositories": "forbidden",
        "allow_persistent_secrets": False,
        "python_enable_replacements": False,
        "preserve_insertion_order": False,
    }
    con = duckdb.connect(str(folder / STAGE), config=config)
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET lock_configuration = true")
    return con


def _stage_all(con: duckdb.DuckDBPyConnection, job: Job) -> dict[str, Staged]:
    needed: dict[str, set[str]] = {table.name: set() for table in job.tables}
    if job.unit_table is not None:
        needed[job.unit_table].add(str(job.unit_column))
    for table in job.tables:
        if table.link is not None:
            needed[table.name].update(table.link.columns)
            needed[table.link.to_table].update(table.link.to_columns)
    return {
        table.name: stage(con, table, number, frozenset(needed[table.name])) for number, table in enumerate(job.tables)
    }


def _shown(table: IngestTable) -> list[IngestColumn]:
    """The columns that the snapshot holds: never a hidden one; of a private table not the unit's either."""
    return [column for column in table.columns if column.role not in ("hidden", "unit")]


def _finish(con: duckdb.DuckDBPyConnection, job: Job, staged: Staged, all_staged: Mapping[str, Staged]) -> TableReport:
    table = staged.table
    out = f"out.main.{quoted(table.name)}"
    names = [quoted(column.name) for column in _shown(table)]
    if table.public:
        order = f" ORDER BY {', '.join(names)}" if names else ""
        con.execute(f"CREATE TABLE {out} AS SELECT {', '.join(names) or 'NULL AS __none'} FROM {staged.sql}{order}")
        return report_table(con, staged, out, None)
    rows = with_unit(job, table, all_staged)
    columns = ", ".join([f"u.id AS {UNIT_COLUMN}", *(f"s.{name}" for name in names)])
    if job.blocks is not None:
        out = f"whole_{staged.sql}"
    con.execute(f"CREATE TABLE {out} AS SELECT {columns} FROM {rows.sql} ORDER BY {UNIT_COLUMN}")
    report = report_table(con, staged, out, rows.link)
    if job.blocks is not None:
        cut_table(con, table.name, out, job.blocks)
        con.execute(f"DROP TABLE {out}")
    return report


def _public_keys(con: duckdb.DuckDBPyConnection, table: IngestTable) -> list[PublicKeys]:
    found = []
    for column in _shown(table):
        name = quoted(column.name)
        rows: list[tuple[Value]] = con.execute(
            f"SELECT DISTINCT {name} FROM out.main.{quoted(table.name)} ORDER BY 1 NULLS LAST"
            f" LIMIT {PUBLIC_KEYS_MAX + 1}"
        ).fetchall()
        if len(rows) <= PUBLIC_KEYS_MAX:
            found.append(PublicKeys(table.name, column.name, tuple(value for (value,) in rows)))
    return found


def _public_rows(con: duckdb.DuckDBPyConnection, table: IngestTable) -> PublicRows | None:
    """All rows of a public table, or None where they are too many."""
    shown = _shown(table)
    names = ", ".join(quoted(column.name) for column in shown)
    if not shown:
        return None
    rows: list[tuple[Value, ...]] = con.execute(
        f"SELECT {names} FROM out.main.{quoted(table.name)} ORDER BY {names} LIMIT {publics.ROWS_MAX + 1}"
    ).fetchall()
    if len(rows) > publics.ROWS_MAX:
        return None
    return PublicRows(table.name, tuple(PublicColumn(column.name, column.type) for column in shown), tuple(rows))


def _small(tables: list[PublicRows]) -> tuple[PublicRows, ...]:
    """Those of `tables` that may be kept beside the snapshot: the smallest first, as long as there is room."""
    sizes = sorted((len(codec.dumps(table)), table.table) for table in tables)
    kept, room = set(), publics.BYTES_MAX
    for size, name in sizes:
        if size <= min(room, publics.TABLE_BYTES_MAX):
            kept.add(name)
            room -= size
    return tuple(table for table in tables if table.table in kept)
