"""Whoever changes an export is found out: without the key at once, with it by the rules or by an older checkpoint."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import replay, told
from gateway.audit.checkpoint import Signer
from gateway.audit.offline import main
from gateway.audit.older import canonical
from gateway.audit.verify import verify, verify_file, verify_receipt
from tests.ledger_world import SIGNER, World, a_busy_world
from tests.second_verifier import root, sound

FEW = os.environ.get("BPK_EXAMPLES") == "mutants"
ROUNDS = 4000 if os.environ.get("BPK_LONG") else 10 if FEW else 60
THIEF = Signer(SIGNER.origin, Ed25519PrivateKey.from_private_bytes(b"t" * 32))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_busy_world(tmp_path_factory.mktemp("export"))


@pytest.fixture(scope="module")
def lines(world: World) -> list[bytes]:
    return world.export()


def sign(records: list[bytes], signer: Signer = SIGNER) -> list[bytes]:
    """The export as the holder of the key would write it over these records."""
    top = root([hashlib.sha256(b"\0" + line[:-1]).digest() for line in records])
    end = {"checkpoint": signer.sign(len(records), top), "key": signer.vkey}
    return [*records, canonical(end) + b"\n"]


def renumbered(records: list[dict]) -> list[bytes]:
    return [canonical({**record, "seq": seq}) + b"\n" for seq, record in enumerate(records)]


def caught(lines: list[bytes], **options: object) -> bool:
    """Both verifiers must agree; options are known to the first alone."""
    report = verify(lines, **options)
    if not options:
        assert report.ok == sound(lines), report.text()
    return not report.ok


def test_an_untouched_export_is_sound(lines: list[bytes]) -> None:
    report = verify(lines)
    assert report.ok, report.text()
    assert sound(lines)
    assert sum(report.counts.values()) == len(lines) - 1


def test_every_flipped_bit_is_caught(lines: list[bytes]) -> None:
    dice = random.Random(1)
    blob = b"".join(lines)
    for _ in range(ROUNDS * 5):
        place = dice.randrange(len(blob) * 8)
        flipped = bytearray(blob)
        flipped[place // 8] ^= 1 << place % 8
        assert caught(bytes(flipped).splitlines(keepends=True)), place


def test_every_dropped_doubled_or_swapped_record_is_caught(lines: list[bytes]) -> None:
    dice = random.Random(2)
    for place in range(0, len(lines), 5 if FEW else 1):
        assert caught(lines[:place] + lines[place + 1 :]), place
        assert caught([*lines[:place], lines[place], *lines[place:]]), place
    for _ in range(ROUNDS):
        first, second = sorted(dice.sample(range(len(lines)), 2))
        swapped = list(lines)
        swapped[first], swapped[second] = swapped[second], swapped[first]
        assert caught(swapped), (first, second)


def test_every_truncation_is_caught(lines: list[bytes]) -> None:
    blob = b"".join(lines)
    for size in [*range(0, len(blob), max(1, len(blob) // (ROUNDS * 3))), len(blob) - 1]:
        assert caught(blob[:size].splitlines(keepends=True)), size


def test_another_key_is_caught(lines: list[bytes]) -> None:
    assert caught(sign(lines[:-1], THIEF))
    assert caught(lines, key=THIEF.vkey)
    assert not caught(lines, key=SIGNER.vkey)


def test_a_log_rewritten_from_its_first_record_needs_a_witness(world: World, lines: list[bytes]) -> None:
    records = [json.loads(line) for line in lines[:-1]]
    records[0]["commitments"]["key"] = THIEF.key_hash
    forged = sign(renumbered(records), THIEF)
    assert not caught(forged), "alone, a whole forgery looks like a log"
    assert caught(forged, key=SIGNER.vkey)
    assert caught(forged, since=[world.log.checkpoint()])
    assert caught(forged, receipts=[world.log.receipt(4)])


def test_a_shorter_or_other_log_of_the_key_holder_is_caught_by_an_older_checkpoint(
    world: World, lines: list[bytes]
) -> None:
    checkpoint, receipt = world.log.checkpoint(), world.log.receipt(len(lines) - 3)
    assert not caught(lines, since=[checkpoint], receipts=[receipt])
    whole = [index for index in range(5, len(lines) - 1) if b'"decision":"run"' not in lines[index - 1]]
    for size in whole:
        cut = sign(lines[:size])
        assert not caught(cut), "alone, a cut log looks like a young one"
        assert caught(cut, since=[checkpoint])
        assert caught(cut, receipts=[receipt])
    records = [json.loads(line) for line in lines[:-1]]
    del records[-3]
    assert caught(sign(renumbered(records)), receipts=[receipt])


def edit(kind: str, change: Callable[[dict], None], nth: int = 0) -> Callable[[list[dict]], None]:
    def apply(records: list[dict]) -> None:
        chosen = [record for record in records if kind in (record["kind"], record["decision"], record["code"])]
        change(chosen[nth])

    return apply


def drop(kind: str, nth: int = 0) -> Callable[[list[dict]], None]:
    def apply(records: list[dict]) -> None:
        chosen = [record for record in records if kind in (record["kind"], record["decision"], record["code"])]
        records.remove(chosen[nth])

    return apply


def again(kind: str) -> Callable[[list[dict]], None]:
    def apply(records: list[dict]) -> None:
        chosen = next(record for record in records if kind in (record["kind"], record["decision"]))
        records.append({**chosen, "time": records[-1]["time"]})

    return apply


def amount(unit: str, value: object, line: int | None = None) -> Callable[[dict], None]:
    def apply(record: dict) -> None:
        for number, charge in enumerate(record["charges"]):
            if line in (None, number):
                charge[unit] = value

    return apply


def older(record: dict) -> None:
    record["v"] = 1
    for name in ("suite", "mode", "licence"):
        del record[name]


def telling(record: dict) -> None:
    record["commitments"]["answer"] = "ab" * 32


def all_telling(records: list[dict], start: int) -> None:
    """As a version that commits to answers writes from there on."""
    answers = [record for record in records if record["kind"] == "release" or record["decision"] == "reused"]
    for record in answers[start:]:
        telling(record)


def ended(records: list[dict]) -> dict:
    """The end of the first licence, right after its beginning."""
    begun = next(record for record in records if record["code"] == "licence")
    return {name: value for name, value in begun.items() if name != "terms"} | {"code": "licence_ended"}


def purpose_of(scope: str) -> Callable[[dict], None]:
    return lambda record: record["charges"][2].update(scope=scope)


FORGERIES: dict[str, Callable[[list[dict]], None]] = {
    "no genesis": drop("genesis"),
    "two genesis records": again("genesis"),
    "a charge is gone": drop("charge"),
    "a decision is gone": drop("run"),
    "a cap is gone": drop("cap_zcdp"),
    "a charge twice": again("charge"),
    "a decision twice": again("run"),
    "a reuse twice": again("reused"),
    "an outcome twice": again("release"),
    "a failure after a release": lambda records: records.append(
        {
            **next(record for record in records if record["kind"] == "release"),
            "kind": "failure",
            "code": "query_failed",
            "commitments": None,
            "time": records[-1]["time"],
        }
    ),
    "a refund": edit("charge", amount("rho", "-0.001")),
    "a charge of nothing": edit("charge", amount("rho", "0")),
    "a charge of nothing in one scope": edit("charge", amount("rho", "0", 1)),
    "a cheaper operator": edit("charge", amount("rho", "0.000000000001", 1)),
    "a charge beyond the cap": edit("charge", amount("rho", "3"), 2),
    "delta beyond the cap": edit("charge", amount("delta", "0.1"), 1),
    "a padded amount": edit("charge", amount("rho", "0.0010")),
    "a number for an amount": edit("charge", amount("rho", 1)),
    "too fine an amount": edit("charge", amount("rho", "0.0000000000001")),
    "an exponent": edit("charge", amount("rho", "1e-3")),
    "a scope left out": edit("charge", lambda record: record["charges"].pop()),
    "another operator's scope": edit("charge", lambda record: record["charges"][1].update(scope="operator:x/clinic")),
    "a cap under what is spent": edit("cap_zcdp", amount("rho", "0.0001")),
    "another accountant later": edit("cap_zcdp", lambda record: record.update(code="cap_pure"), -1),
    "a cap of another dataset": edit("cap_zcdp", lambda record: record.update(dataset="other")),
    "an outcome of nobody": edit("release", lambda record: record.update(query_id="qry_0")),
    "another actor's outcome": edit("release", lambda record: record.update(actor="beta")),
    "an outcome under another policy": edit("failure", lambda record: record.update(policy_digest="cd" * 32)),
    "a release that names nothing": edit("release", lambda record: record.update(commitments=None)),
    "a release of other things": edit("release", lambda record: record.update(commitments={"sql": "ab" * 32})),
    "a release without its answer after one with it": edit("release", telling),
    "the last stored answer without it": lambda records: (
        all_telling(records, 0),
        edit("reused", lambda record: record["commitments"].pop("answer"), -1)(records),
    ),
    "a release without it after a stored answer with it": edit("reused", telling, -2),
    "the last release without it": lambda records: (
        all_telling(records, 0),
        edit("release", lambda record: record["commitments"].pop("answer"), -1)(records),
    ),
    "an unknown kind": edit("read", lambda record: record.update(kind="note")),
    "an unknown decision": edit("repeated", lambda record: record.update(decision="allowed")),
    "an unknown field": edit("read", lambda record: record.update(note="x")),
    "a field is gone": edit("read", lambda record: record.pop("snapshot")),
    "a refusal without a code": edit("refused", lambda record: record.update(code=None)),
    "a decision with charges": edit("run", lambda record: record.update(charges=[])),
    "a commitment that is text": edit("run", lambda record: record.update(commitments={"sql": "SELECT 1"})),
    "time runs back": edit("charge", lambda record: record.update(time="2020-01-01T00:00:00.000Z"), 3),
    "time with a zone": edit("charge", lambda record: record.update(time="2026-11-23T12:00:00+08:00")),
    "another log's record": edit("charge", lambda record: record.update(ledger="baopingkou/other")),
    "another version": edit("charge", lambda record: record.update(v=3)),
    "an older version": edit("charge", lambda record: record.update(v=1)),
    "an older version in its own form": edit("charge", older, 2),
    "another suite": edit("charge", lambda record: record.update(suite="md5-rsa")),
    "no suite": edit("charge", lambda record: record.update(suite=None)),
    "a policy that was never in force": drop("policy"),
    "a policy of another digest": edit("policy", lambda record: record.update(policy_digest="cd" * 32)),
    "an answer from a withheld dataset": edit("policy", lambda record: record["terms"].update(supply="withheld")),
    "a supply that there is not": edit("policy", lambda record: record["terms"].update(supply="free")),
    "a policy without terms": edit("policy", lambda record: record.pop("terms")),
    "terms where none belong": edit("release", lambda record: record.update(terms={"supply": "open"})),
    "a licence that was never in force": drop("licence"),
    "a licence that has ended": lambda records: records.insert(
        next(i for i, record in enumerate(records) if record["code"] == "licence") + 1, ended(records)
    ),
    "the end of a licence that is not in force": lambda records: records.append(
        {**ended(records), "licence": "L-nobody", "time": records[-1]["time"]}
    ),
    "a licence of another operator": edit("licence", lambda record: record["terms"].update(operator="mallory")),
    "a licence for another dataset": edit("licence", lambda record: record["terms"].update(datasets=["other"])),
    "a licence out of time": edit("licence", lambda record: record["terms"].update(until="2026-11-22")),
    "a licence before its time": edit("licence", lambda record: record["terms"].update({"from": "2026-11-24"})),
    "a licence until a day that there is not": edit(
        "licence", lambda record: record["terms"].update(until="2026-13-01")
    ),
    "a licence with names twice": edit("licence", lambda record: record["terms"].update(datasets=["clinic"] * 2)),
    "a licence with terms left out": edit("licence", lambda record: record["terms"].pop("purposes")),
    "a decision without a licence": edit("run", lambda record: record.update(licence=None)),
    "a decision without a mode": edit("run", lambda record: record.update(mode=None)),
    "a mode that there is not": edit("reused", lambda record: record.update(mode="free")),
    "a loss in a mode without one": edit("run", lambda record: record.update(mode="aggregate")),
    "a dp question for nothing": edit("run", lambda record: record.update(mode="dp"), 6),
    "a licence on an outcome": edit("release", lambda record: record.update(licence="L-acme")),
    "a raise without its decision": edit(
        "cap_zcdp", lambda record: (record.pop("terms"), record.update(commitments=None)), -1
    ),
    "a raise that one approver signed": edit("cap_zcdp", lambda record: record["terms"]["signatures"].pop("bo"), -1),
    "a higher raise than was decided": edit("cap_zcdp", amount("rho", "0.7"), -1),
    "a raise for another reason": edit("cap_zcdp", lambda record: record.update(commitments={"reason": "0" * 64}), -1),
    "an approver's key swapped": edit(
        "approvers", lambda record: record["terms"]["approvers"]["keys"].update(ann="E" * 43 + "=")
    ),
    "approvers are gone": drop("approvers"),
    "a decision on a first cap": edit(
        "cap_zcdp", lambda record: record.update(terms={}, commitments={"reason": "0" * 64})
    ),
    "a cheaper purpose": edit("charge", amount("rho", "0.000000000001", 2), 8),
    "a purpose beyond its cap": edit("cap_zcdp", amount("rho", "0.0001"), -2),
    "a purpose twice": edit("charge", lambda record: record["charges"].append(record["charges"][2]), 8),
    "a purpose without a share": edit("charge", purpose_of("purpose:research/acme/clinic"), 8),
    "another operator's purpose": edit("charge", purpose_of("purpose:actuarial/beta/clinic"), 8),
    "a purpose without a cap": drop("cap_zcdp", -2),
    "a purpose's cap for no operator": edit(
        "cap_zcdp", lambda record: record["charges"][0].update(scope="purpose:actuarial/clinic"), -2
    ),
    "a purpose left out where each has a share": lambda records: (
        edit("licence", lambda record: record["terms"]["shares"]["clinic"].append("research"), -1)(records),
        edit("charge", lambda record: record["charges"].pop(), 8)(records),
    ),
    "a share of a purpose that the licence does not name": edit(
        "licence", lambda record: (record["terms"].update(purposes=["research"]), record["terms"].pop("shares")), -1
    ),
    "shares of nothing": edit("licence", lambda record: record["terms"].update(shares={}), 0),
    "shares of no purpose": edit("licence", lambda record: record["terms"].update(shares={"clinic": []}), 0),
    "shares of another dataset": edit(
        "licence", lambda record: record["terms"].update(shares={"other": ["research"]}), 0
    ),
    "shares of another purpose": edit("licence", lambda record: record["terms"].update(shares={"clinic": ["fun"]}), 0),
    "shares that are no list": edit("licence", lambda record: record["terms"].update(shares={"clinic": "research"}), 0),
    "shares in a list": edit("licence", lambda record: record["terms"].update(shares=["clinic"]), 0),
    "a truth for a version": edit("charge", lambda record: record.update(v=True)),
    "ends with an uncharged decision": lambda records: records.append(
        {
            **next(record for record in records if record["decision"] == "run"),
            "query_id": "qry_1",
            "time": records[-1]["time"],
        }
    ),
    "a record between decision and charge": lambda records: records.insert(
        next(i for i, record in enumerate(records) if record["decision"] == "run" and i > 8) + 1,
        {**records[-1], "kind": "read", "code": "records", "time": records[8]["time"]}
        | dict.fromkeys(("actor", "query_id", "dataset", "policy_digest", "snapshot", "decision", "commitments")),
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_the_key_holder_cannot_break_the_rules_either(name: str, lines: list[bytes]) -> None:
    records = [json.loads(line) for line in lines[:-1]]
    FORGERIES[name](records)
    assert caught(sign(renumbered(records)))


@pytest.mark.parametrize("start", [0, 1, 4, -1])
def test_records_may_begin_to_commit_to_answers_at_any(start: int, lines: list[bytes]) -> None:
    records = [json.loads(line) for line in lines[:-1]]
    all_telling(records, start)
    assert not caught(sign(renumbered(records)))


def test_numbers_out_of_order_are_caught_even_when_signed(lines: list[bytes]) -> None:
    for place in range(1, len(lines) - 1):
        records = [json.loads(line) for line in lines[:-1]]
        records[place]["seq"] += 1
        assert caught(sign([canonical(record) + b"\n" for record in records])), place


def test_other_spellings_of_a_record_are_caught_even_when_signed(lines: list[bytes]) -> None:
    record = lines[5]
    for other in (
        record.replace(b",", b", ", 1),
        record.replace(b"acme", b"\\u0061cme", 1),
        record.replace(b'"v":2', b'"v":2.0'),
        record.replace(b'"v":2', b'"v":2,"v":2'),
        b'{"z":NaN}\n',
        b'{"z":"\\ud800"}\n',
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        b"\n",
    ):
        assert other != record
        assert caught(sign([*lines[:5], other, *lines[6:-1]]))


def test_a_receipt_proves_its_record_and_no_other(world: World, lines: list[bytes]) -> None:
    for index in range(len(lines) - 1):
        receipt = json.loads(json.dumps(world.log.receipt(index)))
        assert verify_receipt(receipt, SIGNER.vkey) == []
        for change in (
            {"index": index + 1},
            {"record": {**receipt["record"], "actor": "mallory"}},
            {"proof": receipt["proof"][1:]} if receipt["proof"] else {"leaf_hash": "00"},
            {"proof": [*receipt["proof"], "00" * 32]},
            {"proof": None},
            {"checkpoint": receipt["checkpoint"].replace("\n", "\n1", 1)},
            {"checkpoint": THIEF.sign(len(lines) - 1, b"r" * 32)},
        ):
            assert verify_receipt({**receipt, **change}, SIGNER.vkey), change
        assert verify_receipt(receipt, THIEF.vkey)


def test_a_log_of_the_first_release_stays_sound() -> None:
    golden = (Path(__file__).parent / "golden" / "audit-v1.ndjson").read_bytes().splitlines(keepends=True)
    assert not caught(golden)
    assert not caught(golden, key=SIGNER.vkey)


def test_the_command_reports_and_returns_its_verdict(
    lines: list[bytes], world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad, note, old = (tmp_path / name for name in ("good", "bad", "note", "receipt"))
    good.write_bytes(b"".join(lines))
    bad.write_bytes(b"".join(lines[:-3]))
    note.write_text(world.log.checkpoint(), encoding="utf-8")
    old.write_text(json.dumps({"receipt": world.log.receipt(2)}), encoding="utf-8")
    assert main([str(good), "--since", str(note), "--receipt", str(old), "--key", SIGNER.vkey]) == 0
    assert "sound" in capsys.readouterr().out
    assert main([str(bad), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert main([str(tmp_path / "nowhere")]) == 1
    assert verify_file(good).scopes["dataset:clinic"]["charges"] == 9


def skip_numbers(self: replay.Replay, seq: int, record: dict) -> None:
    """A verifier that does not look at `seq`."""
    original(self, record["seq"] if seq else seq, record)


original = replay.Replay._check_place
add_up = replay.Replay._book
release = replay.Replay._release


def open_again(self: replay.Replay, record: dict, way: str) -> None:
    """A verifier that lets a query be decided twice."""
    self._queries[record["query_id"]] = replay._Query(replay._about(record), way, record["mode"], record["licence"])


def release_alone(self: replay.Replay, record: dict) -> None:
    """A verifier that does not ask whether a release commits to its answer."""
    self.answers = told.Commitments()
    release(self, record)


def attack_by_name(name: str, lines: list[bytes]) -> None:
    if name == "numbers":
        test_numbers_out_of_order_are_caught_even_when_signed(lines)
    else:
        test_the_key_holder_cannot_break_the_rules_either(name, lines)


@pytest.mark.parametrize(
    ("plant", "attack"),
    [
        (("_check_place", skip_numbers), "numbers"),
        (("_book", lambda self, *line: add_up(self, *line) or True), "a charge beyond the cap"),
        (("_end", lambda self, record: None), "an outcome twice"),
        (("_open", open_again), "a reuse twice"),
        (("_release", release_alone), "a release without its answer after one with it"),
    ],
)
def test_a_verifier_with_a_rule_left_out_is_noticed(
    plant: tuple[str, object], attack: str, lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay.Replay, *plant)
    named = next(place for place, line in enumerate(lines) if b'"code":"approvers"' in line)
    with pytest.raises(AssertionError):  # without the decision on a cap at the end, which tells what was spent
        attack_by_name(attack, [*lines[:named], lines[-1]])


def test_checkpoints_are_signed_notes(world: World) -> None:
    text, tail = world.log.checkpoint().split("\n\n")
    origin, size, top = text.split("\n")
    assert (origin, int(size), len(base64.b64decode(top))) == (SIGNER.origin, len(world.records()), 32)
    assert tail.startswith(f"— {SIGNER.origin} ")
    assert tail.endswith("\n")
