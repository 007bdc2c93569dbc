"""A decision on caps: what approvers sign, and whether enough of them have. Pure but for the salt and the nonce.

It names the log, every scope with its cap before and after, what was spent when it was drawn up, its reason (as a
commitment), until when it may be applied, and a nonce: so it holds once, there, for that and for nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import Misconfigured

PREFIX: Final = b"baopingkou caps decision v1\n"
"""Stands before what is signed, so that a signature is never one of something else."""
APPROVERS_MAX: Final = 16
LINES_MAX: Final = 50
DECISION_BYTES_MAX: Final = 24_576
"""In canonical form. The record that holds it has 32,768 bytes, also for its signatures and for its own fields."""
REASON_MAX: Final = 1000
FILE_BYTES_MAX: Final = 100_000
DAYS: Final = 30
"""How long a decision may wait for its signatures, unless said."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_NONCE: Final = re.compile(r"[0-9a-f]{32}")
_AMOUNT: Final = re.compile(r"(0|[1-9]\d{0,18})(\.\d{0,23}[1-9])?", re.ASCII)
_AMOUNTS: Final = frozenset({"rho", "epsilon", "delta"})
_ACTS: Final[Mapping[str, frozenset[str]]] = {
    "cap": frozenset({"act", "ledger", "lines", "records", "reason", "made", "until", "nonce"}),
    "approvers": frozenset({"act", "ledger", "before", "after", "reason", "made", "until", "nonce"}),
}


@dataclass(frozen=True, slots=True)
class Approvers:
    """Who may decide: `quorum` of them together. `keys` are name -> Ed25519 key, raw in base64."""

    quorum: int
    keys: Mapping[str, str]

    @classmethod
    def of(cls, quorum: int, keys: Mapping[str, Ed25519PublicKey]) -> Approvers:
        """Raises ValueError where fewer than two pairs of eyes would do, or one key would count twice."""
        raw = {name: base64.b64encode(_raw(key)).decode() for name, key in sorted(keys.items())}
        if not 2 <= quorum <= len(raw) <= APPROVERS_MAX:
            raise ValueError(f"a quorum of at least 2, and of at most as many approvers as there are ({len(raw)})")
        if len(set(raw.values())) != len(raw):
            raise ValueError("two approvers have the same key")
        if bad := [name for name in raw if not _NAME.fullmatch(name)]:
            raise ValueError(f"`{bad[0]}` is no name of an approver: small letters, digits, and . _ @ - within")
        return cls(quorum, raw)

    def as_json(self) -> dict[str, Any]:
        return {"quorum": self.quorum, "keys": dict(self.keys)}


@dataclass(frozen=True, slots=True)
class Line:
    """One scope of a decision; amounts are `{rho, epsilon, delta}` in decimal strings."""

    scope: str
    before: Mapping[str, str]
    after: Mapping[str, str]
    spent: Mapping[str, str]
    """When the log had the decision's `records`."""

    @property
    def amounts(self) -> tuple[Mapping[str, str], ...]:
        return self.before, self.after, self.spent

    def as_json(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "before": dict(self.before),
            "after": dict(self.after),
            "spent": dict(self.spent),
        }


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision with its reason opened, and the signatures so far: name -> base64."""

    decision: Mapping[str, Any]
    salt: bytes
    reason: str
    signatures: Mapping[str, str] = field(default_factory=dict)

    @property
    def act(self) -> str:
        return str(self.decision["act"])

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(Line(**line) for line in self.decision["lines"])

    @property
    def records(self) -> int:
        """How long the log was when the decision was drawn up."""
        return int(self.decision["records"])

    @property
    def nonce(self) -> str:
        return str(self.decision["nonce"])

    def signed_by(self, name: str, key: Ed25519PrivateKey) -> Decided:
        signature = base64.b64encode(key.sign(to_sign(self.decision))).decode()
        return replace(self, signatures={**self.signatures, name: signature})

    def terms(self) -> dict[str, Any]:
        """What goes on record of it; the reason stays beside the record."""
        return {"decision": dict(self.decision), "signatures": dict(sorted(self.signatures.items()))}

    def require(self, ledger: str, approvers: Approvers, now: datetime) -> None:
        """Raises Misconfigured unless it is of this log, in time, and signed by a quorum of `approvers` and no others.

        Guarantee: on return at least `approvers.quorum` different keys have signed just these bytes.
        """
        if self.decision["ledger"] != ledger:
            raise Misconfigured(f"this decision is for the log `{self.decision['ledger']}`, not for `{ledger}`")
        if not self.decision["made"] <= _stamp(now) <= self.decision["until"]:
            raise Misconfigured(f"this decision holds from {self.decision['made']} until {self.decision['until']}")
        for name, signature in self.signatures.items():
            if name not in approvers.keys:
                raise Misconfigured(f"`{name}` is none of the approvers on record: {', '.join(approvers.keys)}")
            if not _holds(approvers.keys[name], signature, to_sign(self.decision)):
                raise Misconfigured(
                    f"the signature of `{name}` does not hold: another key, or the decision was altered"
                )
        if len(self.signatures) < approvers.quorum:
            have = f"{len(self.signatures)} of {approvers.quorum} signatures"
            raise Misconfigured(f"{have}; the next approver signs it: bpk caps sign FILE --as NAME --key KEY")


@dataclass(frozen=True, slots=True)
class Draft:
    """What a decision says besides its act."""

    reason: str
    now: datetime
    days: int = DAYS


def propose_caps(ledger: str, records: int, lines: Sequence[Line], draft: Draft) -> Decided:
    """`records` are those of the log now. Raises Misconfigured."""
    if not 1 <= len(lines) <= LINES_MAX:
        raise Misconfigured(f"a decision is on 1 to {LINES_MAX} scopes; name some with --scope")
    about = {"act": "cap", "ledger": ledger, "lines": [line.as_json() for line in lines], "records": records}
    return _propose(about, draft)


def propose_approvers(ledger: str, before: Approvers, after: Approvers, draft: Draft) -> Decided:
    """Raises Misconfigured."""
    about = {"act": "approvers", "ledger": ledger, "before": before.as_json(), "after": after.as_json()}
    return _propose(about, draft)


def to_sign(decision: Mapping[str, Any]) -> bytes:
    return PREFIX + rfc8785.dumps(dict(decision))


def dumps(decided: Decided) -> str:
    told = {
        "decision": dict(decided.decision),
        "reason": {"salt": decided.salt.hex(), "text": decided.reason},
        "signatures": dict(decided.signatures),
    }
    return json.dumps(told, ensure_ascii=False, indent=2) + "\n"


def loads(content: bytes) -> Decided:
    """Raises Misconfigured for what is no decision, or whose reason is not the one that is signed."""
    try:
        if len(content) > FILE_BYTES_MAX:
            raise ValueError("too long")
        told = json.loads(content)
        decision, reason, signatures = told["decision"], told["reason"], told["signatures"]
        if set(told) != {"decision", "reason", "signatures"} or set(decision) != _ACTS[decision["act"]]:
            raise ValueError("other members")
        found = Decided(decision, bytes.fromhex(reason["salt"]), reason["text"], signatures)
        texts = [decision[name] for name in ("ledger", "reason", "made", "until", "nonce")]
        if not all(isinstance(text, str) for text in (*texts, found.reason, *signatures, *signatures.values())):
            raise ValueError("what should be text is none")
        if not _NONCE.fullmatch(found.nonce) or not all(_TIME.fullmatch(decision[name]) for name in ("made", "until")):
            raise ValueError("no nonce, or no time")
        if found.act == "cap" and type(decision["records"]) is not int:
            raise ValueError("no number of records")
        if found.act == "cap" and not all(_are_amounts(told) for line in found.lines for told in line.amounts):
            raise ValueError("no amounts")
        if found.act == "cap" and not 1 <= len({line.scope for line in found.lines}) == len(found.lines) <= LINES_MAX:
            raise ValueError("a scope twice")
        size = len(to_sign(decision))
        differs = decision["reason"] != _commitment(found.salt, found.reason)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise Misconfigured("this is no decision as `bpk caps propose` writes them") from error
    _require_small(size)
    if differs:
        raise Misconfigured("the reason in the file is not the one that the decision commits to")
    return found


def _propose(about: Mapping[str, Any], draft: Draft) -> Decided:
    reason = draft.reason
    if not 1 <= len(reason.strip()) <= REASON_MAX or not reason.isprintable():
        raise Misconfigured(f"a decision needs its reason: 1 to {REASON_MAX} printable characters")
    salt = secrets.token_bytes(32)
    decision = {
        **about,
        "reason": _commitment(salt, reason),
        "made": _stamp(draft.now),
        "until": _stamp(draft.now + timedelta(days=draft.days)),
        "nonce": secrets.token_hex(16),
    }
    _require_small(len(to_sign(decision)))
    return Decided(decision, salt, reason)


def _require_small(size: int) -> None:
    """Before anybody signs: what does not fit into a record could never be put in force."""
    if size - len(PREFIX) > DECISION_BYTES_MAX:
        way_out = "draw up several, each on fewer scopes (--scope)"
        raise Misconfigured(f"this decision is longer than the {DECISION_BYTES_MAX} bytes that go on record; {way_out}")


def _are_amounts(told: Mapping[str, str]) -> bool:
    """In the shortest exact form, as records have them: what could be written in two ways would be read in two."""
    return set(told) == _AMOUNTS and all(_AMOUNT.fullmatch(text) for text in told.values())


def _commitment(salt: bytes, text: str) -> str:
    return hashlib.sha256(salt + text.encode()).hexdigest()


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _raw(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _holds(key: str, signature: str, text: bytes) -> bool:
    try:
        raw = base64.b64decode(signature, validate=True)
        if base64.b64encode(raw).decode() != signature:
            return False
        Ed25519PublicKey.from_public_bytes(base64.b64decode(key, validate=True)).verify(raw, text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
