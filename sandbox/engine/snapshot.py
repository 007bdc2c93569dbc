"""Opens a snapshot in DuckDB, hardened and read-only; every setting is read back.

The settings are the fifth required layer, `engine`. They are hygiene: the engine has no boundary inside, so what holds
an attacker are the walls of the process. The order matters: with external access off in the first configuration the
engine refuses a spill folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import duckdb

from sandbox.protocol import Layer

NEEDED_FILES: Final = (Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"), Path("/proc/meminfo"))
"""Read by the engine for its limits. It aborts when they exist and cannot be read."""

_Config = dict[str, str | bool | int | float | list[str]]

_FIXED: Final[Mapping[str, str]] = {
    "async_threads": "1",
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
_BINARY_UNITS: Final = {"bytes": 1, "byte": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


class EngineNotHardened(Exception):
    """A setting does not read back as it was set. The text names settings, never data."""


def open_snapshot(  # noqa: PLR0913  # each is a limit of its own; all but the path by name
    path: Path, *, threads: int, memory_mb: int, wall_ms: int, spill: Path | None, spill_mb: int = 4096
) -> duckdb.DuckDBPyConnection:
    """The snapshot at `path`, read-only. Sizes in MiB; `wall_ms` stops one statement. Without `spill` nothing spills.

    Raises EngineNotHardened when a setting does not hold, duckdb.Error when the file is no snapshot.
    """
    config: _Config = {
        **_FIXED,
        "threads": str(threads),
        "memory_limit": f"{memory_mb}MiB",
        "temp_directory": str(spill) if spill is not None else "",
        "max_temp_directory_size": f"{spill_mb}MiB",
    }
    connection = duckdb.connect(str(path), read_only=True, config=config)
    afterwards = {"max_execution_time": str(wall_ms), **_AFTERWARDS}
    for name, value in afterwards.items():
        connection.execute(f"SET {name} = '{value}'").fetchall()
    expected = {name: str(value) for name, value in config.items()} | afterwards | {"access_mode": "read_only"}
    _read_back(connection, expected)
    _stays_locked(connection)
    return connection


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


def _read_back(connection: duckdb.DuckDBPyConnection, expected: Mapping[str, str]) -> None:
    wrong = [name for name, value in expected.items() if not _same(_current(connection, name), value)]
    if wrong:
        raise EngineNotHardened("settings not in force: " + ", ".join(sorted(wrong)))


def _current(connection: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """Asked by its name: the engine's list of settings leaves some out that are in force."""
    try:
        found = connection.execute(f"SELECT CAST(current_setting('{name}') AS VARCHAR)").fetchall()
    except duckdb.Error:
        return None
    return None if found[0][0] is None else str(found[0][0])


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


def _stays_locked(connection: duckdb.DuckDBPyConnection) -> None:
    """Tries what is forbidden: to change a setting, and to read a file."""
    for statement in ("SET threads = 1", "SELECT count(*) FROM glob('/*')"):
        try:
            connection.execute(statement).fetchall()
        except (duckdb.PermissionException, duckdb.InvalidInputException, duckdb.BinderException):
            continue
        raise EngineNotHardened("the configuration is not locked")
