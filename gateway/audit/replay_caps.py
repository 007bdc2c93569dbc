"""Who may raise a cap, replayed: the approvers that the log itself had in force then, and what they signed.

Part of the offline verifier: standard library and `cryptography`, nothing of the writer.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.broken import Broken
from gateway.audit.shapes import PLACES, TERMS, TIME, amounts_of, canonical

_PREFIX: Final = b"baopingkou caps decision v1\n"
SpentAt = Callable[[int], Mapping[str, int]]
_LATE: Final = {"ledger", "reason", "made", "until", "nonce", "act"}
_NONCE: Final = re.compile(r"[0-9a-f]{32}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}", re.ASCII)


@dataclass(slots=True)
class Caps:
    """What is in force at the record that is read."""

    since: int = 0
    """The record that named the first approvers."""
    quorum: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    """Name -> key, in base64; empty as long as no approvers were named."""
    changes: int = 0
    """How often approvers were changed after they had been named first."""
    applied: set[tuple[str, str]] = field(default_factory=set)
    """Nonce, and the scope that it was applied to."""

    def name(self, record: dict[str, Any]) -> None:
        """An `approvers` record: the first names them, every other one is decided by those in force."""
        terms = record[TERMS]
        named = _set(terms, {"approvers"} if not self.keys else {"approvers", "decision", "signatures"})
        if self.keys:
            decision = self._decided(record, "approvers", "", {"before", "after"})
            if decision["before"] != {"quorum": self.quorum, "keys": self.keys} or decision["after"] != named:
                raise Broken("approvers", "names other approvers than were decided, or decides on others' place")
            self.changes += 1
        else:
            self.since = record["seq"]
        self.quorum, self.keys = named["quorum"], named["keys"]

    def raised(
        self, record: dict[str, Any], before: Mapping[str, int], spent_at: SpentAt | None, *, rises: bool
    ) -> bool:
        """A cap that changes; whether by a decision. `spent_at` is what the scope had been charged when the log had so
        many records, where that is known.

        Raises Broken where approvers are in force and a cap rises without them.
        """
        if TERMS not in record:
            if rises and self.keys:
                raise Broken("cap_undecided", "raises a cap, and no approver has signed for it")
            return False
        _set(record[TERMS], {"decision", "signatures"}, named=False)
        line = record["charges"][0]
        decision = self._decided(record, "cap", line["scope"], {"lines", "records"})
        lines = [each for each in _lines(decision) if each["scope"] == line["scope"]]
        if len(lines) != 1:
            raise Broken("cap_decision", "rests on a decision on other scopes")
        after = {unit: line[unit] for unit in PLACES}
        if _amounts(lines[0]["before"]) != before or lines[0]["after"] != after:
            raise Broken("cap_decision", "rests on a decision on another cap, before or after")
        records = decision["records"]
        if type(records) is not int or not self.since < records <= record["seq"]:
            raise Broken("cap_decision", "rests on a decision from before there were approvers, or from later on")
        if spent_at is not None and _amounts(lines[0]["spent"]) != spent_at(records):
            raise Broken("cap_decision", "rests on a decision that tells of another loss than there was")
        return True

    def _decided(self, record: dict[str, Any], act: str, scope: str, about: set[str]) -> dict[str, Any]:
        """The decision under a record, if a quorum of those in force has signed it, for here, now, and once."""
        decision, signatures = record[TERMS]["decision"], record[TERMS]["signatures"]
        if type(decision) is not dict or set(decision) != _LATE | about or decision["act"] != act:
            raise Broken("cap_decision", "rests on what is no decision of its kind")
        if not all(type(decision[name]) is str for name in _LATE) or not _NONCE.fullmatch(decision["nonce"]):
            raise Broken("cap_decision", "rests on what is no decision")
        if decision["ledger"] != record["ledger"]:
            raise Broken("cap_decision", "rests on a decision for another log")
        if not TIME.fullmatch(decision["made"]) or not decision["made"] <= record["time"] <= decision["until"]:
            raise Broken("cap_decision", "rests on a decision that did not hold then")
        if record["commitments"] != {"reason": decision["reason"]}:
            raise Broken("cap_decision", "commits to another reason than the decision")
        if (decision["nonce"], scope) in self.applied:
            raise Broken("cap_decision", "rests on a decision that was applied before")
        self._check_signatures(decision, signatures)
        self.applied.add((decision["nonce"], scope))
        return decision

    def _check_signatures(self, decision: dict[str, Any], signatures: Any) -> None:
        if type(signatures) is not dict or not signatures.keys() <= self.keys.keys():
            raise Broken("cap_signature", "is signed by somebody who is no approver then")
        text = _PREFIX + canonical(decision)
        if not all(_holds(self.keys[name], signature, text) for name, signature in signatures.items()):
            raise Broken("cap_signature", "has a signature of an approver that does not hold")
        if len(signatures) < self.quorum or not self.keys:
            raise Broken("cap_signature", "has not enough signatures of approvers")


def _set(terms: Any, members: set[str], *, named: bool = True) -> dict[str, Any]:
    """The approvers that `terms` name."""
    if type(terms) is not dict or set(terms) != members:
        raise Broken("terms", "does not have the terms of such a record")
    if not named:
        return {}
    found = terms["approvers"]
    if type(found) is not dict or set(found) != {"quorum", "keys"} or type(found["keys"]) is not dict:
        raise Broken("approvers", "names no approvers")
    quorum, keys = found["quorum"], found["keys"]
    if type(quorum) is not int or not 2 <= quorum <= len(keys) or len(set(map(str, keys.values()))) != len(keys):
        raise Broken("approvers", "lets fewer than two approvers decide, or one key count twice")
    if not all(_NAME.fullmatch(name) and _is_key(key) for name, key in keys.items()):
        raise Broken("approvers", "names an approver without a key")
    return dict(found)


def _lines(decision: dict[str, Any]) -> list[dict[str, Any]]:
    lines = decision["lines"]
    members = {"scope", "before", "after", "spent"}
    if type(lines) is not list or not all(type(line) is dict and set(line) == members for line in lines):
        raise Broken("cap_decision", "rests on a decision without its lines")
    return lines


def _amounts(told: Any) -> dict[str, int]:
    if type(told) is not dict or set(told) != set(PLACES):
        raise Broken("cap_decision", "rests on a decision without its amounts")
    return amounts_of({**told, "scope": ""})


def _is_key(text: Any) -> bool:
    return type(text) is str and len(_base64(text)) == 32


def _base64(text: str) -> bytes:
    """Empty for what is not canonical base64."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return content if base64.b64encode(content).decode() == text else b""


def _holds(key: str, signature: Any, text: bytes) -> bool:
    if type(signature) is not str:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(_base64(key)).verify(_base64(signature), text)
    except (InvalidSignature, ValueError):
        return False
    return True
