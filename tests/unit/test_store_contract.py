"""What every store must do, SQLite or PostgreSQL: whole transactions one after the other, and fences of its own."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.errors import Fault
from gateway.store import Reading, Store, Transaction
from tests.ledger_world import World, a_busy_world

Open = Callable[[], Store]
SCOPE = "INSERT INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta) VALUES (?, ?, 'zcdp', ?, 1, 1)"


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


@pytest.fixture
def other(open_store: Open) -> Store:
    """The same database, as another process has it."""
    return open_store()


def add(tx: Transaction, name: str, amount: int = 1) -> int:
    return tx.write(SCOPE, (name, "d", amount))


def names(view: Reading) -> list[str]:
    return [row[0] for row in view.all("SELECT id FROM scope ORDER BY id")]


def held(store: Store) -> list[str]:
    with store.reading() as view:
        return names(view)


def add_and_fail(store: Store) -> None:
    with store.transaction() as tx:
        add(tx, "a")
        raise ZeroDivisionError


def add_twice(store: Store) -> None:
    with store.transaction() as tx:
        add(tx, "b")
        add(tx, "a")


def nest(store: Store, outer: str, inner: str) -> None:
    with getattr(store, outer)(), getattr(store, inner)():
        pass


def test_a_transaction_is_whole_or_not_at_all(store: Store, other: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        add_and_fail(store)
    with store.transaction() as tx:
        assert add(tx, "a") == 1
        assert names(tx) == ["a"]
    with pytest.raises(Fault):
        add_twice(store)
    assert held(store) == held(other) == ["a"]


def test_what_is_kept_comes_back_as_it_was(store: Store) -> None:
    most = 2**63 - 1
    with store.transaction() as tx:
        add(tx, "名 '\"\\ %s $1 \n\t\U0001f40b", most)
        tx.write("INSERT INTO record VALUES (0, 't', 'k', NULL, NULL, NULL, NULL, NULL, ?)", (bytes(range(256)),))
    with store.reading() as view:
        assert view.all("SELECT id, cap_rho, operator FROM scope") == [("名 '\"\\ %s $1 \n\t\U0001f40b", most, None)]
        assert view.one("SELECT body, actor FROM record") == (bytes(range(256)), None)
        assert view.one("SELECT max(seq) FROM record WHERE seq > ?", (5,)) == (None,)
        assert view.one("SELECT seq FROM record WHERE seq > ?", (5,)) is None


@pytest.mark.parametrize("value", [2**63, 2**200, -(2**64), "a\0b", "\ud800", 1.5, "text"])
def test_a_value_that_cannot_be_kept_is_no_value(store: Store, value: object) -> None:
    sql = "UPDATE scope SET cap_rho = ? WHERE id = 'a'" if not isinstance(value, str) else SCOPE
    parameters = (value,) if not isinstance(value, str) else (value, value, 1)
    if value == "text":
        sql, parameters = "UPDATE scope SET cap_rho = ?", ("text",)
    with store.transaction() as tx:
        add(tx, "a")
    with pytest.raises((Fault, OverflowError, UnicodeEncodeError)), store.transaction() as tx:
        tx.write(sql, parameters)
    assert held(store) == ["a"]


def test_texts_are_ordered_by_their_characters(store: Store) -> None:
    """Times are compared as texts: the order must not be that of a language."""
    with store.transaction() as tx:
        for name in ("b", "B", "a", "Z", "-", "é", "T"):
            add(tx, name)
    assert held(store) == ["-", "B", "T", "Z", "a", "b", "é"]


def test_a_transaction_that_is_over_does_nothing(store: Store) -> None:
    with store.transaction() as tx:
        pass
    with pytest.raises(Fault, match="is over"):
        add(tx, "a")
    with store.reading() as view:
        pass
    with pytest.raises(Fault, match="is over"):
        names(view)


@pytest.mark.parametrize("outer", ["transaction", "reading"])
@pytest.mark.parametrize("inner", ["transaction", "reading"])
def test_a_transaction_inside_another_is_refused_instead_of_waiting_for_itself(
    store: Store, outer: str, inner: str
) -> None:
    with pytest.raises(Fault, match="inside another"):
        nest(store, outer, inner)
    with store.transaction() as tx:
        add(tx, "a")
    assert held(store) == ["a"]


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(Fault), store.reading() as view:
        view.all("DELETE FROM scope")
    assert held(store) == []


def test_a_reading_sees_one_moment(store: Store, other: Store) -> None:
    def write() -> None:
        with other.transaction() as tx:
            add(tx, "later")

    writer = threading.Thread(target=write)
    with store.reading() as view:
        assert names(view) == []
        writer.start()
        writer.join(0.3)  # one store lets it through, the other makes it wait
        assert names(view) == []
    writer.join()
    assert held(store) == ["later"]


def count_up(store: Store, times: int) -> None:
    for _ in range(times):
        with store.transaction() as tx:
            row = tx.one("SELECT cap_rho FROM scope WHERE id = 'n'")
            assert row is not None
            time.sleep(0.001)
            tx.write("UPDATE scope SET cap_rho = ? WHERE id = 'n'", (row[0] + 1,))


def test_writers_come_one_after_the_other_whoever_they_are(store: Store, other: Store) -> None:
    """What a transaction has read stays true until it is over."""
    with store.transaction() as tx:
        add(tx, "n", 0)
    threads = [threading.Thread(target=count_up, args=(each, 10)) for each in (store, other, store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reading() as view:
        assert view.one("SELECT cap_rho FROM scope WHERE id = 'n'") == (40,)


def test_a_process_that_is_killed_in_a_transaction_leaves_nothing_and_holds_nobody_up(open_store: Open) -> None:
    open_store().close()
    child = os.fork()
    if child == 0:
        with open_store().transaction() as tx:
            add(tx, "a")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    again = open_store()
    with again.transaction() as tx:
        assert names(tx) == []
        add(tx, "b")
    assert held(again) == ["b"]
    again.close()


def test_it_proves_that_it_can_be_written(store: Store) -> None:
    store.try_writing()
    assert not store.failing
    with store.reading() as view:
        assert view.all("SELECT 1 FROM scope") == []


def test_a_closed_store_says_so(store: Store) -> None:
    store.close()
    store.close()
    for act in (store.transaction, store.reading):
        with pytest.raises(Fault, match="closed"), act():
            pass


FENCES = {
    "charges never fall": "UPDATE scope SET charged_rho = 0 WHERE charged_rho > 0",
    "the cap": "UPDATE scope SET charged_rho = cap_rho + 1",
    "a scope starts uncharged": "INSERT INTO scope VALUES ('x', 'x', NULL, 'zcdp', 9, 9, 9, 1, 0, 0)",
    "scope rows stay": "DELETE FROM scope",
    "query rows stay": "DELETE FROM query",
    "charge rows stay": "UPDATE charge SET rho = 1",
    "record rows stay": "UPDATE record SET body = body",
    "node rows stay": "DELETE FROM node",
    "cells rows stay": "DELETE FROM cells",
    "secret rows stay": "UPDATE secret SET text = ''",
    "a query ends once": "UPDATE query SET state = 'running', release = NULL, release_hash = NULL"
    " WHERE state = 'answered'",
    "a query starts running": "INSERT INTO query (place, id, operator, request_hash, dataset, mode, policy_digest,"
    " snapshot, question, created, rho, epsilon, delta, state, reused, record)"
    " VALUES (99, 'q', 'o', 'r', 'd', 'dp', 'p', 's', 'q', 1, 0, 0, 0, 'failed', 0, 1)",
}


@pytest.mark.parametrize("words", FENCES)
def test_the_database_itself_forbids_what_the_program_never_does(tmp_path: Path, open_store: Open, words: str) -> None:
    world = a_busy_world(tmp_path, open_store)
    with pytest.raises(Fault, match=words), world.store.transaction() as tx:
        tx.write(FENCES[words])
    report = verify(world.export())
    assert report.ok, report.text()


def test_two_processes_write_one_log(tmp_path: Path, open_store: Open) -> None:
    here, there = World(tmp_path / "here", open_store=open_store), World(tmp_path / "there", open_store=open_store)
    rows = [world.charge() for _ in range(4) for world in (here, there)]
    for row, world in zip(rows, (here, there) * 4, strict=True):
        world.answer(row.id)
    notes = [here.log.checkpoint(), there.log.checkpoint()]
    assert notes[0] == notes[1]
    report = verify(there.export(), since=notes)
    assert report.ok, report.text()
    assert report.counts == {"genesis": 1, "admin": 4, "decision": 8, "charge": 8, "release": 8}
