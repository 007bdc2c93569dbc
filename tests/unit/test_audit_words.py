"""What the verifier says of each rule that is broken, word for word: it is all that an auditor gets to read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.broken import Broken
from gateway.audit.replay import Replay
from gateway.audit.suites import SM3
from tests.ledger_world import World, a_busy_world, a_world_that_changed_its_key
from tests.unit.test_audit_handed_on import edit, of
from tests.unit.test_audit_replayed import also, first_broken

Records = list[dict[str, Any]]
Change = Callable[[Records], object]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> World:
    return a_busy_world(tmp_path_factory.mktemp("words"))


def terms(kind: str, **fields: object) -> Change:
    return lambda records: of(records, kind)["terms"].update(fields)


def charged(line: int, **fields: str) -> Change:
    return lambda records: of(records, "charge")["charges"][line].update(fields)


def raised(records: Records) -> dict[str, Any]:
    """The record of the cap that approvers raised."""
    return next(record for record in records if "decision" in (record.get("terms") or {}))


def decided(**fields: object) -> Change:
    return lambda records: raised(records)["terms"]["decision"].update(fields)


def line_of_the_decision(**fields: object) -> Change:
    return lambda records: raised(records)["terms"]["decision"]["lines"][0].update(fields)


def named(**fields: object) -> Change:
    return lambda records: of(records, "approvers")["terms"]["approvers"].update(fields)


def keys(change: Callable[[dict[str, str]], dict[str, str]]) -> Change:
    def changed(records: Records) -> None:
        found = of(records, "approvers")["terms"]["approvers"]
        found["keys"] = change(found["keys"])

    return changed


def drop(kind: str) -> Change:
    return lambda records: records.remove(of(records, kind))


NO_TERMS = "puts a licence in force whose terms are none"
SAID: dict[str, tuple[Change, str, str]] = {
    "no fields": (lambda records: of(records, "run").pop("mode"), "fields", "does not have the fields of a record"),
    "a type": (edit("run", actor=1), "fields", "`actor` is of another type"),
    "a time": (edit("run", time="2026-11-23"), "fields", "`time` is not UTC with milliseconds"),
    "a commitment": (
        edit("release", commitments={"release": "x"}),
        "fields",
        "`commitments` holds what is no commitment",
    ),
    "a version": (edit("run", v=3), "version", "is no record, or one of another version"),
    "a kind": (lambda records: of(records, "run").update(kind="other"), "kind", "is of a kind that there is not"),
    "a decision": (edit("run", decision="other"), "kind", "is of a kind that there is not"),
    "terms of a decision": (edit("run", terms={}), "fields", "`terms` is not for this kind"),
    "a policy without terms": (lambda records: of(records, "policy").pop("terms"), "fields", "`terms` is missing"),
    "a reason without a decision": (
        edit("cap_zcdp", commitments={"reason": "ab" * 32}),
        "fields",
        "a cap has a reason and a decision, or neither",
    ),
    "a field too few": (edit("run", actor=None), "fields", "`actor` is missing"),
    "a field too many": (edit("run", code="x"), "fields", "`code` is not for this kind"),
    "a charge that is none": (edit("charge", charges=[{"scope": "x"}]), "fields", "`charges` holds what is no charge"),
    "an amount": (charged(0, rho="0.10"), "fields", "an amount is not in its shortest exact form"),
    "an amount too fine": (charged(0, rho="0.0000000000001"), "fields", "an amount is not in its shortest exact form"),
    "a ledger": (edit("run", ledger="other"), "ledger", "belongs to another log"),
    "a suite": (
        edit("run", suite="other"),
        "suite",
        "names other algorithms than the log is written in, or unknown ones",
    ),
    "a beginning": (also("genesis"), "genesis", "the first record, and only the first, is the genesis record"),
    "an earlier time": (edit("run", time="2020-01-01T00:00:00.000Z"), "time", "is earlier than the record before it"),
    "another charge": (
        also("charge"),
        "charge_unexpected",
        "charges a query that was not decided to run, or was charged before",
    ),
    "other scopes": (
        charged(0, scope="dataset:x"),
        "charge_scopes",
        "does not charge the dataset and the operator alike",
    ),
    "other amounts": (charged(1, rho="0.1"), "charge_scopes", "does not charge the dataset and the operator alike"),
    "a purpose's": (
        lambda records: (lines := of(records, "charge")["charges"]).append(
            {**lines[0], "scope": "purpose:x/acme/clinic"}
        ),
        "charge_scopes",
        "does not charge what the licence gives to a purpose of it",
    ),
    "beyond the caps": (
        lambda records: [line.update(rho="1") for line in of(records, "charge")["charges"]],
        "cap_passed",
        "leads dataset:clinic and operator:acme/clinic beyond the cap in force",
    ),
    "no cap yet": (drop("cap_zcdp"), "cap_unknown", "charges dataset:clinic, which has no cap yet"),
    "nothing": (
        lambda records: [line.update(rho="0") for line in of(records, "charge")["charges"]],
        "charge_amount",
        "charges dataset:clinic nothing, or in another currency",
    ),
    "no loss in dp": (edit("charge", charges=[]), "charge_mode", "charges nothing in mode dp"),
    "a loss in another mode": (edit("run", mode="open"), "charge_mode", "charges a privacy loss in mode open"),
    "cells that were paid": (
        edit("release", code="cells_1_1"),
        "cells",
        "counts cells of a query that was charged a privacy loss",
    ),
    "no cells": (edit("reused", code="x"), "cells", "counts no cells as records do"),
    "no release": (edit("release", commitments={}), "release_missing", "does not name what was released"),
    "a second outcome": (also("release"), "outcome_twice", "is the second outcome of its query"),
    "a second decision": (also("refused"), "decision_twice", "decides a query that was decided before"),
    "an unknown query": (
        also("release", query_id="qry_x"),
        "decision_missing",
        "speaks of a query that was not decided before",
    ),
    "a free outcome": (
        lambda records: also("release", **{n: of(records, "reused")[n] for n in ("query_id", "actor")})(records),
        "outcome_uncharged",
        "is the outcome of a query that was not charged",
    ),
    "another actor": (
        edit("release", actor="beta"),
        "query_differs",
        "says other things of its query than the decision does",
    ),
    "no line of a cap": (edit("cap_zcdp", charges=[]), "cap", "sets no cap, or several"),
    "a cap elsewhere": (edit("cap_zcdp", dataset="other"), "cap", "sets the cap of a scope of another dataset"),
    "another accountant": (also("cap_zcdp", code="cap_pure"), "accountant", "dataset:clinic changes what it adds up"),
    "a policy's supply": (
        terms("policy", supply="x"),
        "terms",
        "puts a policy in force that says nothing of its supply",
    ),
    "a withheld dataset": (terms("policy", supply="withheld"), "withheld", "answers from a dataset that is withheld"),
    "a mode": (edit("run", mode="other"), "fields", "is of a mode that there is not"),
    "another policy": (
        edit("policy", policy_digest="cd" * 32),
        "policy_not_in_force",
        "rests on a policy that is not the one in force",
    ),
    "no licence": (
        edit("run", licence=None),
        "licence_missing",
        "rests on no licence, and its dataset is not open",
    ),
    "an unknown licence": (edit("run", licence="L-x"), "licence_unknown", "rests on a licence that is not in force"),
    "another's licence": (
        terms("licence", operator="x"),
        "licence_other",
        "rests on a licence of another operator, or for another dataset",
    ),
    "an ended licence": (
        terms("licence", until="2020-01-02"),
        "licence_expired",
        "rests on a licence that is not valid on its day",
    ),
    "an end of no licence": (
        also("licence", code="licence_ended", licence="L-x"),
        "fields",
        "`terms` is not for this kind",
    ),
    "terms of a licence": (edit("licence", terms={}), "terms", NO_TERMS),
    "shares of nothing": (terms("licence", shares={}), "terms", NO_TERMS),
    "datasets": (
        terms("licence", datasets=["b", "a"]),
        "terms",
        "`datasets` of a licence is no list of names in order",
    ),
    "purposes": (terms("licence", purposes=[1]), "terms", "`purposes` of a licence is no list of names in order"),
    "shares": (
        terms("licence", shares={"clinic": ["x"]}),
        "terms",
        "`shares` of a licence are of other datasets or purposes than its own",
    ),
    "a day": (terms("licence", until="2099-13-31"), "terms", "`until` of a licence is no day"),
    "approvers' terms": (terms("approvers", more=1), "terms", "does not have the terms of such a record"),
    "no approvers": (terms("approvers", approvers=[]), "approvers", "names no approvers"),
    "one approver": (
        named(quorum=1),
        "approvers",
        "lets fewer than two approvers decide, or one key count twice",
    ),
    "one key twice": (
        keys(lambda found: dict.fromkeys(found, found["ann"])),
        "approvers",
        "lets fewer than two approvers decide, or one key count twice",
    ),
    "an approver without a key": (
        keys(lambda found: {**found, "ann": "AAAA"}),
        "approvers",
        "names an approver without a key",
    ),
    "no decision of its kind": (decided(act="other"), "cap_decision", "rests on what is no decision of its kind"),
    "no decision": (decided(nonce="x"), "cap_decision", "rests on what is no decision"),
    "a decision elsewhere": (decided(ledger="x"), "cap_decision", "rests on a decision for another log"),
    "a decision too late": (
        decided(until="2020-01-01T00:00:00.000Z"),
        "cap_decision",
        "rests on a decision that did not hold then",
    ),
    "another reason": (
        lambda records: raised(records).update(commitments={"reason": "ab" * 32}),
        "cap_decision",
        "commits to another reason than the decision",
    ),
    "a signature": (
        decided(reason="ab" * 32, nonce="ab" * 16),
        "cap_decision",
        "commits to another reason than the decision",
    ),
    "signed otherwise": (
        decided(nonce="ab" * 16),
        "cap_signature",
        "has a signature of an approver that does not hold",
    ),
    "a stranger": (
        lambda records: raised(records)["terms"]["signatures"].update(x="y"),
        "cap_signature",
        "is signed by somebody who is no approver then",
    ),
    "too few": (
        lambda records: raised(records)["terms"]["signatures"].popitem(),
        "cap_signature",
        "has not enough signatures of approvers",
    ),
    "nobody": (
        lambda records: (found := raised(records)).pop("terms") and found.update(commitments=None),
        "cap_undecided",
        "raises a cap, and no approver has signed for it",
    ),
    "no raise's terms": (
        lambda records: raised(records).update(terms={"decision": {}}),
        "terms",
        "does not have the terms of such a record",
    ),
}


@pytest.mark.parametrize("name", SAID)
def test_each_rule_says_in_full_what_is_wrong(busy: World, name: str) -> None:
    records = json.loads(json.dumps(busy.records()))
    change, *said = SAID[name]
    change(records)
    broken = first_broken(records)
    assert broken is not None
    assert broken[:2] == tuple(said)


def test_a_log_that_goes_back_to_an_older_format_says_so(busy: World) -> None:
    records = busy.records()
    later = ("suite", "mode", "licence")
    records[2] = {name: value for name, value in records[2].items() if name not in later} | {"v": 1}
    assert first_broken(records) == ("version", "falls back to an older format", 2)


def test_a_key_of_other_algorithms_than_the_records_says_so(tmp_path: Path) -> None:
    records = a_world_that_changed_its_key(tmp_path).records()
    assert first_broken(records) is None
    for record in records:
        record["suite"] = SM3
    words = "hands over a key of other algorithms than the records"
    assert first_broken(records) == ("log_key", words, records.index(of(records, "log_key")))


def test_a_record_out_of_its_place_says_so(busy: World) -> None:
    replay = Replay()
    replay.take(0, busy.records()[0])
    with pytest.raises(Broken) as broken:
        replay.take(1, busy.records()[2])
    assert (broken.value.code, broken.value.words) == ("sequence", "says it is record 2")


def test_a_log_that_stops_before_a_charge_says_so(busy: World) -> None:
    replay = Replay()
    for seq, record in enumerate(busy.records()):
        replay.take(seq, record)
        if record["decision"] == "run":
            break
    with pytest.raises(Broken) as broken:
        replay.finish()
    assert (broken.value.code, broken.value.words) == ("charge_missing", "a query was decided to run and never charged")
