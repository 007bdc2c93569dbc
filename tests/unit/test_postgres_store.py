"""What is PostgreSQL's own: a server that may lose commits is refused, a commit in doubt is looked up."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("psycopg", reason="psycopg is not installed: the extra `postgresql`")

import psycopg

from gateway.errors import Fault, Misconfigured, NotReady, Refusal, Unsound
from gateway.store import NewerSchema, NotWritten, Transaction
from gateway.stores import postgres as adapter
from gateway.stores.postgres import PostgresStore
from gateway.stores.schema import SCHEMAS
from gateway.stores.sqlite import SqliteStore
from tests.ledger_world import World
from tests.postgres_server import Server, needed

pytestmark = needed


@pytest.fixture
def url(postgres: Server) -> str:
    return postgres.database()


@pytest.fixture
def store(url: str) -> Iterator[PostgresStore]:
    found = PostgresStore(url)
    yield found
    found.close()


def add(tx: Transaction, name: str) -> None:
    tx.write(
        "INSERT INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta) VALUES (?, 'd', 'zcdp', 1, 1, 1)",
        (name,),
    )


def try_adding(store: PostgresStore, name: str) -> None:
    with store.transaction() as tx:
        add(tx, name)


def names(store: PostgresStore) -> list[str]:
    with store.reading() as view:
        return [row[0] for row in view.all("SELECT id FROM scope ORDER BY id")]


def settle(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def test_a_commit_is_durable_before_it_is_told_whatever_the_address_says(url: str) -> None:
    store = PostgresStore(f"{url}&options=-c%20synchronous_commit%3Doff")
    with store.transaction() as tx:
        assert tx.one("SHOW synchronous_commit") == ("on",)
    store.close()


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_may_lose_commits_is_refused(url: str, setting: str) -> None:
    settle(url, f"ALTER SYSTEM SET {setting} = off")
    settle(url, "SELECT pg_reload_conf()")
    try:
        with pytest.raises(Misconfigured, match=setting):
            open_until(url, Misconfigured)
    finally:
        settle(url, f"ALTER SYSTEM RESET {setting}")
        settle(url, "SELECT pg_reload_conf()")
        open_until(url, None)


def open_until(url: str, wanted: type[Exception] | None) -> None:
    """A reload takes a moment."""
    for _ in range(100):
        try:
            PostgresStore(url).close()
        except Misconfigured:
            if wanted is Misconfigured:
                raise
        else:
            if wanted is None:
                return
        time.sleep(0.05)


def test_a_session_in_which_guards_do_not_fire_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="session_replication_role"):
        PostgresStore(f"{url}&options=-c%20session_replication_role%3Dreplica")


def test_a_database_of_a_newer_release_is_refused(url: str, store: PostgresStore) -> None:
    settle(url, "UPDATE baopingkou.meta SET version = 99")
    with pytest.raises(Misconfigured, match="newer release"):
        PostgresStore(url)


def test_a_database_that_a_newer_release_brings_on_takes_nothing_more_of_this_one(
    url: str, store: PostgresStore
) -> None:
    store.try_writing()
    settle(url, "UPDATE baopingkou.meta SET version = 99")
    for _ in range(2):
        with pytest.raises(NewerSchema, match="newer release has brought it to schema 99"):
            store.try_writing()
    settle(url, f"UPDATE baopingkou.meta SET version = {len(SCHEMAS)}")
    store.try_writing()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with pytest.raises(NotReady) as caught:
        PostgresStore("postgresql://somebody:hunter2@127.0.0.1:1/ledger")
    assert str(caught.value) == "postgresql://127.0.0.1:1/ledger: the database cannot be reached"


@pytest.mark.parametrize("url", ["postgresql://", "postgresql://h/d?port=x&port", "postgresql://[::1"])
def test_an_address_that_is_none_is_no_crash(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises((Misconfigured, NotReady)):
        PostgresStore(url)


def test_tables_are_not_emptied_at_once_either(store: PostgresStore) -> None:
    for table in ("scope", "query", "charge", "record", "node", "cells"):
        with pytest.raises(Fault, match="rows stay"), store.transaction() as tx:
            tx.write(f"TRUNCATE {table} CASCADE")


END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = '{}'"


def end_sessions(url: str, store: PostgresStore) -> None:
    settle(url, END.format(store.name.rpartition("/")[2]))


def test_a_broken_connection_is_made_anew(url: str, store: PostgresStore) -> None:
    try_adding(store, "a")
    assert names(store) == ["a"]
    end_sessions(url, store)
    assert names(store) == ["a"]
    try_adding(store, "b")
    assert names(store) == ["a", "b"]


def break_in_the_middle(url: str, store: PostgresStore) -> None:
    with store.transaction() as tx:
        add(tx, "a")
        end_sessions(url, store)
        add(tx, "b")


def test_a_transaction_whose_connection_broke_is_undone(url: str, store: PostgresStore) -> None:
    with pytest.raises(NotWritten):
        break_in_the_middle(url, store)
    assert store.failing
    store.try_writing()
    assert not store.failing
    assert names(store) == []


class Breaking:
    """The writer's connection, broken before or after it commits."""

    def __init__(self, connection: Any, *, after: bool) -> None:
        self._connection = connection
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, statement: str, *parameters: Any) -> Any:
        if "COMMIT" not in statement:
            return self._connection.execute(statement, *parameters)
        if self._after:
            self._connection.execute(statement, *parameters)
        self._connection.close()
        raise psycopg.OperationalError("the connection is lost")


@pytest.mark.parametrize("after", [True, False])
def test_a_commit_in_doubt_is_looked_up(store: PostgresStore, after: bool) -> None:
    """Who is told that nothing was charged is not charged, and who is charged is told."""
    try_adding(store, "a")
    store._writer = Breaking(store._writer, after=after)
    if after:
        try_adding(store, "b")
    else:
        with pytest.raises(NotWritten):
            try_adding(store, "b")
    assert names(store) == (["a", "b"] if after else ["a"])
    try_adding(store, "c")


def test_a_commit_in_doubt_that_nobody_can_look_up_is_a_fault(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store._writer = Breaking(store._writer, after=True)

    def unreachable() -> None:
        raise psycopg.OperationalError("no server")

    monkeypatch.setattr(store, "_connect", unreachable)
    with pytest.raises(Fault, match="whether it holds") as caught:
        try_adding(store, "b")
    assert not isinstance(caught.value, NotReady)
    monkeypatch.undo()
    assert names(store) == ["b"]


def stop_in_the_middle(store: PostgresStore, meanwhile: Callable[[], None]) -> None:
    with store.transaction() as tx:
        add(tx, "late")
        meanwhile()


def test_whoever_stops_in_a_transaction_holds_nobody_up_for_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapter._SETTINGS, "idle_in_transaction_session_timeout", "300ms")
    stopped, other = PostgresStore(url), PostgresStore(url)
    with pytest.raises(NotWritten):
        stop_in_the_middle(stopped, lambda: try_adding(other, "in time"))
    assert names(other) == ["in time"]
    for store in (stopped, other):
        store.close()


def fail_over(world: World, copy: Path, server: Server) -> None:
    """To a server that has only what `copy` has, as an asynchronous standby may."""
    standby = PostgresStore(server.database())
    with contextlib.closing(SqliteStore(copy)) as source, source.reading() as view:
        standby.fill(view)
    standby.close()
    assert isinstance(world.store, PostgresStore)
    world.store._url = standby._url
    for connection in (world.store._writer, *world.store._readers):
        connection.close()


@pytest.mark.parametrize("signed", [True, False])
def test_a_server_that_took_over_without_what_was_signed_is_noticed_before_anything_is_charged(
    tmp_path: Path, postgres: Server, url: str, signed: bool
) -> None:
    """What was never signed is nowhere to be seen: replication has to be synchronous."""
    world = World(tmp_path, open_store=lambda: PostgresStore(url))
    world.charge()
    world.store.copy_to(tmp_path / "copy")
    held = len(world.log.bodies(0, 1000))
    world.charge()
    if signed:
        world.log.checkpoint()
    fail_over(world, tmp_path / "copy", postgres)
    if not signed:
        world.charge()
    else:
        with pytest.raises(Unsound):
            world.charge()
        with pytest.raises(Refusal, match="frozen"):
            world.charge()
        assert len(world.log.bodies(0, 1000)) == held
    world.store.close()


def test_what_others_signed_is_looked_at_when_a_server_took_over(tmp_path: Path, postgres: Server, url: str) -> None:
    """This gateway has signed nothing newer itself; a witness knows more."""
    witnessed = tmp_path / "witnessed"
    witnessed.mkdir()
    world = World(tmp_path / "a", open_store=lambda: PostgresStore(url), witnessed=witnessed)
    other = World(tmp_path / "b", open_store=lambda: PostgresStore(url))
    world.store.copy_to(tmp_path / "copy")
    other.charge()
    (witnessed / "note").write_text(other.log.checkpoint(), encoding="utf-8")
    fail_over(world, tmp_path / "copy", postgres)
    with pytest.raises(Unsound, match="are missing"):
        world.charge()
    for each in (world, other):
        each.store.close()
