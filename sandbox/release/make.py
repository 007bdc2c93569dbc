"""One job, from the plan to the release: exact integers from the worker, checked, noised, and only then kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from policies.model import Dp
from policies.types import Type, Value
from sandbox.protocol import Question
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Schema
from sandbox.relational.lower.release import Lowered, lower_keys, lower_values
from sandbox.relational.measures import Vector
from sandbox.relational.plan import CELLS_MAX, ReleasePlan
from sandbox.relational.price import Budget
from sandbox.relational.scalar import facts_of
from sandbox.release import noise
from sandbox.release.intake import Group, exact_vectors, in_order, units_per_key
from sandbox.release.released import Release, ReleasedKey, ReleasedMeasure, measure_type

Query = Callable[[Lowered, int], list[tuple[Value, ...]]]
"""Runs one statement in the worker: (SQL and shape, most rows) -> exact rows."""
NEAR_SCALES = 2


@dataclass(frozen=True, slots=True)
class Job:
    """A priced plan, ready to run."""

    question: Question
    plan: ReleasePlan
    budget: Budget
    schema: Schema
    dp: Dp
    count_max: int
    snapshot: str

    @property
    def first_stage(self) -> Lowered:
        """The statement that runs first; it never depends on data."""
        if self.plan.private_keys:
            return lower_keys(self.plan, self.schema, b"", self.dp.units_min)
        return lower_values(self.plan, self.schema, self.dp.accountant, self.count_max)

    def later_stage(self) -> Lowered | None:
        """The second statement as it would be for one surviving key of nulls: for binding on the shadow."""
        if not self.plan.private_keys or not self.plan.vectors:
            return None
        nothing: Group = (None,) * len(self.plan.keys)
        return lower_values(self.plan, self.schema, self.dp.accountant, self.count_max, (nothing,))


def make(job: Job, query: Query, seed: bytes) -> Release:
    """Runs the stages of `job` in order and returns what may be kept. Raises on anything out of order.

    Guarantee: the result is a function of mechanisms whose shares add up to the job's price; stage 2 sees nothing of
    stage 1 but its released keys.
    """
    if not job.plan.private_keys:
        return _release(job, query, None, {})
    lowered = lower_keys(job.plan, job.schema, seed_in(job.snapshot, seed), job.dp.units_min)
    units = units_per_key(query(lowered, CELLS_MAX * 10), job.plan, job.count_max)
    shape, budget = job.plan.shape, job.budget
    kept = noise.select_keys(units, shape.groups, job.dp.units_min, budget.keys, budget.delta)
    return _release(job, query, in_order(list(kept)), kept)


def seed_in(snapshot: str, seed: bytes) -> bytes:
    """The seed of bounding in one snapshot. Unit ids are numbers of one snapshot: who has which hangs on who else is
    there, so a rank must be fresh wherever ids are, and then says nothing of the others."""
    return hashlib.sha256(b"bpk-bounding-v1" + bytes.fromhex(snapshot) + seed).digest()


def _release(job: Job, query: Query, survivors: tuple[Group, ...] | None, units: dict[Group, int]) -> Release:
    rows: list[tuple[Value, ...]] = []
    if job.plan.vectors and survivors != ():
        lowered = lower_values(job.plan, job.schema, job.dp.accountant, job.count_max, survivors)
        rows = query(lowered, CELLS_MAX)
    groups, vectors = exact_vectors(rows, job.plan, job.count_max, survivors)
    measures = tuple(
        _measure(job, vector, cells, share)
        for vector, cells, share in zip(job.plan.vectors, vectors, job.budget.vectors, strict=True)
    )
    return Release(
        format="bpk-release-1",
        dataset=job.question.dataset,
        plan_digest=job.question.plan_digest,
        policy_digest=job.question.policy_digest,
        snapshot=job.snapshot,
        mode=job.question.mode,
        price=job.budget.price,
        keys=tuple(ReleasedKey(key.type) for key in job.plan.keys),
        groups=groups,
        near_threshold=_near(job, groups, units),
        measures=measures,
    )


def _near(job: Job, groups: tuple[Group, ...], units: dict[Group, int]) -> tuple[bool, ...]:
    if not job.plan.private_keys:
        return (False,) * len(groups)
    limit = noise.threshold_for(job.plan.shape.groups, job.budget.keys, job.budget.delta)
    edge = limit.value + job.dp.units_min - 1 + NEAR_SCALES * limit.scale
    return tuple(units[group] < edge for group in groups)


def _measure(job: Job, vector: Vector, cells: tuple[tuple[int, ...], ...], share: int) -> ReleasedMeasure:
    accountant, size = job.dp.accountant, len(vector.components)
    flat = noise.add_noise([value for cell in cells for value in cell], vector, accountant, share)
    scale = noise.scale_of(vector, accountant, share)
    main = vector.components[-1]
    return ReleasedMeasure(
        function=vector.measure.function,
        type=output_type(vector, job.plan),
        mechanism=scale.mechanism,
        scale=scale.value,
        grid=main.grid,
        low=str(main.low),
        high=str(main.high),
        step=str(main.step),
        clamped=may_be_clipped(vector, job.plan),
        noisy=tuple(flat[i : i + size] for i in range(0, len(flat), size)),
    )


def output_type(vector: Vector, plan: ReleasePlan) -> Type:
    """The type of the number that `vector` becomes."""
    argument = vector.measure.argument
    if argument is None or (isinstance(argument, Column) and argument.name in (plan.facts.unit or ())):
        return measure_type(vector.measure.function, None, bare=True)
    found = facts_of(argument, plan.facts).type
    return measure_type(vector.measure.function, found, bare=isinstance(argument, Column))


def may_be_clipped(vector: Vector, plan: ReleasePlan) -> bool:
    """Whether values outside the declared range, or units above the declared rows, may have been bounded."""
    return vector.measure.function in ("sum", "avg") or not plan.shape.unit_once
