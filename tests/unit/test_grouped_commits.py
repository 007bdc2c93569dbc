"""Transactions that come at the same time share a commit, and nobody can tell but by the clock."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.errors import Fault, Refusal
from gateway.store import InDoubt, NotWritten, Transaction
from gateway.stores.grouped import Grouped
from gateway.stores.sqlite import SqliteStore
from tests.waiting import eventually

SCOPE = "INSERT INTO scope (id, dataset, accountant, cap_rho, cap_epsilon, cap_delta) VALUES (?, 'd', 'zcdp', 1, 1, 1)"
Act = Callable[[Transaction], None]


class Counted(SqliteStore):
    """Counts its commits, and lets one fail where it is told to."""

    commits = 0
    broken: Exception | None = None

    def _commit(self) -> None:
        self.commits += 1
        if self.broken is not None:
            raise self.broken
        super()._commit()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Counted]:
    opened = Counted(tmp_path / "gateway.sqlite")
    yield opened
    opened.close()


def add(name: str) -> Act:
    def act(tx: Transaction) -> None:
        tx.write(SCOPE, (name,))

    return act


def refused_where(name: str) -> Act:
    """Decides by what it sees, as a charge does at the edge of a budget."""

    def act(tx: Transaction) -> None:
        add("undone")(tx)
        if tx.one("SELECT 1 FROM scope WHERE id = ?", (name,)):
            raise Refusal("budget_exhausted", "there is nothing left")

    return act


def durable(store: SqliteStore) -> set[str]:
    """As a process that comes later finds it."""
    with sqlite3.connect(f"file:{store.path}?mode=ro", uri=True) as fresh:
        return {row[0] for row in fresh.execute("SELECT id FROM scope")}


def at_once(store: Counted, *acts: Act) -> list[tuple[BaseException | None, set[str]]]:
    """The first begins, and goes on when all others wait for it, who follow in any order; how each ended, and what was
    durable then.
    """
    ends: list[tuple[BaseException | None, set[str]]] = [(None, set())] * len(acts)
    begun, all_there = threading.Event(), threading.Event()

    def work(number: int, act: Act) -> None:
        error: BaseException | None = None
        try:
            with store.transaction() as tx:
                begun.set()
                all_there.wait(30)
                act(tx)
        except (Fault, Refusal, ArithmeticError) as found:
            error = found
        ends[number] = error, durable(store)

    threads = [threading.Thread(target=work, args=(number, act)) for number, act in enumerate(acts)]
    store.commits = 0
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    assert eventually(lambda: store._coming == len(acts) - 1, 30)
    all_there.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return ends


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is: what comes at once goes together."""
    monkeypatch.setattr("gateway.stores.grouped.PATIENCE_S", 60.0)


def test_what_comes_at_once_is_committed_once_and_is_durable_when_it_ends(store: Counted) -> None:
    ends = at_once(store, *(add(f"s{number}") for number in range(12)))
    assert store.commits == 1
    assert all(error is None and f"s{number}" in held for number, (error, held) in enumerate(ends))


def test_a_block_that_ended_before_the_commit_would_be_seen(store: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: nobody waits for whoever commits."""
    monkeypatch.setattr(Grouped, "_await", lambda _self, _group: None)
    held = threading.Event()
    monkeypatch.setattr(store, "_commit", lambda: (held.wait(10), SqliteStore._commit(store)))
    ends: list[bool] = []

    def work(number: int) -> None:
        with store.transaction() as tx:
            add(f"s{number}")(tx)
        ends.append(f"s{number}" in durable(store))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    with store._writing:
        for thread in threads:
            thread.start()
        assert eventually(lambda: store._coming == 2, 30)
    assert eventually(lambda: ends == [False])
    held.set()
    for thread in threads:
        thread.join()
    assert ends == [False, True]


def test_one_that_fails_takes_back_its_own_and_no_others(store: Counted) -> None:
    def broken(tx: Transaction) -> None:
        add("undone")(tx)
        raise ZeroDivisionError

    ends = at_once(store, add("a"), broken, add("b"), refused_where("a"), add("c"))
    assert [type(error) for error, _ in ends] == [type(None), ZeroDivisionError, type(None), Refusal, type(None)]
    assert durable(store) == {"a", "b", "c"}
    assert store.commits == 1


def the_first_fails(store: Counted) -> set[str]:
    """What is durable in the end, of two who follow it."""
    ends = at_once(store, refused_where("before"), add("a"), add("b"))
    assert [type(error) for error, _ in ends] == [Refusal, type(None), type(None)]
    return durable(store)


def test_the_first_that_fails_takes_back_its_own_and_no_others(store: Counted) -> None:
    with store.transaction() as tx:
        add("before")(tx)
    assert the_first_fails(store) == {"before", "a", "b"}


def test_a_first_one_whose_writes_stay_is_noticed(store: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted."""
    with store.transaction() as tx:
        add("before")(tx)
    monkeypatch.setattr(Grouped, "_lose", lambda *_: None)
    assert "undone" in the_first_fails(store)


def test_a_refusal_is_told_when_what_it_rests_on_is_durable(store: Counted) -> None:
    _, (refusal, held), _ = at_once(store, add("a"), refused_where("a"), add("b"))
    assert isinstance(refusal, Refusal)
    assert "a" in held


@pytest.mark.parametrize(
    ("broken", "told"),
    [(sqlite3.OperationalError("disk I/O error"), NotWritten), (InDoubt("it holds, or not"), InDoubt)],
)
def test_a_commit_that_fails_has_failed_for_all_and_no_decision_rests_on_it(
    store: Counted, broken: Exception, told: type[Exception]
) -> None:
    store.broken = broken
    ends = at_once(store, add("a"), refused_where("a"), add("b"))
    assert [type(error) for error, _ in ends] == [told] * 3
    assert len({id(error) for error, _ in ends}) == 3
    assert durable(store) == set()
    assert store.failing
    store.broken = None
    store.try_writing()
    assert not store.failing
    assert [error for error, _ in at_once(store, add("a"), add("b"))] == [None, None]
    assert durable(store) == {"a", "b"}


def test_a_disk_that_is_full_for_one_is_told_to_all_that_it_took_along(store: Counted) -> None:
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    ends = at_once(store, add("a"), add("much" * 100_000), add("b"))
    assert isinstance(ends[1][0], NotWritten)
    for number, name in ((0, "a"), (2, "b")):
        error, held = ends[number]
        assert (error is None) == (name in held) == (name in durable(store))
        assert error is None or isinstance(error, NotWritten)


def test_no_more_than_so_many_wait_for_one_commit(store: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.stores.grouped.TOGETHER_MAX", 4)
    at_once(store, *(add(f"s{number}") for number in range(10)))
    assert store.commits == 3
    monkeypatch.setattr("gateway.stores.grouped.PATIENCE_S", -1.0)
    at_once(store, *(add(f"t{number}") for number in range(3)))
    assert store.commits == 3


def test_a_commit_that_was_left_to_somebody_who_is_gone_is_made_all_the_same(
    store: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.stores.grouped._LOOK_S", 0.01)
    monkeypatch.setattr(store, "_coming", 1)  # somebody comes, and never arrives
    with store.transaction() as tx:
        add("a")(tx)
    assert durable(store) == {"a"}


def test_trying_to_write_and_closing_leave_nothing_behind(store: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_coming", 1)
    store.try_writing()
    assert store._group is None
    ends: list[str] = []

    def work() -> None:
        with store.transaction() as tx:
            add("a")(tx)
        ends.append("a")

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually(lambda: store._group is not None and store._group.kept == 1)
    store.close()
    thread.join()
    assert ends == ["a"]
    assert durable(store) == {"a"}
