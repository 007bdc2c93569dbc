"""What the door does with each request: prepare, run, fetch, cancel. HTTP lies outside, in `service.py`."""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from sandbox import deadlines, logs
from sandbox.asked import Asked, Terms
from sandbox.datasets import Datasets, Served
from sandbox.disclosure.memory import Memories
from sandbox.pool import Pool
from sandbox.protocol import (
    Cancelled,
    Failed,
    Fetch,
    Layer,
    Prepare,
    Prepared,
    Question,
    Refused,
    Released,
    Run,
    Status,
)
from sandbox.regimes.exact import Exact
from sandbox.regimes.noisy import Noisy
from sandbox.regimes.opened import Opened
from sandbox.regimes.regime import Regime
from sandbox.relational.blocks import blocks_of
from sandbox.relational.facts import Refuse
from sandbox.relational.size import require_few_parts, require_small
from sandbox.release.store import Store, Stored, StoreUnusable, TicketRefused, loss_of
from sandbox.runs import Planned, Runs
from sandbox.soon import Soon
from sandbox.tickets import TicketVerifier

log = logs.logger("bpk.domain")
CANNOT_KEEP: Final = "the data domain cannot keep what is released, and so answers nothing"
LOOK_S: Final = 1.0
PLACE_WAIT_S: Final = 2.0
"""How long a question waits for a free worker before it is refused as `busy`, uncharged."""
ALONG_S: Final = 3.0
"""A stored answer that takes longer to write does not come along with its price: a gateway that waits for a price would
lose it, and has more time for an answer."""

TICKET_ID_MAX: Final = 100
Given = TypeVar("Given")
Gives = TypeVar("Gives")


class Unaskable(Exception):
    """A question that no honest gateway asks: its records are well-formed, and nothing can be made of them."""


def _planning(act: Callable[[Door, Given], Gives]) -> Callable[[Door, Given], Gives]:
    """For what comes before a ticket is booked. Plans are functions of question, policy and public metadata, so
    whatever goes wrong in making one tells nothing. The wrapped function also raises Unaskable, and Refuse where the
    store cannot be used."""

    @functools.wraps(act)
    def guarded(self: Door, request: Given) -> Gives:
        try:
            return act(self, request)
        except (Refuse, Unaskable):
            raise
        except (OSError, sqlite3.Error, StoreUnusable) as error:
            log.error("the store cannot be used", error=type(error).__name__)
            raise Refuse("not_ready", CANNOT_KEEP) from error
        except Exception as error:  # whatever a stranger makes us trip over, he alone is turned away
            log.warning("a question could not be planned", error=type(error).__name__)
            raise Unaskable from error

    return guarded


class Door:
    """Thread-safe. Every method returns a record; whatever goes wrong after the charge is the one constant failure."""

    def __init__(self, datasets: Datasets, store: Store, pool: Pool, verifier: TicketVerifier, seed: bytes) -> None:
        self._datasets = datasets
        self._store = store
        self._pool = pool
        self._verifier = verifier
        self._looking = threading.Lock()
        self._looked = float("-inf")
        self._can_write = True
        self._soon = Soon()
        self._runs = Runs(pool, store, self._answer)
        self._noisy = Noisy(store, seed)
        self._exact = Exact(store, Memories(store))
        self._opened = Opened(store)
        self.layers: tuple[Layer, ...] = ()
        self.degraded: tuple[str, ...] = ()

    @property
    def isolated(self) -> bool:
        """Whether every required layer stands, but for those that the custodian does without in writing."""
        return bool(self.layers) and all(
            layer.active or not layer.required or layer.name in self.degraded for layer in self.layers
        )

    def prepare(self, request: Prepare | Asked) -> Prepared | Refused:
        """Price, columns and refusals of a question. Reads no rows and spends nothing. Raises Unaskable."""
        try:
            return self._prepare(request if isinstance(request, Asked) else Asked(request))
        except Refuse as refusal:
            return refusal.refused

    @_planning
    def _prepare(self, asked: Asked) -> Prepared:
        """Raises Refuse."""
        request, terms = asked.request, self._terms(asked)
        served, regime, described = terms.served, terms.regime, terms.described
        stored = self._find(request, terms)
        degraded = self._done_without(each_at_deadline=bool(served.deadlines.choices_ms))
        answered = stored is not None and served.policy.release.reuse_across_operators
        if not answered:  # the gateway knows whose the release is; where it counts, this may be a fresh question
            regime.require_left(terms.job, served)
        released = None
        if stored is not None and answered and request.fetch and request.accuracy is None:
            if (same := asked.said(terms, stored, degraded)) is not None:
                return same
            released = self._soon.get(stored[0], partial(self._fetch, Fetch(stored[0], request.question)), ALONG_S)
        reservation = None
        if request.reserve and not answered:
            reservation = self._pool.reserve(request.question.dataset, PLACE_WAIT_S)
            if reservation is None:
                raise Refuse("busy", "every worker is busy", hint="ask again in a moment; nothing was charged")
        prepared = Prepared(
            plan_digest=request.question.plan_digest,
            price=described.price,
            columns=described.columns,
            expected=described.expected,
            expected_values=described.expected_values,
            steps=described.steps,
            snapshot=served.snapshot.commitment,
            release=stored[0] if stored else None,
            release_hash=stored[1] if stored else None,
            reservation=reservation,
            degraded=degraded,
            deadline_ms=terms.deadline_ms,
            audience=self._verifier.audience,
            cells=described.cells,
            released=released,
        )
        asked.say(terms, prepared)
        return prepared

    def _terms(self, asked: Asked) -> Terms:
        """Raises Refuse."""
        request = asked.request
        served = self._served(request.question.dataset)
        if (known := asked.terms(served)) is not None:
            return known
        regime = self._regime(request.question, served)
        job = self._job(request, regime, served)
        terms = Terms(served, regime, job, regime.describe(job, served), _deadline(request, regime, job, served))
        if regime.lasting:
            asked.agree(terms)
        return terms

    def run(self, request: Run) -> Released | Failed | Refused:
        """Runs a charged question once, and answers at its deadline. A replayed ticket gives what it gave before, or
        the constant failure. Raises Unaskable; nothing was booked then."""
        began = time.monotonic()
        try:
            planned = self._plan(request)
            price, ceiling = planned.price, planned.ceiling
            self._verifier.verify(request, price, planned.served.snapshot.commitment)
            loss = 0 if ceiling is None else loss_of(price, ceiling.accountant)
            state = self._store.accept(request.ticket, loss, ceiling, planned.blocks)
        except Refuse as refusal:
            return refusal.refused
        except TicketRefused as refusal:
            return Refused(refusal.code, str(refusal))
        except (OSError, sqlite3.Error, StoreUnusable) as error:  # it may have been booked
            log.error("a ticket could not be kept", error=type(error).__name__)
            return Failed()
        if state == "failed":
            return Failed()
        if state != "fresh":
            return self._again(state, request.question)
        return self._runs.outcome(request, planned, began)

    @_planning
    def _plan(self, request: Run) -> Planned:
        """Raises Refuse."""
        question = request.question
        served = self._served(question.dataset)
        if served.policy.supply == "withheld":  # its examples are prepared all the same, whatever runs for nobody
            raise Refuse("dataset_not_ready", f"`{question.dataset}` is withheld: it answers nothing")
        if len(request.ticket.id) > TICKET_ID_MAX:
            raise Unaskable
        regime = self._regime(question, served)
        job = regime.job(question, served)
        price, ceiling = regime.price(job, served), regime.ceiling(served)
        blocks = blocks_of(question.plan, served.policy)
        return Planned(regime, job, served, price, ceiling, blocks, _deadline(request, regime, job, served))

    def fetch(self, request: Fetch) -> Released | Refused:
        """A stored release with this question's post-processing. The question must mean what the release answers.

        Raises Unaskable.
        """
        try:
            return self._fetch(request)
        except Refuse as refusal:
            return refusal.refused

    @_planning
    def _fetch(self, request: Fetch) -> Released:
        """Raises Refuse."""
        require_small(request.question.plan)
        stored = self._store.load(request.release)
        if stored is None or not self._answers(stored, request.question):
            raise Refuse("not_found", "there is no such release for this question")
        return self._answer(stored, request.question)

    def lapse(self, reservation: str) -> None:
        """Gives a place back in a moment whose gateway is gone."""
        self._pool.lapse(reservation)

    def cancel(self, ticket: str) -> Cancelled:
        """Kills the worker of a running job, whose charge stays; or gives back a place, by its reservation."""
        self._pool.release(ticket)
        if len(ticket) <= TICKET_ID_MAX:  # else none of ours
            self._runs.cancel(ticket)
        return Cancelled(ticket)

    def status(self) -> Status:
        found = self._datasets.statuses()
        writable = self._writable()
        ready = writable and all(d.state == "ready" for d in found) and (self.isolated or not found)
        degraded = self._done_without(each_at_deadline=all(each.deadlines_ms for each in found))
        return Status(ready, found, self.layers, degraded, writable, self._pool.places)

    def _done_without(self, *, each_at_deadline: bool) -> tuple[str, ...]:
        """What the custodian does without, by name."""
        return self.degraded if each_at_deadline else tuple(sorted({*self.degraded, deadlines.LAYER}))

    def _writable(self) -> bool:
        """Whether the store can be written, looked at once in a while, and anew where it could not."""
        with self._looking:
            if self._store.failing or time.monotonic() - self._looked > LOOK_S:
                self._can_write = self._store.writable()
                self._looked = time.monotonic()
            return self._can_write

    def _served(self, dataset: str) -> Served:
        served = self._datasets.find(dataset)
        if served is None:
            raise Refuse("dataset_not_ready", f"the data of `{dataset}` is not ready")
        if not self.isolated:
            raise Refuse("not_ready", "the data domain lacks a required isolation layer and answers nothing")
        if self._store.failing and not self._writable():
            raise Refuse("not_ready", CANNOT_KEEP)
        return served

    def _regime(self, question: Question, served: Served) -> Regime[Any]:
        """Raises Refuse."""
        require_small(question.plan)
        if question.policy_digest != served.policy.digest:
            raise Refuse("policy_changed", "the data domain holds another version of this policy")
        if question.mode not in served.policy.release.modes:
            raise Refuse("mode_not_offered", f"the data domain does not answer in mode `{question.mode}`")
        require_few_parts(question.plan, served.policy)
        return self._of_mode(question)

    def _of_mode(self, question: Question) -> Regime[Any]:
        """Raises Refuse."""
        if question.mode == "dp":
            return self._noisy
        if question.mode == "aggregate":
            return self._exact
        if question.mode == "open":
            return self._opened
        raise Refuse("mode_not_offered", f"the data domain does not answer in mode `{question.mode}`")

    def _job(self, request: Prepare, regime: Regime[Any], served: Served) -> Any:
        """What would run. Raises Refuse."""
        if request.accuracy is None:
            return regime.job(request.question, served)
        if request.question.mode != "dp":
            raise Refuse("accuracy_unknown", "an exact answer has no accuracy to choose", hint="leave `accuracy` out")
        return self._noisy.accurate(self._noisy.job(request.question, served), served, request.accuracy)

    def _find(self, request: Prepare, terms: Terms) -> tuple[str, str] | None:
        """The stored release that answers already."""
        if request.accuracy is None:
            return terms.regime.find(request.question, terms.served)
        return self._noisy.find(terms.job.question, terms.served, derived=False)

    def _answers(self, stored: Stored, question: Question) -> bool:
        """Whether `question` means what was released, or something that can be told from it."""
        release = stored.release
        same = (release.dataset, release.policy_digest, release.mode)
        if same != (question.dataset, question.policy_digest, question.mode):
            return False
        return self._of_mode(question).answers(stored, question)

    def _answer(self, stored: Stored, question: Question) -> Released:
        """With public rows as they were when the release was made: shown again, an answer says what it said."""
        publics = self._datasets.publics(stored.release.dataset, stored.release.snapshot)
        return self._of_mode(question).answer(stored, question, publics)

    def _again(self, release: str, question: Question) -> Released | Failed:
        try:
            stored = self._store.load(release)
            if stored is None or not self._answers(stored, question):
                return Failed()
            return self._answer(stored, question)
        except Exception as error:  # the ticket was booked once: what it gives now is an answer or the one failure
            log.error("an answer could not be given again", error=type(error).__name__)
            return Failed()


def _deadline(request: Prepare | Run, regime: Regime[Any], job: object, served: Served) -> int | None:
    """In ms: a function of question, policy and public metadata, as everything that `prepare` tells."""
    work = regime.work(job, served)
    return (
        None
        if work is None
        else served.deadlines.of(request.question.plan, work, served.policy, request.deadline_ms or 0)
    )
