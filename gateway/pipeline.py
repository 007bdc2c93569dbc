"""The way of a query, step by step. Read this first.

`ask` is the whole way up to the charge; whatever it raises was free, and is on record. `_finish` is the way after the
charge: from there on every end costs, and looks the same unless it is an answer.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from secrets import token_hex
from threading import Lock
from typing import Any

from gateway import answer
from gateway.admission.admit import AdmittedQuery, admit
from gateway.admission.alternatives import Asked as AskedSql
from gateway.admission.alternatives import offering
from gateway.admission.licences import askable
from gateway.audit.log import Log
from gateway.budget import queries
from gateway.budget.account import Shortfall, scopes_for, shortfall_words
from gateway.budget.ledger import Ledger
from gateway.budget.queries import Asked, History, QueryRow, Repeated, Stored, new_query_id
from gateway.cases import Doors
from gateway.catalog import Catalog
from gateway.domain import Domain
from gateway.errors import NotReady, Refusal
from gateway.identity.roles import Caller
from gateway.reuse import own_release
from gateway.settings import Limits
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from gateway.store import Store
from policies.model import Policy
from policies.types import Value
from sandbox import codec
from sandbox.protocol import TICKET_S, Prepared, Question, Released, Ticket

_log = logging.getLogger("bpk.pipeline")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller asks, off the wire."""

    caller: Caller
    sql: str
    purpose: str | None
    mode: str | None
    parameters: Mapping[str, Value]
    epsilon: Decimal | None
    accuracy: bool
    key: str | None
    """The idempotency key."""
    request_hash: str
    """Of everything in the body that shapes the answer."""

    @property
    def texts(self) -> dict[str, str]:
        """What the record commits to."""
        parameters = {name: answer.value(value) for name, value in sorted(self.parameters.items())}
        found = {"sql": self.sql, "purpose": self.purpose, "parameters": json.dumps(parameters) if parameters else None}
        return {name: text for name, text in found.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Begun:
    """A query that was heard: its answer, or the promise of one."""

    id: str
    result: dict[str, Any] | Future[dict[str, Any]]
    verdict: str


class NotAnswered(Exception):
    """A refusal with what is known of its query, already on record."""

    def __init__(self, refusal: Refusal, query_id: str | None, policy: Policy | None) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.query_id = query_id
        self.policy = policy


class _Trail:
    """How far a query has come, for the record of its refusal."""

    def __init__(self) -> None:
        self.id = new_query_id()
        self.policy: Policy | None = None
        self.snapshot: str | None = None
        self.decided = False
        """Whether a decision to run or to reuse is durable."""


@dataclass(frozen=True, slots=True)
class _Charged:
    row: QueryRow
    ticket: Ticket
    question: Question
    reservation: str | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What the pipeline works with; `app` builds it."""

    catalog: Catalog
    domain: Domain
    store: Store
    ledger: Ledger
    log: Log
    doors: Doors
    today: Callable[[], date]
    """UTC."""


class Pipeline:
    """Thread-safe. At the end: `drain`, then the data domain's own end, then `join`."""

    def __init__(self, parts: Parts, limits: Limits) -> None:
        self._catalog = parts.catalog
        self._domain = parts.domain
        self._store = parts.store
        self._ledger = parts.ledger
        self._log = parts.log
        self._doors = parts.doors
        self._today = parts.today
        self._running_max = limits.running_max
        self._sql_limits = SqlLimits(bytes_max=limits.sql_bytes_max)
        self._live: dict[str, tuple[str, Future[dict[str, Any]]]] = {}
        self._unsettled: set[str] = set()
        """Queries whose outcome could not be recorded, as on a full disk; a restart settles them too."""
        self._lock = Lock()
        self._closing = False
        self._pool = ThreadPoolExecutor(limits.running_max, thread_name_prefix="query")

    def ask(self, ask: Ask) -> Begun:
        """Raises NotAnswered; then nothing was read and nothing spent."""
        trail = _Trail()
        try:
            return self._ask(ask, trail)
        except Repeated as again:
            return self._repeat(again.row)
        except Refusal as refusal:
            raise self.refused(ask.caller, refusal, ask.texts, trail) from refusal
        except NotReady as cause:
            _log.warning("%s: %s", trail.id, cause)
            raise self.refused(ask.caller, not_ready(), ask.texts, trail) from cause
        except Exception:
            if not trail.decided:  # a fault of ours before the charge is on record too
                self.refused(ask.caller, Refusal("internal_error", "something broke on our side"), ask.texts, trail)
            raise

    def _ask(self, ask: Ask, trail: _Trail) -> Begun:
        self._raise_repeated(ask)
        admitted = self._admit(ask, trail)
        prepared = self._domain.prepare(admitted.question, reserve=True)
        trail.snapshot = prepared.snapshot
        try:
            return self._go(ask, trail, admitted, prepared)
        except BaseException:  # else a budget at its end, asked again and again, would keep every place from others
            self._let_go(prepared.reservation)
            raise

    def _go(self, ask: Ask, trail: _Trail, admitted: AdmittedQuery, prepared: Prepared) -> Begun:
        """Free from what is stored, or charged."""
        asked = _asked(ask, admitted, prepared, trail.id)
        stored = self._stored(admitted, prepared, ask.caller)
        if stored is not None:
            self._let_go(prepared.reservation)
            return self._reuse(asked, stored, trail, ask.texts)
        self._require_place()
        charged = self._charge(asked, admitted, prepared, ask.texts)
        trail.decided = True
        return self._start(charged)

    def _let_go(self, reservation: str | None) -> None:
        """Gives a place back that was not needed. Where that fails it comes back by itself, some seconds later."""
        if reservation is not None:
            with contextlib.suppress(NotReady, Refusal):
                self._domain.cancel(reservation)

    def check(self, ask: Ask) -> dict[str, Any]:
        """Verdict, plan and price of the same question: free, and no data is read. Raises NotAnswered."""
        trail = _Trail()
        try:
            admitted = self._admit(ask, trail)
            prepared = self._domain.prepare(admitted.question, reserve=False)
            reused = self._stored(admitted, prepared, ask.caller) is not None
            scopes = scopes_for(admitted.policy, ask.caller.subject, admitted.licence)
            with self._store.reading() as view:
                if not reused:
                    for scope in scopes:
                        self._ledger.account(view, scope).charge(prepared.price)
                budgets = self._ledger.budgets(view, scopes, prepared.price)
            left = answer.budget(admitted.policy, budgets)
            return answer.checked(admitted.question.mode, prepared, left, reused=reused)
        except Shortfall as short:
            message, hint = shortfall_words(short)
            raise NotAnswered(Refusal("budget_exhausted", message, hint=hint), None, trail.policy) from short
        except Refusal as refusal:
            raise NotAnswered(refusal, None, trail.policy) from refusal

    def again(self, caller: Caller, query_id: str) -> dict[str, Any]:
        """The outcome of the caller's own query, free. Raises Refusal(`not_found`), also for another operator's."""
        return self._outcome(self._own(caller, query_id))

    def cancel(self, caller: Caller, query_id: str) -> dict[str, Any]:
        """Ends the caller's running query; the charge stays. Raises Refusal(`not_found`)."""
        row = self._own(caller, query_id)
        with self._store.transaction() as tx:
            if queries.get(tx, row.id).state != "running":
                return answer.unfinished(row) if row.state != "answered" else {"id": row.id, "status": "answered"}
            row = self._ledger.cancel(tx, row.id)
        ticket = self._live.get(row.id, (None, None))[0]
        if ticket is not None:
            try:
                self._domain.cancel(ticket)
            except (NotReady, Refusal):
                _log.warning("cancel of %s did not reach the data domain", row.id)
        return answer.unfinished(row)

    def history(self, caller: Caller, limit: int, cursor: str | None) -> History:
        with self._store.reading() as view:
            return queries.history(view, caller.subject, limit=limit, cursor=cursor)

    def refused(
        self, caller: Caller, refusal: Refusal, texts: Mapping[str, str] | None = None, trail: _Trail | None = None
    ) -> NotAnswered:
        """Puts a refusal of a question on record, once; the exception that tells the caller."""
        trail = trail or _Trail()
        with self._store.transaction() as tx:
            self._ledger.refuse(
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

    def drain(self, seconds: float) -> None:
        """Takes no more questions, and lets those that run end for so long."""
        self._closing = True
        wait([future for _, future in list(self._live.values())], timeout=seconds)

    def join(self) -> None:
        """Waits for what still runs; once the data domain has ended, it fails at once and stays charged."""
        self._pool.shutdown(wait=True)

    # The steps.

    def _raise_repeated(self, ask: Ask) -> None:
        if ask.key is not None:
            with self._store.reading() as view:
                row = queries.find_repeat(view, ask.caller.subject, ask.key, ask.request_hash)
            if row is not None:
                raise Repeated(row)

    def _require_place(self) -> None:
        if self._closing or len(self._live) >= self._running_max:
            raise _busy()

    def _admit(self, ask: Ask, trail: _Trail) -> AdmittedQuery:
        """Who asks, in which words, of what, at which price."""
        if ask.accuracy:
            raise Refusal("accuracy_not_offered", "`accuracy` is not offered here", hint="name `epsilon` instead")
        operator = ask.caller.subject
        licences = tuple(licence for licence in self._catalog.licences if licence.operator == operator)
        policies = askable(self._catalog.policies, licences)
        if not policies and not licences:
            raise Refusal("licence_missing", "you hold no licence", hint="ask the owner of the data for one")
        try:
            with offering(AskedSql(ask.sql, ask.parameters, policies, self._sql_limits)):
                query = read(ask.sql, ask.parameters, policies, self._sql_limits)
                trail.policy = policies[query.dataset]
                admitted = admit(
                    query,
                    trail.policy,
                    operator=operator,
                    licences=licences,
                    purpose=ask.purpose,
                    mode=ask.mode,
                    epsilon=ask.epsilon,
                    day=self._today(),
                )
        except Refusal as refusal:
            trail.policy = trail.policy or policies.get(refusal.dataset or "")
            raise
        self._doors.require_open(query.dataset)
        return admitted

    def _stored(self, admitted: AdmittedQuery, prepared: Prepared, caller: Caller) -> tuple[Stored, Released] | None:
        """The stored release that answers already, if this caller may have it."""
        if prepared.release is None or prepared.release_hash is None:
            return None
        stored: Stored | None = Stored(prepared.release, prepared.release_hash)
        if not admitted.policy.release.reuse_across_operators:
            with self._store.reading() as view:
                stored = own_release(view, caller.subject, admitted.question, prepared.snapshot)
        if stored is None:
            return None
        return stored, self._domain.fetch(stored.release, admitted.question)

    def _reuse(self, asked: Asked, stored: tuple[Stored, Released], trail: _Trail, texts: Mapping[str, str]) -> Begun:
        with self._store.transaction() as tx:
            row = self._ledger.reuse(tx, asked, stored[0], texts=texts)
        trail.decided = True
        return Begun(row.id, self._answer(row, stored[1]), "reused")

    def _charge(self, asked: Asked, admitted: AdmittedQuery, prepared: Prepared, texts: Mapping[str, str]) -> _Charged:
        """From here on every end costs."""
        scopes = scopes_for(admitted.policy, asked.operator, admitted.licence)
        with self._store.transaction() as tx:
            row = self._ledger.charge(tx, asked, scopes, prepared.price, texts=texts)
        now = time.time_ns() // 1_000_000
        ticket = Ticket(
            id=f"tkt_{token_hex(16)}",
            query=row.id,
            dataset=row.dataset,
            plan_digest=prepared.plan_digest,
            policy_digest=row.policy_digest,
            snapshot=prepared.snapshot,
            mode=row.mode,
            price=prepared.price,
            issued=now,
            expires=now + TICKET_S * 1000,
        )
        return _Charged(row, ticket, admitted.question, prepared.reservation)

    def _start(self, charged: _Charged) -> Begun:
        row = charged.row
        with self._lock:
            future = self._pool.submit(self._finish, charged)
            self._live[row.id] = (charged.ticket.id, future)
        future.add_done_callback(lambda _: self._live.pop(row.id, None))
        return Begun(row.id, future, "run")

    def _finish(self, charged: _Charged) -> dict[str, Any]:
        """Runs what was charged. Never raises: whatever breaks, the caller gets the constant failure."""
        try:
            released = self._domain.run(charged.ticket, charged.question, charged.reservation)
            row = self._end(charged.row.id, released)
            if released is None or row.state != "answered":
                return answer.unfinished(row)
            return self._answer(row, released)
        except Exception as error:  # a cause that shows would be an oracle after the charge
            _log.error("%s: ended by %s", charged.row.id, type(error).__name__)
            self._unsettled.add(charged.row.id)
            return {"id": charged.row.id, "status": "failed", "code": "query_failed"}

    def _end(self, query_id: str, released: Released | None) -> QueryRow:
        """The outcome, durable before anything leaves."""
        with self._store.transaction() as tx:
            row = queries.get(tx, query_id)
            if row.state != "running":  # cancelled meanwhile
                return row
            if released is None:
                return self._ledger.fail(tx, query_id)
            return self._ledger.answer(tx, query_id, Stored(released.release, released.release_hash))

    def _repeat(self, row: QueryRow) -> Begun:
        with self._store.transaction() as tx:
            self._ledger.repeat(tx, row)
        live = self._live.get(row.id)
        return Begun(row.id, live[1] if live else self._outcome(row), "repeated")

    def _outcome(self, row: QueryRow) -> dict[str, Any]:
        if row.id in self._unsettled:  # its caller was told of a failure; now it may be written down
            row = self._end(row.id, None)
            self._unsettled.discard(row.id)
        if row.state != "answered" or row.release is None:
            return answer.unfinished(row)
        question = codec.loads(row.question.encode(), Question)
        return self._answer(row, self._domain.fetch(row.release, question))

    def _answer(self, row: QueryRow, released: Released) -> dict[str, Any]:
        policy = self._catalog.policies.get(row.dataset)
        licence = self._catalog.licence_for(row.operator, row.dataset, self._today())
        left = None
        if policy is not None:
            with self._store.reading() as view:
                scopes = scopes_for(policy, row.operator, licence)
                left = answer.budget(policy, self._ledger.budgets(view, scopes, released.price))
        return answer.answered(row, released, left, self._log.receipt(row.record))

    def _own(self, caller: Caller, query_id: str) -> QueryRow:
        with self._store.reading() as view:
            row = queries.find(view, query_id)
        if row is None or row.operator != caller.subject:  # another operator's query is not there
            raise Refusal("not_found", "you have no query under this id", hint="your queries: GET /v1/queries")
        return row


def not_ready() -> Refusal:
    return Refusal("not_ready", "the data domain is not ready", hint="nothing was charged; ask again in a moment")


def _busy() -> Refusal:
    return Refusal("busy", "every place to run a question is taken", hint="nothing was charged; ask again in a moment")


def _asked(ask: Ask, admitted: AdmittedQuery, prepared: Prepared, query_id: str) -> Asked:
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
        question=codec.dumps(question).decode(),
    )
