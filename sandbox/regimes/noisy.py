"""Mode `dp`: noise, and a price in privacy loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import compress
from operator import not_
from typing import Final

from policies import privacy_loss
from policies.model import Dp
from policies.shortfall import shortfall
from policies.types import BIGINT, Type, Value
from sandbox import words
from sandbox.datasets import Served
from sandbox.deadlines import Work
from sandbox.protocol import Accuracy, Price, Question, Released, Ticket
from sandbox.publics import Publics
from sandbox.recent import Recent
from sandbox.regimes.regime import Described
from sandbox.relational import price as pricing
from sandbox.relational.blocks import blocks_of
from sandbox.relational.facts import Refuse
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import find_release
from sandbox.relational.plan import NAME_THEM, PRIVATE_CELLS, ReleasePlan, plan_release, width
from sandbox.relational.statistics import DistinctCount, Quantiles
from sandbox.release import accuracy, expected, noise, post
from sandbox.release.answer import answer, output_columns
from sandbox.release.cells import require_rollup
from sandbox.release.derived import measures_for
from sandbox.release.make import Job, for_keys, make, statements
from sandbox.release.released import Release
from sandbox.release.store import Ceiling, Store, Stored, accounts, loss_of
from sandbox.supervised import Worker

PLANS_MAX: Final = 256
"""Plans whose statements have bound, remembered from `prepare` to `run`; each is made and bound again where it is
forgotten."""
_SORT: Final = 15


class Noisy:
    lasting = True

    def __init__(self, store: Store, seed: bytes) -> None:
        self._store = store
        self._seed = seed
        self._plans: Recent[tuple[str, ...], ReleasePlan] = Recent(PLANS_MAX)

    def job(self, question: Question, served: Served) -> Job:
        dp = served.dp
        if dp is None:
            raise Refuse("mode_not_offered", f"the data domain does not answer in mode `{question.mode}`")
        plan = self._plans.get(
            (question.dataset, question.policy_digest, served.snapshot.commitment, question.plan_digest),
            lambda: _bound(question, served, dp),
        )
        budget = pricing.price(plan, dp, question.epsilon)
        _require_threshold(plan, dp, budget)
        return Job(question, plan, budget, served.schema, dp, served.count_max, served.snapshot.commitment)

    def accurate(self, job: Job, served: Served, wanted: Accuracy) -> Job:
        """The same question at the smallest epsilon that is accurate enough. Raises Refuse."""
        epsilon = accuracy.smallest_epsilon(job, self._shown(job, served), wanted)
        return self.job(replace(job.question, epsilon=epsilon), served)

    def describe(self, job: Job, served: Served) -> Described:
        shown = self._shown(job, served)
        found = expected.expectations(job, shown)
        return Described(
            price=job.budget.price,
            columns=tuple(output_columns(shown)),
            expected=expected.half_widths(found, shown),
            expected_values=expected.values(found, shown),
            steps=words.steps(job, job.question.plan),
        )

    def price(self, job: Job, served: Served) -> Price:
        self._shown(job, served)
        return job.budget.price

    def _shown(self, job: Job, served: Served) -> tuple[post.Shown, ...]:
        types: dict[str, Type] = {f"k{i}": key.type for i, key in enumerate(job.plan.keys)}
        types |= {f"m{i}": figure.type for i, figure in enumerate(job.plan.figures)}
        types |= {f"g{i}": BIGINT for i in range(len(job.plan.keys))}
        require_rollup(job.question.plan, job.plan)
        post.require_small(job.question.plan, types, served.publics, job.plan.cells)
        return post.outputs(job.question.plan, types, served.publics)

    def work(self, job: Job, served: Served) -> Work | None:
        plan = job.plan
        cells = PRIVATE_CELLS if plan.cells is None else plan.cells
        return Work(_looks(plan), cells * max(1, sum(width(statistic) for statistic in plan.statistics)))

    def find(self, question: Question, served: Served, *, derived: bool = True) -> tuple[str, str] | None:
        """A stored release that answers `question` at no less than its epsilon. With `derived` also one that answers
        more, or finer groups: whose numbers may have had smaller shares, so not where an accuracy is asked for."""
        snapshot = served.snapshot.commitment
        found = self._store.find(question, snapshot)
        if found is not None or not derived:
            return found
        candidates = self._store.with_source(question, snapshot)
        return next(((each.id, each.hash) for each in candidates if self.answers(each, question)), None)

    def ceiling(self, served: Served) -> Ceiling | None:
        return served.ceiling

    def require_left(self, job: Job, served: Served) -> None:
        """In the gateway's words where the policy's cap is the ceiling: who asks shall not see which side counted."""
        ceiling = served.ceiling
        if ceiling is None:
            raise Refuse("mode_not_offered", "this dataset does not offer `dp` answers")
        dataset, blocks = job.question.dataset, blocks_of(job.question.plan, served.policy)
        if self._store.cut(dataset) not in (None, bool(blocks)):
            was = "without" if blocks else "with"
            raise Refuse(
                "dataset_not_ready", f"`{dataset}` has spent its budget {was} blocks, and so it stays for life"
            )
        price, cost = job.budget.price, loss_of(job.budget.price, ceiling.accountant)
        spent = [self._store.spent(account, ceiling.accountant) for account in accounts(dataset, blocks)]
        holds_loss = [loss + cost <= ceiling.loss for loss, _ in spent]
        holds = [
            fits and delta + price.delta <= ceiling.delta for fits, (_, delta) in zip(holds_loss, spent, strict=True)
        ]
        if all(holds):
            return
        left = max(0, ceiling.loss - max(loss for loss, _ in compress(spent, map(not_, holds))))
        half = privacy_loss.units_down(job.dp.delta, privacy_loss.DELTA_UNIT) // 2
        message, hint = shortfall(
            "the custodian's ceiling" if ceiling.custodians else "the dataset's budget",
            dataset,
            privacy_loss.epsilon_left(left, half) if ceiling.accountant == "zcdp" else left,
            delta_only=all(holds_loss),
            blocks=tuple(compress(blocks, map(not_, holds))),
            others=tuple(compress(blocks, holds)),
        )
        raise Refuse("budget_exhausted", message, hint=hint)

    def run(self, job: Job, ticket: Ticket, worker: Worker, served: Served) -> Stored:  # a job is whole
        return self._store.seal(ticket.id, make(job, query_of(worker), self._seed))

    def answers(self, stored: Stored, question: Question) -> bool:
        release = stored.release
        return isinstance(release, Release) and measures_for(release, find_release(question.plan)) is not None

    def answer(self, stored: Stored, question: Question, publics: Publics) -> Released:
        """With public rows as they were when the release was made: shown again, an answer says what it said."""
        if not isinstance(stored.release, Release):
            raise TypeError("a release of another mode")
        return answer(stored.release, stored.id, stored.hash, question.plan, publics)


def _bound(question: Question, served: Served, dp: Dp) -> ReleasePlan:
    """The plan of a question, every statement of which binds: whatever its price, it says the same. Raises Refuse."""
    plan = plan_release(find_release(question.plan), served.schema)
    for statement in statements(plan, served.schema, dp, served.count_max):
        served.shadow.bind(statement.whole, statement.shape)
    return plan


def _looks(plan: ReleasePlan) -> int:
    """How often the rows are gone through: once for each stage, and ranks of private keys or values sort them."""
    sorts = plan.private_keys + sum(isinstance(each, DistinctCount) for each in plan.statistics)
    passes = 2 * sum(isinstance(each, Quantiles) for each in plan.statistics)
    return 1 + plan.ranged + plan.loose + passes + _SORT * sorts


def _require_threshold(plan: ReleasePlan, dp: Dp, budget: pricing.Budget) -> None:
    """Before anything is paid for. Raises Refuse where private keys cannot be selected at this price."""
    if not plan.private_keys:
        return
    try:
        noise.threshold_for(plan.shape.groups, for_keys(budget, dp))
    except noise.NoThreshold:
        detail = "no threshold keeps private groups back as surely as the delta of one query asks"
        raise Refuse("keys_not_public", detail, hint=NAME_THEM, at=plan.release.at) from None


def query_of(worker: Worker) -> Callable[[Lowered, int], list[tuple[Value, ...]]]:
    def query(lowered: Lowered, rows_max: int) -> list[tuple[Value, ...]]:
        return worker.query(lowered.sql, lowered.shape, rows_max, lowered.keep)

    return query
