"""A log that is signed with SM2: everything that a log does, by both verifiers, and changes of key to and from it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import note as notes
from gateway.audit import tiles
from gateway.audit.bundles import verify_bundle, verify_report
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.log import Log
from gateway.audit.note import key_hash, parse_checkpoint, parse_key, signed_by, size_of
from gateway.audit.older import NO_WITNESSES
from gateway.audit.record import canonical
from gateway.audit.suites import SHA256, SM3, SM3_SM2, sm3
from gateway.audit.verify import verify_file, verify_receipt
from gateway.audit.witnessing import Witnessing
from gateway.backup import standing
from gateway.errors import Misconfigured, NotReady
from gateway.oversight.bundle import evidence
from gateway.oversight.report import signed
from tests import second_sm2, second_verifier
from tests.ledger_world import KEY, NEXT, SIGNER, World, a_busy_world
from tests.second_verifier import _leaf as leaf
from tests.second_verifier import root
from tests.sm2_world import Inside, sm2_signer
from tests.unit.test_log_keys import judged
from tests.waiting import eventually
from tests.witness_world import listening

OURS, FOLLOWING, THIEF = sm2_signer(), sm2_signer(11**70), sm2_signer(13**60)
BEFORE = Signer(SIGNER.origin, KEY, SM3)
AFTER = Signer(SIGNER.origin, NEXT.key, SM3)

pytestmark = pytest.mark.skipif(
    "sm3" not in hashlib.algorithms_available, reason="the second verifier takes SM3 from Python's OpenSSL"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_busy_world(tmp_path / "log", held=Held(OURS, lambda: [FOLLOWING, AFTER]))


def test_every_record_names_the_suite_and_both_verifiers_find_the_log_sound(world: World) -> None:
    lines = world.export()
    assert {record["suite"] for record in world.records()} == {SM3_SM2}
    assert judged(lines, OURS.vkey, [world.log.checkpoint()], receipts=[world.log.receipt(5)])
    for other in (SIGNER, BEFORE, THIEF):
        assert not judged(lines, other.vkey)
    assert world.records()[0]["commitments"]["key"] == sm3(OURS.public).hex() == key_hash(OURS.vkey)
    assert standing(world.store, world.log).open


def test_its_key_says_what_it_is() -> None:
    """0xff and a name, as C2SP signed-note has it for what it does not know."""
    key, written = parse_key(OURS.vkey), base64.b64decode(OURS.vkey.rpartition("+")[2])
    assert key.suite == SM3_SM2
    assert written == b"\xffsm3-sm2\x04" + key.public[1:]
    for spoilt in (written[:-1], written + b"\0", written[:-1] + b"\x01", written[:8] + b"\3" + written[9:41]):
        vkey = vkey_of(spoilt)
        with pytest.raises(ValueError, match=r"key|SM2"):
            parse_key(vkey)
        with pytest.raises((ValueError, second_verifier.Unsound)):
            second_verifier._key(vkey)


def vkey_of(written: bytes) -> str:
    key_id = hashlib.sha256(f"{SIGNER.origin}\n".encode() + written).hexdigest()[:8]
    return f"{SIGNER.origin}+{key_id}+{base64.b64encode(written).decode()}"


def test_one_tree_has_one_note_however_often_it_is_asked_for(world: World) -> None:
    """SM2 signs the same bytes in another way each time."""
    assert OURS.sign(3, bytes(32)) != OURS.sign(3, bytes(32))
    note = world.log.checkpoint()
    key = world.held.signer.key  # type: ignore[union-attr]
    asked = len(key.asked)
    assert {world.log.checkpoint() for _ in range(3)} == {note}
    assert world.log.receipt(2)["checkpoint"] == note
    assert len(key.asked) == asked
    world.charge()
    assert size_of(world.log.checkpoint()) == len(world.records()) > size_of(note)
    assert len(key.asked) == asked + 1


class Slow(Inside):
    """Signs when the gate is open."""

    gate = threading.Event()

    def sign(self, content: bytes) -> bytes:
        signature = super().sign(content)
        assert self.gate.wait(60)
        return signature


def signatures_for_many(tmp_path: Path) -> int:
    """How many there are for six who ask while one is being made, over records that it does not cover."""
    key = Slow(7**80)
    key.gate.clear()
    world = World(tmp_path, held=Signer(SIGNER.origin, key, SM3_SM2))
    world.charge()
    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(world.log.checkpoint)
        assert eventually(lambda: len(key.asked) == 1, 60)
        index = world.charge().record
        others = [pool.submit(world.log.receipt, index) for _ in range(6)]
        key.gate.set()
        assert size_of(first.result()) < len(world.records())
        assert all(verify_receipt(each.result(), world.log.vkey) == [] for each in others)
    return len(key.asked)


def test_who_waits_for_a_signature_is_served_by_the_next_one(tmp_path: Path) -> None:
    assert signatures_for_many(tmp_path) == 2


def test_a_log_that_signs_for_each_who_asks_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Log._covering
    monkeypatch.setattr(Log, "_covering", lambda log, _, **__: real(log, 10**9))
    assert signatures_for_many(tmp_path) > 2


def test_receipts_reports_evidence_and_tiles_hold(world: World, tmp_path: Path) -> None:
    query = world.records()[-1]["query_id"]
    receipt = json.loads(json.dumps(world.log.receipt(4)))
    assert verify_receipt(receipt, OURS.vkey) == []
    assert verify_receipt(receipt, THIEF.vkey)
    assert verify_receipt({**receipt, "record": {**receipt["record"], "suite": SM3}}, OURS.vkey)
    assert verify_bundle(evidence(world.log, world.store, None, query), OURS.vkey, NO_WITNESSES) == []
    assert verify_report(signed(world.log, world.store, None, None, None), OURS.vkey, NO_WITNESSES) == []
    tiles.write(world.log, tmp_path / "tiles")
    assert verify_file(tmp_path / "tiles", key=OURS.vkey).ok


def test_flipped_bits_and_dropped_records_are_caught(world: World) -> None:
    lines, dice = world.export(), random.Random(8)
    blob = b"".join(lines)
    end = len(blob) - len(lines[-1])
    places = [dice.randrange(len(blob) * 8) for _ in range(30)] + [
        dice.randrange(end * 8, len(blob) * 8) for _ in range(20)
    ]
    for place in places:
        flipped = bytearray(blob)
        flipped[place // 8] ^= 1 << place % 8
        assert not judged(bytes(flipped).splitlines(keepends=True)), place
    for place in range(0, len(lines), 3):
        assert not judged(lines[:place] + lines[place + 1 :]), place


def with_signature(lines: list[bytes], change: Callable[[bytes], bytes]) -> list[bytes]:
    end = json.loads(lines[-1])
    text, _, line = end["checkpoint"].partition("\n\n")
    mark, name, blob = line[:-1].split(" ")
    written = base64.b64decode(blob)
    again = base64.b64encode(written[:4] + change(written[4:])).decode()
    return [*lines[:-1], canonical({**end, "checkpoint": f"{text}\n\n{mark} {name} {again}\n"}) + b"\n"]


def test_a_signature_of_anything_else_is_caught(world: World) -> None:
    lines = world.export()
    assert judged(with_signature(lines, lambda signature: signature))
    text = parse_checkpoint(json.loads(lines[-1])["checkpoint"]).signed
    changes: list[Callable[[bytes], bytes]] = [
        lambda _: second_sm2.sign(THIEF.key.secret, text),  # type: ignore[union-attr]
        lambda _: second_sm2.sign(OURS.key.secret, text + b"\n"),  # type: ignore[union-attr]
        lambda _: KEY.sign(text),
        lambda _: bytes(64),
        lambda signature: signature[32:] + signature[:32],
        lambda signature: signature + b"\0",
        lambda signature: signature[:-1],
    ]
    for number, change in enumerate(changes):
        assert not judged(with_signature(lines, change)), number


def rewritten(world: World, suite: str, signer: Signer) -> list[bytes]:
    """By the holder of the key: records that name `suite`, signed as `signer`."""
    records = [{**record, "suite": suite} for record in world.records()]
    records[0]["commitments"]["key"] = signer.key_hash
    lines = [canonical(record) + b"\n" for record in records]
    note = signer.sign(len(lines), root([leaf(line, SM3) for line in lines], SM3))
    return [*lines, canonical({"checkpoint": note, "key": signer.vkey}) + b"\n"]


def test_records_and_key_are_of_one_suite(world: World) -> None:
    for suite in (SM3, SM3_SM2):
        for signer in (OURS, BEFORE):
            assert judged(rewritten(world, suite, signer)) == (suite == signer.suite), (suite, signer.suite)
    assert not judged(rewritten(world, "sm3-rsa", OURS))
    mixed = rewritten(world, SM3_SM2, OURS)[:-1]
    mixed[4] = canonical({**json.loads(mixed[4]), "suite": SM3}) + b"\n"
    note = OURS.sign(len(mixed), root([leaf(line, SM3) for line in mixed], SM3))
    assert not judged([*mixed, canonical({"checkpoint": note, "key": OURS.vkey}) + b"\n"])


CHANGES = {
    "from SM2 to SM2": (OURS, FOLLOWING),
    "from Ed25519 to SM2": (BEFORE, FOLLOWING),
    "from SM2 to Ed25519": (OURS, AFTER),
}


def changed(folder: Path, name: str) -> World:
    first, second = CHANGES[name]
    world = World(folder, held=Held(first, lambda: [second]))
    world.answer(world.charge().id)
    world.hand_over(second)
    world.answer(world.charge().id)
    return world


@pytest.mark.parametrize("name", CHANGES)
def test_the_log_goes_over_to_and_from_a_key_of_sm2(name: str, tmp_path: Path) -> None:
    first, second = CHANGES[name]
    world = changed(tmp_path, name)
    lines, size = world.export(), next(r["seq"] + 1 for r in world.records() if r["code"] == "log_key")
    assert [record["suite"] for record in world.records()[size - 1 : size + 1]] == [first.suite, second.suite]
    for key in (first, second):
        assert judged(lines, key.vkey, receipts=[world.log.receipt(1), world.log.receipt(size)])
        assert verify_receipt(world.log.receipt(1), key.vkey) == verify_receipt(world.log.receipt(size), key.vkey) == []
    assert not judged(lines, THIEF.vkey)
    (both,) = json.loads(lines[-1])["handovers"]
    assert all(signed_by(parse_checkpoint(both), key.vkey) for key in (first, second))
    world.reopen()
    world.charge()
    assert judged(world.export(), first.vkey)


@pytest.mark.parametrize("name", CHANGES)
def test_records_after_a_change_name_the_new_keys_suite_and_those_before_it_the_old(name: str, tmp_path: Path) -> None:
    first, second = CHANGES[name]
    world = changed(tmp_path, name)
    size = next(record["seq"] + 1 for record in world.records() if record["code"] == "log_key")
    for place, suite in ((size, first.suite), (size - 1, second.suite), (0, second.suite), (size + 1, "sm3-rsa")):
        lines = world.export()[:-1]
        lines[place] = canonical({**json.loads(lines[place]), "suite": suite}) + b"\n"
        tops = [root([leaf(line, SM3) for line in lines[:end]], SM3) for end in (size, len(lines))]
        both = second.sign_too(first.sign(size, tops[0]))
        end = {"checkpoint": second.sign(len(lines), tops[1]), "key": second.vkey, "handovers": [both]}
        same = suite == json.loads(world.export()[place])["suite"]
        assert judged([*lines, canonical(end) + b"\n"]) == same, (place, suite)


def test_it_never_goes_over_to_a_key_for_another_digest(world: World) -> None:
    with pytest.raises(Misconfigured, match="its own digest"):
        world.hand_over(NEXT)
    assert NEXT.suite == SHA256
    plain = World(world.path.parent / "plain", held=Held(SIGNER, lambda: [FOLLOWING]))
    with pytest.raises(Misconfigured, match="its own digest"):
        plain.hand_over(FOLLOWING)


@pytest.mark.parametrize("name", CHANGES)
def test_a_witness_follows_it(name: str, tmp_path: Path) -> None:
    first, second = CHANGES[name]
    world = World(tmp_path / "log", held=Held(first, lambda: [second]))
    world.charge()
    with listening(tmp_path / "w", "w.example/1", first.vkey) as remote:
        witnessing = Witnessing(world.log, world.store, [remote], every_s=1)
        with contextlib.closing(world.store):
            assert witnessing.once() == 1
            world.charge()
            assert witnessing.once() == 1
            world.hand_over(second)
            world.charge()
            assert witnessing.once() == 1
            note = world.log.cosigned() or ""
            assert size_of(note) == len(world.records())
            assert signed_by(parse_checkpoint(note), second.vkey)
            assert judged(world.export(), first.vkey)
        witnessing.stop()


def test_a_key_that_does_not_sign_leaves_nothing_to_show(tmp_path: Path) -> None:
    key = Inside(7**80)
    signer = Signer(SIGNER.origin, key, SM3_SM2)
    world = World(tmp_path, held=Held(signer, lambda: [FOLLOWING]))
    world.answer(world.charge().id)
    kept = world.path.with_suffix(".checkpoint")
    before = world.log.checkpoint()
    newest = world.charge().record
    key.broken = "the log's signer is out"
    assert verify_receipt(world.log.receipt(1), signer.vkey) == [], "that record is signed"
    attempts: list[Callable[[], Any]] = [
        world.log.checkpoint, lambda: world.log.receipt(newest), world.export, lambda: world.hand_over(FOLLOWING)
    ]  # fmt: skip
    for attempt in attempts:
        with pytest.raises(NotReady, match="is out"):
            attempt()
    assert kept.read_text("utf-8") == before == world.log.receipt(1)["checkpoint"]
    assert world.log.unready() == world.log.unsigned() == "the log's signer is out"
    key.broken = None
    assert world.log.unready() is None
    assert judged(world.export(), signer.vkey, [before])
    assert len(world.log.keys().chain) == 1, "the change that was not signed never was"


def test_a_verifier_that_takes_any_sm2_signature_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "sm2_holds", lambda *_: True)
    with pytest.raises(AssertionError):
        test_a_signature_of_anything_else_is_caught(world)


def test_a_verifier_that_lets_records_name_any_suite_is_noticed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.audit import replay

    monkeypatch.setattr(replay, "suite_of", lambda record: SM3_SM2)
    with pytest.raises(AssertionError):
        test_records_and_key_are_of_one_suite(world)
