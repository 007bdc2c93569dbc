"""/readyz and the questions agree: where no charge can be written, the gateway is not ready."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.http import health
from gateway.stores.schema import SCHEMAS
from tests.gateway_world import COUNT, GatewayWorld, gateway_world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GatewayWorld]:
    monkeypatch.setattr(health, "FRESH_S", -1.0)
    with gateway_world(tmp_path / "home") as found:
        yield found


def room(world: GatewayWorld, pages: int) -> None:
    """So many pages in all are what the disk holds of the ledger."""
    world.gateway.store._writer.execute(f"PRAGMA max_page_count = {pages}")


def ask(world: GatewayWorld) -> int:
    return world.call("POST", "/v1/queries", {"sql": COUNT, "purpose": "research"}).status_code


def test_a_full_disk_is_not_ready_until_there_is_room_again(
    world: GatewayWorld, caplog: pytest.LogCaptureFixture
) -> None:
    assert (world.call("GET", "/readyz").status_code, ask(world)) == (200, 200)
    room(world, 1)  # SQLite takes the number of pages that it has
    while ask(world) == 200:  # the last page has some room left
        pass
    replies = [world.call("GET", "/readyz") for _ in range(2)]
    for reply in replies:
        assert (reply.status_code, reply.json()["store"]) == (503, "cannot be written: database or disk is full")
    (said,) = [each for each in caplog.records if each.name == "bpk.ready"]  # once, not at every look
    assert str(world.gateway.store.path) in said.getMessage()
    assert ask(world) == 503
    room(world, 1_000_000)
    assert (world.call("GET", "/readyz").status_code, ask(world)) == (200, 200)


def test_a_question_that_was_not_written_shows_at_once_however_fresh_the_last_look_was(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "FRESH_S", 1e9)
    assert world.call("GET", "/readyz").status_code == 200
    room(world, 1)
    while ask(world) == 200:
        pass
    assert world.call("GET", "/readyz").status_code == 503


def test_a_ledger_that_was_moved_away_is_not_ready_and_only_the_log_says_where_it_was(world: GatewayWorld) -> None:
    path = world.gateway.store.path
    path.rename(path.with_suffix(".old"))
    reply = world.call("GET", "/readyz")
    path.with_suffix(".old").rename(path)
    assert (reply.status_code, reply.json()["store"]) == (503, "cannot be written: the log of the gateway says why")


def test_a_ledger_that_a_newer_release_has_brought_on_is_not_ready_and_named_so(world: GatewayWorld) -> None:
    later = len(SCHEMAS) + 1
    with contextlib.closing(sqlite3.connect(world.gateway.store.path)) as newer:
        newer.execute(f"PRAGMA user_version = {later}")
    for _ in range(2):
        reply = world.call("GET", "/readyz")
        told = f"cannot be written: a newer release has brought it to schema {later}"
        assert (reply.status_code, reply.json()["store"]) == (503, told)
    assert ask(world) == 503


def test_looking_twice_in_a_moment_writes_once(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_S", 1e9)
    written = []
    monkeypatch.setattr(world.gateway.store, "try_writing", lambda: written.append(True))
    for _ in range(3):
        assert world.call("GET", "/readyz").status_code == 200
    assert len(written) == 1


def test_a_ledger_that_lacks_signed_records_is_frozen_says_so_and_records_nothing(tmp_path: Path) -> None:
    """Every question gets the same stable code, also one that would be refused for something else."""
    with gateway_world(tmp_path / "home") as world:
        ask(world)
        backup = tmp_path / "copy"
        world.gateway.store.copy_to(backup)
        ask(world)
        world.outcomes.log.checkpoint()
        home = world.home
    shutil.copy(backup, home.ledger_file)
    with gateway_world(tmp_path, home=home) as world:
        before = len(world.outcomes.log.bodies(0, 1000))
        ready = world.call("GET", "/readyz")
        assert ready.status_code == 503
        (dataset,) = ready.json()["datasets"]
        assert dataset["state"] == "frozen"
        assert dataset["reason"] == "the log is damaged, or lacks records that were signed"
        for sql in (COUNT, "SELECT name FROM people", "no SQL"):
            reply = world.call("POST", "/v1/queries", {"sql": sql, "purpose": "research"})
            assert (reply.status_code, reply.json()["code"]) == (503, "dataset_frozen")
        assert world.call("POST", "/v1/queries", {"nonsense": 1}).status_code == 422
        assert world.call("GET", "/v1/budgets").status_code == 200
        assert world.call("GET", "/v1/datasets/clinic").json()["state"] == "frozen"
        assert len(world.outcomes.log.bodies(0, 1000)) == before
