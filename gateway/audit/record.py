"""One record of the log: closed fields, canonical bytes (RFC 8785). Pure but for the salts.

A record never holds SQL, values or names from data. What must be provable later and erasable for ever goes in as a
commitment, SHA-256(salt || text); text and salt lie in a side table.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

import rfc8785

from gateway.audit.suites import SHA256, Digest, sha256
from gateway.errors import Fault

VERSION: Final = 2
RECORD_BYTES_MAX: Final = 65_535
SALT_BYTES: Final = 32

Kind = Literal["genesis", "decision", "charge", "release", "failure", "admin", "read"]
Decision = Literal["run", "reused", "repeated", "refused"]
FIELDS: Final = (
    "v", "ledger", "seq", "time", "kind", "actor", "query_id", "dataset", "policy_digest", "snapshot",
    "decision", "code", "charges", "commitments", "suite", "mode", "licence",
)  # fmt: skip
FIELDS_BEFORE: Final = frozenset(FIELDS[:14])
"""Of version 1, which older parts of a log are written in."""
DEGRADED: Final = "degraded"
"""There only where it says something: the isolation layers that the data domain does without."""
TERMS: Final = "terms"
"""There only where a policy or a licence comes into force: what it says."""
CHARGE_FIELDS: Final = frozenset({"scope", "rho", "epsilon", "delta"})
_NAME: Final = re.compile(r"[a-z][a-z_]{0,31}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Secret:
    """A committed text and its salt. Erasing both leaves the commitment whole and opens it for nobody."""

    name: str
    salt: bytes
    text: str
    digest: Digest = sha256
    kept: bool = True
    """Whether the text lies beside its salt. That of an answer does not: the data domain has it."""

    @property
    def commitment(self) -> str:
        return self.digest(self.salt + self.text.encode()).hex()

    def __repr__(self) -> str:
        return f"Secret({self.name})"


@dataclass(frozen=True, slots=True)
class Entry:
    """What a caller says about an event; the log adds place, time and ledger.

    `hashes` are commitments made elsewhere (a release's hash, salted in the data domain).
    """

    kind: Kind
    actor: str | None = None
    query_id: str | None = None
    dataset: str | None = None
    policy_digest: str | None = None
    snapshot: str | None = None
    mode: str | None = None
    licence: str | None = None
    decision: Decision | None = None
    code: str | None = None
    charges: tuple[Mapping[str, str], ...] | None = None
    secrets: tuple[Secret, ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()
    degraded: tuple[str, ...] = ()
    terms: Mapping[str, Any] | None = None


def commit(texts: Mapping[str, str], digest: Digest = sha256) -> tuple[Secret, ...]:
    """A fresh salt for every text. What UTF-8 or a store cannot keep (half a character pair, NUL) is committed to as
    an escape."""
    plain = {
        name: text.replace("\0", "\\x00").encode(errors="backslashreplace").decode() for name, text in texts.items()
    }
    return tuple(Secret(name, secrets.token_bytes(SALT_BYTES), text, digest) for name, text in sorted(plain.items()))


def seal(name: str, text: str, digest: Digest = sha256) -> Secret:
    """A fresh salt for a text that is not kept: whoever has both can show that this was the text."""
    return Secret(name, secrets.token_bytes(SALT_BYTES), text, digest, kept=False)


def stamp(moment: datetime) -> str:
    """UTC with milliseconds: `2026-11-23T22:04:36.123Z`. Text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def body(entry: Entry, *, ledger: str, seq: int, time: str, suite: str = SHA256) -> bytes:
    """The record's canonical bytes. Raises Fault for what no record may be."""
    _check(entry)
    record = {
        "v": VERSION,
        "ledger": ledger,
        "seq": seq,
        "time": time,
        "kind": entry.kind,
        "actor": entry.actor,
        "query_id": entry.query_id,
        "dataset": entry.dataset,
        "policy_digest": entry.policy_digest,
        "snapshot": entry.snapshot,
        "decision": entry.decision,
        "code": entry.code,
        "charges": None if entry.charges is None else [dict(line) for line in entry.charges],
        "commitments": _commitments(entry),
        "suite": suite,
        "mode": entry.mode,
        "licence": entry.licence,
    }
    if entry.degraded:
        record[DEGRADED] = list(entry.degraded)
    if entry.terms is not None:
        record[TERMS] = dict(entry.terms)
    content = canonical(record)
    if len(content) > RECORD_BYTES_MAX:
        raise Fault("a log record beyond its limit")
    return content


def canonical(record: Mapping[str, Any]) -> bytes:
    try:
        return rfc8785.dumps(dict(record))
    except (rfc8785.CanonicalizationError, UnicodeError) as error:
        raise Fault("a log record that has no canonical form") from error


def read(content: bytes) -> dict[str, Any]:
    """A stored record. Raises Fault when the bytes are not a record's canonical form."""
    try:
        record = json.loads(content)
    except ValueError as error:
        raise Fault("a stored log record is unreadable") from error
    if not isinstance(record, dict) or not _fields_fit(record) or canonical(record) != content:
        raise Fault("a stored log record is not in canonical form")
    return record


def _fields_fit(record: dict[str, Any]) -> bool:
    return set(record) - {DEGRADED, TERMS} == (FIELDS_BEFORE if record.get("v") == 1 else set(FIELDS))


def _commitments(entry: Entry) -> dict[str, str] | None:
    pairs = [(secret.name, secret.commitment) for secret in entry.secrets] + list(entry.hashes)
    if len({name for name, _ in pairs}) != len(pairs):
        raise Fault("a log record with two commitments of one name")
    return dict(pairs) or None


def _check(entry: Entry) -> None:
    names = [secret.name for secret in entry.secrets] + [name for name, _ in entry.hashes]
    if not all(_NAME.fullmatch(name) for name in names):
        raise Fault("a commitment needs a plain name")
    if not all(_HASH.fullmatch(value) for _, value in entry.hashes):
        raise Fault("a commitment is 64 hex digits")
    if entry.kind not in get_args(Kind) or (entry.decision is not None) != (entry.kind == "decision"):
        raise Fault("a log record of a kind that there is not")
    if (entry.kind in ("decision", "charge", "release", "failure")) != (entry.query_id is not None):
        raise Fault("a log record of a query names the query, and no other record does")
    if entry.degraded != tuple(sorted(set(entry.degraded))) or not all(map(_NAME.fullmatch, entry.degraded)):
        raise Fault("isolation layers have plain names, in order")
    if any(set(line) != CHARGE_FIELDS for line in entry.charges or ()):
        raise Fault("a charge names its scope and three amounts")
