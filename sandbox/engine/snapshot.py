"""Opens a snapshot in DuckDB, hardened and read-only; every setting is read back.

The settings are the fifth required layer, `engine`. They are hygiene: the engine has no boundary inside, so what holds
an attacker are the walls of the process. The order matters: with external access off in the first configuration the
engine refuses a spill folder, and afterwards no snapshot can be attached.

It is done in two steps, `started` and `opened`. The first takes most of the time, for the engine lists three thousand
functions, and has seen neither data nor a path: a zygote takes it once, for all workers that are forked from it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

from sandbox.protocol import Layer

NEEDED_FILES: Final = (Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/meminfo"))
"""Read by the engine for its limits. It aborts when they exist and cannot be read."""

_FIXED: Final[Mapping[str, str]] = {
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_unsigned_extensions": "false",
    "allow_extension_repositories": "forbidden",
    "allow_persistent_secrets": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
    "max_expression_depth": "250",
}
_AFTERWARDS: Final[Mapping[str, str]] = {
    # A division by zero or a second row must not become an error: whether a query fails would tell of the rows.
    "error_on_division_by_zero": "false",
    "scalar_subquery_error_on_multiple_rows": "false",
    "TimeZone": "UTC",
    "enable_external_access": "false",
    "lock_configuration": "true",
}
_ALONE: Final[Mapping[str, str]] = {"threads": "1", "async_threads": "0"}
"""The engine has no thread but its caller's, so that it outlives a fork."""
_CATALOGUE: Final = "data"
_REHEARSAL: Final = """
WITH base AS (SELECT range AS u, range % 3 AS g, CAST(range AS DECIMAL(15, 2)) AS y FROM range(10)),
cell AS MATERIALIZED (SELECT u, g, count(*) AS n, CAST(coalesce(sum(y), 0) AS DOUBLE) AS r FROM base GROUP BY u, g),
size AS (SELECT u, sum(n * n) AS q FROM cell GROUP BY u)
SELECT g, sum(n), sum(TRY_CAST(trunc(r * sqrt(q)) AS BIGINT)) FROM cell LEFT JOIN size USING (u) GROUP BY g
"""
"""A statement like those of a job, over no table: the first one of an engine takes some milliseconds longer."""
_BINARY_UNITS: Final = {"bytes": 1, "byte": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


Engine = duckdb.DuckDBPyConnection


class EngineNotHardened(Exception):
    """A setting does not read back as it was set. The text names settings, never data."""


def started() -> Engine:
    """An engine that has opened nothing and rehearsed a statement, without threads. Raises duckdb.Error."""
    connection = duckdb.connect(":memory:", config={**_FIXED, **_ALONE})
    connection.execute(_REHEARSAL).fetchall()
    return connection


def open_snapshot(path: Path, **limits: Any) -> Engine:
    """Both steps at once. Raises as `opened` does."""
    return opened(started(), path, **limits)


def opened(  # noqa: PLR0913  # each is a limit of its own; all but the first two by name
    engine: Engine,
    path: Path,
    *,
    threads: int,
    memory_mb: int,
    wall_ms: int,
    spill: Path | None,
    spill_mb: int = 4096,
) -> Engine:
    """The snapshot at `path`, read-only, as all that a `started` engine holds: the same connection, for good.

    Sizes in MiB; `wall_ms` stops one statement. Without `spill` nothing spills. Raises EngineNotHardened when a setting
    does not hold, duckdb.Error when the file is no snapshot.
    """
    before = {
        "async_threads": "1",
        "threads": str(threads),
        "memory_limit": f"{memory_mb}MiB",
        "temp_directory": str(spill) if spill is not None else "",
        "max_temp_directory_size": f"{spill_mb}MiB",
        "max_execution_time": str(wall_ms),
    }
    _set(engine, before)
    _attach(engine, path)
    _set(engine, _AFTERWARDS)
    _read_back(engine, {**_FIXED, **before, **_AFTERWARDS})
    _holds_nothing_else(engine)
    _stays_locked(engine)
    return engine


def _set(engine: Engine, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        engine.execute(f"SET {name} = {_quoted(value)}").fetchall()


def _attach(engine: Engine, path: Path) -> None:
    """In the place of the empty database that an engine starts with, which could be written."""
    for statement in (f"ATTACH {_quoted(str(path))} AS {_CATALOGUE} (READ_ONLY)", f"USE {_CATALOGUE}", "DETACH memory"):
        engine.execute(statement).fetchall()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def make_empty(path: Path) -> None:
    """A snapshot without tables: what the self-test's worker opens, so that it is nowhere near data."""
    duckdb.connect(str(path)).close()
    path.chmod(0o444)


def engine_layer(settings: int = len(_FIXED) + len(_AFTERWARDS) + 6) -> Layer:
    """The layer's report for a connection that `open_snapshot` returned."""
    return Layer("engine", required=True, active=True, reason=f"{settings} settings read back and locked")


def probe_engine() -> Layer:
    """Whether the engine that is installed takes and keeps every setting, tried on an empty snapshot."""
    with tempfile.TemporaryDirectory(prefix="bpk-probe-") as folder:
        empty = Path(folder) / "empty.duckdb"
        try:
            make_empty(empty)
            open_snapshot(empty, threads=1, memory_mb=128, wall_ms=1000, spill=Path(folder)).close()
        except (EngineNotHardened, duckdb.Error) as error:
            return Layer("engine", required=True, active=False, reason=str(error))
    return engine_layer()


def _read_back(connection: Engine, expected: Mapping[str, str]) -> None:
    found = _current(connection, tuple(expected))
    wrong = [name for name, value in expected.items() if not _same(found.get(name), value)]
    if wrong:
        raise EngineNotHardened("settings not in force: " + ", ".join(sorted(wrong)))


def _current(connection: Engine, names: tuple[str, ...]) -> dict[str, str | None]:
    """Asked by their names: the engine's list of settings leaves some out that are in force. A name that it does not
    know is left out.
    """
    asked = ", ".join(f"CAST(current_setting('{name}') AS VARCHAR)" for name in names)
    try:
        found = connection.execute(f"SELECT {asked}").fetchall()[0]
    except duckdb.Error:  # it does not say which one
        if len(names) == 1:
            return {}
        return {name: value for each in names for name, value in _current(connection, (each,)).items()}
    return dict(zip(names, found, strict=True))


def _holds_nothing_else(connection: Engine) -> None:
    """The snapshot, which cannot be written, is the only database that is there."""
    query = "SELECT database_name, readonly FROM duckdb_databases() WHERE NOT internal ORDER BY 1"
    if connection.execute(query).fetchall() != [(_CATALOGUE, True)]:
        raise EngineNotHardened("the snapshot is not the only database, or can be written")


def _same(found: str | None, value: str) -> bool:
    """Sizes are compared as the engine reports them, to a tenth of its unit: `1300MiB` comes back as `1.2 GiB`."""
    if found is None or found == value:
        return found == value
    wanted, reported = _size(value), _size(found)
    return wanted is not None and reported is not None and abs(wanted[0] - reported[0]) <= reported[1] / 10


def _size(text: str) -> tuple[float, int] | None:
    """Bytes, and the unit that they were written in."""
    for unit, factor in _BINARY_UNITS.items():
        number = text.removesuffix(unit).strip()
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * factor, factor
    return None


def _stays_locked(connection: Engine) -> None:
    """Tries what is forbidden: to change a setting, and to read a file."""
    for statement in ("SET threads = 1", "SELECT count(*) FROM glob('/*')"):
        try:
            connection.execute(statement).fetchall()
        except (duckdb.PermissionException, duckdb.InvalidInputException, duckdb.BinderException):
            continue
        raise EngineNotHardened("the configuration is not locked")
