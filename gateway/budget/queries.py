"""The queries of the ledger: what was asked, under which key, how it ended. Rows never run twice and stay for ever."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from gateway.budget.account import State
from gateway.errors import Fault, Refusal
from gateway.right import Right
from gateway.store import Reading, Row, Transaction
from policies.model import Mode
from sandbox.protocol import Price

HISTORY_MAX: Final = 200
LOST: Final = "lost"
"""The place of a release that is not known any more: its query was put back from the log alone."""
KEY_BYTES_MAX: Final = 255
_COLUMNS: Final = (
    "id, operator, key, request_hash, dataset, mode, policy_digest, snapshot, question, created,"
    " epsilon, delta, rho, state, reused, release, release_hash, record, seat, ticket"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM query"  # noqa: S608  # our own text
_PLACE: Final = "(SELECT coalesce(max(place), 0) + 1 FROM query)"
_INSERT: Final = f"INSERT INTO query (place, {_COLUMNS}) VALUES ({_PLACE}{', ?' * 20})"  # noqa: S608  # our own text


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that was admitted, as the ledger keeps it. `question` is whatever the pipeline needs to ask again,
    `ticket` what the data domain will know the query by, should it run, `right` what allows it."""

    id: str
    operator: str
    key: str | None
    request_hash: str
    dataset: str
    mode: Mode
    policy_digest: str
    snapshot: str
    question: str
    ticket: str
    right: Right


@dataclass(frozen=True, slots=True)
class QueryRow:
    """A query of the ledger. `record` is the index of the record that speaks of its latest state."""

    id: str
    operator: str
    key: str | None
    request_hash: str
    dataset: str
    mode: Mode
    policy_digest: str
    snapshot: str
    question: str
    created: int
    """UTC, ms since 1970."""
    cost: Price
    """What was charged; all 0 where a stored release answered."""
    state: State
    reused: bool
    release: str | None
    release_hash: str | None
    record: int
    seat: str
    """Of the gateway that runs it, or ran it."""
    ticket: str | None
    """Which the data domain knows it by; None where a stored release answered."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A release in the data domain: its id and its salted hash."""

    release: str
    release_hash: str


@dataclass(frozen=True, slots=True)
class History:
    """Queries, newest first, and the cursor of the next page, None at the end."""

    rows: tuple[QueryRow, ...]
    cursor: str | None


class Repeated(Exception):
    """The same operator sent the same request under the same key; `row` is its query. Nothing was written."""

    def __init__(self, row: QueryRow) -> None:
        super().__init__(row.id)
        self.row = row


def new_query_id() -> str:
    return f"qry_{secrets.token_hex(16)}"


def find(view: Reading, query_id: str) -> QueryRow | None:
    """The query of that id, whosever it is: the caller checks `operator`."""
    row = view.one(f"{_SELECT} WHERE id = ?", (query_id,))
    return None if row is None else _query(row)


def get(view: Reading, query_id: str) -> QueryRow:
    """The query of that id. Raises Fault."""
    row = find(view, query_id)
    if row is None:
        raise Fault("there is no such query")
    return row


def find_repeat(view: Reading, operator: str, key: str, request_hash: str) -> QueryRow | None:
    """The query that this operator sent under `key`. Raises Refusal(idempotency_conflict) if it was another one."""
    if not key.isprintable() or not 1 <= len(key.encode()) <= KEY_BYTES_MAX:
        raise Refusal("parameter_invalid", f"`Idempotency-Key` must have 1 to {KEY_BYTES_MAX} printable bytes")
    row = view.one(f"{_SELECT} WHERE operator = ? AND key = ?", (operator, key))
    if row is None:
        return None
    found = _query(row)
    if found.request_hash != request_hash:
        raise Refusal(
            "idempotency_conflict",
            "this `Idempotency-Key` was used for another request",
            hint="send a new key with a new request",
        )
    return found


def raise_repeated(tx: Transaction, asked: Asked) -> None:
    """Two requests under one key may arrive at once; only the transaction can tell which was first."""
    if asked.key is not None:
        found = find_repeat(tx, asked.operator, asked.key, asked.request_hash)
        if found is not None:
            raise Repeated(found)


def running(view: Reading, seat: str) -> tuple[QueryRow, ...]:
    """Queries that were charged from a seat and have no outcome yet, oldest first."""
    return tuple(
        _query(row) for row in view.all(f"{_SELECT} WHERE state = 'running' AND seat = ? ORDER BY place", (seat,))
    )


def history(view: Reading, operator: str, *, limit: int = 50, cursor: str | None = None) -> History:
    """The operator's own queries. Raises Refusal(parameter_invalid)."""
    if not 1 <= limit <= HISTORY_MAX:
        raise Refusal("parameter_invalid", f"`limit` must be from 1 to {HISTORY_MAX}")
    before = 2**62
    if cursor is not None:
        # The cursor is the id of the last row shown, not its place: places would count other operators' queries.
        found = view.one("SELECT place FROM query WHERE id = ? AND operator = ?", (cursor, operator))
        if found is None:
            raise Refusal("parameter_invalid", "`cursor` is not one of ours")
        before = found[0]
    rows = view.all(
        f"{_SELECT} WHERE operator = ? AND place < ? ORDER BY place DESC LIMIT ?", (operator, before, limit + 1)
    )
    shown = tuple(_query(row) for row in rows[:limit])
    return History(shown, shown[-1].id if len(rows) > limit else None)


def insert(tx: Transaction, row: QueryRow) -> None:
    """A query that starts running, or that a stored release answers at once; the schema admits no other."""
    cost = row.cost
    before: tuple[Any, ...] = (row.id, row.operator, row.key, row.request_hash, row.dataset, row.mode)
    about = (row.policy_digest, row.snapshot, row.question, row.created, cost.epsilon, cost.delta, cost.rho)
    end = (row.state, int(row.reused), row.release, row.release_hash, row.record, row.seat, row.ticket)
    tx.write(_INSERT, (*before, *about, *end))


def end(tx: Transaction, query_id: str, state: State, record: int, stored: Stored | None) -> None:
    """The caller asked `account.advance` first; the schema is the second fence."""
    release = (None, None) if stored is None else (stored.release, stored.release_hash)
    tx.write(
        "UPDATE query SET state = ?, release = ?, release_hash = ?, record = ? WHERE id = ?",
        (state, *release, record, query_id),
    )


def _query(row: Row) -> QueryRow:
    epsilon, delta, rho, state, reused, *rest = row[10:]
    cost = Price(epsilon, delta, rho)
    return QueryRow(*row[:10], cost, state, bool(reused), *rest)  # type: ignore[call-arg]  # ten columns, ten fields
