"""Several processes at the edge of a cap, and processes killed at any moment: never overspent, nothing lost."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.budget import scopes as scopes_table
from gateway.budget.account import Account, Scope
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Loss
from gateway.budget.recovery import recover
from gateway.errors import Fault, Refusal
from gateway.store import NotWritten, Reading, Store, Transaction
from tests.figures import Record
from tests.figures import told as told_figure
from tests.ledger_world import World, price

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

LONG = bool(os.environ.get("BPK_LONG"))
SEED = os.environ.get("BPK_SEED", "7")
SCHEDULES = int(os.environ.get("BPK_KILLS", "2000" if LONG else "300"))
SCHEDULES_PER_FILE = 10
WRITERS = 4
EACH = price("0.1")
ANSWERS = 24
RACES = int(os.environ.get("BPK_RACES", "50000" if LONG else "2000"))
"""Attempts at the edge of a cap, in each store."""
CLIENTS = 8
ROOM = 3


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def spend(folder: Path, dataset: str, tell: int) -> None:
    """Charges and answers until the budget is gone; tells every charge that is durable, before it goes on."""
    world = World(folder, dataset)
    operator = f"op-{os.getpid() % WRITERS}"
    scopes = world.counted_scopes(operator, ANSWERS, EACH)
    while True:
        try:
            row = world.charge(EACH, scopes, world.asked(operator))
        except Refusal:
            return
        os.write(tell, row.id.encode() + b"\n")
        if row.id.endswith(("0", "1", "2", "3")):
            continue
        world.answer(row.id)


def race(folder: Path, dataset: str) -> list[str]:
    """The durable charges of four writers that spend one budget to its end."""
    World(folder, dataset).store.close()
    listen, tell = os.pipe()
    children = [fork(lambda: spend(folder, dataset, tell)) for _ in range(WRITERS)]
    os.close(tell)
    with os.fdopen(listen, "rb") as told:
        charged = told.read().decode().split()
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * WRITERS
    return charged


def kill_some_writers(folder: Path, dataset: str, dice: random.Random) -> list[str]:
    """kill -9 of all of them, some charges after they began: wherever they are just then."""
    listen, tell = os.pipe()
    children = [fork(lambda: spend(folder, dataset, tell)) for _ in range(WRITERS)]
    os.close(tell)
    told, wanted = b"", dice.randrange(7)
    while told.count(b"\n") < wanted and (more := os.read(listen, 4096)):
        told += more
    time.sleep(dice.uniform(0.0, 0.006))
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    with os.fdopen(listen, "rb") as rest:
        told += rest.read()
    return [line for line in told.decode().split("\n")[:-1] if line]


def check(world: World, datasets: list[str], told: set[str]) -> int:
    """The invariants after a crash; how many datasets used their budget up."""
    recovered = recover(world.store, world.ledger, world.log)
    assert recovered.frozen == {}
    limit = EACH.rho * ANSWERS
    with world.store.reading() as view:
        spent = dict(view.all("SELECT dataset, charged_rho FROM scope WHERE operator IS NULL"))
        charged = {row[0] for row in view.all("SELECT query FROM charge")}
        unrecorded = view.all(
            "SELECT 1 FROM charge c LEFT JOIN record r ON r.query = c.query AND r.kind = 'charge' WHERE r.seq IS NULL"
        )
        running = view.all("SELECT 1 FROM query WHERE state = 'running'")
    assert told <= charged, "a charge that was durable is gone"
    assert not unrecorded
    assert not running
    assert all(amount <= limit for amount in spent.values()), spent
    return sum(1 for dataset in datasets if spent.get(dataset) == limit)


def test_four_processes_at_the_edge_of_a_cap_never_pass_it(tmp_path: Path) -> None:
    for number in range(3):
        charged = race(tmp_path, f"d{number}")
        assert len(charged) == len(set(charged)) == ANSWERS
    world = World(tmp_path)
    assert check(world, ["d0", "d1", "d2"], set(charged)) == 3
    report = verify(world.export())
    assert report.ok, report.text()


@pytest.mark.timeout(900)
def test_writers_killed_at_any_moment_leave_a_sound_ledger(tmp_path: Path, record_property: Record) -> None:
    dice = random.Random(SEED)
    for start in range(0, SCHEDULES, SCHEDULES_PER_FILE):
        folder = tmp_path / str(start)
        told: set[str] = set()
        for number in range(SCHEDULES_PER_FILE):
            told |= set(kill_some_writers(folder, f"d{number // 5}", dice))
            world = World(folder)
            check(world, [], told)
            note = world.log.checkpoint()
            world.store.close()
        assert told, "nobody was charged before the kill"
        told |= set(race(folder, f"d{number // 5}"))
        world = World(folder)
        assert check(world, [f"d{number // 5}"], told) == 1, "what the dead left could not be spent to its end"
        report = verify(world.export(), since=[note])
        assert report.ok, report.text()
        world.store.close()
        shutil.rmtree(folder)
    told_figure(record_property, "kill -9 of 4 writers", SCHEDULES, {"overspent": 0, "lost": 0}, SEED)


def edge(open_store: Callable[[], Store], folder: Path, datasets: int, tell: int) -> None:
    """Tries every dataset in turn, each of which has room for fewer than try it."""
    world = World(folder / str(os.getpid()), open_store=open_store)
    operator = f"op-{os.getpid() % CLIENTS}"
    for number in range(datasets):
        world.dataset = f"d{number}"
        scopes = world.counted_scopes(operator, ROOM, EACH)
        try:
            charge_in_the_end(world, scopes, operator)
        except Refusal:
            continue
        os.write(tell, f"{number}\n".encode())


def charge_in_the_end(world: World, scopes: tuple[Scope, ...], operator: str) -> None:
    """On a machine that is busy otherwise a writer may wait in vain for the file; then nothing was written."""
    for _ in range(20):
        with contextlib.suppress(NotWritten):
            world.charge(EACH, scopes, world.asked(operator))
            return
    raise AssertionError("never its turn")


@pytest.mark.timeout(900)
def test_at_the_edge_of_a_cap_as_many_win_as_there_is_room_for(
    tmp_path: Path, open_store: Callable[[], Store], record_property: Record, request: pytest.FixtureRequest
) -> None:
    datasets = max(1, RACES // CLIENTS)
    listen, tell = os.pipe()
    children = [fork(lambda: edge(open_store, tmp_path, datasets, tell)) for _ in range(CLIENTS)]
    os.close(tell)
    with os.fdopen(listen, "rb") as told:
        won = Counter(told.read().decode().split())
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * CLIENTS
    assert won == {str(number): ROOM for number in range(datasets)}
    world = World(tmp_path / "after", open_store=open_store)
    with world.store.reading() as view:
        spent = view.all("SELECT charged_rho FROM scope WHERE operator IS NULL")
    assert {row[0] for row in spent} == {EACH.rho * ROOM}
    report = verify(world.export())
    assert report.ok, report.text()
    kind = type(world.store).__name__.removesuffix("Store")
    told_figure(
        record_property, f"charges at the edge of a cap, {kind}", datasets * CLIENTS, {"overspent": 0, "lost": 0}, "-"
    )


class StaleLedger(Ledger):
    """Planted: looks at the cap in a transaction of its own, and books whatever it saw fit."""

    def account(self, view: Reading, scope: Scope) -> Account:
        return Account(scope, getattr(self, "seen", {}).get(scope.id, Loss()))


def spend_stale(folder: Path, dataset: str, tell: int) -> None:
    world = World(folder, dataset)
    world.sit(StaleLedger(world.log))
    operator = f"op-{os.getpid() % WRITERS}"
    scopes = world.counted_scopes(operator, ANSWERS, EACH)
    while True:
        with world.store.reading() as view:
            world.ledger.seen = {scope.id: Ledger.account(world.ledger, view, scope).spent for scope in scopes}
        time.sleep(0.002)
        try:
            row = world.charge(EACH, scopes, world.asked(operator))
        except Refusal:
            return
        os.write(tell, row.id.encode() + b"\n")


def book_blindly(tx: Transaction, query_id: str, scope: str, amount: Loss) -> None:
    """Planted: the statement without its second look at the cap."""
    tx.write("UPDATE scope SET charged_rho = charged_rho + ? WHERE id = ?", (amount.rho, scope))
    tx.write("INSERT INTO charge VALUES (?, ?, ?, 0, 0)", (query_id, scope, amount.rho))


def test_a_ledger_that_looks_at_the_cap_outside_the_transaction_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes_table, "book", book_blindly)
    monkeypatch.setitem(globals(), "spend", spend_stale)
    world = World(tmp_path, "d0")
    with world.store.transaction() as tx:
        tx.write("DROP TRIGGER scope_within_cap")
    world.store.close()
    for _ in range(5):
        charged = race(tmp_path, "d0")
        if len(charged) > ANSWERS:
            break
    assert len(charged) > ANSWERS, "the plant did no harm"
    world = World(tmp_path, "d0")
    assert not verify(world.export()).ok
    with pytest.raises(AssertionError):
        check(world, ["d0"], set(charged))


def test_the_same_fault_is_stopped_by_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes_table, "book", book_blindly)
    world = World(tmp_path, "d0")
    scopes = world.counted_scopes("acme", 1, EACH)
    world.charge(EACH, scopes)
    monkeypatch.setattr(Ledger, "account", lambda self, view, scope: Account(scope, Loss()))
    with pytest.raises(Fault, match="the cap"):
        world.charge(EACH, scopes)
