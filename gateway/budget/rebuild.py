"""What a record did to the tables, done again: for records that are put back from an export.

Records hold all that budgets hang on. They hold neither questions nor keys nor places of releases, so a query that was
put back is charged, and ended as it was, but its answer is found again only by asking the question again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gateway.budget import cells, queries, scopes, seats
from gateway.budget.account import State, split_block
from gateway.budget.amounts import amounts, charged
from gateway.budget.cells import CODE, Shown
from gateway.budget.loss import Cap
from gateway.budget.queries import LOST, QueryRow, Stored
from gateway.errors import Fault
from gateway.store import Transaction
from policies.model import Mode
from sandbox.protocol import FREE, Price

_CELLS: Final = re.compile(rf"{CODE}(\d+)_(\d+)", re.ASCII)


def begin(tx: Transaction) -> None:
    """Before the first record. What the log said last of policies and licences is said again when it is needed."""
    tx.write("DELETE FROM declared")


def take_back(tx: Transaction, record: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """`record` is sound, and follows `before` and all that came earlier. Raises Fault, also by the store's fences."""
    kind, code = record["kind"], record["code"] or ""
    if kind == "charge":  # the decision to run is the record before
        _charge(tx, {**record, "mode": before.get("mode")})
    elif record["decision"] == "reused":
        queries.insert(tx, _row(record, FREE, record["seq"], Stored(LOST, record["commitments"]["release"])))
        _count(tx, record)
    elif kind == "release":
        queries.end(tx, record["query_id"], "answered", record["seq"], Stored(LOST, record["commitments"]["release"]))
        _count(tx, record)
    elif kind == "failure":
        state: State = "cancelled" if code == "query_cancelled" else "failed"
        queries.end(tx, record["query_id"], state, record["seq"], None)
    elif kind == "admin" and code.startswith("cap_"):
        _cap(tx, record)


def _cap(tx: Transaction, record: Mapping[str, Any]) -> None:
    (line,) = record["charges"]
    scope, dataset = line["scope"], record["dataset"]
    accountant = record["code"].removeprefix("cap_")
    scopes.put_cap(tx, scope, dataset, _operator(scope, dataset), Cap(accountant, *amounts(line)))


def _operator(scope: str, dataset: str) -> str | None:
    """Whose scope it is; None where it is the dataset's."""
    kind, _, owner = scope.removesuffix(f"/{dataset}").partition(":")
    if kind == "dataset":
        return None
    return owner.partition("/")[2] if kind == "purpose" else owner


def _charge(tx: Transaction, record: Mapping[str, Any]) -> None:
    lines = record["charges"]
    cost = FREE
    if lines:
        rho, epsilon, delta = amounts(lines[0])
        cost = Price(epsilon, delta, rho)
    queries.insert(tx, _row(record, cost, record["seq"] - 1, None))
    for line in lines:
        found = scopes.find(tx, split_block(line["scope"])[0])
        if found is None:
            raise Fault(f"{line['scope']} is charged and has no cap")
        scopes.book(tx, record["query_id"], (line["scope"],), charged(line, found.cap.accountant))


def _count(tx: Transaction, record: Mapping[str, Any]) -> None:
    match = _CELLS.fullmatch(record["code"] or "")
    if match is not None:
        shown = Shown(int(match[1]), int(match[2]))
        cells.book(tx, record["query_id"], record["actor"], record["dataset"], shown)


def _mode_before_it_was_recorded(record: Mapping[str, Any], cost: Price) -> Mode:
    """Records of version 1 do not name it."""
    if cost != FREE:
        return "dp"
    return "aggregate" if (record["code"] or "").startswith(CODE) else "open"


def _row(record: Mapping[str, Any], cost: Price, place: int, stored: Stored | None) -> QueryRow:
    return QueryRow(
        id=record["query_id"],
        operator=record["actor"],
        key=None,
        request_hash="",
        dataset=record["dataset"],
        mode=record.get("mode") or _mode_before_it_was_recorded(record, cost),
        policy_digest=record["policy_digest"],
        snapshot=record["snapshot"],
        question="",
        created=int(datetime.fromisoformat(record["time"]).timestamp() * 1000),
        cost=cost,
        state="running" if stored is None else "answered",
        reused=stored is not None,
        release=None if stored is None else stored.release,
        release_hash=None if stored is None else stored.release_hash,
        record=place,
        seat=seats.NOBODY,
        ticket=None,
    )
