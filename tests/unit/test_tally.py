"""The store's second memory: an older copy of the store is found out, and what was spent is spent again."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from sandbox import __main__ as command
from sandbox.protocol import Price, Ticket
from sandbox.release import tally
from sandbox.release.store import Ceiling, Store, StoreUnusable, TicketRefused

LOSS_MAX = 100
CEILING = Ceiling("zcdp", LOSS_MAX, 0, custodians=True)
_ids = itertools.count()


def ticket() -> Ticket:
    price = Price(epsilon=1, delta=0, rho=10)
    return Ticket(f"tkt_{next(_ids)}", "qry", "clinic", "p" * 64, "d" * 64, "s" * 64, "dp", price, "run", 0, 60_000)


def spend(store: Store, loss: int = 10) -> int:
    """What a greedy gateway gets, ticket by ticket, until the ceiling holds."""
    for got in range(0, 10 * LOSS_MAX, loss):
        try:
            assert store.accept(ticket(), loss, CEILING) == "fresh"
        except TicketRefused:
            return got
    raise AssertionError("no ceiling holds")


class Disk:
    """A store that is closed, copied and put back."""

    def __init__(self, folder: Path) -> None:
        self.store, self.tally, self.backup = folder / "domain.sqlite", folder / "spent.tally", folder / "backup"
        self.folder = folder

    def open(self, *, trusted: bool = False) -> Store:
        return Store(self.store, self.tally, trusted=trusted)

    def copy(self) -> None:
        shutil.copy2(self.store, self.backup)

    def restore(self) -> None:
        shutil.copy2(self.backup, self.store)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def restored_again_and_again(disk: Disk) -> int:
    """How much a gateway gets out of a ceiling whose store is put back whenever it is spent."""
    got = 0
    for turn in range(3):
        store = disk.open()
        if turn == 0:
            disk.copy()
        got += spend(store)
        store.close()
        disk.restore()
    return got


def test_no_number_of_restores_buys_more_than_the_ceiling(disk: Disk) -> None:
    assert restored_again_and_again(disk) == LOSS_MAX


def test_restores_buy_more_where_nothing_remembers(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "read", lambda path: tally.NOTHING)  # planted: a start that asks no second memory
    assert restored_again_and_again(disk) == 3 * LOSS_MAX


def test_a_state_that_was_removed_is_no_new_budget_where_the_tally_lies_elsewhere(disk: Disk) -> None:
    store = disk.open()
    spend(store)
    store.close()
    for file in disk.folder.glob("domain.*"):
        file.unlink()
    store = disk.open()
    assert store.spent("clinic", "zcdp") == (LOSS_MAX, 0)
    store.close()


def test_a_copy_taken_in_the_middle_counts_all_that_came_after_it(disk: Disk) -> None:
    store = disk.open()
    for turn in range(6):
        store.accept(ticket(), 10, CEILING)
        if turn == 2:
            disk.copy()
    store.close()
    disk.restore()
    store = disk.open()
    assert store.spent("clinic", "zcdp") == (60, 0)
    assert spend(store) == LOSS_MAX - 60
    store.close()


def test_a_store_whose_tally_is_gone_needs_the_custodians_word(disk: Disk) -> None:
    store = disk.open()
    store.accept(ticket(), 10, CEILING)
    store.close()
    disk.tally.unlink()
    with pytest.raises(StoreUnusable, match=r"; put the tally back, or say .*: `bpk sandbox tally --trust-store`$"):
        disk.open()
    store = disk.open(trusted=True)
    assert store.spent("clinic", "zcdp") == (10, 0)
    store.close()
    disk.open().close()


def test_a_start_that_dies_before_its_tally_is_written_is_no_loss(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as dying:
        dying.setattr(tally, "write", lambda path, found: (_ for _ in ()).throw(OSError(5, "dead")))
        with pytest.raises(StoreUnusable):
            disk.open()
    assert not disk.tally.exists()
    disk.open().close()


def test_a_store_of_before_there_were_tallies_gets_one(disk: Disk) -> None:
    store = disk.open()
    store.accept(ticket(), 10, CEILING)
    store._connection.execute(f"DROP TABLE {tally.MARK}")
    store.close()
    disk.tally.unlink()
    disk.open().close()
    kept = tally.read(disk.tally)
    assert kept is not None
    assert kept.spent == {("clinic", "zcdp"): (10, 0)}


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[" * 100_000, b'{"format":1,"spent":[["clinic","zcdp",-1,0]],"exact":[]}', b"\xff"]
)
def test_a_spoiled_tally_is_no_tally(disk: Disk, body: bytes) -> None:
    disk.open().close()
    disk.tally.write_bytes(body)
    with pytest.raises(StoreUnusable, match="newest copy"):
        disk.open()


def test_a_tally_comes_back_as_it_was_written(disk: Disk) -> None:
    spent = {("诊所", "zcdp"): (2**62, 10**24), ("b", "pure"): (0, 0)}
    tally.write(disk.tally, tally.Tally(spent, {"诊所": 7}))
    assert tally.read(disk.tally) == tally.Tally(spent, {"诊所": 7})


def test_what_a_start_that_died_left_half_written_is_written_over(disk: Disk) -> None:
    disk.tally.with_name("spent.tally.new").write_bytes(b"x" * 1000)
    tally.write(disk.tally, tally.Tally({}, {"clinic": 7}))
    assert tally.read(disk.tally) == tally.Tally({}, {"clinic": 7})


def test_two_services_do_not_keep_one_store(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.release.durable.ALONE_WAIT_S", 0.1)
    store = disk.open()
    with pytest.raises(StoreUnusable, match="another process"):
        disk.open()
    store.close()
    disk.open().close()


def test_the_custodians_command_says_what_was_spent_and_takes_his_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "domain.toml").write_text('[store]\ntally = "elsewhere/spent.tally"\n')
    store = Store(tmp_path / "state/domain/domain.sqlite", tmp_path / "elsewhere/spent.tally")
    store.accept(ticket(), 10, CEILING)
    store.close()
    (tmp_path / "elsewhere/spent.tally").unlink()
    assert command.main(["tally", "--home", str(tmp_path)]) == 1
    assert "--trust-store" in capsys.readouterr().err
    assert command.main(["tally", "--home", str(tmp_path), "--trust-store", "--json"]) == 0
    row = {"dataset": "clinic", "accountant": "zcdp", "rho": "0.00000000001", "delta": "0"}
    assert json.loads(capsys.readouterr().out) == {"spent": [row], "exact": []}
    assert command.main(["tally", "--home", str(tmp_path)]) == 0
    assert "dataset clinic, accountant zcdp, rho 0.00000000001" in capsys.readouterr().out
