"""Several processes at the edge of a cap, and processes killed at any moment: never overspent, nothing lost."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.budget import scopes as scopes_table
from gateway.budget.account import Account, Scope
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Loss
from gateway.errors import Fault, Refusal
from gateway.store import NotWritten, Reading, Store, Transaction
from tests.figures import Record
from tests.figures import told as told_figure
from tests.ledger_kills import ANSWERS, EACH, WRITERS, check, fork, kill_in_one_file, race
from tests.ledger_world import World

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("BPK_LONG"))
SEED = os.environ.get("BPK_SEED", "7")
SCHEDULES = int(os.environ.get("BPK_KILLS", "2000" if LONG else "1000"))
RACES = int(os.environ.get("BPK_RACES", "100000" if LONG else "10000"))
"""Attempts at the edge of a cap."""
SHARES = {"Sqlite": 4, "Postgres": 1}
"""Of five attempts, so many in each store: in a server they take longer."""
CLIENTS = 8


def test_four_processes_at_the_edge_of_a_cap_never_pass_it(tmp_path: Path) -> None:
    for number in range(3):
        charged = race(tmp_path, f"d{number}")
        assert len(charged) == len(set(charged)) == ANSWERS
    world = World(tmp_path)
    assert check(world, ["d0", "d1", "d2"], set(charged)) == 3
    report = verify(world.export())
    assert report.ok, report.text()


@pytest.mark.timeout(1200)
def test_writers_killed_at_any_moment_leave_a_sound_ledger(memory: Path, record_property: Record) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.ledger_kills", str(memory), str(SCHEDULES), SEED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told_figure(record_property, "kill -9 of 4 writers", SCHEDULES, {"overspent": 0, "lost": 0}, SEED)


def spend_and_tell_too_early(folder: Path, dataset: str, tell: int) -> None:
    """Planted: tells of a charge that is not durable yet."""
    world = World(folder, dataset)
    operator = f"op-{os.getpid() % WRITERS}"
    scopes = world.counted_scopes(operator, ANSWERS, EACH)
    while True:
        asked = world.asked(operator)
        os.write(tell, asked.id.encode() + b"\n")
        try:
            world.charge(EACH, scopes, asked)
        except Refusal:
            return


def test_a_charge_that_is_told_of_before_it_is_durable_is_noticed(memory: Path) -> None:
    with pytest.raises(AssertionError, match="a charge that was durable is gone"):
        kill_in_one_file(memory, 100, random.Random("planted"), spend_and_tell_too_early)


def room(number: int) -> int:
    """How many of the clients find a place in a dataset."""
    return 1 + number % 3


def edge(open_store: Callable[[], Store], folder: Path, datasets: int, tell: int) -> None:
    """Tries every dataset in turn, each of which has room for fewer than try it."""
    world = World(folder / str(os.getpid()), open_store=open_store)
    operator = f"op-{os.getpid() % CLIENTS}"
    for number in range(datasets):
        world.dataset = f"d{number}"
        scopes = world.counted_scopes(operator, room(number), EACH)
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
    memory: Path, open_store: Callable[[], Store], record_property: Record
) -> None:
    with closing(open_store()) as store:
        kind = type(store).__name__.removesuffix("Store")
    datasets = max(1, RACES * SHARES[kind] // sum(SHARES.values()) // CLIENTS)
    listen, tell = os.pipe()
    children = [fork(lambda: edge(open_store, memory, datasets, tell)) for _ in range(CLIENTS)]
    os.close(tell)
    with os.fdopen(listen, "rb") as told:
        won = Counter(told.read().decode().split())
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * CLIENTS
    assert won == {str(number): room(number) for number in range(datasets)}
    world = World(memory / "after", open_store=open_store)
    with world.store.reading() as view:
        spent = dict(view.all("SELECT dataset, charged_rho FROM scope WHERE operator IS NULL"))
    assert spent == {f"d{number}": EACH.rho * room(number) for number in range(datasets)}
    report = verify(world.export())
    assert report.ok, report.text()
    tried, wrong = datasets * CLIENTS, {"overspent": 0, "lost": 0}
    told_figure(record_property, f"charges at the edge of a cap, {kind}", tried, wrong, "-")


PART = 9
"""Of ANSWERS, what one purpose may have."""


def shares(world: World, purpose: str) -> tuple[Scope, ...]:
    both = world.counted_scopes("acme", ANSWERS, EACH)
    part = Scope(world.dataset, "acme", replace(both[1].cap, rho=EACH.rho * PART), purpose)
    return (*both, part) if purpose in world.parts else both


def spend_on(purpose: str, open_store: Callable[[], Store], folder: Path, tell: int) -> None:
    """For one purpose of one operator, until that is refused."""
    world = World(folder / str(os.getpid()), open_store=open_store)
    world.parts = {"actuarial": Decimal(1)}
    while True:
        with contextlib.suppress(NotWritten):
            try:
                world.charge(EACH, shares(world, purpose), world.asked(purpose=purpose))
            except Refusal:
                return
            os.write(tell, f"{purpose}\n".encode())


def test_a_purposes_share_ends_at_its_edge_and_the_rest_is_left_to_others(
    memory: Path, open_store: Callable[[], Store]
) -> None:
    open_store().close()
    won = Counter[str]()
    for purpose in ("actuarial", "research"):
        listen, tell = os.pipe()
        lives = [fork(lambda: spend_on(purpose, open_store, memory, tell)) for _ in range(WRITERS)]  # noqa: B023  # at once
        os.close(tell)
        with os.fdopen(listen, "rb") as told:
            won.update(told.read().decode().split())
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in lives] == [0] * WRITERS
    assert won == {"actuarial": PART, "research": ANSWERS - PART}
    world = World(memory / "after", open_store=open_store)
    with world.store.reading() as view:
        spent = dict(view.all("SELECT id, charged_rho FROM scope"))
    assert spent == {
        "dataset:clinic": EACH.rho * ANSWERS,
        "operator:acme/clinic": EACH.rho * ANSWERS,
        "purpose:actuarial/acme/clinic": EACH.rho * PART,
    }
    report = verify(world.export())
    assert report.ok, report.text()


class StaleLedger(Ledger):
    """Planted: looks at the cap in a transaction of its own, and books whatever it saw fit."""

    def accounts(self, view: Reading, scopes: Sequence[Scope]) -> tuple[Account, ...]:
        seen: dict[str, Loss] = getattr(self, "seen", {})
        return tuple(Account(scope, seen.get(scope.id, Loss())) for scope in scopes)


def spend_stale(folder: Path, dataset: str, tell: int) -> None:
    world = World(folder, dataset)
    world.sit(StaleLedger(world.log))
    operator = f"op-{os.getpid() % WRITERS}"
    scopes = world.counted_scopes(operator, ANSWERS, EACH)
    while True:
        with world.store.reading() as view:
            found = Ledger.accounts(world.ledger, view, scopes)
        world.ledger.seen = {each.scope.id: each.spent for each in found}
        time.sleep(0.002)
        try:
            row = world.charge(EACH, scopes, world.asked(operator))
        except Refusal:
            return
        os.write(tell, row.id.encode() + b"\n")


def add_blindly(tx: Transaction, base: str, scopes: Sequence[str], amount: Loss) -> None:
    """Planted: the statement without its second look at the cap."""
    for scope in scopes:
        tx.write("UPDATE scope SET charged_rho = charged_rho + ? WHERE id = ?", (amount.rho, scope))


def test_a_ledger_that_looks_at_the_cap_outside_the_transaction_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes_table, "_add", add_blindly)
    world = World(tmp_path, "d0")
    with world.store.transaction() as tx:
        tx.write("DROP TRIGGER scope_within_cap")
    world.store.close()
    for _ in range(5):
        charged = race(tmp_path, "d0", spend_stale)
        if len(charged) > ANSWERS:
            break
    assert len(charged) > ANSWERS, "the plant did no harm"
    world = World(tmp_path, "d0")
    assert not verify(world.export()).ok
    with pytest.raises(AssertionError):
        check(world, ["d0"], set(charged))


def test_the_same_fault_is_stopped_by_the_file_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes_table, "_add", add_blindly)
    world = World(tmp_path, "d0")
    scopes = world.counted_scopes("acme", 1, EACH)
    world.charge(EACH, scopes)
    monkeypatch.setattr(
        Ledger, "accounts", lambda self, view, scopes: tuple(Account(scope, Loss()) for scope in scopes)
    )
    with pytest.raises(Fault, match="the cap"):
        world.charge(EACH, scopes)
