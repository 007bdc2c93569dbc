"""Power goes at any call to the disk: what a caller was told is there, and nothing is half there."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.budget.recovery import recover
from gateway.errors import Fault
from gateway.store import InDoubt
from gateway.stores import sqlite as sqlite_module
from gateway.stores.sqlite import SqliteStore
from tests import recorded_files
from tests.figures import Record, told
from tests.ledger_world import World, price
from tests.recorded_files import FULL, IO_ERROR_OF_SYNC, Disk, Recorded, recording

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or recorded_files.library() is None, reason="needs an SQLite that is a library of its own"
)
CUTS = int(os.environ.get("BPK_CUTS", "50000" if os.environ.get("BPK_LONG") else "1000"))
SEED = os.environ.get("BPK_SEED", "7")
EACH = price("0.1")
ROOM = 6


@pytest.fixture
def place() -> Iterator[Path]:
    """In memory, where there is such a place: what a disk keeps is decided here."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="bpk-power-", dir=parent) as folder:
        yield Path(folder)


def a_life(folder: Path) -> list[tuple[object, ...]]:
    """Every call to the disk, and between them what a caller was told."""
    with recording() as recorded:
        world = World(folder)
        scopes = world.counted_scopes("acme", ROOM, EACH)
        for number in range(ROOM):
            row = world.charge(EACH, scopes, world.asked())
            recorded.calls.append(("told", row.id))
            if number % 2:
                world.answer(row.id)
                recorded.calls.append(("answered", row.id))
        world.store.close()
    return recorded.calls


def check(folder: Path, files: dict[str, bytes], before: list[tuple[object, ...]], *, fully: bool) -> None:
    """The ledger as the next start finds it."""
    (folder / "gateway").mkdir(parents=True)
    for name, content in files.items():
        (folder / "gateway" / name).write_bytes(content)
        (folder / "gateway" / name).chmod(0o600)
    world = World(folder)
    recovered = recover(world.store, world.ledger, world.log)
    assert recovered.frozen == {}
    assert world.log.closed is None
    with world.store.reading() as view:
        states = dict(view.all("SELECT id, state FROM query"))
        spent = view.one("SELECT coalesce(max(charged_rho), 0) FROM scope")
        (whole,) = view.one("PRAGMA integrity_check") or ("",)
    assert whole == "ok"
    assert {call[1] for call in before if call[0] == "told"} <= set(states), "a charge that was told of is gone"
    assert all(states[str(call[1])] == "answered" for call in before if call[0] == "answered")
    assert spent == (EACH.rho * len(states),)
    if fully:
        report = verify(world.export())
        assert report.ok, report.text()
    world.store.close()


def lose_power(place: Path, cuts: int, seed: str) -> None:
    dice = random.Random(seed)
    calls = a_life(place / "life")
    ends = sorted(dice.randrange(len(calls) + 1) for _ in range(cuts))
    disk, taken = Disk(), 0
    for number, end in enumerate(ends):
        for call in calls[taken:end]:
            disk.take(call)
        taken = end
        try:
            check(place / "after", disk.after_power_loss(dice), calls[:end], fully=number % 20 == 0)
        except BaseException as error:
            error.add_note(f"cut {number} of seed {seed}, after call {end} of {len(calls)}")
            raise
        shutil.rmtree(place / "after")


@pytest.mark.timeout(3600)
def test_whenever_power_goes_what_was_told_is_there(place: Path, record_property: Record) -> None:
    lose_power(place, CUTS, SEED)
    told(record_property, "power lost at a call to the disk", CUTS, {"overspent": 0, "lost": 0}, SEED)


@pytest.mark.parametrize("setting", [{"synchronous": 0}, {"journal_mode": "memory", "synchronous": 0}])
def test_a_file_that_is_not_synced_is_found_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, setting: dict[str, object]
) -> None:
    """Planted: a commit that the disk does not have yet."""
    monkeypatch.setattr(sqlite_module, "_SETTINGS", {**sqlite_module._SETTINGS, **setting})
    with pytest.raises((AssertionError, Fault, sqlite3.Error)):  # lost, half there or unreadable
        lose_power(place, 300, "planted")


ERRORS = pytest.mark.parametrize("error", [FULL, IO_ERROR_OF_SYNC], ids=["full", "sync"])
LAST_STEP = -1


class FailingDisk:
    """Charges during which a call to the disk fails, and what their callers are told."""

    def __init__(self, folder: Path, recorded: Recorded) -> None:
        self.recorded = recorded
        self.world = World(folder)
        self.scopes = self.world.counted_scopes("acme", 10_000, EACH)

    def charge(self, number: int) -> tuple[str, bool]:
        """`charged`, `denied` or `in doubt`, and whether the charge stands once the disk works again.

        The call of this number fails, or the last step of the commit. Afterwards the ledger charges again.
        """
        recorded, before = self.recorded, self.spent()
        recorded.calls.clear()
        if number == LAST_STEP:
            recorded.at_last_step = True
        else:
            recorded.fail_at = number
        try:
            self.world.charge(EACH, self.scopes, self.world.asked())
            told = "charged"
        except InDoubt:
            told = "in doubt"
        except Fault:
            told = "denied"
        recorded.fail_at, recorded.at_last_step = None, False
        stands = self.spent() - before
        assert stands in (0, EACH.rho)
        self.world.charge(EACH, self.scopes, self.world.asked())
        return told, stands > 0

    def spent(self) -> int:
        return self.world.spent(self.scopes[0])

    def close(self) -> None:
        report = verify(self.world.export())
        assert report.ok, report.text()
        self.world.store.close()


@contextlib.contextmanager
def failing(place: Path, error: int, *, for_good: bool) -> Iterator[FailingDisk]:
    """`for_good`: until it is mended, all calls after the first one that fails do so too."""
    with recording() as recorded:
        recorded.error, recorded.for_good = error, for_good
        disk = FailingDisk(place, recorded)
        yield disk
        disk.close()


@ERRORS
@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for-good"])
def test_a_call_that_fails_undoes_the_whole_charge_and_the_next_one_works(
    place: Path, error: int, for_good: bool
) -> None:
    with failing(place, error, for_good=for_good) as disk:
        found = [disk.charge(number) for number in range(60)]
    assert ("denied", True) not in found
    assert ("charged", False) not in found
    assert found.count(("denied", False)) > 40


@ERRORS
def test_a_charge_that_stands_although_its_last_step_failed_is_told_of(place: Path, error: int) -> None:
    with failing(place, error, for_good=False) as disk:
        assert [disk.charge(LAST_STEP) for _ in range(3)] == [("charged", True)] * 3
        assert disk.recorded.failed == 3


@ERRORS
def test_a_charge_of_which_nobody_can_tell_whether_it_stands_is_in_doubt(place: Path, error: int) -> None:
    """As long as the disk fails nothing shows that what it has is durable."""
    with failing(place, error, for_good=True) as disk:
        assert [disk.charge(LAST_STEP) for _ in range(3)] == [("in doubt", True)] * 3


@ERRORS
def test_a_store_that_takes_a_failed_commit_for_undone_is_found_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Planted: nothing is looked up."""
    monkeypatch.setattr(SqliteStore, "_landed", lambda store, token: False)
    with failing(place, error, for_good=False) as disk:
        assert disk.charge(LAST_STEP) == ("denied", True)
