"""At start the log and the tables must tell the same story, or the dataset answers nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.anchors import Anchors
from gateway.audit.log import Log
from gateway.audit.verify import verify
from gateway.budget.ledger import Ledger
from gateway.budget.recovery import Recovered, recover
from gateway.errors import Misconfigured, NotReady, Refusal, Unsound
from gateway.store import Store, Transaction
from gateway.stores.sqlite import SqliteStore
from policies.privacy_loss import EPSILON_UNIT
from tests.ledger_world import SIGNER, World, a_busy_world, dp, price, tamper, unfence

Open = Callable[[], Store]


def start(world: World) -> Recovered:
    world.reopen()
    return recover(world.store, world.ledger, world.log)


def test_a_whole_ledger_starts_and_settles_what_was_running(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    lost = [world.charge().id for _ in range(2)]
    spent = world.spent(world.scopes()[0])
    recovered = start(world)
    assert recovered == Recovered({}, tuple(lost))
    assert world.spent(world.scopes()[0]) == spent
    assert [record["code"] for record in world.records()[-2:]] == ["query_interrupted"] * 2
    assert verify(world.export()).ok
    assert start(world) == Recovered({}, ())


def test_a_ledger_that_adds_up_epsilon_starts_as_well(tmp_path: Path) -> None:
    world = World(tmp_path)
    scopes = world.scopes(whole=dp(accountant="pure"), share="1")
    world.answer(world.charge(price("0.5", accountant="pure", delta=3), scopes).id)
    world.fail(world.charge(price("0.25", accountant="pure"), scopes).id)
    assert start(world).frozen == {}
    assert world.spent(scopes[0]) == world.spent(scopes[1]) == 3 * EPSILON_UNIT // 4
    assert verify(world.export()).ok
    assert tamper(world, "UPDATE scope SET charged_epsilon = charged_epsilon - 5 WHERE operator IS NULL") == 1
    assert start(world).frozen == {"clinic": "what dataset:clinic has spent differs from the log"}


def test_only_the_serving_process_settles(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    start(world)
    other = SqliteStore(world.path)
    log = Log(other, SIGNER, Anchors(tmp_path / "anchor"))
    with pytest.raises(NotReady):
        recover(other, Ledger(log), log)


TAMPERINGS = {
    "a refund": "UPDATE scope SET charged_rho = charged_rho - 5 WHERE operator IS NULL",
    "a refund of delta": "UPDATE scope SET charged_delta = 0",
    "a raised cap": "UPDATE scope SET cap_rho = cap_rho * 2 WHERE operator = 'acme'",
    "a charge is gone": "DELETE FROM charge WHERE query = (SELECT query FROM charge LIMIT 1)",
    "a smaller charge": "UPDATE charge SET rho = 1 WHERE scope LIKE 'operator%'",
    "a scope is gone": "DELETE FROM scope WHERE operator = 'beta'",
    "a failed query answered": "UPDATE query SET state = 'answered', release = 'r', release_hash = 'h'"
    " WHERE state = 'failed'",
    "a query runs again": "UPDATE query SET state = 'running', release = NULL, release_hash = NULL WHERE reused = 0",
    "a query is gone": "DELETE FROM query WHERE reused = 0",
    "cells are forgotten": "DELETE FROM cells WHERE operator = 'acme'",
    "fewer cells were shown": "UPDATE cells SET released = 1 WHERE operator = 'beta'",
    "cells are somebody else's": "UPDATE cells SET operator = 'gamma' WHERE operator = 'beta'",
    "cells that no answer showed": "INSERT INTO cells SELECT id, operator, dataset, 1, 1 FROM query"
    " WHERE mode = 'dp' LIMIT 1",
    "a charged query is called reused": "UPDATE query SET reused = 1 WHERE state = 'answered'",
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_dataset_whose_tables_differ_from_the_log_is_frozen(tmp_path: Path, open_store: Open, name: str) -> None:
    world = a_busy_world(tmp_path, open_store)
    assert tamper(world, TAMPERINGS[name]) > 0
    assert set(start(world).frozen) == {"clinic"}
    with pytest.raises(Refusal) as refused:
        world.charge(price("0.01"))
    assert refused.value.code == "dataset_frozen"


WHY = {
    "a refund": r"what dataset:clinic has spent differs from the log",
    "a refund of delta": r"what (dataset|operator):[a-z/]+ has spent differs from the log",
    "a raised cap": r"the cap of operator:acme/clinic differs from the log",
    "a charge is gone": r"the charge of qry_[0-9a-f]{32} differs from its record",
    "a smaller charge": r"the charge of qry_[0-9a-f]{32} differs from its record",
    "a scope is gone": r"operator:beta/clinic is in the log and not in the ledger",
    "a failed query answered": r"the way of qry_[0-9a-f]{32} differs from the log",
    "a query runs again": r"the way of qry_[0-9a-f]{32} differs from the log",
    "a query is gone": r"the way of qry_[0-9a-f]{32} differs from the log",
    "cells are forgotten": r"the cells of qry_[0-9a-f]{32} differ from the log",
    "fewer cells were shown": r"the cells of qry_[0-9a-f]{32} differ from the log",
    "cells are somebody else's": r"the cells of qry_[0-9a-f]{32} differ from the log",
    "cells that no answer showed": r"the cells of qry_[0-9a-f]{32} differ from the log",
    "a charged query is called reused": r"the way of qry_[0-9a-f]{32} differs from the log",
    "a charge that nobody recorded": r"a charge has no record",
}
UNRECORDED = "INSERT INTO charge SELECT id, 'dataset:clinic', 1, 0, 0 FROM query WHERE reused = 1 LIMIT 1"


@pytest.mark.parametrize("name", WHY)
def test_what_differs_first_is_named(tmp_path: Path, name: str) -> None:
    world = a_busy_world(tmp_path)
    assert tamper(world, {**TAMPERINGS, "a charge that nobody recorded": UNRECORDED}[name]) > 0
    (found,) = start(world).frozen.items()
    assert re.fullmatch(WHY[name], found[1]), found


def test_a_charge_to_a_scope_that_was_never_opened_freezes_its_dataset(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    line = {"scope": "dataset:other", "rho": "0.1", "epsilon": "1", "delta": "0"}
    with world.store.transaction() as tx:
        world.log.append(tx, kind="charge", actor="acme", query_id="qry_1", dataset="clinic", charges=[line])
    assert start(world).frozen == {"clinic": "the charge of qry_1 differs from its record"}


def test_other_datasets_stay_open(tmp_path: Path) -> None:
    world, other = a_busy_world(tmp_path), World(tmp_path, "income")
    other.charge()
    tamper(world, TAMPERINGS["a refund"] + " AND dataset = 'clinic'")
    world.store.close()
    other.reopen()
    assert set(recover(other.store, other.ledger, other.log).frozen) == {"clinic"}
    other.charge()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE record SET kind = 'read' WHERE kind = 'charge'",
        "UPDATE record SET actor = 'beta' WHERE kind = 'failure' AND actor = 'acme'",
        "UPDATE record SET body = (SELECT body FROM record WHERE seq = 6) WHERE seq = 7",
        "DELETE FROM record WHERE seq = 5",
        "DELETE FROM record WHERE seq = (SELECT max(seq) FROM record)",
        "DELETE FROM node WHERE level = 0 AND place = 4",
        "UPDATE node SET hash = (SELECT hash FROM node WHERE level = 0 AND place = 0) WHERE level = 2 AND place = 0",
        "DELETE FROM node WHERE level = 3",
        "INSERT INTO node SELECT 3, 9, hash FROM node WHERE level = 0 AND place = 0",
    ],
)
def test_a_damaged_log_serves_nothing(tmp_path: Path, open_store: Open, statement: str) -> None:
    world = a_busy_world(tmp_path, open_store)
    world.log.checkpoint()
    assert tamper(world, statement) > 0
    recovered = start(world)
    assert (recovered.frozen, recovered.failed) == ({}, ())
    assert_frozen(world)


def assert_frozen(world: World) -> None:
    """Nothing is granted, nothing recorded, nothing signed."""
    assert world.log.closed
    size = len(world.log.bodies(0, 1000))
    with pytest.raises(Refusal) as refused:
        world.charge(price("0.01"))
    assert refused.value.code == "dataset_frozen"
    with pytest.raises(Unsound), world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    with pytest.raises(Unsound):
        world.log.checkpoint()
    assert len(world.log.bodies(0, 1000)) == size


def test_a_database_from_a_backup_gives_no_budget_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.charge()
    world.store.close()
    backup = tmp_path / "backup"
    shutil.copy(world.path, backup)
    world.open()
    world.log.receipt(world.charge().record)
    world.store.close()
    newest = tmp_path / "newest"
    shutil.copy(world.path, newest)
    shutil.copy(backup, world.path)
    start(world)
    assert_frozen(world)
    world.store.close()
    shutil.copy(newest, world.path)
    assert start(world).frozen == {}
    assert world.log.closed is None
    world.charge()


def test_a_database_that_was_lost_is_not_begun_anew(tmp_path: Path, open_store: Open) -> None:
    world = World(tmp_path)
    world.log.receipt(world.charge().record)
    world.store.close()
    world.open_store = open_store
    world.path.unlink()
    start(world)
    assert world.log.closed
    assert world.log.bodies(0, 1) == []
    with pytest.raises(Refusal):
        world.charge()


@pytest.mark.parametrize("note", ["rubbish", "a\nb\nc\n", "baopingkou/test\n1\nAAAA\n\n— x y\n"])
def test_an_anchor_that_is_no_checkpoint_of_ours_serves_nothing(tmp_path: Path, note: str) -> None:
    world = World(tmp_path)
    world.path.with_suffix(".checkpoint").write_text(note, encoding="utf-8")
    with pytest.raises(Misconfigured):
        start(world)


def test_an_anchor_that_power_loss_left_empty_does_not_stop_the_start(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.path.with_suffix(".checkpoint").touch()
    assert start(world).frozen == {}


class LaterLog(Log):
    """Planted: appends after the transaction instead of inside it."""

    def append(self, tx: Transaction, **fields: object) -> int:
        if fields["kind"] in ("genesis", "admin"):
            return super().append(tx, **fields)
        self.later = [*getattr(self, "later", []), fields]
        return 0


class RefundingLedger(Ledger):
    """Planted: a failure gives the budget back, as some services do."""

    world: World

    def fail(self, tx: Transaction, query_id: str, code: str = "query_failed") -> object:
        unfence(self.world, tx)
        tx.write(
            "UPDATE scope SET charged_rho = charged_rho -"
            " (SELECT rho FROM charge c WHERE c.query = ? AND c.scope = scope.id)",
            (query_id,),
        )
        return super().fail(tx, query_id, code)


def append_outside(world: World) -> None:
    world.log = LaterLog(world.store, SIGNER, Anchors(world.path.with_suffix(".checkpoint")), world.clock)
    world.sit(Ledger(world.log, world.clock))
    world.charge()  # and now the power goes


def refund(world: World) -> None:
    world.sit(RefundingLedger(world.log, world.clock))
    world.ledger.world = world
    world.fail(world.charge().id)


@pytest.mark.parametrize("planted", [append_outside, refund])
def test_a_planted_fault_is_noticed_at_the_next_start(
    tmp_path: Path, open_store: Open, planted: Callable[[World], None]
) -> None:
    world = World(tmp_path, open_store=open_store)
    world.charge()
    planted(world)
    assert set(start(world).frozen) == {"clinic"}
