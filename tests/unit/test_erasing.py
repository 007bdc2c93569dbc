"""Texts can be erased for ever, and what the log proves stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import erasing
from gateway.audit.verify import verify
from gateway.budget import queries
from gateway.erasing import FLOOR_DAYS, Retention, Wanted, Why, erase
from gateway.errors import Fault, Refusal
from gateway.store import Store
from tests.ledger_world import World, price
from tests.second_verifier import sound

WHY = Why("asked to by the person", "custodian-1")
Open = Callable[[], Store]


@pytest.fixture
def world(tmp_path: Path, open_store: Open) -> World:
    return World(tmp_path, open_store=open_store)


def asked(world: World, text: str, operator: str = "acme") -> str:
    """A question that was answered, with its text in the log and in the ledger."""
    question = replace(world.asked(operator), question=f'{{"sql": "{text}"}}')
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, question, world.scopes(operator), price("0.01"), texts={"sql": text})
    world.answer(row.id)
    return row.id


def forget(world: World, wanted: Wanted) -> int:
    with world.store.transaction() as tx:
        return erase(world.log, tx, wanted, WHY, world.clock())


def texts(world: World) -> list[str]:
    with world.store.reading() as view:
        return [row[0] for row in view.all("SELECT text FROM secret WHERE name = 'sql' ORDER BY seq")]


def grow_old(world: World, days: int = FLOOR_DAYS + 1) -> None:
    world.clock.moment += timedelta(days=days)


def test_an_erased_text_is_gone_and_every_proof_stays(world: World) -> None:
    first, _ = asked(world, "erase_me"), asked(world, "keep_me")
    with world.store.reading() as view:
        record = view.one("SELECT seq FROM record WHERE query = ? AND kind = 'decision'", (first,))
    assert record is not None
    receipt, note = world.log.receipt(record[0]), world.log.checkpoint()
    grow_old(world)
    assert forget(world, Wanted(query_id=first)) == 1
    assert texts(world) == ["keep_me"]
    assert verify(world.export(), since=[note], receipts=[receipt]).ok
    assert sound(world.export())
    last = len(world.records()) - 1
    with world.store.reading() as view:
        assert queries.get(view, first).question == ""
        told = world.log.opened(view, last)
    assert world.records()[-1]["code"] == "texts_erased"
    assert {name: text for name, (_, text) in told.items()} == {
        "records": f"[[{record[0]}, {record[0]}]]",
        "reason": WHY.reason,
        "by": WHY.by,
    }
    with pytest.raises(Refusal, match="no text to erase"):
        forget(world, Wanted(query_id=first))


def test_the_bytes_of_an_erased_text_are_not_in_the_file(tmp_path: Path) -> None:
    world = World(tmp_path)
    query = asked(world, "a_very_telling_literal")
    assert b"a_very_telling_literal" in world.path.read_bytes()
    grow_old(world)
    forget(world, Wanted(query_id=query))
    assert b"a_very_telling_literal" not in world.path.read_bytes()


def test_what_an_operator_asked_goes_as_a_whole_and_only_that(world: World) -> None:
    for number in range(3):
        asked(world, f"a{number}")
        asked(world, f"b{number}", "beta")
    grow_old(world)
    assert forget(world, Wanted(actor="acme")) == 3
    assert texts(world) == ["b0", "b1", "b2"]


def test_no_text_goes_before_the_floor(world: World) -> None:
    old = asked(world, "old")
    grow_old(world)
    asked(world, "young")
    before = world.records()
    with pytest.raises(Refusal) as caught:
        forget(world, Wanted(actor="acme"))
    assert caught.value.code == "retention_floor"
    assert texts(world) == ["old", "young"]
    assert world.records() == before
    assert forget(world, Wanted(query_id=old)) == 1


def test_what_is_past_retention_goes_by_itself_in_batches(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "BATCH", 2)
    for number in range(5):
        asked(world, f"old {number}")
    grow_old(world, 400)
    asked(world, "young")
    retention = Retention(world.log, world.store, 365, world.clock)
    assert retention.once() == 5
    assert retention.once() == 0
    assert texts(world) == ["young"]
    assert [record["code"] for record in world.records()].count("texts_expired") == 3
    assert verify(world.export()).ok


def test_no_retention_is_below_the_floor(world: World) -> None:
    with pytest.raises(Fault, match="floor"):
        Retention(world.log, world.store, FLOOR_DAYS - 1, world.clock).once()


def test_a_question_that_runs_keeps_what_it_runs_by(world: World) -> None:
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(), world.scopes(), price("0.01"), texts={"sql": "running"})
    grow_old(world)
    forget(world, Wanted(query_id=row.id))
    with world.store.reading() as view:
        assert queries.get(view, row.id).question != ""
    world.answer(row.id)


@pytest.mark.parametrize(
    "change",
    [
        "question = 'other'",
        "question = ''",
        "question = '', request_hash = '', rho = 0",
        "question = '', request_hash = '', record = 0",
        "question = '', request_hash = '', state = 'failed', release = NULL, release_hash = NULL",
    ],
)
def test_erasure_is_the_only_change_of_a_query_that_ended(world: World, change: str) -> None:
    query = asked(world, "text")
    with pytest.raises(Fault), world.store.transaction() as tx:
        tx.write(f"UPDATE query SET {change} WHERE id = ?", (query,))


def test_the_same_request_under_an_erased_key_is_a_conflict_and_not_another_answer(world: World) -> None:
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(key="k"), world.scopes(), price("0.01"), texts={"sql": "x"})
    world.answer(row.id)
    grow_old(world)
    forget(world, Wanted(query_id=row.id))
    with pytest.raises(Refusal) as caught, world.store.transaction() as tx:
        world.ledger.charge(tx, world.asked(key="k"), world.scopes(), price("0.01"))
    assert caught.value.code == "idempotency_conflict"
