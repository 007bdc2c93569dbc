"""What auditors hand on is judged offline: also where the holder of the log's key has signed what is not right."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.audit import replay_caps, tree
from gateway.audit.bundles import is_bundle, is_report, verify_bundle, verify_report
from gateway.audit.note import parse_checkpoint
from gateway.audit.offline import main
from gateway.audit.older import NO_WITNESSES, Witnesses, canonical
from gateway.audit.stamps import MISSING, Stamp
from gateway.budget import queries
from gateway.budget.cells import Shown
from gateway.budget.queries import Stored
from gateway.oversight.bundle import evidence
from gateway.oversight.report import signed
from tests.ledger_world import HASH, SIGNER, World, dp, price, signed_by

Records = list[dict[str, Any]]
Change = Callable[[Records], object]
TEXTS = {"sql": "SELECT COUNT(*) FROM people", "purpose": "research"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def bundle(world: World) -> dict[str, Any]:
    """The evidence of an answer that was charged."""
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(), world.scopes(), price("0.5"), texts=TEXTS)
    world.answer(row.id)
    return evidence(world.log, world.store, "auditor", row.id)


def proven(records: Records) -> tuple[list[dict[str, Any]], str]:
    """Each record with its proof, and the note over all, as the holder of the key would make them of any records."""
    nodes: dict[tuple[int, int], bytes] = {}

    def node(level: int, place: int) -> bytes:
        return nodes[level, place]

    bodies = [canonical(record) for record in records]
    for index, body in enumerate(bodies):
        for level, place, value in tree.appended(index, tree.leaf_hash(body), node):
            nodes[level, place] = value
    told = [
        {
            "index": index,
            "record": record,
            "leaf_hash": tree.leaf_hash(bodies[index]).hex(),
            "proof": [step.hex() for step in tree.inclusion(index, len(records), node)],
        }
        for index, record in enumerate(records)
    ]
    return told, SIGNER.sign(len(records), tree.root(len(records), node))


def forged(bundle: dict[str, Any], change: Change) -> list[str]:
    """What is found in the bundle once its records are changed, numbered and signed again; readings are left out."""
    copy = json.loads(json.dumps(bundle))
    before = {str(each["record"]["seq"]): each["record"] for each in copy["records"]}
    records = list(before.values())
    change(records)
    for seq, record in enumerate(records):
        record["seq"] = seq
    told, copy["checkpoint"] = proven(records)
    copy["records"] = [each for each in told if each["record"]["kind"] != "read"]
    copy["opened"] = {
        str(record["seq"]): copy["opened"][seq]
        for seq, record in before.items()
        if seq in copy["opened"] and record in records
    }
    return verify_bundle(copy, SIGNER.vkey, NO_WITNESSES)


def of(records: Records, kind: str) -> dict[str, Any]:
    return next(record for record in records if kind in (record["kind"], record["decision"], record["code"]))


def edit(kind: str, **fields: object) -> Change:
    return lambda records: of(records, kind).update(fields)


def gone(kind: str) -> Change:
    return lambda records: records.remove(of(records, kind))


def amount(kind: str, line: int, unit: str, value: str) -> Change:
    return lambda records: of(records, kind)["charges"][line].update({unit: value})


def between(records: Records) -> None:
    """A record of the same query between the decision and its charge."""
    place = records.index(of(records, "run"))
    records.insert(place + 1, {**of(records, "release"), "time": records[place]["time"]})


def somewhere_else(records: Records) -> None:
    """A reading, which the evidence need not show, between the decision and its charge."""
    decision = of(records, "run")
    nothing = dict.fromkeys(decision, None)
    about = {name: decision[name] for name in ("v", "ledger", "suite", "time")}
    records.insert(records.index(decision) + 1, {**nothing, **about, "kind": "read", "code": "records"})


def test_what_was_not_changed_is_judged_sound(bundle: dict[str, Any]) -> None:
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == []
    assert forged(bundle, lambda records: None) == []
    assert forged(bundle, gone("release")) == [], "a query without an outcome yet"


FORGERIES: dict[str, tuple[Change, str]] = {
    "no decision": (gone("run"), "the decision on the query is missing"),
    "no charge": (lambda records: (gone("charge")(records), gone("release")(records)), "charge is not right behind"),
    "an outcome in place of the charge": (gone("charge"), "charge is not right behind"),
    "a charge elsewhere": (somewhere_else, "charge is not right behind"),
    "something before the charge": (between, "charge is not right behind"),
    "another query's record": (edit("release", query_id="qry_other"), "has nothing to do with the query"),
    "a cap that is not told": (gone("cap_zcdp"), "has no cap that it is within"),
    "a cap below the charge in rho": (amount("cap_zcdp", 0, "rho", "0.0001"), "has no cap that it is within"),
    "a charge beyond the cap in delta": (amount("charge", 1, "delta", "0.1"), "has no cap that it is within"),
    "an outcome without a commitment after one with it": (
        lambda records: (
            records.append({**of(records, "release"), "time": records[-1]["time"]}),
            of(records, "release").update(commitments={"release": HASH, "answer": HASH}),
        ),
        "does not commit to what was answered",
    ),
    "another policy": (edit("policy", policy_digest="cd" * 32), "not the one in force"),
    "no policy": (gone("policy"), "not the one in force"),
    "no licence": (gone("licence"), "a licence that is not in force"),
    "another operator's licence": (
        lambda records: of(records, "licence")["terms"].update(operator="beta"),
        "a licence of another operator",
    ),
    "a licence for another purpose": (
        lambda records: of(records, "licence")["terms"].update(purposes=["teaching"]),
        "is not one that the licence names",
    ),
    "a licence that is none": (edit("licence", terms={}), "whose terms are none"),
    "a record without a field": (lambda records: of(records, "charge").pop("suite"), "the fields of a record"),
    "a run that names no mode": (edit("run", mode=None), "`mode` is missing"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_the_key_holder_s_own_forgeries_are_found(bundle: dict[str, Any], name: str) -> None:
    change, why = FORGERIES[name]
    (told,) = forged(bundle, change)
    assert why in told


def test_a_cap_may_be_met_exactly(bundle: dict[str, Any]) -> None:
    def exactly(records: Records) -> None:
        for record in records:
            if record["code"] == "cap_zcdp":
                record["charges"][0].update(
                    {unit: of(records, "charge")["charges"][0][unit] for unit in ("rho", "delta")}
                )

    assert forged(bundle, exactly) == []


def raised_bundle(world: World, sure: tuple[str, ...] = ("ann", "bo")) -> dict[str, Any]:
    """The evidence of an answer under a cap that two approvers have raised."""
    world.answer(world.charge(price("0.5")).id)
    world.name_approvers()
    before, higher = world.scopes()[1], world.scopes(share="3")[1]
    world.raise_cap(higher, before.cap, signed_by(world.proposed(higher, before.cap), *sure))
    row = world.charge(price("0.5"), world.scopes(share="3"))
    return evidence(world.log, world.store, None, world.answer(row.id).id)


def unsigned(records: Records) -> None:
    """The raise without its decision."""
    of_raise = next(record for record in records if "decision" in record.get("terms", {}))
    del of_raise["terms"]
    of_raise["commitments"] = None


def signed_by_one(records: Records) -> None:
    of_raise = next(record for record in records if "decision" in record.get("terms", {}))
    of_raise["terms"]["signatures"].popitem()


def altered(records: Records) -> None:
    """More than was signed for."""
    of_raise = next(record for record in records if "decision" in record.get("terms", {}))
    of_raise["charges"][0]["rho"] = "0.5"


RAISES: dict[str, tuple[Change, str]] = {
    "a raise without its decision": (unsigned, "no approver has signed for it"),
    "one signature of two": (signed_by_one, "not enough signatures"),
    "more than was signed for": (altered, "decision on another cap"),
    "approvers that are not shown": (gone("approvers"), "signed by somebody who is no approver then"),
    "a cap before that is not shown": (
        lambda records: records.remove(
            next(each for each in records if each["code"] == "cap_zcdp" and "operator" in str(each["charges"]))
        ),
        "raised from one that is not shown",
    ),
}


@pytest.mark.parametrize("name", RAISES)
def test_the_evidence_judges_who_raised_a_cap(world: World, name: str) -> None:
    bundle = raised_bundle(world)
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == []
    change, why = RAISES[name]
    copy = json.loads(json.dumps(bundle))
    records = [each["record"] for each in copy["records"]]
    change(records)
    (found,) = judged_again(copy, records)
    assert why in found


def judged_again(bundle: dict[str, Any], records: Records) -> list[str]:
    """As `forged`, with every record at the place that it had: decisions say how long the log was."""
    size = max(record["seq"] for record in records) + 1
    by_seq = {record["seq"]: record for record in records}
    filler = {"seq": -1}
    told, checkpoint = proven([by_seq.get(seq, {**filler, "seq": seq}) for seq in range(size)])
    shown = [each for each in told if each["index"] in by_seq]
    return verify_bundle({**bundle, "records": shown, "checkpoint": checkpoint}, SIGNER.vkey, NO_WITNESSES)


def test_planted_evidence_whose_raises_nobody_judges_is_noticed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_caps.Caps, "_check_signatures", lambda *_: None)
    bundle = raised_bundle(world)
    records = [each["record"] for each in bundle["records"]]
    signed_by_one(records)
    assert judged_again(bundle, records) == []


def test_under_pure_the_epsilon_of_a_charge_is_held_against_its_cap(tmp_path: Path) -> None:
    world = World(tmp_path)
    scopes = world.scopes(whole=dp(accountant="pure"))
    with world.store.transaction() as tx:
        row = world.ledger.charge(tx, world.asked(), scopes, price("0.5", accountant="pure"), texts=TEXTS)
    bundle = evidence(world.log, world.store, None, world.answer(row.id).id)
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == []
    (told,) = forged(bundle, amount("charge", 1, "epsilon", "2.1"))
    assert "has no cap that it is within" in told


def test_the_evidence_of_a_refusal_and_of_a_stored_answer_needs_no_charge(world: World) -> None:
    refused = queries.new_query_id()
    asked = world.asked()
    with world.store.transaction() as tx:
        world.ledger.refuse(tx, query_id=refused, actor="acme", code="column_hidden", texts=TEXTS)
        world.ledger.reuse(tx, asked, Stored("rel_1", HASH), texts=TEXTS)
    for query in (refused, asked.id):
        assert verify_bundle(evidence(world.log, world.store, None, query), SIGNER.vkey, NO_WITNESSES) == []
    reused = evidence(world.log, world.store, None, asked.id)
    assert forged(reused, gone("licence")) != [], "a stored answer is by right as well"
    assert verify_bundle({**reused, "records": reused["records"][:-1]}, SIGNER.vkey, NO_WITNESSES) == [
        "the decision on the query is missing"
    ]


def test_the_evidence_of_an_exact_answer_shows_a_charge_of_nothing(world: World) -> None:
    row = world.exact(Shown(12, 2))
    told = evidence(world.log, world.store, None, row.id)
    assert verify_bundle(told, SIGNER.vkey, NO_WITNESSES) == []
    assert forged(told, edit("run", mode="dp")) == [], "which charge belongs to a mode is a matter of the whole log"
    (missing,) = forged(told, lambda records: (gone("charge")(records), gone("release")(records)))
    assert "charge is not right behind" in missing


@pytest.mark.parametrize("name", ["sql", "purpose"])
@pytest.mark.parametrize("part", ["salt", "text"])
def test_a_text_is_opened_by_its_salt_and_in_its_own_words(bundle: dict[str, Any], name: str, part: str) -> None:
    ((_, texts),) = bundle["opened"].items()
    texts[name][part] = "00" * 32 if part == "salt" else "research!"
    assert verify_bundle(bundle, SIGNER.vkey, NO_WITNESSES) == [f"`{name}` is not the text that the record commits to"]


@pytest.mark.parametrize(
    "broken",
    [
        {"records": None},
        {"records": []},
        {"records": [1]},
        {
            "opened": {"999": {}},
        },
        {"opened": {"x": {}}},
        {"opened": None},
        {"query_id": ["x"]},
        {"checkpoint": None},
    ],
)
def test_evidence_that_cannot_be_read_is_not_sound(bundle: dict[str, Any], broken: dict[str, Any]) -> None:
    assert verify_bundle({**bundle, **broken}, SIGNER.vkey, NO_WITNESSES) != []


def test_what_is_handed_on_is_told_by_its_form(world: World, bundle: dict[str, Any]) -> None:
    report = signed(world.log, world.store, "auditor", None, None)
    assert (is_bundle(bundle), is_report(bundle)) == (True, False)
    assert (is_bundle(report), is_report(report)) == (False, True)
    for neither in (None, [], "bundle", {}, {"report": {}}, {"bundle": 1, "records": []}, {**report, "more": 1}):
        assert (is_bundle(neither), is_report(neither)) == (False, False)


def test_a_report_is_that_of_its_receipt_alone(world: World, bundle: dict[str, Any]) -> None:
    told = signed(world.log, world.store, "auditor", None, None)
    assert verify_report(told, SIGNER.vkey, NO_WITNESSES) == []
    other = signed(world.log, world.store, "auditor", None, None)
    for wrong in (other["receipt"], world.log.receipt(0)):
        assert verify_report({**told, "receipt": wrong}, SIGNER.vkey, NO_WITNESSES) == [
            "the receipt's record names another report"
        ]
    hashed = hashlib.sha256(canonical(told["report"])).hexdigest()
    with world.store.transaction() as tx:
        by_name = world.log.append(tx, kind="read", code="records", hashes={"report": hashed})
        by_kind = world.log.append(tx, kind="admin", code="report", hashes={"report": hashed})
    for index in (by_name, by_kind):
        assert verify_report({**told, "receipt": world.log.receipt(index)}, SIGNER.vkey, NO_WITNESSES) != []
    for receipt in (None, {}, {**told["receipt"], "record": None}):
        assert "the report is unreadable" in verify_report({**told, "receipt": receipt}, SIGNER.vkey, NO_WITNESSES)


def test_what_is_handed_on_may_need_witnesses(world: World, bundle: dict[str, Any]) -> None:
    needed = Witnesses((), 1)
    words = ["0 of the 1 witnesses that are needed have cosigned it"]
    assert verify_bundle(bundle, SIGNER.vkey, needed) == words
    assert verify_report(signed(world.log, world.store, None, None, None), SIGNER.vkey, needed) == words


class Offline:
    """`bpk audit verify` on values that lie in files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys

    def file(self, content: Any, name: str = "told.json", indent: int | None = None) -> str:
        file = self.folder / name
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            file.write_text(content if isinstance(content, str) else json.dumps(content, indent=indent), "utf-8")
        return str(file)

    def run(self, *arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err


@pytest.fixture
def offline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Offline:
    return Offline(tmp_path, capsys)


@pytest.mark.parametrize("option", [(), ("--receipt",)])
def test_what_is_nested_without_end_is_told_to_be_unreadable(
    world: World, offline: Offline, option: tuple[str, ...]
) -> None:
    deep = offline.file("[" * 100_000, "deep.json")
    export = offline.file(b"".join(world.export()), "log.ndjson")
    code, out, err = offline.run(*((export, *option, deep) if option else (deep,)))
    assert code == 1
    assert ("cannot be read" in err) if option else ("NOT SOUND" in out)


def test_a_receipt_is_judged_under_a_key(world: World, offline: Offline) -> None:
    receipt = world.log.receipt(0)
    for value, indent in ((receipt, None), ({"receipt": receipt, "id": None}, 1)):
        file = offline.file(value, indent=indent)
        time = receipt["record"]["time"]
        sound = f"sound: record 0 of {SIGNER.origin} is in the log (genesis, {time})"
        sound += "\n" if value is receipt else "; it proves no numbers\n"
        assert offline.run(file, "--key", SIGNER.vkey) == (0, sound, "")
        code, out, _ = offline.run(file, "--key", SIGNER.vkey, "--json")
        assert (code, json.loads(out)) == (0, {"ok": True, "index": 0, "numbers": False, "problems": []})
        assert offline.run(file) == (2, "", "a receipt is judged under the log's key: name it with --key\n")
    wrong = offline.file({**receipt, "index": 1})
    words = "a receipt's record is not the one its hash names"
    assert offline.run(wrong, "--key", SIGNER.vkey) == (1, f"NOT SOUND: {words}\n", "")
    code, out, _ = offline.run(wrong, "--key", SIGNER.vkey, "--json")
    assert (code, json.loads(out)) == (1, {"ok": False, "index": 1, "numbers": False, "problems": [words]})


HELP = {
    "--key KEY": "the verifier key you expect",
    "--since SINCE": "file of an older checkpoint",
    "--receipt RECEIPT": "file of an old answer or receipt",
    "--witness WITNESS": "verifier key of a witness you trust",
    "--quorum QUORUM": "how many of them must have cosigned; all by default",
    "--timestamps TIMESTAMPS": "file of time stamps over checkpoints of the log",
    "--authority AUTHORITY": "certificates (PEM) by which they are judged",
    "--allow-unproven": "take an answer whose numbers nothing proves",
    "--json": "the report as JSON",
}


def test_what_each_option_is_for_is_said(offline: Offline) -> None:
    with pytest.raises(SystemExit) as ended:
        offline.run("--help")
    told = " ".join(offline.capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "Verifies an exported audit log, a folder of tiles or a receipt, offline." in told
    assert " ".join(f"{option} {words}" for option, words in HELP.items()) in told


def test_evidence_and_reports_are_judged_under_a_key(world: World, bundle: dict[str, Any], offline: Offline) -> None:
    told = signed(world.log, world.store, "auditor", None, None)
    records = len(bundle["records"])
    for value, words in (
        (bundle, f"sound: {records} records and 1 opened ones of {bundle['query_id']}; it proves no numbers\n"),
        (told, "sound: the log's own record names this report\n"),
    ):
        file = offline.file(value)
        assert offline.run(file, "--key", SIGNER.vkey) == (0, words, "")
        code, out, _ = offline.run(file, "--key", SIGNER.vkey, "--json")
        assert (code, json.loads(out)) == (0, {"ok": True, "problems": []})
        assert offline.run(file) == (2, "", "it is judged under the log's key: name it with --key\n")
    code, out, _ = offline.run(offline.file({**bundle, "records": []}), "--key", SIGNER.vkey, "--json")
    assert (code, json.loads(out)) == (1, {"ok": False, "problems": ["the evidence is unreadable"]})
    spoilt = {**bundle, "records": [{**each, "index": each["index"] + 1} for each in bundle["records"]]}
    problems = verify_bundle(spoilt, SIGNER.vkey, NO_WITNESSES)
    code, out, _ = offline.run(offline.file(spoilt), "--key", SIGNER.vkey)
    assert (code, out.splitlines()) == (1, [f"NOT SOUND: {words}" for words in problems])
    assert len(problems) == records
    code, out, _ = offline.run(offline.file({**told, "report": {}}), "--key", SIGNER.vkey)
    assert (code, out) == (1, "NOT SOUND: the receipt's record names another report\n")


def test_an_export_is_held_against_what_was_kept(world: World, offline: Offline) -> None:
    early = world.log.checkpoint()
    receipt = world.log.receipt(0)
    world.charge()
    export = offline.file(b"".join(world.export()), "log.ndjson")
    since = offline.file(early, "since")
    kept = offline.file({"receipt": receipt}, "kept.json")
    code, out, _ = offline.run(export, "--key", SIGNER.vkey, "--since", since, "--receipt", kept, "--json")
    report = json.loads(out)
    assert (code, report["ok"], report["consistent_with"]) == (0, True, 2)
    assert report["records"] == parse_checkpoint(world.log.checkpoint()).size
    code, out, _ = offline.run(export)
    assert code == 0
    assert out.startswith(f"log {SIGNER.origin}: sound\n")
    assert offline.run(export, "--receipt", offline.file("[]", "no.json"))[0] == 1
    assert offline.run(export, "--receipt", offline.file({"receipt": 1}, "no.json"))[0] == 1
    code, out, err = offline.run(export, "--receipt", offline.file("{", "no.json"))
    assert (code, out) == (1, "")
    assert err.startswith("cannot be read: ")
    code, _, err = offline.run(export, "--since", str(offline.folder / "none"))
    assert code == 1
    assert err.endswith("none` cannot be read: No such file or directory\n")


def test_a_file_that_is_no_log_at_all_is_not_sound(offline: Offline) -> None:
    for content in ("{", "", "\n", "{}\n{", "log"):
        code, out, err = offline.run(offline.file(content))
        assert (code, err) == (1, ""), content
        assert "NOT SOUND" in out


def test_a_folder_without_tiles_cannot_be_read(offline: Offline) -> None:
    code, out, err = offline.run(str(offline.folder))
    assert (code, out) == (1, "")
    assert err.endswith("cannot be read: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key", "x"), "--key is no verifier key; `audit checkpoint --json` prints the one of a log"),
        (("--key", "名+00+AA=="), "--key is no verifier key; `audit checkpoint --json` prints the one of a log"),
        (("--witness", SIGNER.vkey), "--witness is no verifier key of a witness; `bpk witness key` prints it"),
        (("--quorum", "1"), "--quorum is more than there are witnesses"),
        (("--quorum", "-1"), "--quorum is more than there are witnesses"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(offline: Offline, arguments: tuple[str, ...], words: str) -> None:
    assert offline.run(str(offline.folder / "none"), *arguments) == (2, "", f"{words}\n")


def test_no_witness_is_needed_where_none_is_named(world: World, offline: Offline) -> None:
    export = offline.file(b"".join(world.export()), "log.ndjson")
    assert offline.run(export, "--quorum", "0")[0] == 0


def test_stamps_without_the_library_are_wrong_usage(
    world: World, offline: Offline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    export = offline.file(b"".join(world.export()), "log.ndjson")
    stamps = offline.file(Stamp(world.log.checkpoint(), b"token").line() + "\n", "stamps")
    authority = offline.file(certificate(), "authority.pem")
    assert offline.run(export, "--timestamps", stamps, "--authority", authority) == (2, "", f"{MISSING}\n")


def certificate() -> bytes:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    return made.sign(key, None).public_bytes(Encoding.PEM)
