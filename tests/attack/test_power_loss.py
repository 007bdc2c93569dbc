"""Power goes at any call to the disk: what a caller was told is there, and nothing is half there."""

from __future__ import annotations

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
from gateway.stores import sqlite as sqlite_module
from tests import recorded_files
from tests.figures import Record, told
from tests.ledger_world import World, price
from tests.recorded_files import FULL, IO_ERROR_OF_SYNC, Disk, recording

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


@pytest.mark.parametrize("error", [FULL, IO_ERROR_OF_SYNC], ids=["full", "sync"])
def test_a_call_that_fails_undoes_the_whole_charge_and_the_next_one_works(place: Path, error: int) -> None:
    with recording() as recorded:
        world = World(place)
        scopes = world.counted_scopes("acme", 10_000, EACH)
        recorded.calls.clear()
        world.charge(EACH, scopes, world.asked())
        calls = len(recorded.calls)
        failed = 0
        for number in range(calls):
            before = world.spent(scopes[0])
            recorded.calls.clear()
            recorded.fail_at, recorded.error = number, error
            try:
                world.charge(EACH, scopes, world.asked())
            except Fault:
                failed += 1
                # Once the journal is cut the charge stands, whatever becomes of the sync that follows.
                cut = recorded.calls[-1:] and recorded.calls[-1][0] == "truncate"
                assert world.spent(scopes[0]) in ((before, before + EACH.rho) if cut else (before,))
            else:
                assert world.spent(scopes[0]) == before + EACH.rho
            recorded.fail_at = None
            world.charge(EACH, scopes, world.asked())
        assert failed > calls // 2
        report = verify(world.export())
        assert report.ok, report.text()
        world.store.close()
