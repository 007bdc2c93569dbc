"""Copies of the ledger: the same in every store, and never worth more than what was signed."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.audit.anchors import Anchors
from gateway.audit.log import Log
from gateway.backup import back_up, import_records, standing
from gateway.budget import queries, rebuild
from gateway.budget.cells import Shown
from gateway.budget.queries import LOST, Stored
from gateway.budget.recovery import recover
from gateway.errors import Fault, Misconfigured, NotReady, Refusal
from gateway.store import Store
from gateway.stores import copying, sqlite
from gateway.stores.copying import GUARDS, KEYS, TABLES
from gateway.stores.sqlite import SqliteStore
from tests.ledger_world import HASH, SIGNER, World, a_busy_world, dp, price, tamper

Open = Callable[[], Store]


def rows(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.reading() as view:
        return {table: view.all(f"SELECT * FROM {table} ORDER BY {', '.join(KEYS[table])}") for table in TABLES}


def file_of(world: World, folder: Path) -> Path:
    """An export of the world's log."""
    target = folder / "log.ndjson"
    target.write_bytes(b"".join(world.export()))
    return target


def test_every_table_is_copied() -> None:
    assert set(KEYS) == set(TABLES)


def test_a_copy_holds_every_row_and_can_be_opened(
    tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 3)
    world = a_busy_world(tmp_path, open_store)
    back_up(world.store, world.log, tmp_path / "copy")
    with contextlib.closing(SqliteStore(tmp_path / "copy")) as copy:
        assert rows(copy) == rows(world.store)
        assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
        log = Log(copy, SIGNER, Anchors(tmp_path / "none"))
        assert standing(copy, log).open
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".copy")] == []


def test_a_store_is_filled_from_a_copy_and_its_guards_stand_again(
    tmp_path: Path, open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "VALUES_MAX", 40)
    world = a_busy_world(tmp_path / "from")
    filled = World(tmp_path / "into", open_store=open_store)
    with world.store.reading() as view:
        filled.store.fill(view)
    assert rows(filled.store) == rows(world.store)
    filled.reopen()
    assert recover(filled.store, filled.ledger, filled.log).frozen == {}
    filled.answer(filled.charge().id)
    for guard in GUARDS:
        if guard.event == "DELETE" and rows(filled.store)[guard.table]:
            with pytest.raises(Exception, match=guard.says), filled.store.transaction() as tx:
                tx.write(f"DELETE FROM {guard.table}")


def test_a_copy_is_made_while_others_write(tmp_path: Path, open_store: Open) -> None:
    world = World(tmp_path, open_store=open_store)
    over = threading.Event()

    def write() -> None:
        each = price("0.001")
        while not over.is_set():
            world.answer(world.charge(each, world.counted_scopes("acme", 10**6, each)).id)
            time.sleep(0.005)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            back_up(world.store, world.log, tmp_path / f"copy{number}")
    finally:
        over.set()
        writer.join()
    for number in range(3):
        with contextlib.closing(SqliteStore(tmp_path / f"copy{number}")) as copy:
            assert standing(copy, Log(copy, SIGNER, Anchors(tmp_path / "none"))).open


def test_a_copy_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(Misconfigured, match="cannot be written"):
        back_up(world.store, world.log, tmp_path / "nowhere" / "copy")
    assert not (tmp_path / "nowhere").exists()


# what came after the copy


def restored(folder: Path, copy: Path, witnessed: Path | None = None) -> World:
    """A new place, with the copy in it."""
    (folder / "gateway").mkdir(parents=True)
    shutil.copy(copy, folder / "gateway" / "ledger.sqlite")
    return World(folder, witnessed=witnessed)


def test_records_that_are_put_back_do_again_what_they_did(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    running = world.charge()
    back_up(world.store, world.log, tmp_path / "copy")
    a_busy_world_goes_on(world)
    with world.store.transaction() as tx:
        world.ledger.fail(tx, running.id)
    left_running = world.charge()
    with world.store.transaction() as tx:
        world.log.append(tx, kind="admin", code="texts_erased", texts={"records": "[3]"})
    again = restored(tmp_path / "b", tmp_path / "copy")
    imported = import_records(again.store, again.log, file_of(world, tmp_path))
    assert imported.records > 10
    assert imported.to_repeat == {"texts_erased": 1}
    assert again.records() == world.records()
    for table in ("scope", "charge", "cells"):
        assert rows(again.store)[table] == rows(world.store)[table]
    kept = "id, operator, dataset, policy_digest, snapshot, rho, epsilon, delta, state, reused, record, mode"
    with world.store.reading() as before, again.store.reading() as after:
        assert before.all(f"SELECT {kept} FROM query ORDER BY id") == after.all(f"SELECT {kept} FROM query ORDER BY id")
    again.reopen()
    recovered = recover(again.store, again.ledger, again.log)
    assert (recovered.frozen, recovered.failed) == ({}, (left_running.id,))


def test_charges_of_epsilon_are_put_back_as_such(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    scopes = world.scopes(whole=dp(accountant="pure"), share="1")
    back_up(world.store, world.log, tmp_path / "copy")
    world.answer(world.charge(price("0.5", accountant="pure", delta=3), scopes).id)
    again = restored(tmp_path / "b", tmp_path / "copy")
    import_records(again.store, again.log, file_of(world, tmp_path))
    for table in ("scope", "charge"):
        assert rows(again.store)[table] == rows(world.store)[table]
    again.reopen()
    assert recover(again.store, again.ledger, again.log).frozen == {}


VERSION_1 = ("mode", "suite", "licence")


def test_records_of_before_modes_were_named_are_put_back_by_what_they_cost(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    charged, exact = world.charge(), world.exact(Shown(3, 1))
    again = World(tmp_path / "b")
    with again.store.transaction() as tx:
        rebuild.begin(tx)
        before: dict[str, object] = {}
        for record in world.records():
            old = {name: value for name, value in record.items() if name not in VERSION_1}
            rebuild.take_back(tx, old, before)
            before = old
        kept = {row[0]: row[1:] for row in tx.all("SELECT id, mode, state, epsilon FROM query")}
    assert kept == {
        charged.id: ("dp", "running", charged.cost.epsilon),
        exact.id: ("open", "answered", 0),
    }
    assert rows(again.store)["cells"] == rows(world.store)["cells"]
    shown = World(tmp_path / "c")
    reused = shown.exact_again(Shown(2, 0))
    with again.store.transaction() as tx:
        rebuild.take_back(tx, {**shown.records()[-1], "mode": None}, before)
        assert tx.one("SELECT mode, reused, release FROM query WHERE id = ?", (reused.id,)) == ("aggregate", 1, LOST)


def test_a_charge_to_a_scope_without_a_cap_is_not_put_back(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    world.charge()
    again = World(tmp_path / "b")
    charge = next(record for record in world.records() if record["kind"] == "charge")
    with pytest.raises(Fault, match=r"dataset:clinic is charged and has no cap$"), again.store.transaction() as tx:
        rebuild.take_back(tx, charge, {"mode": "dp"})
    assert rows(again.store)["query"] == []


def a_busy_world_goes_on(world: World) -> None:
    for number in range(3):
        row = world.charge(asked=world.asked(("acme", "beta")[number % 2], f"k{number}"))
        world.answer(row.id)
    with world.store.transaction() as tx:
        world.ledger.reuse(tx, world.asked(), Stored("rel_1", HASH))
        world.ledger.refuse(tx, query_id=queries.new_query_id(), actor="acme", code="column_hidden")
        world.ledger.repeat(tx, row)
        world.ledger.declare(tx, world.scopes(share="3"), HASH)
        world.ledger.cancel(tx, world.ledger.charge(tx, world.asked(), world.scopes(share="3"), price("0.1")).id)
    world.exact(Shown(12, 2))
    world.exact_again(Shown(12, 2), operator="beta")


def test_an_answer_that_was_put_back_has_lost_its_place_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    back_up(world.store, world.log, tmp_path / "copy")
    row = world.answer(world.charge().id)
    again = restored(tmp_path / "b", tmp_path / "copy")
    import_records(again.store, again.log, file_of(world, tmp_path))
    with again.store.reading() as view:
        assert queries.get(view, row.id).release == LOST


def other_log(folder: Path, world: World) -> Path:
    other = a_busy_world(folder / "other")
    return file_of(other, folder)


def changed(folder: Path, world: World) -> Path:
    file = file_of(world, folder)
    file.write_bytes(file.read_bytes().replace(b"acme", b"beta", 1))
    return file


def cut(folder: Path, world: World) -> Path:
    file = file_of(world, folder)
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-2]))
    return file


@pytest.mark.parametrize("spoil", [other_log, changed, cut, lambda folder, world: folder / "nothing"])
def test_an_export_that_does_not_fit_changes_nothing(tmp_path: Path, spoil: Callable[[Path, World], Path]) -> None:
    world = World(tmp_path / "a")
    world.charge()
    back_up(world.store, world.log, tmp_path / "copy")
    world.charge()
    again = restored(tmp_path / "b", tmp_path / "copy")
    before = rows(again.store)["record"]
    with pytest.raises(Misconfigured):
        import_records(again.store, again.log, spoil(tmp_path, world))
    assert rows(again.store)["record"] == before


def test_a_copy_is_frozen_until_the_missing_records_are_there(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    world.charge()
    back_up(world.store, world.log, tmp_path / "copy")
    world.charge()
    some = file_of(world, tmp_path)
    world.charge()
    witnessed = tmp_path / "witnessed"
    witnessed.mkdir()
    (witnessed / "today").write_text(world.log.checkpoint(), encoding="utf-8")
    again = restored(tmp_path / "b", tmp_path / "copy", witnessed)
    size = len(again.log.bodies(0, 1000))
    assert f"records {size} to {len(world.records()) - 1} are missing" in (again.log.closed or "")
    import_records(again.store, again.log, some)
    again.reopen()
    assert again.log.closed
    with pytest.raises(Refusal):
        again.charge()
    import_records(again.store, again.log, file_of(world, tmp_path))
    again.reopen()
    assert standing(again.store, again.log).open
    assert again.spent(again.scopes()[0]) == world.spent(world.scopes()[0])
    again.charge()


@pytest.mark.parametrize("note", ["", "rubbish", "baopingkou/test\n1\nAAAA\n\n— x y\n"])
def test_a_witnessed_file_that_is_no_checkpoint_is_named(tmp_path: Path, note: str) -> None:
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "spoilt").write_text(note, encoding="utf-8")
    with pytest.raises(Misconfigured, match="spoilt"):
        World(tmp_path, witnessed=tmp_path / "w")


def test_a_checkpoint_of_a_forked_log_closes_it(tmp_path: Path) -> None:
    """As when a restored copy was served without its checkpoint, and the old one turns up again."""
    world = World(tmp_path / "a")
    back_up(world.store, world.log, tmp_path / "copy")
    world.charge()
    (tmp_path / "note").write_text(world.log.checkpoint(), encoding="utf-8")
    forked = restored(tmp_path / "b", tmp_path / "copy")
    for _ in range(3):
        forked.charge()
    forked.witnessed = tmp_path / "note"
    forked.reopen()
    assert "another one" in (forked.log.closed or "")


# the file of a home


def test_what_was_there_is_kept_with_its_own_journal(tmp_path: Path) -> None:
    """The journal of a crashed file would be played back into the one that takes its place."""
    world = World(tmp_path)
    back_up(world.store, world.log, tmp_path / "copy")
    world.store.close()
    journal = world.path.with_name(world.path.name + "-journal")
    journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"hot" * 500)
    world.path.write_bytes(b"spoilt" * 1000)
    kept = sqlite.replace(world.path, tmp_path / "copy", "before")
    assert kept == world.path.with_suffix(".before")
    assert kept.read_bytes().startswith(b"spoilt")
    assert not journal.exists()
    with contextlib.closing(sqlite3.connect(world.path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_is_served_is_not_replaced(tmp_path: Path) -> None:
    world = World(tmp_path)
    back_up(world.store, world.log, tmp_path / "copy")
    world.store.serve()
    with pytest.raises(NotReady, match="another gateway"):
        sqlite.replace(world.path, tmp_path / "copy", f"{datetime.now(UTC):%Y}")


def test_planted_tables_that_differ_stay_frozen_after_an_import(tmp_path: Path) -> None:
    world = World(tmp_path / "a")
    world.charge()
    tamper(world, "UPDATE scope SET charged_rho = charged_rho - 1 WHERE operator IS NULL")
    back_up(world.store, world.log, tmp_path / "copy")
    again = restored(tmp_path / "b", tmp_path / "copy")
    import_records(again.store, again.log, file_of(world, tmp_path))
    assert set(standing(again.store, again.log).frozen) == {"clinic"}
