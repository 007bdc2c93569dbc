"""What a charge is made of: the query's row, the ticket of the data domain, and what the operator may still be told."""

from __future__ import annotations

import time
from dataclasses import dataclass
from secrets import token_hex

from gateway.admission.admit import AdmittedQuery
from gateway.ask import Ask
from gateway.budget.account import Scope, in_blocks, scopes_for
from gateway.budget.cells import cells_of, running, seen
from gateway.budget.queries import Asked, QueryRow, Stored
from gateway.budget.scopes import is_open
from gateway.errors import Refusal
from gateway.right import Right
from gateway.store import Reading
from gateway.turns import Wish
from sandbox.protocol import TICKET_S, Prepared, Question, Ticket


@dataclass(frozen=True, slots=True)
class Charged:
    row: QueryRow
    ticket: Ticket
    question: Question
    prepared: Prepared


def wish_of(admitted: AdmittedQuery) -> Wish:
    return Wish(admitted.operator, admitted.dataset, admitted.mode, admitted.policy.release.concurrent_max)


def asked_for(ask: Ask, admitted: AdmittedQuery, prepared: Prepared, query_id: str) -> Asked:
    question = admitted.question
    return Asked(
        id=query_id,
        operator=ask.caller.subject,
        key=ask.key,
        request_hash=ask.request_hash,
        dataset=question.dataset,
        mode=question.mode,
        policy_digest=question.policy_digest,
        snapshot=prepared.snapshot,
        question=question.canonical.decode(),
        ticket=f"tkt_{token_hex(16)}",
        right=Right(question.mode, admitted.policy.supply, admitted.licence, admitted.purpose),
    )


def scopes_charged(view: Reading, admitted: AdmittedQuery) -> tuple[Scope, ...]:
    purpose, operator = admitted.purpose, admitted.operator
    known = (purpose,) if purpose is not None and is_open(view, purpose, operator, admitted.dataset) else ()
    due = scopes_for(admitted.policy, operator, admitted.licence, purpose, known, admitted.mode)
    return in_blocks(due, admitted.blocks)


def ticket_for(asked: Asked, prepared: Prepared) -> Ticket:
    now = time.time_ns() // 1_000_000
    return Ticket(
        id=asked.ticket,
        query=asked.id,
        dataset=asked.dataset,
        plan_digest=prepared.plan_digest,
        policy_digest=asked.policy_digest,
        snapshot=prepared.snapshot,
        mode=asked.mode,
        price=prepared.price,
        audience=prepared.audience,
        issued=now,
        expires=now + TICKET_S * 1000,
    )


def require_cells(view: Reading, admitted: AdmittedQuery, asked: int | None, stored: Stored | None = None) -> None:
    """Raises Refusal(budget_exhausted, busy) where the operator was told, or may soon be, all that may be told.

    `asked` are the numbers of the answer, where that is known. What it was shown before, `stored`, it is shown again.
    """
    cells = cells_of(view, admitted.policy, admitted.operator) if admitted.mode == "aggregate" else None
    if cells is not None and not (stored is not None and seen(view, admitted.operator, stored.release)):
        on_their_way = running(view, admitted.operator, admitted.dataset)
        cells.require_left(admitted.dataset, on_their_way, asked)


def require_few_elsewhere(view: Reading, admitted: AdmittedQuery, seat: str | None) -> None:
    """Raises Refusal(busy) where other gateways run as many questions of the operator on the dataset as may at once.

    Turns are each gateway's own; what runs from other seats than `seat` is in the ledger that they share.
    """
    if admitted.mode == "open" or seat is None:
        return
    row = view.one(
        "SELECT count(*) FROM query WHERE state = 'running' AND operator = ? AND dataset = ? AND mode <> 'open'"
        " AND seat <> ?",
        (admitted.operator, admitted.dataset, seat),
    )
    if row is not None and int(row[0]) >= admitted.policy.release.concurrent_max:
        hint = "nothing was charged; ask again when that one is answered"
        raise Refusal("busy", f"another gateway runs a question of yours on `{admitted.dataset}`", hint=hint)
