"""A ledger put back from a copy gives no budget back: a hundred copies, a hundred freezes, a hundred ways out."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.audit.verify import verify
from gateway.backup import import_records
from gateway.budget.recovery import recover
from gateway.errors import Refusal
from tests.figures import Record, told
from tests.ledger_world import World, price

SNAPSHOTS = 100
EACH = price("0.02")


@dataclass
class Life:
    """A ledger that was copied at a hundred moments, and what others kept of it."""

    world: World
    copies: list[Path]
    witnessed: Path
    export: Path


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    folder, dice = tmp_path_factory.mktemp("life"), random.Random(7)
    world = World(folder)
    copies, witnessed = [], folder / "witnessed"
    witnessed.mkdir()
    for number in range(SNAPSHOTS):
        live(world, dice)
        world.store.copy_to(folder / f"copy{number}")
        copies.append(folder / f"copy{number}")
        if number == SNAPSHOTS // 2:
            (witnessed / "older").write_text(world.log.checkpoint(), encoding="utf-8")
    world.charge(EACH)  # what the newest copy does not know
    (witnessed / "newest").write_text(world.log.checkpoint(), encoding="utf-8")
    (folder / "log.ndjson").write_bytes(b"".join(world.export()))
    return Life(world, copies, witnessed, folder / "log.ndjson")


def live(world: World, dice: random.Random) -> None:
    row = world.charge(EACH, asked=world.asked(dice.choice(("acme", "beta"))))
    if dice.random() < 0.8:
        world.answer(row.id)
    elif dice.random() < 0.5:
        world.fail(row.id)


def put_back(folder: Path, copy: Path, witnessed: Path | None) -> World:
    (folder / "gateway").mkdir(parents=True)
    shutil.copy(copy, folder / "gateway" / "ledger.sqlite")
    return World(folder, witnessed=witnessed)


def grants(world: World) -> bool:
    try:
        world.charge(EACH)
    except Refusal as refusal:
        return refusal.code != "dataset_frozen"
    return True


def test_every_old_copy_freezes_until_the_missing_records_are_imported(
    life: Life, tmp_path: Path, record_property: Record
) -> None:
    freezes = 0
    for number, copy in enumerate(life.copies):
        world = put_back(tmp_path / str(number), copy, life.witnessed)
        recover(world.store, world.ledger, world.log)
        freezes += not grants(world)
        import_records(world.store, world.log, life.export)
        world.reopen()
        recover(world.store, world.ledger, world.log)
        for scope in world.scopes():
            assert world.spent(scope) == life.world.spent(scope)
        assert grants(world)
        if number % 10 == 0:
            report = verify(world.export(), since=[note.read_text("utf-8") for note in life.witnessed.iterdir()])
            assert report.ok, report.text()
        world.store.close()
    assert freezes == SNAPSHOTS
    told(record_property, "old snapshots restored", SNAPSHOTS, {"not frozen": SNAPSHOTS - freezes}, 7)


def test_without_a_checkpoint_that_others_keep_an_old_copy_gives_budget_back(life: Life, tmp_path: Path) -> None:
    """Why one has to be kept. The log that goes on from there is caught by whoever kept one."""
    world = put_back(tmp_path, life.copies[3], None)
    recover(world.store, world.ledger, world.log)
    assert grants(world)
    scope = world.scopes()[0]
    assert world.spent(scope) < life.world.spent(scope)
    while len(world.records()) < len(life.world.records()):
        world.charge(price("0.001"))
    report = verify(world.export(), since=[(life.witnessed / "newest").read_text("utf-8")])
    assert {problem.code for problem in report.problems} == {"fork"}


def test_an_older_checkpoint_does_not_open_what_a_newer_one_keeps_closed(life: Life, tmp_path: Path) -> None:
    middle = life.copies[SNAPSHOTS // 2 + 5]
    assert grants(put_back(tmp_path / "a", middle, life.witnessed / "older"))
    assert not grants(put_back(tmp_path / "b", middle, life.witnessed))
