"""Mode `aggregate`: exact numbers or none, under disclosure control that remembers all that was said."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from sandbox import words
from sandbox.datasets import Served
from sandbox.deadlines import Work
from sandbox.disclosure.intake import parts_of, rows_of
from sandbox.disclosure.lowered import lower_groups, lower_rows
from sandbox.disclosure.memory import Memories
from sandbox.disclosure.plan import ProtectedPlan, plan_protected
from sandbox.disclosure.protect import protect
from sandbox.protocol import FREE, Price, Question, Released, Ticket
from sandbox.publics import Publics
from sandbox.recent import Recent
from sandbox.regimes.noisy import PLANS_MAX, query_of
from sandbox.regimes.regime import Described
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.cells import Group
from sandbox.relational.nodes import private_part
from sandbox.relational.plan import CELLS_MAX, PRIVATE_CELLS, units_dropped
from sandbox.release import post
from sandbox.release.intake import domain_of, shown_key
from sandbox.release.protected import (
    ProtectedRelease,
    answer_protected,
    protected_columns,
    protected_release,
    types_of,
)
from sandbox.release.store import Ceiling, Store, Stored
from sandbox.supervised import Worker

ROWS_MAX: Final = 20_000_000
"""Rows that are looked at for one answer."""
_LOOKS: Final = 4
"""Groups, rows, their sorting by what they are known for, and the numbers by their units."""
_NUMBERS_PER_CELL: Final = 40
_NUMBERS_PER_SAID: Final = 5
"""Against one noisy number: the rules of a cell, and its comparison with one that was said."""


@dataclass(frozen=True, slots=True)
class ExactJob:
    question: Question
    plan: ProtectedPlan
    units_dropped: bool


class Exact:
    lasting = False  # what was said before counts

    def __init__(self, store: Store, memory: Memories) -> None:
        self._store = store
        self._memory = memory
        self._plans: Recent[tuple[str, ...], ProtectedPlan] = Recent(PLANS_MAX)
        self._turns: dict[str, threading.Lock] = {}

    def job(self, question: Question, served: Served) -> ExactJob:
        if question.epsilon:
            raise Refuse("epsilon_too_large", "an exact answer costs no epsilon")
        if self._store.forgotten(question.dataset):
            detail = f"`{question.dataset}` gave exact answers that the data domain does not remember any more"
            raise Refuse("dataset_not_ready", detail, hint="its custodian has to put the newest store back")
        plan = self._plans.get(
            (question.dataset, question.policy_digest, served.snapshot.commitment, question.plan_digest),
            lambda: _bound(question, served),
        )
        return ExactJob(question, plan, units_dropped(plan.release.source, served.schema))

    def describe(self, job: ExactJob, served: Served) -> Described:
        groups, shown = self._shown(job, served)
        nothing, steps = tuple(None for _ in shown), words.exact_steps(job.plan, job.question.plan)
        cells = None if groups is None else groups * len(job.plan.figures)
        return Described(FREE, tuple(protected_columns(shown)), nothing, nothing, steps, cells)

    def price(self, job: ExactJob, served: Served) -> Price:
        self._shown(job, served)
        return FREE

    def _shown(self, job: ExactJob, served: Served) -> tuple[int | None, tuple[post.Shown, ...]]:
        """The number of groups, None where they are private, and the answer's columns. Raises Refuse."""
        plan, question = job.plan, job.question.plan
        types = types_of([key.type for key in plan.keys], [figure.type for figure in plan.figures])
        sizes = [plan.cells_of(part) for part in range(len(plan.sets))]
        groups = None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)
        post.require_small(question, types, served.publics, groups)
        return groups, post.outputs(question, types, served.publics)

    def work(self, job: ExactJob, served: Served) -> Work | None:
        """More by all that was said before, which the new numbers are held against: how much that is, is known."""
        plan, question = job.plan, job.question
        sizes = [plan.cells_of(part) for part in range(len(plan.sets))]
        cells = sum(PRIVATE_CELLS if size is None else size for size in sizes) * max(1, len(plan.quantities))
        said = self._memory.size(question.dataset, plan.units_about)
        return Work(_LOOKS, cells * _NUMBERS_PER_CELL + said * _NUMBERS_PER_SAID)

    def find(self, question: Question, served: Served) -> tuple[str, str] | None:
        return self._store.find(question, served.snapshot.commitment)

    def ceiling(self, served: Served) -> Ceiling | None:  # no privacy loss is spent
        return None

    def require_left(self, job: ExactJob, served: Served) -> None:
        self._memory.require_room(job.question.dataset, job.plan.units_about)

    def run(self, job: ExactJob, ticket: Ticket, worker: Worker, served: Served) -> Stored:
        """One at a time for a dataset: what one question is told is what the next one is held against."""
        plan = job.plan
        groups = self._groups(plan, worker, served)
        lowered = lower_rows(plan, served.schema)
        columns = worker.columns(lowered.sql, lowered.count, ROWS_MAX, lowered.keep)
        rows = rows_of(columns, len(groups), plan)
        parts = parts_of(plan, groups, None if plan.private_keys else domain_of(plan.keys))
        about = (job.question.dataset, served.snapshot.commitment, plan.rules, plan.units_about)
        with self._turns.setdefault(job.question.dataset, threading.Lock()), self._memory.of(*about) as memory:
            found = protect(plan, rows, parts, ticket.id, memory)
            release = protected_release(
                job.question, plan, served.snapshot.commitment, found, units_dropped=job.units_dropped
            )
            return self._store.seal(ticket.id, release, memory.keeping(found.cells))

    def _groups(self, plan: ProtectedPlan, worker: Worker, served: Served) -> list[Group]:
        """The finest groups that have rows, in the order in which rows name them."""
        lowered = lower_groups(plan, served.schema)
        if lowered is None:
            return [()]
        found = query_of(worker)(lowered, CELLS_MAX * 10)
        return [tuple(shown_key(value, key) for value, key in zip(row, plan.keys, strict=True)) for row in found]

    def answers(self, stored: Stored, question: Question) -> bool:
        return isinstance(stored.release, ProtectedRelease) and stored.release.asked == private_part(question.plan)

    def answer(self, stored: Stored, question: Question, publics: Publics) -> Released:
        if not isinstance(stored.release, ProtectedRelease):
            raise TypeError("a release of another mode")
        return answer_protected(stored.release, stored.id, stored.hash, question.plan, publics)


def _bound(question: Question, served: Served) -> ProtectedPlan:
    """The plan of a question, whose statements bind. Raises Refuse."""
    plan = plan_protected(question.plan, served.schema)
    groups, rows = lower_groups(plan, served.schema), lower_rows(plan, served.schema)
    if groups is not None:
        served.shadow.bind(groups.whole, groups.shape)
    served.shadow.bind(rows.whole, rows.shape)
    return plan
