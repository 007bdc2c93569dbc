"""The numbers of an answer are those that its record commits to: whoever holds them can show it, offline."""

from __future__ import annotations

import json
import re
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import bundles, offline, told
from gateway.audit.bundles import verify_bundle
from gateway.audit.offline import main
from gateway.audit.older import NO_WITNESSES
from gateway.audit.told import UNPROVEN, told_text, verify_numbers
from gateway.budget.queries import QueryRow, Stored
from gateway.domain import Unreachable
from gateway.erasing import FLOOR_DAYS, Wanted, Why, erase
from gateway.errors import Refusal
from gateway.oversight.bundle import evidence
from gateway.store import Store
from tests import second_verifier
from tests.ledger_world import HASH, SIGNER, World, price

NUMBERS: dict[str, Any] = {
    "columns": [
        {"name": "sex", "type": "text", "kind": "key"},
        {"name": "n", "type": "bigint", "kind": "noisy"},
        {"name": "mean", "type": "double", "kind": "noisy"},
    ],
    "rows": [["F", 2**62, 41233.5], ["é\n", -3, 1e-7], [None, 0, 1.5e300]],
    "intervals": [[None, [1, 2.25], None]] * 3,
    "confidence": 0.95,
    "notes": [[None, ["may_be_clipped"], None]] * 3,
}
OTHER: tuple[Callable[[dict[str, Any]], object], ...] = (
    lambda answer: answer["rows"][0].__setitem__(1, 2**62 + 1),
    lambda answer: answer["rows"][0].__setitem__(2, 41233.500000000007),
    lambda answer: answer["rows"].reverse(),
    lambda answer: answer["rows"].pop(),
    lambda answer: answer["intervals"][0].__setitem__(1, [1, 2]),
    lambda answer: answer["notes"].__setitem__(0, [None, None, None]),
    lambda answer: answer["columns"][1].__setitem__("name", "m"),
    lambda answer: answer.__setitem__("confidence", 1.0),
    lambda answer: answer.__setitem__("opening", "00" * 32),
)
WHY = Why("asked to by the person", "custodian-1")
Open = Callable[[], Store]


@pytest.fixture
def world(tmp_path: Path, open_store: Open) -> World:
    return World(tmp_path, open_store=open_store)


def asked(world: World) -> QueryRow:
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(), world.scopes(), price("0.01"), texts={"sql": "SELECT 1"})
    return world.answer(row.id, told=told_text(NUMBERS))


def answered(world: World, row: QueryRow) -> dict[str, Any]:
    with world.store.reading() as view:
        opening = world.log.opening(view, row.record)
    copied = json.loads(json.dumps(NUMBERS))
    return {"id": row.id, **copied, "receipt": world.log.receipt(row.record), "opening": opening}


def numbers(row: QueryRow) -> dict[str, Any]:
    return dict(json.loads(json.dumps(NUMBERS)))


def proves(answer: dict[str, Any]) -> bool:
    """What both verifiers say."""
    record = answer["receipt"]["record"]
    proven = verify_numbers(answer, record) is None
    assert second_verifier.told(answer, record) is proven
    return proven


def test_an_answer_is_proven_by_its_receipt_and_no_other_numbers_are(world: World) -> None:
    row = asked(world)
    assert proves(answered(world, row))
    for change in OTHER:
        answer = answered(world, row)
        change(answer)
        assert not proves(answer)


def test_a_verifier_that_looks_at_the_record_alone_takes_any_numbers(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, file = answered(world, asked(world)), tmp_path / "answer.json"
    OTHER[0](answer)
    file.write_text(json.dumps(answer), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 1
    monkeypatch.setattr(told, "require_told", lambda *_: True)
    assert main([str(file), "--key", SIGNER.vkey]) == 0


def test_a_stored_answer_has_a_commitment_and_a_salt_of_its_own(world: World) -> None:
    first = asked(world)
    with world.store.transaction() as tx:
        second = world.ledger.reuse(tx, world.asked("beta"), Stored("rel_1", HASH), told=told_text(NUMBERS))
    one, other = answered(world, first), answered(world, second)
    assert proves(one)
    assert proves(other)
    assert one["opening"] != other["opening"]
    assert not proves({**one, "opening": other["opening"]})


def test_numbers_without_their_opening_or_with_anothers_receipt_are_not_proven(world: World) -> None:
    answer = answered(world, asked(world))
    record = answer["receipt"]["record"]
    old = {**record, "commitments": {"release": HASH}}
    for changed, under, code, words in (
        ({"opening": None}, record, UNPROVEN, "without their opening: it was erased, or taken away"),
        ({}, old, UNPROVEN, "of an older version, which commits to no numbers"),
        ({"id": "qry_0"}, record, "receipt_differs", "the receipt is that of another query"),
        ({"rows": {1: 2}}, record, "answer_differs", "not those that the record commits to"),
        ({"opening": "no hex"}, record, "answer_unreadable", "the answer is unreadable"),
    ):
        found = verify_numbers({**answer, **changed}, under)
        assert found is not None
        assert found.code == code
        assert words in found.words


def judged(tmp_path: Path, answer: dict[str, Any], *more: str) -> int:
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answer), encoding="utf-8")
    return main([str(file), "--key", SIGNER.vkey, *more])


def test_changed_numbers_gain_nothing_by_the_receipt_of_a_record_that_proves_none(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(world, asked(world))
    OTHER[0](answer)
    receipts = [world.log.receipt(record["seq"]) for record in world.records() if record["kind"] != "release"]
    forged = [{**answer, "receipt": each, "id": each["record"]["query_id"]} for each in receipts]
    assert {each["receipt"]["record"]["kind"] for each in forged} >= {"genesis", "decision", "charge", "admin"}
    for each in forged:
        without = {name: value for name, value in each.items() if name != "rows"}
        for more in ((), ("--allow-unproven",)):
            assert judged(tmp_path, each, *more) == judged(tmp_path, without, *more) == 1
    assert "NOT SOUND: the receipt is of a record that no answer rests on" in capsys.readouterr().out
    monkeypatch.setattr(told, "_require_own", lambda *_: None)
    assert {judged(tmp_path, each, "--allow-unproven") for each in forged} == {0}, "the planted verifier takes any"


def test_numbers_that_nothing_proves_fail_unless_they_are_allowed(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(world, asked(world))
    row = world.charge()
    with world.store.transaction() as tx:
        hashes = {"release": HASH}
        about = {"actor": row.operator, "dataset": row.dataset, "policy_digest": HASH, "snapshot": HASH}
        old = world.log.append(tx, kind="release", query_id=row.id, hashes=hashes, **about)
    for unproven, words in (
        ({**answer, "opening": None}, "the numbers come without their opening: it was erased, or taken away"),
        (
            {**NUMBERS, "id": row.id, "receipt": world.log.receipt(old)},
            "the record is of an older version, which commits to no numbers",
        ),
    ):
        assert judged(tmp_path, unproven) == 1
        assert capsys.readouterr().out == f"NOT PROVEN: {words}\n"
        assert judged(tmp_path, unproven, "--json") == 1
        told = json.loads(capsys.readouterr().out)
        assert (told["ok"], told["numbers"], told["problems"]) == (False, False, [words])
        assert judged(tmp_path, unproven, "--allow-unproven") == 0
        assert "it proves no numbers" in capsys.readouterr().out
    assert judged(tmp_path, answer["receipt"]) == 0, "a receipt alone says no numbers"
    OTHER[0](answer)
    assert judged(tmp_path, answer, "--allow-unproven") == 1


def test_the_evidence_holds_the_numbers_and_proves_them(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    row = asked(world)
    bundle = evidence(world.log, world.store, "auditor", row.id, numbers)
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == []
    file = tmp_path / "bundle.json"
    file.write_text(json.dumps(bundle), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 0
    assert "the numbers are those that it commits to" in capsys.readouterr().out
    assert "answer" not in evidence(world.log, world.store, "auditor", row.id)
    for change in OTHER:
        copy = json.loads(json.dumps(bundle))
        change(copy["answer"])
        (found,) = verify_bundle(copy, SIGNER.vkey, NO_WITNESSES)
        assert found == "the numbers are not those that the record commits to"
    without = {**bundle, "records": [each for each in bundle["records"] if each["record"]["kind"] != "release"]}
    assert verify_bundle(without, SIGNER.vkey, NO_WITNESSES) == [
        "it holds numbers that no record of the query commits to"
    ]
    OTHER[0](bundle["answer"])
    monkeypatch.setattr(bundles, "require_told", lambda *_: True)
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == [], "the planted verifier looks at no numbers"


def test_evidence_says_nothing_that_is_not_proven(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = evidence(world.log, world.store, "auditor", asked(world).id, numbers)
    more = {**bundle, "answer": {**bundle["answer"], "cost": "0"}}
    less = {**bundle, "answer": {name: value for name, value in bundle["answer"].items() if name != "opening"}}
    for other in (more, less):
        assert verify_bundle(other, SIGNER.vkey, NO_WITNESSES) == [
            "its answer has other fields than those that a record commits to"
        ]
    beside = {**bundle, "total": 42}
    assert verify_bundle(beside, SIGNER.vkey, NO_WITNESSES) == [
        "it has fields that evidence has not, of which nothing is proven"
    ]
    monkeypatch.setattr(bundles, "TOLD", (*bundles.TOLD, "cost"))
    monkeypatch.setattr(bundles, "_FIELDS", {*bundles._FIELDS, "total"})
    for planted in (more, beside):
        assert verify_bundle({**planted, "answer": more["answer"]}, SIGNER.vkey, NO_WITNESSES) == []


def test_a_file_that_names_a_field_twice_is_not_read(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, file, log = answered(world, asked(world)), tmp_path / "twice.json", tmp_path / "log.ndjson"
    bundle = evidence(world.log, world.store, "auditor", answer["id"], numbers)
    log.write_bytes(b"".join(world.export()))
    for value, also in ((answer, {"rows": [["F", 1, 1.0]]}), (bundle, {"answer": NUMBERS})):
        file.write_text(json.dumps(also)[:-1] + "," + json.dumps(value)[1:], encoding="utf-8")
        assert main([str(file), "--key", SIGNER.vkey]) == 1
        assert capsys.readouterr().err == "cannot be read: a field is named twice in one object\n"
    assert main([str(log), "--receipt", str(file)]) == 1
    with monkeypatch.context() as planted:
        planted.setattr(offline, "value_of", json.loads)
        assert main([str(file), "--key", SIGNER.vkey]) == 0, "the planted reader takes the last, and others the first"
    file.write_text(json.dumps(answer, indent=1).replace("{", '{"a": 1, "a": 2,', 1), encoding="utf-8")
    assert main([str(file), "--key", SIGNER.vkey]) == 1, "on many lines as well"


def test_what_an_answer_says_besides_is_named_as_not_covered(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = answered(world, asked(world)) | {"mode": "dp", "blocks": ["2024"], "\x1b[2J": 1}
    assert judged(tmp_path, answer) == 0
    told = capsys.readouterr().out
    assert told.endswith('that it commits to\nit does not cover "\\u001b[2J", "blocks", "mode"\n')
    assert judged(tmp_path, answer, "--json") == 0
    assert json.loads(capsys.readouterr().out)["not_covered"] == ["\x1b[2J", "blocks", "mode"]


@pytest.mark.parametrize("wanted", ["query", "decision", "release", "actor"])
def test_what_was_erased_opens_for_nobody_who_kept_no_copy(world: World, wanted: str) -> None:
    row = asked(world)
    kept = answered(world, row)
    world.clock.moment += timedelta(days=FLOOR_DAYS + 1)
    decision = next(each["seq"] for each in world.records() if each["decision"] == "run")
    chosen = {
        "query": Wanted(query_id=row.id),
        "decision": Wanted(record=decision),
        "release": Wanted(record=row.record),
        "actor": Wanted(actor="acme"),
    }[wanted]
    with world.store.transaction() as tx:
        erase(world.log, tx, chosen, WHY, world.clock())
    gone = answered(world, row)
    assert gone["opening"] is None
    found = verify_numbers(gone, gone["receipt"]["record"])
    assert found is not None
    assert found.code == UNPROVEN
    assert "answer" not in evidence(world.log, world.store, "auditor", row.id, numbers)
    assert proves({**kept, "receipt": gone["receipt"]}), "whoever kept a copy can still show it"


def test_the_store_keeps_the_salt_and_never_the_numbers(world: World) -> None:
    row = asked(world)
    with world.store.reading() as view:
        (kept,) = view.all("SELECT text FROM secret WHERE name = 'answer'")
        assert kept[0] == ""
        assert world.log.opened(view, row.record) == {}


@pytest.mark.parametrize("why", [Refusal("not_found", "its place was lost"), Unreachable("the data domain is away")])
def test_evidence_of_an_answer_that_nobody_can_tell_has_no_numbers(world: World, why: Exception) -> None:
    def lost(row: QueryRow) -> dict[str, Any]:
        raise why

    bundle = evidence(world.log, world.store, "auditor", asked(world).id, lost)
    assert "answer" not in bundle
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == []


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)  # fmt: skip


@given(st.lists(st.lists(VALUES)))
def test_the_text_is_that_of_rfc_8785(rows: list[list[Any]]) -> None:
    answer = {**NUMBERS, "rows": rows}
    assert told_text(answer).encode() == rfc8785.dumps(answer)
    assert told_text(json.loads(json.dumps(answer))) == told_text(answer), "as it comes over the wire"


def taken_for(text: str) -> int:
    """Bytes, at the most, that it takes to write an answer with this text in it, all copies included."""
    answer = {**NUMBERS, "rows": [[text]]}
    tracemalloc.start()
    try:
        told_text(answer)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_text_takes_some_times_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    text = '"' * 200_000
    most = 16 * len(text)
    assert taken_for(text) < most
    monkeypatch.setattr(told, "_TOKEN", re.compile(r'"(?:[^"\\]|\\.)*"'))
    assert taken_for(text) > most, "the planted form keeps a way back from every character"


@pytest.mark.parametrize("number", [2**53, -(2**64), 10**30])
def test_whole_numbers_of_any_size_keep_their_digits(number: int) -> None:
    assert f"[[{number}]]" in told_text({**NUMBERS, "rows": [[number]]})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_has_no_text(number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        told_text({**NUMBERS, "rows": [[number]]})
