"""The log goes over from one key to the next: what was signed stays good, and a stolen old key is worth nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import backup
from gateway.audit import keys as keys_module
from gateway.audit import log as log_module
from gateway.audit import tiles
from gateway.audit.bundles import verify_bundle, verify_report
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held
from gateway.audit.keys import Keys, following
from gateway.audit.note import Checkpoint, parse_checkpoint, signed_by, size_of
from gateway.audit.older import NO_WITNESSES
from gateway.audit.record import canonical
from gateway.audit.verify import verify, verify_file, verify_receipt
from gateway.backup import back_up, import_records, standing
from gateway.errors import Fault, Misconfigured, NotReady
from gateway.oversight.bundle import evidence
from gateway.oversight.report import signed
from tests.ledger_world import NEXT, SIGNER, World, a_world_that_changed_its_key, tamper
from tests.second_verifier import _leaf as leaf
from tests.second_verifier import root, sound

LATER = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
THIEF = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"t" * 32))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return a_world_that_changed_its_key(tmp_path / "log")


def judged(lines: list[bytes], key: str | None = None, since: list[str] | None = None, **more: Any) -> bool:
    """By both verifiers, which must agree."""
    report = verify(lines, key=key, since=since or [], **more)
    assert report.ok == sound(lines, key, since, more.get("receipts")), report.text()
    return report.ok


def change(world: World) -> int:
    """How many records there were when the key was changed."""
    return next(record["seq"] + 1 for record in world.records() if record["code"] == "log_key")


def test_a_log_that_changed_its_key_is_sound_under_each_of_its_keys_and_no_other(world: World) -> None:
    lines = world.export()
    for key in (None, SIGNER.vkey, NEXT.vkey):
        assert judged(lines, key)
    assert not judged(lines, THIEF.vkey)
    report = verify(lines)
    assert report.keys == [(0, SIGNER.vkey), (change(world), NEXT.vkey)]
    assert NEXT.vkey in report.text()
    assert report.as_json()["key"] == NEXT.vkey


def test_the_checkpoint_of_the_change_is_signed_by_both_and_later_ones_by_the_new_key_alone(world: World) -> None:
    (note,) = json.loads(world.export()[-1])["handovers"]
    both, newest = parse_checkpoint(note), parse_checkpoint(world.log.checkpoint())
    assert both.size == change(world)
    assert [signed_by(both, key.vkey) for key in (SIGNER, NEXT)] == [True, True]
    assert [signed_by(newest, key.vkey) for key in (SIGNER, NEXT)] == [False, True]


def test_at_the_very_size_of_the_change_the_checkpoint_that_both_signed_is_given(tmp_path: Path) -> None:
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    world.hand_over()
    assert all(signed_by(parse_checkpoint(world.log.checkpoint()), key.vkey) for key in (SIGNER, NEXT))
    assert judged(world.export())


def test_what_was_given_before_the_change_stays_good(tmp_path: Path) -> None:
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    world.answer(world.charge().id)
    note, receipt = world.log.checkpoint(), world.log.receipt(2)
    world.hand_over()
    world.charge()
    assert judged(world.export(), SIGNER.vkey, [note], receipts=[receipt])
    assert verify_receipt(receipt, SIGNER.vkey) == []
    assert verify_receipt(receipt, NEXT.vkey) != [], "alone it does not say that one followed the other"


def test_what_was_signed_last_under_the_old_key_serves_no_receipt_after_the_change(tmp_path: Path) -> None:
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    world.charge()
    assert verify_receipt(world.log.receipt(1), SIGNER.vkey) == []
    world.hand_over()
    assert verify_receipt(world.log.receipt(1), NEXT.vkey) == [], "to whoever knows no older key"


def test_a_receipt_leads_from_the_key_that_one_knows_to_the_one_it_is_signed_with(world: World) -> None:
    world.held = Held(NEXT, lambda: [LATER], (SIGNER.vkey,))
    world.reopen()
    world.hand_over(LATER)
    world.charge()
    receipt = json.loads(json.dumps(world.log.receipt(len(world.records()) - 1)))
    assert len(receipt["handovers"]) == 2
    for key in (SIGNER, NEXT, LATER):
        assert verify_receipt(receipt, key.vkey) == []
    assert verify_receipt(receipt, THIEF.vkey)
    assert verify_receipt({**receipt, "handovers": receipt["handovers"][:1]}, NEXT.vkey)
    assert verify_receipt({**receipt, "handovers": receipt["handovers"][::-1]}, SIGNER.vkey)
    assert judged(world.export(), SIGNER.vkey)
    assert verify(world.export()).keys[-1][1] == LATER.vkey


def spoilt(link: dict[str, Any]) -> dict[str, dict[str, Any]]:
    head, tail = link["checkpoint"].split("\n\n")
    first, second, _ = tail.split("\n")
    record = link["record"]
    old_only, new_only = f"{head}\n\n{first}\n", f"{head}\n\n{second}\n"
    return {
        "not signed by the old key": {**link, "checkpoint": new_only},
        "not signed by the new key": {**link, "checkpoint": old_only},
        "another key in the record": {**link, "record": {**record, "terms": {**record["terms"], "to": THIEF.vkey}}},
        "another kind of record": {**link, "record": {**record, "code": "licence"}},
        "another size": {**link, "record": {**record, "seq": record["seq"] + 1}},
        "no proof": {**link, "proof": link["proof"][1:]},
        "no record": {**link, "record": None},
        "no checkpoint": {**link, "checkpoint": "x"},
        "no terms": {**link, "record": {**record, "terms": None}},
    }


def test_a_change_that_is_not_wholly_proven_leads_to_no_key(world: World) -> None:
    (link,) = world.log.handovers(change(world))
    assert following(SIGNER.vkey, [link]).newest == NEXT.vkey
    for name, bad in spoilt(link).items():
        with pytest.raises(ValueError, match=r"^a change of the log's key is not proven$"):
            assert following(SIGNER.vkey, [bad]).newest, name
        receipt = {**world.log.receipt(len(world.records()) - 1), "handovers": [bad]}
        assert verify_receipt(receipt, SIGNER.vkey), name


def test_reports_and_evidence_hold_under_every_key_of_the_log(world: World) -> None:
    query = world.charge().id
    world.answer(query)
    bundle = json.loads(json.dumps(evidence(world.log, world.store, None, query)))
    report = json.loads(json.dumps(signed(world.log, world.store, None, None, None)))
    for key in (SIGNER, NEXT):
        assert verify_bundle(bundle, key.vkey, NO_WITNESSES) == []
        assert verify_report(report, key.vkey, NO_WITNESSES) == []
    assert verify_bundle(bundle, THIEF.vkey, NO_WITNESSES)
    bundle["handovers"][0]["checkpoint"] = world.log.checkpoint()
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES)


def test_tiles_hold_the_change_too(world: World, tmp_path: Path) -> None:
    note = tiles.write(world.log, tmp_path / "tiles")
    for key in (SIGNER, NEXT):
        assert verify_file(tmp_path / "tiles", key=key.vkey, since=[note]).ok
    (kept,) = (tmp_path / "tiles" / "handovers").iterdir()
    kept.unlink()
    assert verify_file(tmp_path / "tiles").kinds == {"handover": 1}


# a stolen old key


def ended(records: list[bytes], signer: Signer, handovers: list[str], last: str | None = None) -> list[bytes]:
    """The export as the thief of `signer` would write it."""
    end = {"checkpoint": signer.sign(len(records), root([leaf(line) for line in records])), "key": last or signer.vkey}
    return [*records, canonical({**end, **({"handovers": handovers} if handovers else {})}) + b"\n"]


def gone_on(lines: list[bytes], size: int) -> list[bytes]:
    """The first `size` records, and one that the thief made up."""
    made_up = json.loads(lines[0]) | {"kind": "read", "code": "records", "commitments": None, "seq": size}
    return [*lines[:size], canonical(made_up | {"time": json.loads(lines[size - 1])["time"]}) + b"\n"]


def with_change_to(lines: list[bytes], size: int, thief: Signer) -> list[bytes]:
    """... or one in which the stolen key hands the log over to a key of the thief's."""
    record = json.loads(lines[0]) | {"kind": "admin", "code": "log_key", "commitments": None, "seq": size}
    record |= {"terms": {"from": SIGNER.vkey, "to": thief.vkey}, "time": json.loads(lines[size - 1])["time"]}
    records = [*lines[:size], canonical(record) + b"\n"]
    both = thief.sign_too(SIGNER.sign(size + 1, root([leaf(line) for line in records])))
    return ended(gone_on(records, size + 1), thief, [both])


def test_a_stolen_old_key_cannot_go_on_with_the_log(world: World) -> None:
    lines, size = world.export(), change(world)
    notes = json.loads(lines[-1])["handovers"]
    for records in (gone_on(lines, size), gone_on(lines, size + 2), lines[:-1]):
        for claimed in (SIGNER.vkey, NEXT.vkey):
            assert not judged(ended(records, SIGNER, notes, claimed)), "not even alone"


def test_a_stolen_old_key_cannot_fork_the_log_before_the_change_for_those_who_saw_a_newer_checkpoint(
    world: World,
) -> None:
    lines, size = world.export(), change(world)
    newer, receipt = world.log.checkpoint(), world.log.receipt(len(lines) - 2)
    for fork in (
        ended(gone_on(lines, size - 1), SIGNER, []),
        ended(lines[: size - 1], SIGNER, []),
        with_change_to(lines, size - 1, THIEF),
    ):
        assert judged(fork), "alone, under the old key, it looks like a log"
        assert judged(fork, SIGNER.vkey)
        assert not judged(fork, NEXT.vkey)
        assert not judged(fork, SIGNER.vkey, [newer])
        assert not judged(fork, SIGNER.vkey, receipts=[receipt])
        assert not judged(fork, SIGNER.vkey, [json.loads(lines[-1])["handovers"][0]])


def test_a_checkpoint_that_the_old_key_signed_after_the_change_counts_for_nothing(world: World) -> None:
    lines = world.export()
    top = root([leaf(line) for line in lines[:-1]])
    assert judged(lines, since=[NEXT.sign(len(lines) - 1, top)])
    assert not judged(lines, since=[SIGNER.sign(len(lines) - 1, top)])
    assert not judged(lines, since=[NEXT.sign(2, root([leaf(line) for line in lines[:2]]))]), "nor the new one before"


FORGERIES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "without the checkpoint": lambda end, record: end.pop("handovers"),
    "with two": lambda end, record: end["handovers"].append(end["handovers"][0]),
    "signed by the old key alone": lambda end, record: end.update(handovers=[end["handovers"][0].rsplit("—", 1)[0]]),
    "another checkpoint": lambda end, record: end.update(handovers=[end["checkpoint"]]),
    "no note": lambda end, record: end.update(handovers=["x"]),
    "no text": lambda end, record: end.update(handovers=[1]),
    "no list": lambda end, record: end.update(handovers="x"),
    "an empty list": lambda end, record: end.update(handovers=[]),
    "the old key at the end": lambda end, record: end.update(key=SIGNER.vkey),
    "from another key": lambda end, record: record["terms"].update({"from": THIEF.vkey}),
    "to the same key": lambda end, record: record["terms"].update(to=SIGNER.vkey),
    "to another key": lambda end, record: record["terms"].update(to=THIEF.vkey),
    "to the key of another log": lambda end, record: record["terms"].update(to=Signer("other", NEXT.key).vkey),
    "to no key": lambda end, record: record["terms"].update(to="x"),
    "to nothing": lambda end, record: record["terms"].pop("to"),
    "with more": lambda end, record: record["terms"].update(more="x"),
    "with a number": lambda end, record: record["terms"].update(to=1),
    "without terms": lambda end, record: record.pop("terms"),
    "with a commitment": lambda end, record: record.update(commitments={"key": "ab" * 32}),
}


def forged(world: World, name: str) -> list[bytes]:
    """By the holder of both keys, who signs whatever comes of it."""
    *records, end = [json.loads(line) for line in world.export()]
    record = next(record for record in records if record["code"] == "log_key")
    FORGERIES[name](end, record)
    written = [canonical(each) + b"\n" for each in records]
    size = record["seq"] + 1
    if written[size - 1] != world.export()[size - 1]:
        both = SIGNER.sign(size, root([leaf(line) for line in written[:size]]))
        end["handovers"] = [NEXT.sign_too(both)]
    end["checkpoint"] = NEXT.sign(len(written), root([leaf(line) for line in written]))
    return [*written, canonical(end) + b"\n"]


@pytest.mark.parametrize("name", FORGERIES)
def test_a_change_of_key_that_breaks_the_rules_is_caught(name: str, world: World) -> None:
    assert not judged(forged(world, name))


def test_a_log_never_goes_back_to_a_key(world: World) -> None:
    with pytest.raises(Misconfigured, match=r"^the log's next key has to be a new one$"):
        world.hand_over(SIGNER)
    with pytest.raises(Misconfigured, match=r"^the log's next key has to be a new one$"):
        world.hand_over(NEXT)
    with pytest.raises(Misconfigured, match=r"^the log's next key has to be a new one$"):
        world.hand_over(Signer("baopingkou/other", LATER.key))
    with pytest.raises(Exception, match="before"):
        Keys(((0, SIGNER.vkey), (3, NEXT.vkey))).named({**_change(5, NEXT.vkey, SIGNER.vkey)})


def test_a_log_changes_its_key_so_often_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All changes stand in every receipt, and readers judge each by all before it."""
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT, LATER, THIEF]))
    for module in (log_module, keys_module):
        monkeypatch.setattr(module, "CHANGES_MAX", 2)
    world.hand_over(NEXT)
    world.hand_over(LATER)
    told = world.export()
    assert judged(told, LATER.vkey)
    with pytest.raises(Misconfigured, match="2 times at most"):
        world.hand_over(THIEF)
    monkeypatch.setattr(keys_module, "CHANGES_MAX", 1)
    found = verify(told, key=LATER.vkey)
    assert ("log_key", "hands the log over more often than any log is") in [(p.code, p.words) for p in found.problems]


def _change(seq: int, old: str, new: str) -> dict[str, Any]:
    empty = dict.fromkeys(("actor", "query_id", "dataset", "decision", "charges"))
    about = {"v": 2, "ledger": SIGNER.origin, "seq": seq, "kind": "admin", "code": "log_key"}
    return {**empty, **about, "terms": {"from": old, "to": new}}


# the writer


def test_a_home_without_the_new_key_records_nothing_and_signs_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    other = World(tmp_path, held=SIGNER)
    held: list[Signer] = []
    late = World(tmp_path, held=Held(SIGNER, lambda: held))
    world.hand_over()
    world.charge()
    for each in (other, late):
        with pytest.raises(NotReady, match="another key"):
            each.charge()
        with pytest.raises(NotReady, match="another key"):
            each.log.checkpoint()
    held.append(NEXT)
    late.answer(late.charge().id)  # the key was given to it since: it takes it up
    assert judged(late.export(), SIGNER.vkey)
    with pytest.raises(Misconfigured, match="another key"):
        other.reopen()


def test_a_change_whose_transaction_fails_never_was(tmp_path: Path) -> None:
    world = World(tmp_path, held=Held(SIGNER, lambda: [NEXT]))
    with pytest.raises(Misconfigured), world.store.transaction() as tx:
        world.log.hand_over(tx, NEXT), world.log.hand_over(tx, NEXT)
    world.answer(world.charge().id)
    assert world.log.vkey == SIGNER.vkey
    assert judged(world.export())


def test_the_database_keeps_the_checkpoint_of_the_change_and_misses_it(world: World) -> None:
    for statement in ("DELETE FROM handover", "UPDATE handover SET note = 'x'"):
        with pytest.raises(Fault, match="handover"), world.store.transaction() as tx:
            tx.write(statement)
    tamper(world, "DELETE FROM handover")
    assert "changed its key" in (standing(world.store, world.log).closed or "")


def test_a_copy_from_before_the_change_is_brought_up_to_date_by_a_home_that_holds_the_new_key_alone(
    tmp_path: Path,
) -> None:
    world = World(tmp_path / "a", held=Held(SIGNER, lambda: [NEXT]))
    world.answer(world.charge().id)
    back_up(world.store, world.log, tmp_path / "copy")
    before = tmp_path / "before"
    before.write_bytes(b"".join(world.export()))
    world.hand_over()
    world.answer(world.charge().id)
    after = tmp_path / "after"
    after.write_bytes(b"".join(world.export()))
    place = tmp_path / "b" / "gateway"
    place.mkdir(parents=True)
    shutil.copy(tmp_path / "copy", place / "ledger.sqlite")
    (place / "ledger.checkpoint").write_text(world.log.checkpoint(), encoding="utf-8")
    again = World(tmp_path / "b", held=NEXT)
    assert "are missing" in (again.log.closed or "")
    assert import_records(again.store, again.log, before).records == 0
    assert import_records(again.store, again.log, after).records > 0
    again.reopen()
    assert standing(again.store, again.log).open
    again.answer(again.charge().id)
    assert judged(again.export(), SIGNER.vkey, [world.log.checkpoint()])


def put_back(tmp_path: Path, retired: tuple[str, ...]) -> tuple[World, Path, Path]:
    """A home that was put back to before its log's key was changed, an export that a thief of the old key has made up,
    and the honest one. The checkpoint that is kept is the one of the change."""
    world = World(tmp_path / "a", held=Held(SIGNER, lambda: [NEXT]))
    world.answer(world.charge().id)
    back_up(world.store, world.log, tmp_path / "copy")
    size = world.hand_over() - 1
    world.answer(world.charge().id)
    lines = world.export()
    whole, stolen = tmp_path / "whole", tmp_path / "stolen"
    whole.write_bytes(b"".join(lines))
    stolen.write_bytes(b"".join(ended(gone_on(lines, size), SIGNER, [])))
    place = tmp_path / "b" / "gateway"
    place.mkdir(parents=True)
    shutil.copy(tmp_path / "copy", place / "ledger.sqlite")
    (place / "ledger.checkpoint").write_text(json.loads(lines[-1])["handovers"][0], encoding="utf-8")
    return World(tmp_path / "b", held=Held(NEXT, list, retired)), stolen, whole


@pytest.mark.parametrize(
    ("retired", "words"),
    [
        ((SIGNER.vkey,), "ends under a key that this home has changed since"),
        ((), "the log is another one than ledger.checkpoint was signed over"),
    ],
    ids=["the old keys are known", "a checkpoint is kept"],
)
def test_a_copy_from_before_the_change_takes_nothing_that_a_thief_of_the_old_key_signed(
    tmp_path: Path, retired: tuple[str, ...], words: str
) -> None:
    again, stolen, whole = put_back(tmp_path, retired)
    with again.store.reading() as view:
        before = again.log.size(view)
    with pytest.raises(Misconfigured, match=re.escape(words)):
        import_records(again.store, again.log, stolen)
    with again.store.reading() as view:
        assert again.log.size(view) == before
    assert import_records(again.store, again.log, whole).records > 0
    again.reopen()
    assert standing(again.store, again.log).open


def test_planted_an_import_that_does_not_ask_whose_key_it_was_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, stolen, _ = put_back(tmp_path, (SIGNER.vkey,))
    monkeypatch.setattr(backup, "_require_ours", lambda *_: None)
    assert import_records(again.store, again.log, stolen).records == 1


def test_records_of_a_log_with_other_keys_are_not_taken(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other", held=THIEF)
    (tmp_path / "export").write_bytes(b"".join(other.export()))
    with pytest.raises(Misconfigured, match="keys of another"):
        import_records(world.store, world.log, tmp_path / "export")


def test_where_nothing_is_left_records_under_an_old_key_alone_are_not_taken(world: World, tmp_path: Path) -> None:
    """It may have been stolen: what is put back has to lead to a key that this home holds."""
    fork, whole = tmp_path / "fork", tmp_path / "whole"
    fork.write_bytes(b"".join(World(tmp_path / "thief").export()))
    whole.write_bytes(b"".join(world.export()))
    place = tmp_path / "b" / "gateway"
    place.mkdir(parents=True)
    (place / "ledger.checkpoint").write_text(world.log.checkpoint(), encoding="utf-8")
    empty = World(tmp_path / "b", held=Held(NEXT, list, (SIGNER.vkey,)))
    with pytest.raises(Misconfigured, match="keys of another"):
        import_records(empty.store, empty.log, fork)
    assert import_records(empty.store, empty.log, whole).records == len(world.records())
    empty.reopen()
    assert standing(empty.store, empty.log).open


def test_a_copy_holds_the_change(world: World, tmp_path: Path) -> None:
    back_up(world.store, world.log, tmp_path / "copy")
    place = tmp_path / "b" / "gateway"
    place.mkdir(parents=True)
    (tmp_path / "copy").replace(place / "ledger.sqlite")
    again = World(tmp_path / "b", held=NEXT)
    assert judged(again.export(), SIGNER.vkey)


# planted


def _always(keys: Keys, checkpoint: Checkpoint) -> bool:
    """A verifier that lets a key go on after it was handed over."""
    return any(signed_by(checkpoint, vkey) for vkey in keys.vkeys)


def _by_the_new_alone(keys: Keys, checkpoint: Checkpoint, top: bytes | None) -> bool:
    """A verifier that believes a key that nobody handed the log over to."""
    return signed_by(checkpoint, keys.newest)


def test_verifiers_that_leave_a_rule_out_are_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as planted:
        planted.setattr(keys_module.Keys, "signed", _always)
        with pytest.raises(AssertionError):
            test_a_stolen_old_key_cannot_go_on_with_the_log(world)
        with pytest.raises(AssertionError):
            test_a_checkpoint_that_the_old_key_signed_after_the_change_counts_for_nothing(world)
    with monkeypatch.context() as planted:
        planted.setattr(keys_module.Keys, "handed_over", _by_the_new_alone)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test_a_change_that_is_not_wholly_proven_leads_to_no_key(world)


def test_a_gateway_that_signs_on_with_the_old_key_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world_that_changed_its_key(tmp_path)
    monkeypatch.setattr(world.log._ring, "signer", lambda view: SIGNER)
    world.charge()
    assert not judged(world.export())
    assert size_of(world.log.checkpoint()) > change(world)
