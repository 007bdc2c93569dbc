"""The log: what enters, what is signed, what an auditor reads, what can be erased."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import export
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.log import Log
from gateway.audit.note import parse_key
from gateway.audit.search import Filter, find
from gateway.audit.verify import verify, verify_receipt
from gateway.errors import Fault, Misconfigured, Refusal, Unsound
from tests.ledger_world import HASH, SIGNER, World, a_busy_world, tamper


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def append(world: World, **fields: object) -> int:
    with world.store.transaction() as tx:
        return world.log.append(tx, **{"kind": "read", "code": "records", **fields})


def append_and_fail(world: World) -> None:
    with world.store.transaction() as tx:
        world.log.append(tx, kind="read", code="records")
        raise ZeroDivisionError


def test_a_new_log_begins_with_a_genesis_record_that_names_its_key(world: World) -> None:
    (genesis,) = world.records()
    key = parse_key(world.log.vkey)
    assert genesis["kind"] == "genesis"
    assert genesis["commitments"] == {"key": hashlib.sha256(bytes([key.kind]) + key.public).hexdigest()}
    world.reopen()
    assert len(world.records()) == 1


def test_a_log_does_not_open_under_another_name_or_key(world: World, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="another key"):
        Log(world.store, Signer(SIGNER.origin, Ed25519PrivateKey.generate()), Anchors(tmp_path / "anchor"))
    with pytest.raises(Misconfigured, match="is that of"):
        Log(world.store, replace(SIGNER, origin="baopingkou/other"), Anchors(tmp_path / "anchor"))


@pytest.mark.parametrize("origin", ["", "two words", "a+b", "名", "a\nb"])
def test_an_origin_that_notes_cannot_carry_is_refused(origin: str) -> None:
    with pytest.raises(Misconfigured):
        Signer(origin, Ed25519PrivateKey.generate())


def test_a_record_of_a_transaction_that_fails_was_never_there(world: World) -> None:
    before = world.log.checkpoint()
    with pytest.raises(ZeroDivisionError):
        append_and_fail(world)
    assert world.log.checkpoint() == before
    with pytest.raises(Fault, match=r"^a receipt for a record that is not durable$"):
        world.log.receipt(1)


def test_texts_are_committed_to_and_kept_apart(world: World) -> None:
    index = append(world, texts={"sql": "SELECT 机密"})
    record = world.records()[index]
    with world.store.reading() as view:
        salt, text = world.log.opened(view, index)["sql"]
    assert text == "SELECT 机密"
    assert record["commitments"]["sql"] == hashlib.sha256(bytes.fromhex(salt) + text.encode()).hexdigest()
    assert "机密".encode() not in b"".join(world.export())
    later = append(world, texts={"sql": "SELECT 机密"})
    again = world.records()[later]
    assert again["commitments"] != record["commitments"], "the same text must not show as the same"


def test_a_text_that_is_half_a_character_is_committed_to_as_an_escape(world: World) -> None:
    index = append(world, texts={"sql": "SELECT '\ud800'"})
    with world.store.reading() as view:
        assert world.log.opened(view, index)["sql"][1] == "SELECT '\\ud800'"
    assert verify(world.export()).ok


def test_time_never_runs_back(world: World) -> None:
    append(world)
    world.clock.moment -= timedelta(days=3)
    append(world)
    times = [record["time"] for record in world.records()]
    assert times == sorted(times)


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "note"},
        {"decision": "run"},
        {"kind": "charge"},
        {"query_id": "qry_1"},
        {"texts": {"Not Plain": "x"}},
        {"hashes": {"release": "short"}},
        {"texts": {"release": "x"}, "hashes": {"release": HASH}},
        {"actor": "\ud800"},
        {"actor": "x" * 70_000},
        {"charges": [{"scope": "x"}]},
    ],
)
def test_what_is_no_record_is_a_fault_and_leaves_nothing(world: World, fields: dict) -> None:
    with pytest.raises(Fault):
        append(world, **fields)
    assert len(world.records()) == 1


def test_records_are_never_changed_or_deleted(world: World) -> None:
    append(world, texts={"sql": "x"})
    for statement in (
        "UPDATE record SET code = 'x'",
        "DELETE FROM record",
        "UPDATE node SET place = 7",
        "DELETE FROM node",
        "UPDATE secret SET text = 'y'",
        "INSERT OR REPLACE INTO record SELECT * FROM record",
    ):
        with pytest.raises(Fault), world.store.transaction() as tx:
            tx.write(statement)


def test_an_auditor_pages_and_filters(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    everything = world.records()

    def read(limit: int = 1000, cursor: str | None = None, **wanted: str) -> tuple[list[dict], str | None]:
        with world.store.reading() as view:
            page = find(view, Filter(**wanted), limit=limit, cursor=cursor)
        return list(page.records), page.cursor

    assert read() == (everything, None)
    for name in ("actor", "dataset", "kind", "decision", "code", "query_id"):
        value = next(record[name] for record in everything if record[name] is not None)
        assert read(**{name: value})[0] == [record for record in everything if record[name] == value]
    middle = everything[10]["time"]
    assert read(since=middle)[0] == [record for record in everything if record["time"] >= middle]
    assert read(until=middle)[0] == [record for record in everything if record["time"] < middle]
    found, cursor = read(limit=4, kind="charge")
    while cursor is not None:
        more, cursor = read(limit=4, cursor=cursor, kind="charge")
        found += more
    assert found == [record for record in everything if record["kind"] == "charge"]
    for bad in ({"cursor": "x"}, {"cursor": "²"}, {"limit": 0}, {"limit": 10_000}):
        with pytest.raises(Refusal):
            read(**bad)


def test_reading_leaves_a_record(world: World) -> None:
    with world.store.transaction() as tx:
        index = world.log.note_read(tx, "auditor", "export", {"kind": "charge"})
    record = world.records()[index]
    assert (record["kind"], record["actor"], record["code"]) == ("read", "auditor", "export")


def test_proofs_cover_every_earlier_checkpoint(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    size = len(world.records())
    assert world.log.consistency(3, size)
    assert world.log.inclusion(0, size)
    for call in (lambda: world.log.inclusion(0, size + 1), lambda: world.log.consistency(0, size)):
        with pytest.raises(Refusal):
            call()


def another_first_record(world: World) -> None:
    with world.store.transaction() as tx:
        tx.write("DROP TRIGGER node_no_update")
        tx.write("UPDATE node SET hash = zeroblob(32) WHERE level = 0 AND place = 0")
        tx.write("UPDATE node SET hash = zeroblob(32) WHERE level = 1 AND place = 0")


def test_nothing_is_signed_that_does_not_extend_what_was_signed(world: World) -> None:
    append(world)
    world.log.checkpoint()
    another_first_record(world)
    with pytest.raises(Fault, match="no longer extends"):
        world.log.checkpoint()
    with pytest.raises(Fault, match="no longer extends"):
        world.log.receipt(1)


def test_records_that_became_durable_together_share_a_signature(world: World) -> None:
    first, second = append(world), append(world)
    later, earlier = world.log.receipt(second), world.log.receipt(first)
    assert earlier["checkpoint"] == later["checkpoint"]
    third = append(world)
    assert world.log.receipt(first) == earlier
    assert world.log.receipt(third)["checkpoint"] != later["checkpoint"]
    for receipt in (earlier, later):
        assert verify_receipt(json.loads(json.dumps(receipt)), world.log.vkey) == []


def test_a_signature_is_not_shared_by_another_log_than_it_was_made_over(world: World) -> None:
    append(world)
    world.log.checkpoint()
    another_first_record(world)
    with pytest.raises(Fault, match="no longer extends"):
        world.log.receipt(1)
    assert world.log.closed is not None


@pytest.mark.parametrize("index", [1, 7], ids=["that is left", "that is lost"])
def test_a_log_that_lost_what_was_signed_is_closed_by_whoever_asks_for_a_receipt(world: World, index: int) -> None:
    while append(world) < 7:
        pass
    world.log.checkpoint()
    for lost in ("secret WHERE seq > 4", "record WHERE seq > 4", "node WHERE (place + 1) << level > 5"):
        tamper(world, f"DELETE FROM {lost}")
    with pytest.raises(Unsound, match="no longer extends"):
        world.log.receipt(index)
    assert world.log.closed is not None


def test_nothing_is_proven_with_a_subtree_that_is_not_there(world: World) -> None:
    append(world)
    with world.store.transaction() as tx:
        tx.write("DROP TRIGGER node_no_delete")
        tx.write("DELETE FROM node WHERE level = 1")
    with pytest.raises(Fault, match="hole"):
        world.log.receipt(1)


def test_an_export_is_written_whole_or_not_at_all(world: World, tmp_path: Path) -> None:
    target = tmp_path / "log.ndjson"
    export.write(world.log, target)
    assert target.read_bytes() == b"".join(world.export())
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Fault):
        export.write(world.log, tmp_path / "nowhere" / "log.ndjson")
    with pytest.raises(Fault):
        export.write(world.log, tmp_path / "gateway")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gateway", "log.ndjson"]


def test_every_record_has_a_receipt_that_holds_offline(tmp_path: Path) -> None:
    world = a_busy_world(tmp_path)
    for index, record in enumerate(world.records()):
        receipt = json.loads(json.dumps(world.log.receipt(index)))
        assert set(receipt) == {"index", "record", "leaf_hash", "proof", "checkpoint"}
        assert receipt["record"] == record
        assert verify_receipt(receipt, world.log.vkey) == []
