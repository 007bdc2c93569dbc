"""The domain's own durable state: tickets, what was spent against the ceiling, releases. One SQLite file."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.codec import digest, dumps, loads
from sandbox.protocol import Price, Question, Ticket
from sandbox.relational.nodes import find_release
from sandbox.relational.normal import bare
from sandbox.release.durable import Durable
from sandbox.release.layouts import StoreUnusable
from sandbox.release.opened import OpenRelease
from sandbox.release.protected import ProtectedRelease
from sandbox.release.released import Release

FILE_NAME: Final = "domain.sqlite"
"""In the domain's state folder."""
_ONE_EXACT: Final = "INSERT INTO exact VALUES (?, 1) ON CONFLICT (dataset) DO UPDATE SET answers = answers + 1"
NO_ACCOUNTANT: Final = "none"
"""Of tickets that spend no privacy loss."""
CANDIDATES_MAX: Final = 50
"""Stored releases over the same rows that are looked at for one that answers a question; the newest of them."""


__all__ = ["Ceiling", "Store", "StoreUnusable", "Stored", "TicketRefused", "loss_of"]


class TicketRefused(Exception):
    """A ticket that the domain does not accept. `reason` is one of ours, never data."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class TooLate(Exception):
    """A release of a ticket that was given up is not kept."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The most that a dataset may ever spend here, in the accountant's own loss (1e-12) and delta (1e-24)."""

    accountant: str
    loss: int
    delta: int
    custodians: bool
    """Whether domain.toml says so; else it is the policy's own cap."""


AnyRelease = Release | ProtectedRelease | OpenRelease


@dataclass(frozen=True, slots=True)
class Stored:
    id: str
    hash: str
    release: AnyRelease


Also = Callable[[sqlite3.Connection, str], None]
"""Writes beside a release, given the open transaction and the release's id."""


class Store(Durable):
    """Every method is one transaction, durable when it returns. See `Durable` for how it is made."""

    def __init__(self, path: Path, tally_path: Path | None = None, *, trusted: bool = False) -> None:
        super().__init__(path, tally_path, trusted=trusted)
        self._held: dict[str, str | None] = {}
        """Tickets whose deadline is to come, and the release of each once it is kept."""
        with self._transaction() as tx:  # whatever ran when the service died is lost, and stays paid
            tx.execute("UPDATE ticket SET state = 'failed' WHERE state = 'accepted'")

    def spent(self, dataset: str, accountant: str) -> tuple[int, int]:
        """(loss, delta) spent so far, of a dataset or of one of its `accounts`."""
        with self._lock:
            row = self._connection.execute(
                "SELECT loss, delta FROM spent WHERE dataset = ? AND accountant = ?", (dataset, accountant)
            ).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    def cut(self, dataset: str) -> bool | None:
        """Whether what was spent of `dataset` was spent of its blocks; None where nothing was yet."""
        with self._lock:
            return _cut(self._connection, dataset)

    def accept(self, ticket: Ticket, loss: int, ceiling: Ceiling | None, blocks: tuple[str, ...] = ()) -> str:
        """Books a ticket before its worker starts. `fresh`, or what became of it before: a release id, or `failed`.

        Guarantee: a ticket id runs at most once, across crashes, and the sum of all accepted prices stays under the
        ceiling, where there is one: of every block where the question is of `blocks`. Raises TicketRefused when it
        would not; then nothing is booked.
        """
        with self._transaction() as tx:
            old = tx.execute("SELECT release FROM ticket WHERE id = ?", (ticket.id,)).fetchone()
            if old is not None:
                return str(old[0]) if old[0] and ticket.id not in self._held else "failed"
            if ceiling is not None:
                _spend(tx, ticket, loss, ceiling, blocks)
            tx.execute(
                "INSERT INTO ticket VALUES (?, ?, 'accepted', ?, ?, ?, NULL, ?)",
                (
                    ticket.id,
                    ticket.dataset,
                    loss,
                    ticket.price.delta,
                    ceiling.accountant if ceiling else NO_ACCOUNTANT,
                    time.time_ns() // 1_000_000,
                ),
            )
        return "fresh"

    @contextmanager
    def held(self, ticket_id: str) -> Iterator[None]:
        """For as long as the block lasts nobody sees what the ticket released: not who asks the same, nor a replay.

        Else its release, which is kept when it is ready, would tell before the deadline when that was.
        """
        with self._lock:
            self._held[ticket_id] = None
        try:
            yield
        finally:
            with self._lock:
                del self._held[ticket_id]

    def hidden(self) -> frozenset[str]:
        """The releases that nobody sees yet."""
        with self._lock:
            return frozenset(release for release in self._held.values() if release is not None)

    def seal(self, ticket_id: str, release: AnyRelease, also: Also | None = None) -> Stored:
        """Keeps a release and ties it to its ticket, before it leaves; `also` writes in the same transaction.

        Raises TooLate for a ticket that was given up; then nothing is kept.
        """
        body, salt, release_id = dumps(release), secrets.token_bytes(32), f"rel_{secrets.token_hex(16)}"
        hashed = hashlib.sha256(salt + body).hexdigest()
        with self._transaction() as tx:
            if not tx.execute("SELECT 1 FROM ticket WHERE id = ? AND state = 'accepted'", (ticket_id,)).fetchone():
                raise TooLate
            tx.execute(
                "INSERT INTO release VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    release_id,
                    release.plan_digest,
                    release.policy_digest,
                    release.snapshot,
                    release.mode,
                    release.price.epsilon,
                    salt,
                    hashed,
                    body,
                    release.source_digest,
                ),
            )
            if also is not None:
                also(tx, release_id)
            if isinstance(release, ProtectedRelease):
                tx.execute(_ONE_EXACT, (release.dataset,))
            tx.execute("UPDATE ticket SET state = 'released', release = ? WHERE id = ?", (release_id, ticket_id))
            if ticket_id in self._held:  # under the lock that those who look take
                self._held[ticket_id] = release_id
        return Stored(release_id, hashed, release)

    def forgotten(self, dataset: str) -> bool:
        """Whether exact answers were given of which this store, an older copy, knows nothing."""
        with self._lock:
            found = self._connection.execute("SELECT 1 FROM forgotten WHERE dataset = ?", (dataset,)).fetchone()
        return found is not None

    def lose(self, ticket_id: str) -> bool:
        """A job that ends without a release: it stays paid. False where its release is kept already."""
        with self._transaction() as tx:
            tx.execute("UPDATE ticket SET state = 'failed' WHERE id = ? AND state = 'accepted'", (ticket_id,))
            row = tx.execute("SELECT state FROM ticket WHERE id = ?", (ticket_id,)).fetchone()
        return row is None or row[0] != "released"

    def load(self, release_id: str) -> Stored | None:
        with self._lock:
            row = self._connection.execute(
                "SELECT id, hash, salt, body FROM release WHERE id = ?", (release_id,)
            ).fetchone()
        return None if row is None else _stored(row)

    def find(self, question: Question, snapshot: str) -> tuple[str, str] | None:
        """(id, hash) of a release with this meaning and at least this epsilon: the oldest, so that answers agree."""
        with self._lock:
            held = set(self._held.values())
            rows = self._connection.execute(
                "SELECT id, hash FROM release WHERE plan_digest = ? AND policy_digest = ? AND snapshot = ? "
                "AND mode = ? AND epsilon >= ? ORDER BY rowid LIMIT ?",
                (
                    question.plan_digest,
                    question.policy_digest,
                    snapshot,
                    question.mode,
                    question.epsilon,
                    len(held) + 1,
                ),
            ).fetchall()
        seen = [(str(row[0]), str(row[1])) for row in rows if row[0] not in held]
        return seen[0] if seen else None

    def with_source(self, question: Question, snapshot: str) -> tuple[Stored, ...]:
        """Releases over the same rows, at no less than this epsilon: the newest first."""
        with self._lock:
            held = set(self._held.values())
            rows = self._connection.execute(
                "SELECT id, hash, salt, body FROM release WHERE source_digest = ? AND policy_digest = ? "
                "AND snapshot = ? AND mode = ? AND epsilon >= ? ORDER BY rowid DESC LIMIT ?",
                (
                    digest(bare(find_release(question.plan).source)),
                    question.policy_digest,
                    snapshot,
                    question.mode,
                    question.epsilon,
                    CANDIDATES_MAX + len(held),
                ),
            ).fetchall()
        seen = [row for row in rows if row[0] not in held]
        return tuple(_stored(row) for row in seen[:CANDIDATES_MAX])


def accounts(dataset: str, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Where what a question costs is added up: the dataset, or each of its blocks. No dataset is called as a block."""
    return tuple(f"{dataset}#{block}" for block in blocks) or (dataset,)


def _cut(tx: sqlite3.Connection, dataset: str) -> bool | None:
    names = [str(row[0]) for row in tx.execute("SELECT dataset FROM spent")]
    if any(name.startswith(f"{dataset}#") for name in names):
        return True
    return False if dataset in names else None


def _spend(tx: sqlite3.Connection, ticket: Ticket, loss: int, ceiling: Ceiling, blocks: tuple[str, ...]) -> None:
    """Raises TicketRefused."""
    if _cut(tx, ticket.dataset) not in (None, bool(blocks)):
        raise TicketRefused("policy_changed", "this dataset was accounted for in another way before")
    for account in accounts(ticket.dataset, blocks):
        _add(tx, account, loss, ticket.price.delta, ceiling)


def _add(tx: sqlite3.Connection, account: str, loss: int, delta: int, ceiling: Ceiling) -> None:
    """Raises TicketRefused."""
    rows = tx.execute("SELECT accountant, loss, delta FROM spent WHERE dataset = ?", (account,)).fetchall()
    if any(accountant != ceiling.accountant for accountant, _, _ in rows):
        raise TicketRefused("policy_changed", "this dataset was accounted for in another way before")
    row = rows[0][1:] if rows else (0, 0)
    after = (int(row[0]) + loss, int(row[1]) + delta)
    if after[0] > ceiling.loss or after[1] > ceiling.delta:
        raise TicketRefused("budget_exhausted", "the data domain's ceiling for this dataset is reached")
    tx.execute(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (dataset, accountant) "
        "DO UPDATE SET loss = excluded.loss, delta = excluded.delta",
        (account, ceiling.accountant, *after),
    )


def _stored(row: tuple[str, str, bytes, bytes]) -> Stored:
    release_id, hashed, salt, body = row
    if hashlib.sha256(salt + body).hexdigest() != hashed:
        raise RuntimeError("a stored release does not match its hash")
    return Stored(release_id, hashed, _decoded(body))


def _decoded(body: bytes) -> AnyRelease:
    if body.startswith(b'{"@":"ProtectedRelease"'):
        return loads(body, ProtectedRelease)
    if body.startswith(b'{"@":"OpenRelease"'):
        return loads(body, OpenRelease)
    return loads(body, Release)


def loss_of(price: Price, accountant: str) -> int:
    """The part of a price that the accountant sums."""
    return price.rho if accountant == "zcdp" else price.epsilon
