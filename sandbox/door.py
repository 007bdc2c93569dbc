"""What the door does with each request: prepare, run, fetch, cancel. HTTP lies outside, in `service.py`."""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import replace
from pathlib import Path
from typing import Final

from policies import privacy_loss
from policies.shortfall import shortfall
from policies.types import BIGINT, Type, Value
from sandbox import words
from sandbox.datasets import Datasets, Served
from sandbox.pool import Pool, Worker
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
from sandbox.recent import Recent
from sandbox.relational import price as pricing
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import Output, find_release
from sandbox.relational.plan import ReleasePlan, plan_release
from sandbox.release import accuracy, expected, post
from sandbox.release.answer import answer, output_columns
from sandbox.release.cells import require_rollup
from sandbox.release.derived import measures_for
from sandbox.release.make import Job, make, statements
from sandbox.release.released import Release
from sandbox.release.store import Ceiling, Store, Stored, TicketRefused, loss_of
from sandbox.tickets import TicketVerifier

log = logging.getLogger("bpk.domain")
PLANS_MAX: Final = 256
"""Plans whose statements have bound, remembered from `prepare` to `run`; each is made and bound again where it is
forgotten."""
PLACE_WAIT_S: Final = 2.0
"""How long a question waits for a free worker before it is refused as `busy`, uncharged."""


class Door:
    """Thread-safe. Every method returns a record; whatever goes wrong after the charge is the one constant failure."""

    def __init__(self, datasets: Datasets, store: Store, pool: Pool, verifier: TicketVerifier, seed: bytes) -> None:
        self._datasets = datasets
        self._store = store
        self._pool = pool
        self._verifier = verifier
        self._seed = seed
        self._lock = threading.Lock()
        self._running: dict[str, Worker] = {}
        self._plans: Recent[tuple[str, ...], ReleasePlan] = Recent(PLANS_MAX)
        self.layers: tuple[Layer, ...] = ()
        self.degraded: tuple[str, ...] = ()

    @property
    def isolated(self) -> bool:
        """Whether every required layer stands, but for those that the custodian does without in writing."""
        return bool(self.layers) and all(
            layer.active or not layer.required or layer.name in self.degraded for layer in self.layers
        )

    def prepare(self, request: Prepare) -> Prepared | Refused:
        """Price, columns and refusals of a question. Reads no rows and spends nothing."""
        try:
            served = self._served(request.question.dataset)
            job = self._job(request.question, served)
            shown = self._shown(job, served)
            if request.accuracy is not None:
                epsilon = accuracy.smallest_epsilon(job, shown, request.accuracy)
                job = self._job(replace(request.question, epsilon=epsilon), served)
            stored = self._find(job.question, served, derived=request.accuracy is None)
            answered = stored is not None and served.policy.release.reuse_across_operators
            if not answered:  # the gateway knows whose the release is; where it counts, this may be a fresh question
                self._under_ceiling(job, served.ceiling)
            reservation = None
            if request.reserve and not answered:
                reservation = self._pool.reserve(request.question.dataset, PLACE_WAIT_S)
                if reservation is None:
                    raise Refuse("busy", "every worker is busy", hint="ask again in a moment; nothing was charged")
        except Refuse as refusal:
            return refusal.refused
        return Prepared(
            plan_digest=request.question.plan_digest,
            price=job.budget.price,
            columns=tuple(output_columns(shown)),
            expected=expected.half_widths(job, shown),
            expected_values=expected.values(job, shown),
            steps=words.steps(job, request.question.plan),
            snapshot=served.snapshot.commitment,
            release=stored[0] if stored else None,
            release_hash=stored[1] if stored else None,
            reservation=reservation,
            degraded=self.degraded,
        )

    def run(self, request: Run) -> Released | Failed | Refused:
        """Runs a charged question once. A replayed ticket gives what it gave before, or the constant failure."""
        question = request.question
        try:
            served = self._served(question.dataset)
            job = self._job(question, served)
            self._verifier.verify(request, job.budget.price, served.snapshot.commitment)
            loss = loss_of(job.budget.price, job.dp.accountant)
            state = self._store.accept(request.ticket, loss, served.ceiling)
        except Refuse as refusal:
            return refusal.refused
        except TicketRefused as refusal:
            return Refused(refusal.code, str(refusal))
        if state == "failed":
            return Failed()
        if state != "fresh":
            return self._again(state, question)
        return self._release(request, job, served.snapshot.path)

    def fetch(self, request: Fetch) -> Released | Refused:
        """A stored release with this question's post-processing. The question must mean what the release answers."""
        stored = self._store.load(request.release)
        if stored is None or not _answers(stored, request.question):
            return Refused("not_found", "there is no such release for this question")
        try:
            return self._answer(stored, request.question.plan)
        except Refuse as refusal:
            return refusal.refused

    def cancel(self, ticket: str) -> Cancelled:
        """Kills the worker of a running job, whose charge stays; or gives back a place, by its reservation."""
        self._pool.release(ticket)
        with self._lock:
            worker = self._running.get(ticket)
        if worker is not None:
            worker.kill()
        return Cancelled(ticket)

    def status(self) -> Status:
        found = self._datasets.statuses()
        ready = all(d.state == "ready" for d in found) and (self.isolated or not found)
        return Status(ready, found, self.layers, self.degraded)

    def _served(self, dataset: str) -> Served:
        served = self._datasets.find(dataset)
        if served is None:
            raise Refuse("dataset_not_ready", f"the data of `{dataset}` is not ready")
        if not self.isolated:
            raise Refuse("not_ready", "the data domain lacks a required isolation layer and answers nothing")
        return served

    def _job(self, question: Question, served: Served) -> Job:
        """Everything that is fixed before data is touched. Raises Refuse."""
        if question.policy_digest != served.policy.digest:
            raise Refuse("policy_changed", "the data domain holds another version of this policy")
        if question.mode != "dp" or "dp" not in served.policy.release.modes:
            raise Refuse("mode_not_offered", f"the data domain does not answer in mode `{question.mode}`")
        plan = self._plans.get(
            (question.dataset, question.policy_digest, served.snapshot.commitment, question.plan_digest),
            lambda: _bound(question, served),
        )
        budget = pricing.price(plan, served.dp, question.epsilon)
        return Job(question, plan, budget, served.schema, served.dp, served.count_max, served.snapshot.commitment)

    def _shown(self, job: Job, served: Served) -> tuple[post.Shown, ...]:
        types: dict[str, Type] = {f"k{i}": key.type for i, key in enumerate(job.plan.keys)}
        types |= {f"m{i}": figure.type for i, figure in enumerate(job.plan.figures)}
        types |= {f"g{i}": BIGINT for i in range(len(job.plan.keys))}
        require_rollup(job.question.plan, job.plan)
        post.require_small(job.question.plan, types, served.publics, job.plan.cells)
        return post.outputs(job.question.plan, types, served.publics)

    def _find(self, question: Question, served: Served, *, derived: bool) -> tuple[str, str] | None:
        """A stored release that answers `question` at no less than its epsilon. With `derived` also one that answers
        more, or finer groups: whose numbers may have had smaller shares, so not where an accuracy is asked for."""
        snapshot = served.snapshot.commitment
        found = self._store.find(question, snapshot)
        if found is not None or not derived:
            return found
        candidates = self._store.with_source(question, snapshot)
        return next(((each.id, each.hash) for each in candidates if _answers(each, question)), None)

    def _answer(self, stored: Stored, plan: Output) -> Released:
        """With public rows as they were when the release was made: shown again, an answer says what it said."""
        publics = self._datasets.publics(stored.release.dataset, stored.release.snapshot)
        return answer(stored.release, stored.id, stored.hash, plan, publics)

    def _under_ceiling(self, job: Job, ceiling: Ceiling) -> None:
        """In the gateway's words where the policy's cap is the ceiling: who asks shall not see which side counted."""
        loss, delta = self._store.spent(job.question.dataset, ceiling.accountant)
        price, left = job.budget.price, max(0, ceiling.loss - loss)
        holds_loss = loss_of(price, ceiling.accountant) <= left
        if holds_loss and delta + price.delta <= ceiling.delta:
            return
        half = privacy_loss.units_down(job.dp.delta, privacy_loss.DELTA_UNIT) // 2
        fits = privacy_loss.epsilon_left(left, half) if ceiling.accountant == "zcdp" else left
        whose = "the custodian's ceiling" if ceiling.custodians else "the dataset's budget"
        message, hint = shortfall(whose, job.question.dataset, fits, delta_only=holds_loss)
        raise Refuse("budget_exhausted", message, hint=hint)

    def _again(self, release: str, question: Question) -> Released | Failed:
        stored = self._store.load(release)
        if stored is None or not _answers(stored, question):
            return Failed()
        return self._answer(stored, question.plan)

    def _release(self, request: Run, job: Job, snapshot: Path) -> Released | Failed:
        """After the charge whatever goes wrong looks the same; the cause stays in the domain's log, without data."""
        ticket = request.ticket.id
        try:
            stored = self._store.seal(ticket, self._make(request, job, snapshot))
            return self._answer(stored, request.question.plan)
        except Exception as error:  # every cause must look the same; the class alone is logged
            log.error("job %s failed: %s", ticket, type(error).__name__)
            self._store.lose(ticket)
            return Failed()

    def _make(self, request: Run, job: Job, snapshot: Path) -> Release:
        worker = self._pool.take(request.reservation, request.question.dataset)
        if worker is None:
            raise RuntimeError("the reserved place was lost")
        if worker.snapshot != snapshot:
            worker.close()
            raise RuntimeError("the worker holds another snapshot than the ticket names")
        with self._lock:
            self._running[request.ticket.id] = worker
        try:

            def query(lowered: Lowered, rows_max: int) -> list[tuple[Value, ...]]:
                return worker.query(lowered.sql, lowered.shape, rows_max, lowered.keep)

            return make(job, query, self._seed)
        finally:
            with self._lock:
                self._running.pop(request.ticket.id, None)
            worker.close()


def _bound(question: Question, served: Served) -> ReleasePlan:
    """The plan of a question, every statement of which binds: whatever its price, it says the same. Raises Refuse."""
    plan = plan_release(find_release(question.plan), served.schema)
    for statement in statements(plan, served.schema, served.dp, served.count_max):
        served.shadow.bind(statement.whole, statement.shape)
    return plan


def _answers(stored: Stored, question: Question) -> bool:
    """Whether `question` means what was released, or something that can be told from it."""
    release = stored.release
    return (
        release.dataset == question.dataset
        and measures_for(release, find_release(question.plan)) is not None
        and release.policy_digest == question.policy_digest
        and release.mode == question.mode
    )


def seed_of(state: Path) -> bytes:
    """The secret that bounding is keyed with: made once per domain, never sent anywhere."""
    path = state / "bounding.seed"
    if not path.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = path.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text(secrets.token_hex(32), encoding="ascii")
        beside.replace(path)
    return bytes.fromhex(path.read_text(encoding="ascii"))
