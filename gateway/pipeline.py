"""The way of a query, step by step. Read this first.

`ask` is the whole way up to the charge; whatever it raises was free, and is on record. `_finish` is the way after the
charge: from there on every end costs, and looks the same unless it is an answer.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from gateway import answer, spans
from gateway.admission.admit import AdmittedQuery, admit
from gateway.admission.alternatives import Asked as AskedSql
from gateway.admission.alternatives import offering
from gateway.admission.licences import askable, unlicensed
from gateway.ask import Ask, Begun, NotAnswered
from gateway.audit.told import told_text
from gateway.budget import queries
from gateway.budget.account import scopes_of
from gateway.budget.cells import Shown
from gateway.budget.ledger import Ledger
from gateway.budget.queries import Asked, QueryRow, Repeated, Stored, new_query_id
from gateway.budget.scopes import opened
from gateway.cases import Doors
from gateway.catalog import Catalog
from gateway.charging import (
    Charged,
    asked_for,
    require_cells,
    require_few_elsewhere,
    scopes_charged,
    ticket_for,
    wish_of,
)
from gateway.domain import Domain
from gateway.errors import NotReady, Refusal
from gateway.identity.roles import Caller
from gateway.outcomes import Outcomes
from gateway.reuse import own_release
from gateway.running import Running
from gateway.sql.known import Known
from gateway.sql.limits import SqlLimits
from gateway.store import InDoubt, Store
from gateway.turns import Gone, Turn, Turns
from policies.model import Policy
from sandbox import logs
from sandbox.protocol import Prepared, Released

_log = logs.logger("bpk.pipeline")


class _Trail:
    """How far a query has come, for the record of its refusal."""

    def __init__(self) -> None:
        self.id = new_query_id()
        self.policy: Policy | None = None
        self.snapshot: str | None = None
        self.decided = False
        """Whether a decision to run or to reuse is durable."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """The steps and what they work with; `app` builds it. Thread-safe."""

    catalog: Catalog
    domain: Domain
    store: Store
    ledger: Ledger
    doors: Doors
    turns: Turns
    running: Running
    outcomes: Outcomes
    sql_limits: SqlLimits
    known: Known
    today: Callable[[], date]
    """UTC."""
    charged: Callable[[float], None] = lambda _: None
    """Told how many seconds a charge took."""

    def ask(self, ask: Ask, gone: Gone | None = None) -> Begun:
        """Raises NotAnswered; then nothing was read and nothing spent. A question that waits for its turn is given up
        when its caller is `gone`.
        """
        trail = _Trail()
        with logs.bound(query_id=trail.id):
            return self._decided(ask, trail, gone or Gone())

    def _decided(self, ask: Ask, trail: _Trail, gone: Gone) -> Begun:
        spans.say({"bpk.query_id": trail.id})
        try:
            return self._ask(ask, trail, gone)
        except Repeated as again:
            return self._repeat(again.row)
        except NotAnswered:
            raise
        except Refusal as refusal:
            raise self.refused(ask.caller, refusal, ask.texts, trail) from refusal
        except NotReady as cause:
            _log.warning("not ready", reason=str(cause))
            if trail.decided:  # on record already, and a query is decided once
                raise NotAnswered(_unsigned(), trail.id, trail.policy) from cause
            raise self.refused(ask.caller, _not_ready(), ask.texts, trail) from cause
        except Exception:
            if not trail.decided:  # a fault of ours before the charge is on record too
                self.refused(ask.caller, Refusal("internal_error", "something broke on our side"), ask.texts, trail)
            raise

    def _ask(self, ask: Ask, trail: _Trail, gone: Gone) -> Begun:
        self._raise_repeated(ask)
        admitted = self._admit(ask, trail)
        turn = self.turns.enter(wish_of(admitted))
        try:
            begun = self._wait(ask, trail, admitted, turn, gone) or self._take_turn(ask, trail, admitted, turn)
        except BaseException:
            turn.leave()
            raise
        if begun.verdict != "run":
            turn.leave()
        return begun

    @spans.span("wait")
    def _wait(self, ask: Ask, trail: _Trail, admitted: AdmittedQuery, turn: Turn, gone: Gone) -> Begun | None:
        """Until it is this question's turn. What is refused or stored already is told at once: it needs no turn."""
        if not turn.begun:
            prepared = self._prepare(admitted, ask, reserve=False)
            begun = self._reuse(ask, trail, admitted.priced(prepared.price.epsilon), prepared)
            if begun is not None:
                return begun
            self._raise_repeated(ask)
            turn.wait(gone)
            self._raise_repeated(ask)
        turn.wait(gone)  # at once
        return None

    def _take_turn(self, ask: Ask, trail: _Trail, admitted: AdmittedQuery, turn: Turn) -> Begun:
        """Free from what is stored, or charged."""
        prepared = self._prepare(admitted, ask, reserve=True)
        admitted = admitted.priced(prepared.price.epsilon)
        try:
            begun = self._reuse(ask, trail, admitted, prepared)
            if begun is None:
                return self._run(ask, trail, admitted, prepared, turn)
        except BaseException:  # else a budget at its end, asked again and again, would keep every place from others
            self._let_go(prepared.reservation)
            raise
        self._let_go(prepared.reservation)
        return begun

    def _run(self, ask: Ask, trail: _Trail, admitted: AdmittedQuery, prepared: Prepared, turn: Turn) -> Begun:
        asked = asked_for(ask, admitted, prepared, trail.id)
        try:
            charged = self._charge(asked, admitted, prepared, turn, ask.texts)
            trail.decided = True
            return self._start(charged)
        except InDoubt as doubt:  # what is not durable does not run; no record may say that it was refused
            _log.error("a charge is in doubt", reason=str(doubt))
            self._give_up(asked.id)
            raise NotAnswered(_unknown(), asked.id, trail.policy) from doubt
        except BaseException:
            if trail.decided:
                self._give_up(asked.id)
            else:
                self.running.withdraw(asked.id, answer.failed(asked.id))
            raise

    def _give_up(self, query_id: str) -> None:
        """What was charged, or may have been, and does not run. It has failed before it is known to run no more: else
        who asks for it in between is told that it runs."""
        self.running.withdraw(query_id, self.outcomes.leave(query_id))

    def check(self, ask: Ask) -> dict[str, Any]:
        """Verdict, plan and price of the same question: free, and no data is read. Raises NotAnswered."""
        trail = _Trail()
        try:
            admitted = self._admit(ask, trail)
            prepared = self._prepare(admitted, ask, reserve=False)
            _require_page(ask, admitted, prepared)
            admitted = admitted.priced(prepared.price.epsilon)
            stored = self._stored(admitted, prepared, ask.caller)
            reused = stored is not None
            with self.store.reading() as view:
                if not reused:
                    self.ledger.fitting(view, scopes_charged(view, admitted), prepared.price)
                require_cells(view, admitted, prepared.cells, None if stored is None else stored[0])
                known = opened(view, admitted.policy, admitted.operator)
                mine = scopes_of(admitted.policy, admitted.operator, admitted.licence, known, admitted.mode)
                about = (admitted.policy, admitted.mode, mine, prepared.price, admitted.operator)
                left = answer.left(view, self.ledger, *about, admitted.blocks)
            told = answer.checked(admitted.policy, admitted.mode, prepared, left, reused=reused)
            return told | answer.read(admitted.blocks)
        except Refusal as refusal:
            raise NotAnswered(refusal, None, trail.policy) from refusal

    def refused(
        self, caller: Caller, refusal: Refusal, texts: Mapping[str, str] | None = None, trail: _Trail | None = None
    ) -> NotAnswered:
        """Puts a refusal of a question on record, once; the exception that tells the caller.

        A log that lacks records takes none, not even of refusals: they would contradict what was signed.
        """
        trail = trail or _Trail()
        if self.ledger.closed:
            return NotAnswered(refusal, None, trail.policy)
        with self.store.transaction() as tx:
            self.ledger.refuse(
                tx,
                query_id=trail.id,
                actor=caller.subject,
                code=refusal.code,
                dataset=trail.policy.dataset if trail.policy else None,
                policy_digest=trail.policy.digest if trail.policy else None,
                snapshot=trail.snapshot,
                texts=texts,
            )
        return NotAnswered(refusal, trail.id, trail.policy)

    # The steps, in order.

    def _raise_repeated(self, ask: Ask) -> None:
        if ask.key is not None:
            with self.store.reading() as view:
                row = queries.find_repeat(view, ask.caller.subject, ask.key, ask.request_hash)
            if row is not None:
                raise Repeated(row)

    @spans.span("admit")
    def _admit(self, ask: Ask, trail: _Trail) -> AdmittedQuery:
        """Who asks, in which words, of what, at which price."""
        self.ledger.require_thawed()
        self.ledger.require_signed()
        operator = ask.caller.subject
        licences = tuple(licence for licence in self.catalog.licences if licence.operator == operator)
        policies = askable(self.catalog.policies, licences)
        if not policies and not licences:
            raise Refusal("licence_missing", "you hold no licence", hint="ask the owner of the data for one")
        try:
            with offering(AskedSql(ask.sql, ask.parameters, policies, self.sql_limits, ask.mode)):
                query = self.known.read(ask.sql, ask.parameters, policies, ask.mode)
                trail.policy = policies[query.dataset]
                admitted = admit(
                    query,
                    trail.policy,
                    operator=operator,
                    licences=licences,
                    purpose=ask.purpose,
                    mode=ask.mode,
                    epsilon=ask.epsilon,
                    by_accuracy=ask.accuracy is not None,
                    page=ask.page,
                    blocks=ask.blocks,
                    day=self.today(),
                )
            spans.say({"bpk.dataset": query.dataset, "bpk.mode": admitted.mode})
        except Refusal as refusal:
            trail.policy = trail.policy or policies.get(refusal.dataset or "")
            if refusal.code == "table_unknown" and not licences and any(p.supply != "open" for p in policies.values()):
                raise unlicensed(refusal) from None
            raise
        self.ledger.require_thawed(query.dataset)
        self.doors.require_open(query.dataset)
        return admitted

    @spans.span("prepare")
    def _prepare(self, admitted: AdmittedQuery, ask: Ask, *, reserve: bool) -> Prepared:
        return self.domain.prepare(
            admitted.question,
            reserve=reserve,
            accuracy=ask.accuracy,
            deadline_ms=ask.deadline_ms,
            fetch=admitted.policy.release.reuse_across_operators,
        )

    def _stored(self, admitted: AdmittedQuery, prepared: Prepared, caller: Caller) -> tuple[Stored, Released] | None:
        """The stored release that answers already, if this caller may have it."""
        if prepared.release is None or prepared.release_hash is None:
            return None
        stored: Stored | None = Stored(prepared.release, prepared.release_hash)
        if not admitted.policy.release.reuse_across_operators:
            with self.store.reading() as view:
                stored = own_release(view, caller.subject, admitted.question, prepared.snapshot)
        if stored is None:
            return None
        return stored, prepared.released or self.domain.fetch(stored.release, admitted.question)

    @spans.span("reuse")
    def _reuse(self, ask: Ask, trail: _Trail, admitted: AdmittedQuery, prepared: Prepared) -> Begun | None:
        """Free from what is stored, if that answers."""
        trail.snapshot = prepared.snapshot
        _require_page(ask, admitted, prepared)
        found = self._stored(admitted, prepared, ask.caller)
        if found is None:
            return None
        stored, released = found
        asked = asked_for(ask, admitted, prepared, trail.id)
        shown = Shown.of(released) if admitted.mode == "aggregate" else None
        told = told_text(answer.told(released))
        with self.store.transaction() as tx:
            require_cells(tx, admitted, released.cells_released, stored)
            row = self.ledger.reuse(tx, asked, stored, texts=ask.texts, shown=shown, told=told)
        trail.decided = True
        return Begun(row.id, self.outcomes.answered(row, released), "reused")

    @spans.span("charge")
    def _charge(
        self, asked: Asked, admitted: AdmittedQuery, prepared: Prepared, turn: Turn, texts: Mapping[str, str]
    ) -> Charged:
        """From here on every end costs."""
        ticket = ticket_for(asked, prepared)
        begin = time.perf_counter()
        with self.store.transaction() as tx:
            require_cells(tx, admitted, prepared.cells)
            row = self.ledger.charge(tx, asked, scopes_charged(tx, admitted), prepared.price, texts=texts)
            require_few_elsewhere(tx, admitted, self.ledger.seat)
            self.running.promise(row.id, turn)  # before others can see the charge
        self.charged(time.perf_counter() - begin)
        return Charged(row, ticket, admitted.question, prepared)

    def _start(self, charged: Charged) -> Begun:
        row = charged.row
        spans.drawn("run", charged.prepared.deadline_ms)
        return Begun(row.id, self.running.start(row.id, lambda: self._finish(charged)), "run")

    def _finish(self, charged: Charged) -> dict[str, Any]:
        """Runs what was charged. Never raises: whatever breaks, the caller gets the constant failure."""
        try:
            released = self.domain.run(charged.ticket, charged.question, charged.prepared)
            row = self.outcomes.record(charged.row.id, released)
            if released is None or row.state != "answered":
                return answer.state(row)
            return self.outcomes.answered(row, released)
        except Exception as error:  # a cause that shows would be an oracle after the charge
            _log.error("a question failed", query_id=charged.row.id, error=type(error).__name__)
            return self.outcomes.leave(charged.row.id)

    def _repeat(self, row: QueryRow) -> Begun:
        with self.store.transaction() as tx:
            self.ledger.repeat(tx, row)
        live = self.running.find(row.id)
        return Begun(row.id, live.outcome if live else self.outcomes.latest(row.id), "repeated")

    def _let_go(self, reservation: str | None) -> None:
        """Gives a place back that was not needed. Where that fails it comes back by itself, some seconds later."""
        if reservation is not None:
            with contextlib.suppress(NotReady, Refusal):
                self.domain.cancel(reservation)


def _require_page(ask: Ask, admitted: AdmittedQuery, prepared: Prepared) -> None:
    """Raises Refusal(parameter_invalid): pages of two snapshots would be no answer."""
    if ask.page is not None:
        ask.page.require_same(admitted.question, prepared.snapshot)


def _not_ready() -> Refusal:
    return Refusal("not_ready", "the data domain is not ready", hint="nothing was charged; ask again in a moment")


def _unsigned() -> Refusal:
    hint = "it costs nothing; ask for this `query_id` again in a moment"
    return Refusal("not_ready", "the answer is there, and the log cannot be signed now", hint=hint)


def _unknown() -> Refusal:
    return Refusal(
        "outcome_unknown",
        "the ledger failed while this was charged, and whether it was is not known",
        hint="ask again with the same `Idempotency-Key`, or for this `query_id`: what was charged is told as failed,"
        " what was not is asked anew",
    )
