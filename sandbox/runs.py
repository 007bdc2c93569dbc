"""Jobs of charged questions: each gets its worker once, is stopped by its ticket, and gives its place back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sandbox import logs
from sandbox.datasets import Served
from sandbox.deadlines import Due
from sandbox.pool import Pool, Worker
from sandbox.protocol import Failed, Price, Question, Released, Run
from sandbox.regimes.regime import Regime
from sandbox.release.store import Ceiling, Store, Stored, StoreUnusable

log = logs.logger("bpk.domain")
CANCELLED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Planned:
    """All that has to be known before a ticket is looked at."""

    regime: Regime[Any]
    job: Any
    served: Served
    price: Price
    ceiling: Ceiling | None
    blocks: tuple[str, ...]
    """Those that are paid for, where the dataset has some."""
    deadline_ms: int | None


class Runs:
    """Thread-safe. Whatever goes wrong in here is the one constant failure. `answer` makes a kept release an answer."""

    def __init__(self, pool: Pool, store: Store, answer: Callable[[Stored, Question], Released]) -> None:
        self._pool = pool
        self._store = store
        self._answer = answer
        self._lock = threading.Lock()
        self._running: dict[str, Worker] = {}
        self._cancelled: dict[str, None] = {}
        """Tickets in the order in which they were cancelled: a word that comes before the worker counts too."""
        self._due_later: dict[str, bool] = {}
        """Tickets that are answered at a deadline, until their place is free, and whether they were given up at it."""

    def outcome(self, request: Run, planned: Planned, began: float) -> Released | Failed:
        """Of a ticket that was accepted just now: at its deadline after `began`, where it has one."""
        if planned.deadline_ms is None:
            return self._release(request, planned, self._free)
        with self._lock:
            self._due_later[request.ticket.id] = False
        with self._store.held(request.ticket.id):
            return self._due(request, planned).answer(began, planned.deadline_ms)

    def cancel(self, ticket: str) -> None:
        """Kills the job's worker, or keeps it from getting one, where it is answered when it is ready.

        Guarantee: a job with a deadline runs on to it, whatever its caller says meanwhile. Else a word at a moment of
        the caller's choosing would tell whether the job was ready by then: its release is there afterwards, or is not.
        Source: docs/explanation/guarantees/time.md
        """
        with self._lock:
            if ticket in self._due_later:
                return
            self._cancelled[ticket] = None
            if len(self._cancelled) > CANCELLED_MAX:
                del self._cancelled[next(iter(self._cancelled))]
        self._stop(ticket)

    def _due(self, request: Run, planned: Planned) -> Due[Released | Failed]:
        ticket = request.ticket.id
        return Due(
            work=lambda: self._release(request, planned, self._clear),
            stop=lambda: self._give_up(ticket),
            give_up=lambda: self._lost(ticket),
            free=lambda: self._free(ticket),
            late=Failed(),
        )

    def _release(self, request: Run, planned: Planned, leave: Callable[[str], None]) -> Released | Failed:
        """After the charge whatever goes wrong looks the same; the cause stays in the domain's log, without data.

        `leave` is told the ticket when its worker is not needed any more.
        """
        ticket = request.ticket.id
        try:
            try:
                stored = self._run(request, planned)
            finally:
                leave(ticket)
            return self._answer(stored, request.question)
        except Exception as error:  # every cause must look the same; the class alone is logged
            log.error("a job failed", error=type(error).__name__)
            self._lost(ticket)
            return Failed()

    def _lost(self, ticket: str) -> bool:
        """Whether the ticket has failed for good. Where that cannot be written it has: the next start says so too."""
        try:
            return self._store.lose(ticket)
        except (sqlite3.Error, OSError, StoreUnusable) as error:
            log.error("a failure could not be kept", ticket=ticket, error=type(error).__name__)
            return True

    def _run(self, request: Run, planned: Planned) -> Stored:
        worker = self._pool.take(request.reservation, request.question.dataset)
        if worker is None:
            raise RuntimeError("the reserved place was lost")
        with self._lock:
            self._running[request.ticket.id] = worker
            over = self._due_later.get(request.ticket.id, request.ticket.id in self._cancelled)
        if over:
            raise RuntimeError("ended before its worker was there")
        if worker.snapshot != planned.served.snapshot.path:
            raise RuntimeError("the worker holds another snapshot than the ticket names")
        return planned.regime.run(planned.job, request.ticket, worker, planned.served)

    def _give_up(self, ticket: str) -> None:
        """At its deadline: kills the worker; a job that has none yet gets none."""
        with self._lock:
            self._due_later[ticket] = True
        self._stop(ticket)

    def _stop(self, ticket: str) -> None:
        with self._lock:
            worker = self._running.get(ticket)
        if worker is not None:
            worker.kill()

    def _clear(self, ticket: str) -> None:
        """The worker is gone, what it spilled is wiped; its place stays taken."""
        with self._lock:
            worker = self._running.get(ticket)
        if worker is not None:
            self._pool.clear(worker)

    def _free(self, ticket: str) -> None:
        with self._lock:
            worker = self._running.pop(ticket, None)
            self._due_later.pop(ticket, None)
        if worker is not None:
            worker.close()
