"""SQL-level attacks on a hardened connection, and what must still work there. The walls are tested elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from sandbox.engine import snapshot as engine
from sandbox.engine.snapshot import EngineNotHardened, open_snapshot
from sandbox.lockdown.kernel import LINUX

FILES = (
    "SELECT * FROM read_csv('{outside}/file.csv')",
    "SELECT * FROM '{outside}/file.csv'",
    "SELECT * FROM read_text('{outside}/file.csv')",
    "SELECT * FROM read_blob('/etc/hostname')",
    "SELECT * FROM read_json('{outside}/file.csv')",
    "SELECT * FROM read_parquet('{outside}/file.parquet')",
    "SELECT * FROM parquet_metadata('{outside}/file.parquet')",
    "SELECT * FROM sniff_csv('{outside}/file.csv')",
    "SELECT * FROM glob('{outside}/*')",
    "SELECT * FROM read_duckdb('{outside}/other.duckdb')",
    "ATTACH '{outside}/other.duckdb' AS other",
    "ATTACH '{outside}/fresh.duckdb' AS fresh",
    "COPY visits TO '{outside}/stolen.csv'",
    "COPY (SELECT 1) TO '{outside}/stolen.parquet' (FORMAT parquet)",
    "WITH x AS (COPY visits TO '{outside}/stolen.csv') SELECT 1",
    "EXPORT DATABASE '{outside}/dump'",
    "IMPORT DATABASE '{outside}/dump'",
)
SETTINGS = (
    "SET enable_external_access = true",
    "SET threads = 8",
    "SET memory_limit = '100GB'",
    "SET temp_directory = '/tmp'",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET allowed_directories = ['/']",
    "SET error_on_division_by_zero = true",
    "SET python_enable_replacements = true",
    "SET log_query_path = '/tmp/bpk-queries'",
    "PRAGMA enable_profiling",
    "PRAGMA threads = 8",
    "CALL enable_logging(storage = 'file')",
)
CODE = (
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL spatial FROM community",
    "LOAD '/tmp/bpk.duckdb_extension'",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "SELECT * FROM read_csv('https://127.0.0.1/x.csv')",
    "SELECT * FROM local_python_table",
)
WRITES = (
    "DELETE FROM visits",
    "UPDATE visits SET cost = 0",
    "DROP TABLE visits",
    "CREATE TABLE more AS SELECT 1",
    "CREATE TABLE memory.main.more AS SELECT 1",
    "WITH x AS (INSERT INTO hospitals VALUES (99, 'x') RETURNING id) SELECT * FROM x",
)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "file.csv").write_text("a,b\n1,2\n")
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute("CREATE TABLE t AS SELECT 1 AS a")
        other.execute(f"COPY t TO '{tmp_path}/file.parquet' (FORMAT parquet)")
    return tmp_path


@pytest.fixture
def hardened(snapshot: Path, tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    (tmp_path / "spill").mkdir()
    connection = open_snapshot(snapshot, threads=2, memory_mb=256, wall_ms=20_000, spill=tmp_path / "spill")
    yield connection
    connection.close()


@pytest.mark.parametrize("statement", FILES + SETTINGS + CODE + WRITES)
def test_an_sql_attack_is_refused_by_the_engine(
    hardened: duckdb.DuckDBPyConnection, outside: Path, statement: str
) -> None:
    local_python_table = hardened  # what a replacement scan would find
    assert local_python_table is hardened
    before = sorted(outside.iterdir())
    with pytest.raises(duckdb.Error):
        hardened.execute(statement.format(outside=outside)).fetchall()
    assert sorted(outside.iterdir()) == before


def test_the_same_attacks_succeed_on_a_connection_as_it_comes(snapshot: Path, outside: Path) -> None:
    with duckdb.connect(str(snapshot), read_only=True) as plain:
        through = [statement for statement in FILES + SETTINGS if _runs(plain, statement.format(outside=outside))]
    assert len(through) >= 20


def _runs(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    try:
        connection.execute(statement).fetchall()
    except duckdb.Error:
        return False
    return True


def test_a_setting_that_does_not_hold_is_noticed(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the sequence forgets to switch external access off, while the list of what must hold still has it."""
    complete = engine._AFTERWARDS
    short = {name: value for name, value in complete.items() if name != "enable_external_access"}
    read_back = engine._read_back
    monkeypatch.setattr(engine, "_AFTERWARDS", short)
    monkeypatch.setattr(engine, "_read_back", lambda con, wanted: read_back(con, {**wanted, **complete}))
    with pytest.raises(EngineNotHardened, match="enable_external_access"):
        open_snapshot(snapshot, threads=1, memory_mb=128, wall_ms=1000, spill=None)


def test_a_configuration_that_is_not_locked_is_noticed(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlocked = {name: value for name, value in engine._AFTERWARDS.items() if name != "lock_configuration"}
    monkeypatch.setattr(engine, "_AFTERWARDS", unlocked)
    with pytest.raises(EngineNotHardened, match="not locked"):
        open_snapshot(snapshot, threads=1, memory_mb=128, wall_ms=1000, spill=None)


def test_the_doctor_names_a_setting_that_this_engine_does_not_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.probe_engine().active
    current = engine._current
    monkeypatch.setattr(engine, "_current", lambda *asked: {**current(*asked), "TimeZone": None})
    layer = engine.probe_engine()
    assert (layer.name, layer.required, layer.active) == ("engine", True, False)
    assert "TimeZone" in layer.reason


def test_a_setting_that_this_engine_does_not_know_is_named(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_back = engine._read_back
    monkeypatch.setattr(engine, "_read_back", lambda con, wanted: read_back(con, {**wanted, "no_such": "true"}))
    with pytest.raises(EngineNotHardened, match=r"not in force: no_such$"):
        open_snapshot(snapshot, threads=1, memory_mb=128, wall_ms=1000, spill=None)


@pytest.mark.parametrize(
    "statements",
    [
        ("ATTACH '{path}' AS data", "USE data", "DETACH memory"),
        ("ATTACH '{path}' AS data (READ_ONLY)", "USE data"),
        ("ATTACH '{path}' AS data (READ_ONLY)", "ATTACH ':memory:' AS more", "USE data", "DETACH memory"),
    ],
)
def test_a_database_that_can_be_written_is_noticed(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    """Planted: the snapshot is attached to be written, or something else that can be stays beside it."""

    def attach(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        for statement in statements:
            connection.execute(statement.format(path=path))

    copy = Path(shutil.copy(snapshot, tmp_path / "copy.duckdb"))
    copy.chmod(0o600)
    monkeypatch.setattr(engine, "_attach", attach)
    with pytest.raises(EngineNotHardened, match="only database"):
        open_snapshot(copy, threads=1, memory_mb=128, wall_ms=1000, spill=None)


def test_a_folder_whose_name_holds_a_quote_is_opened(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "it's").mkdir()
    copy = shutil.copy(snapshot, tmp_path / "it's" / "data'; DETACH data; --.duckdb")
    with open_snapshot(Path(copy), threads=1, memory_mb=128, wall_ms=1000, spill=tmp_path / "it's") as connection:
        assert connection.execute("SELECT count(*) > 0 FROM visits").fetchall() == [(True,)]


@pytest.mark.skipif(not LINUX, reason="threads are counted in /proc")
def test_an_engine_that_was_only_started_has_no_threads() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    with engine.started():
        assert threads() == before
    with duckdb.connect(":memory:"):  # as it comes it has some, or this would show nothing
        assert threads() > before


@pytest.mark.parametrize("memory_mb", [100, 1000, 1024, 1300, 1536, 3000])
def test_a_memory_limit_reads_back_in_whatever_unit_the_engine_reports(snapshot: Path, memory_mb: int) -> None:
    open_snapshot(snapshot, threads=1, memory_mb=memory_mb, wall_ms=1000, spill=None).close()


def test_a_division_by_zero_is_null_and_no_error(hardened: duckdb.DuckDBPyConnection) -> None:
    assert hardened.execute("SELECT 5 // 0, 5 % 0").fetchall() == [(None, None)]
