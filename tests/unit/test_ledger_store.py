"""The file: settings that hold, one writer, whole transactions or none, faults that say what is wrong."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sqlite3
import sys
import threading
from pathlib import Path

import pytest

from gateway.budget import queries, seats
from gateway.errors import Fault, Misconfigured, NotReady
from gateway.store import NotWritten, Transaction
from gateway.stores import sqlite as sqlite_module
from gateway.stores.schema import SCHEMAS
from gateway.stores.sqlite import SqliteStore
from tests.ledger_world import World, price


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "gateway" / "ledger.sqlite")


def add(tx: Transaction, name: str) -> None:
    tx.write(
        "INSERT INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta) VALUES (?, 'd', 'zcdp', 1, 1, 1)",
        (name,),
    )


def names(store: SqliteStore) -> list[str]:
    with store.reading() as view:
        return [row[0] for row in view.all("SELECT id FROM scope ORDER BY id")]


def add_and_fail(store: SqliteStore) -> None:
    with store.transaction() as tx:
        add(tx, "a")
        raise ZeroDivisionError


def nest(store: SqliteStore, outer: str, inner: str) -> None:
    with getattr(store, outer)(), getattr(store, inner)():
        pass


def test_the_file_is_for_its_owner_alone_and_never_a_write_ahead_log(store: SqliteStore) -> None:
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    with store.reading() as view:
        found = {name: view.one(f"PRAGMA {name}")[0] for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "truncate", "synchronous": 3, "foreign_keys": 1}


def test_a_setting_that_does_not_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_module, "_SETTINGS", {"synchronous": 77})
    with pytest.raises(Misconfigured, match="synchronous"):
        SqliteStore(tmp_path / "ledger.sqlite")


def test_a_file_in_write_ahead_mode_is_turned_back(store: SqliteStore) -> None:
    store.close()
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA journal_mode = wal")
    connection.close()
    again = SqliteStore(store.path)
    with again.reading() as view:
        assert view.one("PRAGMA journal_mode") == ("truncate",)


def test_a_transaction_is_whole_or_not_at_all(store: SqliteStore) -> None:
    with pytest.raises(ZeroDivisionError):
        add_and_fail(store)
    assert names(store) == []
    with store.transaction() as tx:
        add(tx, "a")
    assert names(store) == ["a"]
    with pytest.raises(Fault), store.transaction() as tx:
        tx.write("INSERT INTO scope (id) SELECT 'b' UNION ALL SELECT NULL")
    assert names(store) == ["a"]


def test_a_transaction_that_is_over_does_nothing(store: SqliteStore) -> None:
    with store.transaction() as tx:
        pass
    with pytest.raises(Fault, match="is over"):
        add(tx, "a")


@pytest.mark.parametrize("outer", ["transaction", "reading"])
@pytest.mark.parametrize("inner", ["transaction", "reading"])
def test_a_transaction_inside_another_is_refused_instead_of_waiting_for_itself(
    store: SqliteStore, outer: str, inner: str
) -> None:
    with pytest.raises(Fault, match="inside another"):
        nest(store, outer, inner)
    with store.transaction() as tx:
        add(tx, "a")
    assert names(store) == ["a"]


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    with pytest.raises(Fault, match="readonly"), store.reading() as view:
        view.all("DELETE FROM scope")


def test_threads_share_the_file(store: SqliteStore) -> None:
    def work(number: int) -> None:
        for count in range(10):
            with store.transaction() as tx:
                add(tx, f"{number}-{count}")
            names(store)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(store)) == 40


def test_a_full_disk_is_a_fault_and_leaves_what_was_there(store: SqliteStore) -> None:
    with store.transaction() as tx:
        add(tx, "a")
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Fault, match="full"), store.transaction() as tx:
        add(tx, "much" * 100_000)
    assert names(store) == ["a"]
    store._writer.execute("PRAGMA max_page_count = 1000000")
    with store.transaction() as tx:
        add(tx, "b")
    assert names(store) == ["a", "b"]


def test_after_a_write_that_found_no_room_a_small_one_proves_nothing(store: SqliteStore) -> None:
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    store.try_writing()
    with pytest.raises(NotWritten), store.transaction() as tx:
        add(tx, "much" * 100_000)
    for _ in range(2):
        with pytest.raises(NotWritten) as caught:
            store.try_writing()
        assert caught.value.cause == "database or disk is full"
    store._writer.execute("PRAGMA max_page_count = 1000000")
    store.try_writing()
    assert not store.failing
    with store.reading() as view:
        assert view.all("SELECT name FROM sqlite_schema WHERE name = 'room'") == []


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes is tried on Linux")
def test_a_disk_without_any_room_is_found_by_trying(store: SqliteStore) -> None:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(NotWritten):
            store.try_writing()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    store.try_writing()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes is tried on Linux")
def test_a_write_that_the_system_refuses_is_a_fault_and_leaves_what_was_there(tmp_path: Path) -> None:
    world = World(tmp_path)
    row = world.charge()
    size = world.path.stat().st_size
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(Fault):
            world.charge()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    world.answer(row.id)
    assert [record["kind"] for record in world.records()][-3:] == ["decision", "charge", "release"]


def test_a_file_that_was_replaced_or_removed_takes_no_more_charges(store: SqliteStore) -> None:
    store.path.rename(store.path.with_suffix(".old"))
    with pytest.raises(Fault, match="replaced or removed"), store.transaction():
        pass
    SqliteStore(store.path)
    with pytest.raises(Fault, match="replaced or removed"), store.reading():
        pass


def test_files_that_are_none_of_ours_are_refused(tmp_path: Path) -> None:
    other, text, link, shared, folder = (tmp_path / name for name in ("other", "text", "link", "shared", "folder"))
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE x (y)")
    connection.close()
    text.write_text("x" * 5000)
    link.symlink_to(other)
    shared.touch()
    folder.mkdir()
    for path in (other, text):
        path.chmod(0o600)
    shared.chmod(0o644)
    for path in (other, text, link, shared, folder):
        with pytest.raises(Misconfigured, match=path.name):
            SqliteStore(path)


def test_a_file_of_a_newer_release_is_refused(store: SqliteStore) -> None:
    store._writer.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(Misconfigured, match="newer release"):
        SqliteStore(store.path)


def test_only_one_gateway_serves_a_file(store: SqliteStore) -> None:
    store.serve()
    store.serve()
    second = SqliteStore(store.path)
    with pytest.raises(NotReady, match="another gateway"):
        second.serve()
    store.close()
    second.serve()


def test_a_closed_store_says_so(store: SqliteStore) -> None:
    store.close()
    for act in (store.transaction, store.reading):
        with pytest.raises(Fault, match="closed"), act():
            pass


def test_an_interrupted_commit_is_undone_by_the_next_process(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.charge()
    before = len(world.records())
    child = os.fork()
    if child == 0:
        inner = World(tmp_path)
        with inner.store.transaction() as tx:
            inner.ledger.charge(tx, inner.asked(), inner.scopes(), price("0.5"))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    world.reopen()
    assert len(world.records()) == before


def test_what_ran_before_there_were_seats_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "gateway" / "ledger.sqlite"
    monkeypatch.setattr(sqlite_module, "SCHEMAS", SCHEMAS[:2])
    with contextlib.closing(SqliteStore(path)) as old, old.transaction() as tx:
        tx.write(
            "INSERT INTO query (place, id, operator, request_hash, dataset, mode, policy_digest, snapshot, question,"
            " created, rho, epsilon, delta, state, reused, record)"
            " VALUES (1, 'q', 'o', 'r', 'd', 'dp', 'p', 's', 'q', 1, 1, 0, 0, 'running', 0, 1)"
        )
    monkeypatch.undo()
    with contextlib.closing(SqliteStore(path)) as new, new.reading() as view:
        (row,) = queries.running(view, seats.NOBODY)
        assert (row.id, row.ticket) == ("q", None)
        assert seats.beats(view, None) == {seats.NOBODY: 0}
