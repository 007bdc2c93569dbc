"""The ledger's file of every earlier layout, kept as text: it becomes today's with all that is in it, or stays."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import Fault, Misconfigured
from gateway.store import NewerSchema
from gateway.stores import sqlite as sqlite_module
from gateway.stores.schema import SCHEMAS
from gateway.stores.sqlite import APPLICATION_ID, SqliteStore

LAYOUTS = Path(__file__).parents[1] / "golden" / "layouts"
NUMBERS = range(1, len(SCHEMAS))
ROWS = (
    "INSERT INTO record VALUES (0, '2026-01-01T00:00:00.000Z', 'genesis', NULL, NULL, NULL, NULL, NULL, x'7b7d')",
    "INSERT INTO node VALUES (0, 0, zeroblob(32))",
    "INSERT INTO scope (id, dataset, operator, accountant, cap_rho, cap_epsilon, cap_delta)"
    " VALUES ('d', 'clinic', NULL, 'zcdp', 100, 0, 10)",
    "UPDATE scope SET charged_rho = 40, charged_delta = 4",
)


def described(connection: sqlite3.Connection) -> list[str]:
    """The schema as SQLite keeps it, whatever its order and its spaces."""
    rows = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name <> 'landed'").fetchall()
    return sorted(re.sub(r"\s+", " ", sql) for (sql,) in rows)


def stored(number: int) -> list[str]:
    return (LAYOUTS / f"gateway-{number}.sql").read_text("utf-8").splitlines()


def older(path: Path, number: int) -> None:
    """A file as the release with so many layouts has left it."""
    with closing(sqlite3.connect(path)) as made:
        tables_first = sorted(stored(number), key=lambda sql: not sql.startswith("CREATE TABLE"))
        for sql in (*tables_first, *ROWS):
            made.execute(sql)
        made.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        made.execute(f"PRAGMA user_version = {number}")
        made.commit()
    path.chmod(0o600)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_layout_that_was_given_a_number_does_not_change(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_module, "SCHEMAS", SCHEMAS[:number])
    SqliteStore(tmp_path / "ledger.sqlite").close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as made:
        assert described(made) == sorted(stored(number))


@pytest.mark.parametrize("number", NUMBERS)
def test_a_file_of_an_earlier_layout_becomes_todays_and_a_copy_stays(number: int, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    older(path, number)
    with closing(SqliteStore(path)) as store, store.reading() as view:
        assert view.all("SELECT charged_rho, charged_delta FROM scope") == [(40, 4)]
        assert view.one("SELECT count(*) FROM record") == (1,)
    SqliteStore(tmp_path / "new.sqlite").close()
    with closing(sqlite3.connect(path)) as brought, closing(sqlite3.connect(tmp_path / "new.sqlite")) as new:
        tables = [sql for sql in described(new) if not sql.startswith("CREATE TABLE")]
        assert [sql for sql in described(brought) if not sql.startswith("CREATE TABLE")] == tables
        for (name,) in new.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
            columns = [set(each.execute(f"SELECT * FROM pragma_table_info('{name}')")) for each in (brought, new)]
            assert columns[0] == columns[1], name
        with pytest.raises(sqlite3.IntegrityError, match="never fall"):
            brought.execute("UPDATE scope SET charged_rho = 0")
    kept = tmp_path / f"ledger.sqlite.schema-{number}"
    assert kept.stat().st_mode & 0o077 == 0
    with closing(sqlite3.connect(kept)) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (number,)
        assert copy.execute("SELECT charged_rho FROM scope").fetchall() == [(40,)]


def test_a_file_of_a_newer_layout_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(SCHEMAS) + 1}")
    before = path.read_bytes()
    with pytest.raises(Misconfigured, match="newer release"):
        SqliteStore(path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.glob("*.schema-*")] == []


def brought_on(path: Path) -> None:
    """By a command of a newer release, while this one has it open."""
    with closing(sqlite3.connect(path)) as newer:
        newer.execute(f"PRAGMA user_version = {len(SCHEMAS) + 1}")


def test_a_file_that_a_newer_release_brings_on_while_it_is_open_takes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteStore(path)) as store:
        with store.transaction():
            pass
        brought_on(path)
        before = path.read_bytes()
        for write in (store.try_writing, store.try_writing, lambda: enter(store)):
            with pytest.raises(NewerSchema, match=f"newer release has brought it to schema {len(SCHEMAS) + 1}"):
                write()
        assert path.read_bytes() == before, "nor is it marked as of this release again"
        with store.reading() as view:
            assert view.one("SELECT count(*) FROM scope") == (0,)


def test_planted_a_store_that_does_not_look_marks_the_file_as_its_own_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteStore, "_require_schema", lambda _: None)
    path = tmp_path / "ledger.sqlite"
    with closing(SqliteStore(path)) as store:
        brought_on(path)
        store.try_writing()
    with closing(sqlite3.connect(path)) as found:
        assert found.execute("PRAGMA user_version").fetchone() == (len(SCHEMAS),)


def enter(store: SqliteStore) -> None:
    with store.transaction():
        pass


def test_a_layout_that_breaks_half_way_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    older(path, 1)
    broken = (*SCHEMAS[:2], (*SCHEMAS[2], sqlite_module.Index("CREATE INDEX nowhere ON absent (at_all)")))
    monkeypatch.setattr(sqlite_module, "SCHEMAS", broken)
    with pytest.raises(Fault, match="absent"):
        SqliteStore(path)
    with closing(sqlite3.connect(path)) as left:
        assert left.execute("PRAGMA user_version").fetchone() == (1,)
        assert described(left) == sorted(stored(1))
