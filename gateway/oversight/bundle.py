"""The evidence of one answer: its records and those it rests on, proven under one checkpoint, with its texts opened and
its numbers beside the salt that shows that they are the ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.audit.approvers import CODE as APPROVERS
from gateway.audit.log import Log
from gateway.audit.note import size_of
from gateway.audit.rights import LICENCE, POLICY
from gateway.audit.told import OPENING
from gateway.budget import queries
from gateway.budget.queries import QueryRow
from gateway.errors import NotReady, Refusal
from gateway.store import Reading, Store

FORMAT: Final = 1
Numbers = Callable[[QueryRow], Mapping[str, Any]]
"""What a query was answered with. Raises Refusal(not_found) where nobody can tell any more, NotReady."""


def evidence(
    log: Log, store: Store, actor: str | None, query_id: str, numbers: Numbers | None = None
) -> dict[str, Any]:
    """What a third party checks offline with `bpk audit verify FILE --key KEY`. Reading is recorded.

    Numbers are left out that nobody can tell now, and those of which no salt is left. Raises Refusal(not_found).
    """
    with store.reading() as view:
        own = [int(row[0]) for row in view.all("SELECT seq FROM record WHERE query = ? ORDER BY seq", (query_id,))]
        if not own:
            raise Refusal("not_found", "the log has no query of this id")
        chosen = sorted({*_grounds(view, own), *own})
        bodies = {seq: json.loads(_body(view, seq)) for seq in chosen}
        opened = {seq: log.opened(view, seq) for seq in own}
        row = queries.find(view, query_id)
        opening = None if row is None else log.opening(view, row.record)
    with store.transaction() as tx:
        log.note_read(tx, actor, "bundle", {"query_id": query_id})
    answer = None if row is None or opening is None or numbers is None else _numbers(row, numbers)
    note = log.cosigned_over(chosen[-1]) or log.checkpoint()
    handed = log.handovers(size_of(note))
    return {
        "bundle": FORMAT,
        "query_id": query_id,
        "key": log.keys().at(size_of(note)),
        "checkpoint": note,
        **({"handovers": handed} if handed else {}),
        "records": [_proven(log, seq, bodies[seq], size_of(note)) for seq in chosen],
        "opened": {
            str(seq): {name: {"salt": salt, "text": text} for name, (salt, text) in texts.items()}
            for seq, texts in opened.items()
            if texts
        },
        **({} if answer is None else {"answer": {**answer, OPENING: opening}}),
    }


def _numbers(row: QueryRow, numbers: Numbers) -> Mapping[str, Any] | None:
    try:
        return numbers(row)
    except (Refusal, NotReady):  # erased meanwhile, its place was lost, or the data domain is away
        return None


def _proven(log: Log, seq: int, record: dict[str, Any], size: int) -> dict[str, Any]:
    leaf, path = log.inclusion(seq, size)
    return {"index": seq, "record": record, "leaf_hash": leaf.hex(), "proof": [step.hex() for step in path]}


def _grounds(view: Reading, own: list[int]) -> list[int]:
    """Before the decision: the newest records that put its policy and its licence in force, and all that changed its
    caps, or who decides on them."""
    decision, record = own[0], json.loads(_body(view, own[0]))
    scopes = {f"dataset:{record['dataset']}", f"operator:{record['actor']}/{record['dataset']}"}
    found: dict[str, int] = {}
    caps: list[int] = []
    for seq, code, body in view.all(
        "SELECT seq, code, body FROM record WHERE kind = 'admin' AND seq < ? ORDER BY seq", (decision,)
    ):
        if code == POLICY and json.loads(body)["dataset"] == record["dataset"]:
            found[POLICY] = seq
        elif code == LICENCE and json.loads(body)["licence"] == record.get("licence"):
            found[LICENCE] = seq
        elif code in ("cap_zcdp", "cap_pure"):
            scope = json.loads(body)["charges"][0]["scope"]
            if scope in scopes or _may_be_due(scope, record):
                caps.append(seq)
        elif code == APPROVERS:
            caps.append(seq)
    return [*found.values(), *caps]


def _may_be_due(scope: str, record: dict[str, Any]) -> bool:
    """Whether it is of a purpose of the same operator: that it was not charged is evidence too."""
    return scope.startswith("purpose:") and scope.endswith(f"/{record['actor']}/{record['dataset']}")


def _body(view: Reading, seq: int) -> bytes:
    row = view.one("SELECT body FROM record WHERE seq = ?", (seq,))
    if row is None:
        raise Refusal("not_found", "the log has no such record")
    return bytes(row[0])
