"""The durable ledger: caps, charges and the way of a query. Every change appends its record in the same transaction.

A query is charged (durable before anything runs) and then ends exactly once: `answer`, `fail` or `cancel`. Or it is
answered by a stored release (`reuse`), heard before (`repeat`), or refused (`refuse`). Nothing gives budget back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from gateway.budget import caps, cells, charges, queries, seats
from gateway.budget import scopes as scopes_table
from gateway.budget.account import (
    Account,
    Budget,
    Scope,
    Shortfall,
    State,
    advance,
    budget_of,
    shortfall_words,
)
from gateway.budget.caps import Waiting
from gateway.budget.cells import Shown
from gateway.budget.loss import Cap, Loss, words
from gateway.budget.queries import Asked, QueryRow, Stored
from gateway.budget.scopes import ScopeRow
from gateway.decided import Approvers, Decided
from gateway.errors import Fault, Misconfigured, Refusal
from gateway.right import Right
from gateway.store import Reading, Transaction
from sandbox.protocol import FREE, Price

INTERRUPTED: Final = "query_interrupted"


class Journal(Protocol):
    """What the ledger needs of the log."""

    @property
    def closed(self) -> str | None:
        """Why it takes no more records, if it does not."""
        ...

    def unsigned(self) -> str | None:
        """Why its key does not sign, if it does not."""
        ...

    def append(  # noqa: PLR0913  # the fields of a record
        self,
        tx: Transaction,
        *,
        kind: Any,
        actor: str | None = None,
        query_id: str | None = None,
        dataset: str | None = None,
        policy_digest: str | None = None,
        snapshot: str | None = None,
        decision: Any = None,
        code: str | None = None,
        charges: Sequence[Mapping[str, str]] | None = None,
        texts: Mapping[str, str] | None = None,
        hashes: Mapping[str, str] | None = None,
        told: str | None = None,
        right: Right | None = None,
        decided: Decided | None = None,
    ) -> int:
        """The record's index."""
        ...

    def approvers(self, view: Reading) -> Approvers | None:
        """Who has to sign for a raised cap; None where nobody was ever named."""
        ...


class Ledger:
    """Reads through a Reading, writes through a Transaction of the same store. `now` gives UTC."""

    def __init__(self, journal: Journal, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._journal = journal
        self._now = now
        self._frozen: dict[str, str] = {}
        self.seat: str | None = None
        """Of a process that serves; others charge nothing."""

    def sit(self, tx: Transaction) -> None:
        """Takes a seat, from which queries are charged and run."""
        self.seat = seats.take(tx)

    def unseat(self, tx: Transaction, seat: str) -> tuple[str, ...]:
        """Takes a seat away: what was run from it has failed, and its charges stay. The queries of that end.

        Those of a frozen dataset are left as they are.
        """
        seats.lose(tx, seat)
        lost = [row.id for row in queries.running(tx, seat) if row.dataset not in self._frozen]
        for query_id in lost:
            self.fail(tx, query_id, INTERRUPTED)
        return tuple(lost)

    def rise(self, tx: Transaction) -> None:
        """Gives this process's seat up."""
        if self.seat is not None:
            self.unseat(tx, self.seat)

    def freeze(self, dataset: str, why: str) -> None:
        """Grants nothing more of `dataset` in this process: its ledger and its log disagree."""
        self._frozen[dataset] = why

    @property
    def closed(self) -> bool:
        """Whether nothing at all can be put on record: then every dataset is frozen."""
        return self._journal.closed is not None

    def why_frozen(self, dataset: str) -> str | None:
        """Why nothing of `dataset` is granted, for whoever runs the gateway; None where it may be."""
        if self.closed:
            return "the log is damaged, or lacks records that were signed"
        return "its ledger and its log disagree" if dataset in self._frozen else None

    def require_thawed(self, dataset: str | None = None) -> None:
        """Raises Refusal(dataset_frozen); without a dataset, where all are frozen."""
        if self.closed or dataset in self._frozen:
            what = "every dataset" if dataset is None else f"`{dataset}`"
            hint = "nothing was charged; /readyz says when it is open again"
            raise Refusal("dataset_frozen", f"{what} is frozen until its custodian has put its ledger right", hint=hint)

    def require_signed(self) -> None:
        """Raises Refusal(not_ready) while the log's key does not sign: an answer could be charged and not given out."""
        if self._journal.unsigned() is not None:
            hint = "nothing was charged; ask again in a moment"
            raise Refusal("not_ready", "the log cannot be signed now", hint=hint)

    def declare(self, tx: Transaction, scopes: Sequence[Scope], policy_digest: str) -> None:
        """Opens scopes and puts changed caps in force, each with an `admin` record. What is spent stays spent.

        Where there are approvers a higher cap is not put in force: it waits for `raise_cap`.
        Raises Misconfigured when a scope would change its accountant: sums of rho and of epsilon do not mix.
        """
        for scope in scopes:
            self._declare(tx, scope, policy_digest)

    def charge(
        self,
        tx: Transaction,
        asked: Asked,
        scopes: Sequence[Scope],
        price: Price,
        *,
        texts: Mapping[str, str] | None = None,
    ) -> QueryRow:
        """Charges `price` to every scope, or to none. Nothing may run before `tx` is durable.

        Appends the `decision` record (run, with commitments to `texts`) and the `charge` record. `scopes` are those of
        `account.scopes_for`, `account.in_blocks` where there are blocks; none where the mode spends no budget.
        Raises Refusal(budget_exhausted, idempotency_conflict, dataset_frozen, licence_expired), Repeated, Fault for no
        price, and NotReady where this gateway has lost its seat.
        Guarantee: in every scope all charges together stay within the cap in force.
        """
        self.require_thawed(asked.dataset)
        seat = seats.require(tx, self.seat)
        charges.require_due(tx, asked, scopes)
        queries.raise_repeated(tx, asked)
        self.declare(tx, tuple(dict.fromkeys(scope.base for scope in scopes)), asked.policy_digest)
        amounts = self.fitting(tx, scopes, price)
        lines = charges.lines_of(scopes, price)
        seq = self._journal.append(tx, kind="decision", decision="run", **_about(asked), texts=texts, right=asked.right)
        row = self._row(asked, price if scopes else FREE, seq, seat)
        queries.insert(tx, row)
        for amount in dict.fromkeys(amounts):
            alike = [scope.id for scope, each in zip(scopes, amounts, strict=True) if each == amount]
            scopes_table.book(tx, asked.id, alike, amount)
        self._journal.append(tx, kind="charge", **_about(asked), charges=lines)
        return row

    def reuse(  # noqa: PLR0913  # what is recorded and what is kept of an answer
        self,
        tx: Transaction,
        asked: Asked,
        stored: Stored,
        *,
        texts: Mapping[str, str] | None = None,
        shown: Shown | None = None,
        told: str | None = None,
    ) -> QueryRow:
        """A stored release answers: free, and recorded as a decision. Raises as `charge` does, but never for budget.

        `shown` are the cells of an exact answer; they count where the operator was not shown this release before.
        `told` is what the answer says, for the record to commit to.
        """
        self.require_thawed(asked.dataset)
        queries.raise_repeated(tx, asked)
        fresh = None if shown is None or cells.seen(tx, asked.operator, stored.release) else shown
        code = None if fresh is None else fresh.code
        seq = self._journal.append(
            tx,
            kind="decision",
            decision="reused",
            **_about(asked),
            code=code,
            texts=texts,
            hashes={"release": stored.release_hash},
            told=told,
            right=asked.right,
        )
        row = self._row(asked, FREE, seq, seats.NOBODY, stored)
        queries.insert(tx, row)
        if fresh is not None:
            cells.book(tx, asked.id, asked.operator, asked.dataset, fresh)
        return row

    def repeat(self, tx: Transaction, row: QueryRow) -> int:
        """Records that the same request came again and got the outcome of `row`; the record's index."""
        return self._journal.append(tx, kind="decision", decision="repeated", **_about(row))

    def refuse(  # noqa: PLR0913  # the fields of a record; most are unknown in an early refusal
        self,
        tx: Transaction,
        *,
        query_id: str,
        actor: str,
        code: str,
        dataset: str | None = None,
        policy_digest: str | None = None,
        snapshot: str | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> int:
        """Records a refusal: nothing was read, nothing is spent, no row is kept. The record's index."""
        return self._journal.append(
            tx,
            kind="decision",
            decision="refused",
            actor=actor,
            query_id=query_id,
            dataset=dataset,
            policy_digest=policy_digest,
            snapshot=snapshot,
            code=code,
            texts=texts,
        )

    def answer(
        self, tx: Transaction, query_id: str, stored: Stored, shown: Shown | None = None, told: str | None = None
    ) -> QueryRow:
        """running -> answered, with the `release` record. Raises Fault for a query that has ended.

        `shown` are the cells of an exact answer, which count against the operator's limits. `told` is what the answer
        says, for the record to commit to.
        """
        row = queries.get(tx, query_id)
        advance(row.state, "answered")
        if row.seat != self.seat:
            raise Fault("an answer to a query that another gateway runs")
        if shown is not None:
            cells.book(tx, query_id, row.operator, row.dataset, shown)
        code = None if shown is None else shown.code
        hashes = {"release": stored.release_hash}
        seq = self._journal.append(tx, kind="release", **_about(row), code=code, hashes=hashes, told=told)
        queries.end(tx, query_id, "answered", seq, stored)
        return queries.get(tx, query_id)

    def fail(self, tx: Transaction, query_id: str, code: str = "query_failed") -> QueryRow:
        """running -> failed, with the `failure` record; the charge stays. Raises Fault for a query that has ended."""
        return self._lose(tx, query_id, "failed", code)

    def cancel(self, tx: Transaction, query_id: str) -> QueryRow:
        """running -> cancelled, with the `failure` record; the charge stays. Raises Fault as `fail` does."""
        return self._lose(tx, query_id, "cancelled", "query_cancelled")

    def account(self, view: Reading, scope: Scope) -> Account:
        """What was charged to the scope so far, under the cap that `scope` carries; where there are approvers, under
        no higher one than they have let in force. A block has the cap of its base. Raises Misconfigured."""
        return self.accounts(view, (scope,))[0]

    def accounts(self, view: Reading, scopes: Sequence[Scope]) -> tuple[Account, ...]:
        """As `account` tells each."""
        rows = scopes_table.find_all(view, {each.id for scope in scopes for each in (scope, scope.base)})
        return tuple(self._account(view, scope, rows) for scope in scopes)

    def _account(self, view: Reading, scope: Scope, rows: Mapping[str, ScopeRow]) -> Account:
        found = rows.get(scope.base.id)
        if found is None:
            return Account(scope, Loss())
        if found.cap.accountant != scope.cap.accountant:
            counts, says = found.cap.accountant, scope.cap.accountant
            raise Misconfigured(f"`{scope.dataset}` counts its budget as {counts} for life; its policy now says {says}")
        spent = rows[scope.id].spent if scope.id in rows else Loss()
        if found.cap == scope.cap or self._journal.approvers(view) is None:
            return Account(scope, spent)
        limit = caps.meet(found.cap, scope.cap)
        return Account(replace(scope, cap=limit), spent, None if limit == scope.cap else scope.cap)

    def waiting(self, view: Reading, scopes: Sequence[Scope]) -> tuple[Waiting, ...]:
        """Those of `scopes` whose cap is higher than what approvers have let in force. Raises Misconfigured."""
        found = [(scope, self.account(view, scope)) for scope in scopes]
        return tuple(
            Waiting(
                each.id,
                each.dataset,
                account.scope.cap,
                account.named,
                scopes_table.fullest(view, each.id, each.dataset),
            )
            for each, account in found
            if account.named is not None
        )

    def raise_cap(self, tx: Transaction, scope: Scope, before: Cap, policy_digest: str, decided: Decided) -> int:
        """Puts the cap that `scope` carries in force by a decision, which the caller has judged; the record's index.

        Raises Misconfigured where another cap than `before` is in force.
        """
        self._declare(tx, scope, policy_digest)  # what the policy lowers beside it is on record first
        if self.account(tx, scope).scope.cap != before:
            raise Misconfigured(f"{scope.id} has another cap by now; draw up a new decision: bpk caps propose")
        return self._put_cap(tx, scope, policy_digest, decided)

    def budgets(
        self, view: Reading, scopes: Sequence[Scope], price: Price | None = None, among: Sequence[str] = ()
    ) -> tuple[Budget, ...]:
        """What is spent and left in each scope, and how many answers at `price`: in the blocks `among` of each, where
        there are blocks."""
        each = [scope if block is None else replace(scope, block=block) for scope in scopes for block in (None, *among)]
        accounts, step = self.accounts(view, each), len(among) + 1
        groups = (accounts[start : start + step] for start in range(0, len(accounts), step))
        return tuple(budget_of(whole, price, parts) for whole, *parts in groups)

    def fitting(self, view: Reading, scopes: Sequence[Scope], price: Price) -> tuple[Loss, ...]:
        """What `price` would add to each scope. Raises Refusal(budget_exhausted) where it does not fit into all."""
        found, short = list[Loss](), list[Shortfall]()
        for account in self.accounts(view, scopes):
            try:
                found.append(account.charge(price))
            except ValueError as error:
                raise Fault(str(error)) from error
            except Shortfall as shortfall:
                short.append(shortfall)
        if short:
            message, hint = shortfall_words(short, scopes)
            raise Refusal("budget_exhausted", message, hint=hint) from short[0]
        return tuple(found)

    def _declare(self, tx: Transaction, scope: Scope, policy_digest: str) -> None:
        in_force = self.account(tx, scope).scope
        found = scopes_table.find(tx, scope.id)
        if found is None or found.cap != in_force.cap:
            self._put_cap(tx, in_force, policy_digest)

    def _put_cap(self, tx: Transaction, scope: Scope, policy_digest: str, decided: Decided | None = None) -> int:
        limit = scope.cap
        scopes_table.put_cap(tx, scope.id, scope.dataset, scope.operator, limit)
        return self._journal.append(
            tx,
            kind="admin",
            dataset=scope.dataset,
            policy_digest=policy_digest,
            code=f"cap_{limit.accountant}",
            charges=[{"scope": scope.id, **words(limit)}],
            decided=decided,
        )

    def _row(self, asked: Asked, cost: Price, record: int, seat: str, stored: Stored | None = None) -> QueryRow:
        return QueryRow(
            id=asked.id,
            operator=asked.operator,
            key=asked.key,
            request_hash=asked.request_hash,
            dataset=asked.dataset,
            mode=asked.mode,
            policy_digest=asked.policy_digest,
            snapshot=asked.snapshot,
            question=asked.question,
            created=int(self._now().timestamp() * 1000),
            cost=cost,
            state="running" if stored is None else "answered",
            reused=stored is not None,
            release=None if stored is None else stored.release,
            release_hash=None if stored is None else stored.release_hash,
            record=record,
            seat=seat,
            ticket=asked.ticket if stored is None else None,
        )

    def _lose(self, tx: Transaction, query_id: str, state: State, code: str) -> QueryRow:
        row = queries.get(tx, query_id)
        advance(row.state, state)
        seq = self._journal.append(tx, kind="failure", **_about(row), code=code)
        queries.end(tx, query_id, state, seq, None)
        return queries.get(tx, query_id)


def _about(query: Asked | QueryRow) -> dict[str, Any]:
    return {
        "actor": query.operator,
        "query_id": query.id,
        "dataset": query.dataset,
        "policy_digest": query.policy_digest,
        "snapshot": query.snapshot,
    }
