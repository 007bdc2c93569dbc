"""Tokens that were called back: one by its id, or all that a subject holds. Looked up anew for every request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import Refusal
from gateway.identity.token import Accepted
from gateway.store import Reading, Transaction

Kind = Literal["token", "subject"]
FOR_GOOD: Final = 2**62


@dataclass(frozen=True, slots=True)
class Revocation:
    """`until`: tokens that were issued up to this second are refused; FOR_GOOD: those of all times."""

    kind: Kind
    name: str
    until: int


def revoke(tx: Transaction, revocation: Revocation) -> None:
    """What was called back for longer before stays so."""
    before = find(tx, revocation.kind, revocation.name)
    if before is None:
        key = (revocation.kind, revocation.name)
        tx.write("INSERT INTO revoked (kind, name, until) VALUES (?, ?, ?)", (*key, revocation.until))
    elif before.until < revocation.until:
        _set(tx, revocation)


def restore(tx: Transaction, subject: str, until: int) -> bool:
    """Lets a subject in again with tokens that are issued after `until`. False where it was not called back."""
    return _set(tx, Revocation("subject", subject, until)) == 1


def _set(tx: Transaction, revocation: Revocation) -> int:
    key = (revocation.kind, revocation.name)
    return tx.write("UPDATE revoked SET until = ? WHERE kind = ? AND name = ?", (revocation.until, *key))


def find(view: Reading, kind: Kind, name: str) -> Revocation | None:
    row = view.one("SELECT until FROM revoked WHERE kind = ? AND name = ?", (kind, name))
    return None if row is None else Revocation(kind, name, int(row[0]))


def every(view: Reading) -> list[Revocation]:
    return [Revocation(*row) for row in view.all("SELECT kind, name, until FROM revoked ORDER BY kind, name")]


def require_good(view: Reading, accepted: Accepted) -> None:
    """Raises Refusal(`token_revoked`)."""
    told = view.all(
        "SELECT until FROM revoked WHERE (kind = 'token' AND name = ?) OR (kind = 'subject' AND name = ?)",
        (accepted.id, accepted.caller.subject),
    )
    if any(accepted.issued <= until for (until,) in told):
        raise Refusal("token_revoked", "this token was called back", hint="ask your identity provider for a new one")
