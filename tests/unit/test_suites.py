"""A log with SM3 digests: everything that a log does, by both verifiers, and no way from one suite to the other."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import suites, tiles
from gateway.audit.bundles import verify_bundle, verify_report
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.note import key_hash, parse_key, size_of
from gateway.audit.older import NO_WITNESSES
from gateway.audit.record import canonical
from gateway.audit.suites import SHA256, SM3, sha256, sm3
from gateway.audit.verify import verify, verify_file, verify_receipt
from gateway.audit.witnessing import Witnessing
from gateway.backup import back_up, import_records, standing
from gateway.errors import Misconfigured
from gateway.oversight.bundle import evidence
from gateway.oversight.report import signed
from tests.ledger_world import SIGNER, World, a_busy_world
from tests.second_verifier import _leaf as leaf
from tests.second_verifier import root, sound
from tests.unit.test_backup_commands import run
from tests.unit.test_log_keys import judged
from tests.witness_world import listening

OURS = Signer(SIGNER.origin, SIGNER.key, SM3)
NEXT = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"n" * 32), SM3)
GOLDEN = Path(__file__).parents[1] / "attack" / "golden"

pytestmark = pytest.mark.skipif(
    "sm3" not in hashlib.algorithms_available, reason="the second verifier takes SM3 from Python's OpenSSL"
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_busy_world(tmp_path / "log", held=Held(OURS, lambda: [NEXT]))


def test_the_digest_is_that_of_the_standard() -> None:
    """GB/T 32905-2016, appendix A."""
    assert sm3(b"abc").hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
    assert sm3(b"abcd" * 16).hex() == "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
    dice = random.Random(3)
    for _ in range(200):
        content = dice.randbytes(dice.randrange(300))
        assert sm3(content) == hashlib.new("sm3", content).digest()


def test_every_record_names_the_suite_and_both_verifiers_find_the_log_sound(world: World) -> None:
    lines = world.export()
    assert {record["suite"] for record in world.records()} == {SM3}
    assert judged(lines, OURS.vkey, [world.log.checkpoint()], receipts=[world.log.receipt(5)])
    assert not judged(lines, SIGNER.vkey)
    genesis = world.records()[0]
    assert genesis["commitments"]["key"] == sm3(OURS.public).hex() == key_hash(OURS.vkey)
    assert parse_key(OURS.vkey).suite == SM3
    assert standing(world.store, world.log).open


def test_texts_are_committed_to_with_it(world: World) -> None:
    record = next(record for record in world.records() if record["decision"] == "run")
    with world.store.reading() as view:
        salt, text = world.log.opened(view, record["seq"])["sql"]
    assert record["commitments"]["sql"] == sm3(bytes.fromhex(salt) + text.encode()).hex()


def test_receipts_reports_evidence_and_tiles_hold(world: World, tmp_path: Path) -> None:
    query = world.records()[-1]["query_id"]
    receipt = json.loads(json.dumps(world.log.receipt(4)))
    assert verify_receipt(receipt, OURS.vkey) == []
    assert verify_receipt(receipt, SIGNER.vkey)
    assert verify_receipt({**receipt, "record": {**receipt["record"], "suite": SHA256}}, OURS.vkey)
    assert verify_bundle(evidence(world.log, world.store, None, query), OURS.vkey, NO_WITNESSES) == []
    assert verify_report(signed(world.log, world.store, None, None, None), OURS.vkey, NO_WITNESSES) == []
    tiles.write(world.log, tmp_path / "tiles")
    assert verify_file(tmp_path / "tiles", key=OURS.vkey).ok
    (tmp_path / "tiles" / "key").write_text(f"{SIGNER.vkey}\n")
    with pytest.raises(ValueError, match="other hashes"):
        verify_file(tmp_path / "tiles")


def test_flipped_bits_and_dropped_records_are_caught(world: World) -> None:
    lines, dice = world.export(), random.Random(4)
    blob = b"".join(lines)
    for _ in range(60):
        flipped = bytearray(blob)
        place = dice.randrange(len(blob) * 8)
        flipped[place // 8] ^= 1 << place % 8
        assert not judged(bytes(flipped).splitlines(keepends=True)), place
    for place in range(len(lines)):
        assert not judged(lines[:place] + lines[place + 1 :]), place


def rewritten(world: World, suite: str, signer: Signer, tree: str) -> list[bytes]:
    """By the holder of the key: records that name `suite`, under a root of `tree`, signed as `signer`."""
    records = [{**record, "suite": suite} for record in world.records()]
    records[0]["commitments"]["key"] = signer.key_hash
    lines = [canonical(record) + b"\n" for record in records]
    end = {"checkpoint": signer.sign(len(lines), root([leaf(line, tree) for line in lines], tree)), "key": signer.vkey}
    return [*lines, canonical(end) + b"\n"]


def test_records_key_and_tree_are_of_one_suite(world: World) -> None:
    assert judged(rewritten(world, SM3, OURS, SM3))
    assert judged(rewritten(world, SHA256, SIGNER, SHA256)), "another log, of another key"
    for suite in (SM3, SHA256):
        for signer in (OURS, SIGNER):
            for tree in (SM3, SHA256):
                if not suite == signer.suite == tree:
                    assert not judged(rewritten(world, suite, signer, tree)), (suite, signer.suite, tree)
    lines = world.export()
    mixed = [json.loads(line) for line in lines[:-1]]
    mixed[4]["suite"] = SHA256
    assert not judged([*(canonical(record) + b"\n" for record in mixed), lines[-1]])


def test_the_key_changes_within_the_suite_and_never_out_of_it(world: World) -> None:
    with pytest.raises(Exception, match="its own digest"):
        world.hand_over(Signer(SIGNER.origin, NEXT.key))
    world.hand_over(NEXT)
    world.charge()
    for key in (OURS, NEXT):
        assert judged(world.export(), key.vkey)
        assert verify_receipt(world.log.receipt(len(world.records()) - 1), key.vkey) == []


def test_a_witness_follows_it_by_the_key_that_it_knows(world: World, tmp_path: Path) -> None:
    with listening(tmp_path / "w", "w.example/1", OURS.vkey) as remote:
        witnessing = Witnessing(world.log, world.store, [remote], every_s=1)
        with contextlib.closing(world.store):
            assert witnessing.once() == 1
            world.charge()
            assert witnessing.once() == 1, "with a proof of SM3"
            world.hand_over(NEXT)
            world.charge()
            assert witnessing.once() == 1
            assert size_of(world.log.cosigned() or "") == len(world.records())
        witnessing.stop()


def test_a_copy_is_brought_up_to_date_and_damage_is_seen(world: World, tmp_path: Path) -> None:
    place = tmp_path / "b" / "gateway"
    place.mkdir(parents=True)
    back_up(world.store, world.log, place / "ledger.sqlite")
    world.charge()
    (tmp_path / "export").write_bytes(b"".join(world.export()))
    again = World(tmp_path / "b", held=OURS)
    assert import_records(again.store, again.log, tmp_path / "export").records > 0
    again.reopen()
    assert standing(again.store, again.log).open
    with pytest.raises(Misconfigured, match="suite"):
        World(tmp_path / "b", held=SIGNER)


def test_a_home_is_begun_with_a_suite_and_keeps_it(tmp_path: Path) -> None:
    run("init", tmp_path / "home", "--suite", SM3)
    told: dict[str, Any] = run("audit", "checkpoint", "--home", tmp_path / "home")
    assert parse_key(told["key"]).suite == SM3
    run("audit", "rotate-key", "--home", tmp_path / "home")
    run("audit", "export", "--home", tmp_path / "home", "--output", tmp_path / "log")
    assert judged((tmp_path / "log").read_bytes().splitlines(keepends=True), told["key"])
    settings = tmp_path / "home" / "gateway.toml"
    settings.write_text(settings.read_text("utf-8").replace(SM3, SHA256), encoding="utf-8")
    with pytest.raises(Misconfigured, match="begun with the suite"):
        run("audit", "checkpoint", "--home", tmp_path / "home")
    with pytest.raises(AssertionError, match="none of"):
        run("init", tmp_path / "other", "--suite", "md5-rsa")


@pytest.mark.parametrize("name", ["changed-key", "sm3", "sm2"])
def test_logs_of_this_release_stay_sound(name: str) -> None:
    """What a later verifier has to read: a log that changed its key, and one that is hashed with SM3 and did so too."""
    lines = (GOLDEN / f"audit-{name}.ndjson").read_bytes().splitlines(keepends=True)
    first = next(json.loads(line)["terms"]["from"] for line in lines if b'"log_key"' in line)
    assert judged(lines, first)
    assert parse_key(first).suite == json.loads(lines[0])["suite"]


def test_a_verifier_that_hashes_with_the_wrong_digest_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = world.export()
    monkeypatch.setitem(suites.DIGESTS, SM3, sha256)  # type: ignore[arg-type]  # a mapping that is not to be changed
    assert not verify(lines).ok
    assert sound(lines)
