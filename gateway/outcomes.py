"""What became of a query that was charged or reused: recorded once, told to its operator as often as asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from gateway import answer
from gateway.admission.blocks import charged
from gateway.audit.log import Log
from gateway.audit.told import told_text
from gateway.budget import queries
from gateway.budget.account import scopes_of
from gateway.budget.cells import Shown
from gateway.budget.ledger import Ledger
from gateway.budget.queries import History, QueryRow, Stored
from gateway.budget.scopes import charged_to, opened
from gateway.catalog import Catalog
from gateway.domain import Domain
from gateway.errors import Fault, NotReady, Refusal
from gateway.identity.roles import Caller
from gateway.reuse import released_again
from gateway.running import Running
from gateway.store import Reading, Store
from policies.model import Policy
from sandbox import codec, logs
from sandbox.protocol import Question, Released

_log = logs.logger("bpk.outcomes")


def numbers_of(domain: Domain, row: QueryRow) -> dict[str, Any]:
    """What the query was answered with, as its answer says it. Raises Refusal(not_found), Unreachable."""
    return answer.told(released_again(domain, row))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Thread-safe."""

    catalog: Catalog
    domain: Domain
    store: Store
    ledger: Ledger
    log: Log
    running: Running
    today: Callable[[], date]
    """UTC."""
    _unsettled: set[str] = field(default_factory=set)
    """Queries that do not run and whose outcome could not be recorded, as on a full disk, or whose charge is in doubt;
    `settle` does it, or a restart."""

    def record(self, query_id: str, released: Released | None) -> QueryRow:
        """Puts the outcome on record, None for a failure: durable before anything leaves."""
        told = None if released is None else told_text(answer.told(released))
        with self.store.transaction() as tx:
            row = queries.get(tx, query_id)
            if row.state != "running":  # cancelled meanwhile
                return row
            if released is None:
                return self.ledger.fail(tx, query_id)
            shown = Shown.of(released) if row.mode == "aggregate" else None
            return self.ledger.answer(tx, query_id, Stored(released.release, released.release_hash), shown, told)

    def leave(self, query_id: str) -> dict[str, Any]:
        """The constant failure of a query whose outcome could not be recorded; it is, when it can be."""
        self._unsettled.add(query_id)
        return answer.failed(query_id)

    def settle(self) -> dict[str, str]:
        """Records what could not be recorded when it was told, each by itself; what waits on, and for what."""
        waiting = {}
        for query_id in tuple(self._unsettled):
            try:
                self._settle(query_id)
            except Exception as error:  # the next one may go through all the same
                waiting[query_id] = str(error) if isinstance(error, Fault) else type(error).__name__
        return waiting

    def _settle(self, query_id: str) -> None:
        with self.store.transaction() as tx:  # after whatever session is still about it
            charged = queries.find(tx, query_id) is not None
        if charged:
            self.record(query_id, None)
        self._unsettled.discard(query_id)

    def answered(self, row: QueryRow, released: Released) -> dict[str, Any]:
        """The whole answer, with what is left and the receipt."""
        policy = self.catalog.policies.get(row.dataset)
        licence = self.catalog.licence_for(row.operator, row.dataset, self.today())
        left, read = None, tuple[str, ...]()
        with self.log.receipted(row.record) as (view, receipt):
            opening = self.log.opening(view, row.record)
            if policy is not None:
                known = opened(view, policy, row.operator)
                scopes = scopes_of(policy, row.operator, licence, known, row.mode)
                read = _blocks_of(view, row, policy)
                about = (policy, row.mode, scopes, released.price, row.operator)
                left = answer.left(view, self.ledger, *about, read)
        return answer.answered(row, released, left, receipt, opening, policy) | answer.read(read)

    def of(self, row: QueryRow) -> dict[str, Any]:
        """As it stands now: answered, running, cancelled, or the constant failure."""
        if row.id in self._unsettled:  # its caller was told of a failure; now it may be written down
            row = self.record(row.id, None)
            self._unsettled.discard(row.id)
        if row.state != "answered":
            return answer.state(row)
        return self.answered(row, released_again(self.domain, row))

    def latest(self, query_id: str) -> dict[str, Any]:
        """As the ledger has it at this moment: a row that was read earlier may still say `running`."""
        with self.store.reading() as view:
            row = queries.get(view, query_id)
        return self.of(row)

    def again(self, caller: Caller, query_id: str) -> dict[str, Any]:
        """The outcome of the caller's own query, free. Raises Refusal(`not_found`), also for another operator's."""
        return self.of(self._own(caller, query_id))

    def cancel(self, caller: Caller, query_id: str) -> dict[str, Any]:
        """Ends the caller's running query; the charge stays. Raises Refusal(`not_found`)."""
        own = self._own(caller, query_id)
        with self.store.transaction() as tx:
            row = queries.get(tx, own.id)  # it may have ended since it was looked up
            if row.state != "running":
                return answer.state(row)
            row = self.ledger.cancel(tx, row.id)
        if row.ticket is not None:  # whichever gateway runs it
            try:
                self.domain.cancel(row.ticket)
            except (NotReady, Refusal):
                _log.warning("a cancel did not reach the data domain", query_id=row.id)
        return answer.state(row)

    def history(self, caller: Caller, limit: int, cursor: str | None) -> History:
        with self.store.reading() as view:
            return queries.history(view, caller.subject, limit=limit, cursor=cursor)

    def _own(self, caller: Caller, query_id: str) -> QueryRow:
        row = None
        if query_id.isprintable():
            with self.store.reading() as view:
                row = queries.find(view, query_id)
        if row is None or row.operator != caller.subject:  # another operator's query is not there
            raise Refusal("not_found", "you have no query under this id", hint="your queries: GET /v1/queries")
        return row


def _blocks_of(view: Reading, row: QueryRow, policy: Policy) -> tuple[str, ...]:
    """The blocks that it was charged to; of a stored answer those that it is of, where the policy still has them."""
    if not policy.blocks or row.mode != "dp":
        return ()
    if not row.reused:
        return charged_to(view, row.id)
    with contextlib.suppress(ValueError):
        return charged(codec.loads(row.question.encode(), Question).plan, policy, row.mode)
    return ()
