"""Mode `open`: rows of public tables as they are, and what is reckoned from them. It protects nobody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace
from typing import Final

from sandbox import words
from sandbox.datasets import Served
from sandbox.deadlines import Work
from sandbox.protocol import FREE, Price, Question, Released, Ticket
from sandbox.publics import Publics
from sandbox.recent import Recent
from sandbox.regimes.noisy import PLANS_MAX, query_of
from sandbox.regimes.regime import Described
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import PAGE_ROWS_MAX, Limit
from sandbox.release.opened import OpenRelease, answer_open, open_columns, open_release
from sandbox.release.opened_sql import lower
from sandbox.release.store import Ceiling, Store, Stored
from sandbox.supervised import Worker

PAGES_KEPT: Final = 1_000
"""Pages that can be shown again; older ones are forgotten, so that they cannot fill the disk on which others lie."""
BYTES_KEPT: Final = 256 << 20
"""Of all these pages together; the last one is kept in any case."""


@dataclass(frozen=True, slots=True)
class OpenJob:
    question: Question
    lowered: Lowered
    page: int
    """Rows of the page."""


class Opened:
    lasting = True

    def __init__(self, store: Store) -> None:
        self._store = store
        self._plans: Recent[tuple[str, ...], Lowered] = Recent(PLANS_MAX)

    def job(self, question: Question, served: Served) -> OpenJob:
        if question.epsilon:
            raise Refuse("epsilon_too_large", "an open answer costs no epsilon")
        page = question.plan.source
        if not isinstance(page, Limit) or page.count is None or not 1 <= page.count <= PAGE_ROWS_MAX:
            raise Refuse("result_too_large", f"open rows are asked for by pages of at most {PAGE_ROWS_MAX}")
        lowered = self._plans.get(
            (question.dataset, question.policy_digest, served.snapshot.commitment, question.plan_digest),
            lambda: _bound(question, page, served),
        )
        return OpenJob(question, lowered, page.count)

    def describe(self, job: OpenJob, served: Served) -> Described:
        plan, types = job.question.plan, job.lowered.shape
        nothing = tuple(None for _ in types)
        return Described(FREE, open_columns(plan, types), nothing, nothing, words.open_steps(plan))

    def price(self, job: OpenJob, served: Served) -> Price:
        return FREE

    def work(self, job: OpenJob, served: Served) -> Work | None:  # its rows are public, and so is how long they take
        return None

    def find(self, question: Question, served: Served) -> tuple[str, str] | None:
        return self._store.find(question, served.snapshot.commitment)

    def ceiling(self, served: Served) -> Ceiling | None:  # no privacy loss is spent
        return None

    def require_left(self, job: OpenJob, served: Served) -> None:
        """Of what is open there is always more."""

    def run(self, job: OpenJob, ticket: Ticket, worker: Worker, served: Served) -> Stored:
        rows = query_of(worker)(job.lowered, job.page + 1)
        release = open_release(job.question, served.snapshot.commitment, job.lowered.shape, rows, job.page)
        return self._store.seal(ticket.id, release, _forget_older)

    def answers(self, stored: Stored, question: Question) -> bool:
        return isinstance(stored.release, OpenRelease) and stored.release.plan == question.plan

    def answer(self, stored: Stored, question: Question, publics: Publics) -> Released:
        if not isinstance(stored.release, OpenRelease):
            raise TypeError("a release of another mode")
        return answer_open(stored.release, stored.id, stored.hash, question.plan)


def _bound(question: Question, page: Limit, served: Served) -> Lowered:
    """The statement of a question, which binds. Raises Refuse."""
    one_more = replace(page, count=(page.count or 0) + 1)
    lowered = lower(replace(question.plan, source=one_more), served.schema)
    served.shadow.bind(lowered.whole, lowered.shape)
    return lowered


def _forget_older(tx: sqlite3.Connection, newest: str) -> None:
    sizes = tx.execute("SELECT rowid, length(body), id FROM release WHERE mode = 'open' ORDER BY rowid DESC").fetchall()
    left = BYTES_KEPT
    for place, (row, size, release_id) in enumerate(sizes):
        left -= size
        if release_id != newest and (place >= PAGES_KEPT or left < 0):
            tx.execute("DELETE FROM release WHERE mode = 'open' AND rowid <= ?", (row,))
            return
