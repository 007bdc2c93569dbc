"""Judges what auditors hand on: the evidence of one answer, and the report of a period.

Part of the offline verifier: standard library and `cryptography`, nothing of the writer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gateway.audit.broken import Broken
from gateway.audit.keys import following
from gateway.audit.older import Witnesses, check_receipt, require_witnesses
from gateway.audit.replay_blocks import Blocks, split_block
from gateway.audit.replay_caps import Caps as Deciders
from gateway.audit.replay_rights import Rights
from gateway.audit.report import Report
from gateway.audit.shapes import TERMS, amounts_of, canonical, check_fields, check_shape, shape_of
from gateway.audit.suites import Digest
from gateway.audit.told import OPENING, TOLD, Commitments, require_told, rests_on

_FIELDS: Final = frozenset(
    {"bundle", "query_id", "key", "checkpoint", "handovers", "records", "opened", "answer"}
)  # fmt: skip


def is_bundle(value: Any) -> bool:
    return isinstance(value, dict) and {"bundle", "records", "checkpoint"} <= set(value)


def is_report(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"report", "receipt"}


def verify_report(value: Mapping[str, Any], key: str, witnesses: Witnesses) -> list[str]:
    """What is wrong with a signed period report; empty when the log's own record names just this report."""
    told = Report()
    try:
        keys = following(key, value["receipt"].get("handovers", ()))
        checkpoint = check_receipt(told, value["receipt"], keys)
        require_witnesses(told, witnesses, [] if checkpoint is None else [checkpoint])
        record = value["receipt"]["record"]
        hashed = keys.digest(canonical(value["report"])).hex()
        if record["kind"] != "read" or record["code"] != "report" or record["commitments"] != {"report": hashed}:
            told.add("report_differs", None, "the receipt's record names another report")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        told.add("report_unreadable", None, "the report is unreadable")
    return [problem.words for problem in told.problems]


def verify_bundle(bundle: Mapping[str, Any], key: str, witnesses: Witnesses) -> list[str]:
    """What is wrong with the evidence of an answer; empty when it shows all that it should."""
    told = Report()
    try:
        keys = following(key, bundle.get("handovers", ()))
        for each in bundle["records"]:
            checkpoint = check_receipt(told, {**each, "checkpoint": bundle["checkpoint"]}, keys)
        require_witnesses(told, witnesses, [] if checkpoint is None else [checkpoint])
        if told.ok:
            _judge(bundle, keys.digest)
    except Broken as broken:
        told.add(broken.code, None, broken.words)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, UnboundLocalError, RecursionError):
        told.add("bundle_unreadable", None, "the evidence is unreadable")
    return [problem.words for problem in told.problems]


def _judge(bundle: Mapping[str, Any], digest: Digest) -> None:
    if not bundle.keys() <= _FIELDS:
        raise Broken("bundle", "it has fields that evidence has not, of which nothing is proven")
    rights, caps, own, terms = Rights(), _Caps(), [], None
    for each in bundle["records"]:
        record = each["record"]
        check_fields(record)
        shape = shape_of(record)
        check_shape(record, shape)
        if shape == "policy":
            rights.policy(record)
        elif shape == "licence":
            rights.licence(record)
            terms = record["terms"]
        elif shape == "cap":
            caps.take(record)
        elif shape == "approvers":
            caps.deciders.name(record)
        elif record["query_id"] == bundle["query_id"]:
            own.append((shape, record))
        else:
            raise Broken("bundle", "a record has nothing to do with the query")
    if not own or own[0][0] not in ("run", "reused", "refused"):
        raise Broken("bundle", "the decision on the query is missing")
    shape, decision = own[0]
    if shape != "refused" and decision["v"] > 1:
        rights.check(decision)
    purpose = _judge_texts(bundle, dict(_by_seq(own)), terms, digest)
    _judge_numbers(bundle, [record for _, record in own], digest)
    if shape == "run":
        _judge_charge(own, caps)
        if own[1][1]["charges"]:
            charged = Blocks().check(decision["dataset"], [line["scope"] for line in own[1][1]["charges"]])
            rights.check_purpose(decision, charged[2:], caps.limits, purpose)


class _Caps:
    """The caps that the evidence shows, one after the other, and who decided on them."""

    def __init__(self) -> None:
        self.limits: dict[str, dict[str, int]] = {}
        self.deciders = Deciders()
        self._units: dict[str, tuple[str, str]] = {}
        """Scope -> the amounts that bind."""

    def take(self, record: dict[str, Any]) -> None:
        """Raises Broken for a raise that too few approvers have signed, as far as they are shown."""
        (line,) = record["charges"]
        scope, limit = line["scope"], amounts_of(line)
        before, units = self.limits.get(scope), ("rho" if record["code"] == "cap_zcdp" else "epsilon", "delta")
        if before is not None:
            rises = any(limit[unit] > before[unit] for unit in units)
            self.deciders.raised(record, before, None, rises=rises)
        elif TERMS in record:
            raise Broken("cap_decision", "a cap is raised from one that is not shown")
        self.limits[scope], self._units[scope] = limit, units

    def hold(self, line: Mapping[str, Any]) -> bool:
        """Whether the charge alone is within the cap of its scope, which is that of each of its blocks."""
        scope, amounts = split_block(line["scope"])[0], amounts_of(line)
        return scope in self.limits and all(amounts[unit] <= self.limits[scope][unit] for unit in self._units[scope])


def _judge_charge(own: list[tuple[str, Any]], caps: _Caps) -> None:
    if len(own) < 2 or own[1][0] != "charge" or own[1][1]["seq"] != own[0][1]["seq"] + 1:
        raise Broken("charge_missing", "the query ran and its charge is not right behind the decision")
    for line in own[1][1]["charges"]:
        if not caps.hold(line):
            raise Broken("cap_passed", f"the charge to {line['scope']} has no cap that it is within")


def _judge_texts(bundle: Mapping[str, Any], own: Mapping[int, Any], terms: Any, digest: Digest) -> str | None:
    """The purpose, where it is opened."""
    purpose = None
    for seq, texts in bundle["opened"].items():
        commitments = own[int(seq)]["commitments"]
        for name, opened in texts.items():
            if digest(bytes.fromhex(opened["salt"]) + opened["text"].encode()).hex() != commitments[name]:
                raise Broken("text_differs", f"`{name}` is not the text that the record commits to")
            if name == "purpose":
                purpose = opened["text"]
                if terms is not None and purpose not in terms["purposes"]:
                    raise Broken("purpose", "the purpose is not one that the licence names")
    return purpose


def _judge_numbers(bundle: Mapping[str, Any], own: list[Any], digest: Digest) -> None:
    """Where there are any: that they are those of the answer's own record. The records go by the rule either way."""
    told, commitments = [record for record in own if rests_on(record)], Commitments()
    for record in told:
        commitments.take(record)
    if "answer" not in bundle:
        return
    if bundle["answer"].keys() != {*TOLD, OPENING}:
        raise Broken("answer_differs", "its answer has other fields than those that a record commits to")
    committed = [require_told(bundle["answer"], record, digest) for record in told]
    if True not in committed:
        raise Broken("answer_unproven", "it holds numbers that no record of the query commits to")


def _by_seq(own: list[tuple[str, Any]]) -> list[tuple[int, Any]]:
    return [(record["seq"], record) for _, record in own]
