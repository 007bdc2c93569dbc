"""One job, from the plan to the release: exact integers from the worker, checked, noised, and only then kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import assert_never

from policies.model import Accountant, Dp
from policies.types import Value
from sandbox.protocol import Question
from sandbox.relational.facts import Schema
from sandbox.relational.lower.cells import Group
from sandbox.relational.lower.distinct import lower_distinct
from sandbox.relational.lower.keys import lower_keys
from sandbox.relational.lower.levels import lower_levels
from sandbox.relational.lower.quantiles import lower_coarse, lower_fine
from sandbox.relational.lower.ranges import lower_ranges
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.lower.values import lower_values
from sandbox.relational.measures import Figure
from sandbox.relational.plan import CELLS_MAX, ReleasePlan, units_dropped
from sandbox.relational.price import Budget, Share
from sandbox.relational.ranges import drawn_in, ends_of, fitted
from sandbox.relational.statistics import DistinctCount, Quantiles, Vector
from sandbox.release import choices, noise
from sandbox.release.intake import (
    Groups,
    exact_counts,
    exact_vectors,
    histograms,
    in_order,
    units_per_key,
    units_per_level,
)
from sandbox.release.released import Release, ReleasedGrid, ReleasedKey, ReleasedMeasure, ReleasedStatistic

Query = Callable[[Lowered, int], list[tuple[Value, ...]]]
"""Runs one statement in the worker: (SQL and shape, most rows) -> exact rows."""
NEAR_SCALES = 2
Cells = tuple[tuple[int, ...], ...]


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


def statements(plan: ReleasePlan, schema: Schema, dp: Dp, count_max: int) -> Iterator[Lowered]:
    """Every statement that a job of `plan` may run, with stand-ins for what is only known later: for the shadow.

    Where keys are private one surviving key of nulls stands in; where a pass needs chosen cells, cell 0.
    """
    survivors: tuple[Group, ...] | None = None
    if plan.private_keys:
        survivors = ((None,) * len(plan.keys),)
        yield lower_keys(plan, schema, b"", dp.units_min)
    if ends := ends_of(plan):
        yield lower_ranges(plan, ends, schema, survivors)
    if plan.loose:
        yield lower_levels(plan, schema, dp.accountant, survivors)
    if plan.vectors:
        yield lower_values(plan, schema, dp.accountant, count_max, survivors)
    for statistic in plan.statistics:
        if isinstance(statistic, DistinctCount):
            yield lower_distinct(plan, statistic, schema, b"", survivors)
        if isinstance(statistic, Quantiles):
            yield lower_coarse(plan, statistic, schema, survivors)
            nobody: Group = (None,) * len(plan.keys)
            yield lower_fine(plan, statistic, schema, ((nobody, 0),), survivors)


def make(job: Job, query: Query, seed: bytes) -> Release:
    """Runs the stages of `job` in order and returns what may be kept. Raises on anything out of order.

    Guarantee: the result is a function of mechanisms whose shares add up to the job's price; a stage sees nothing of
    the ones before but what they released.
    Source: docs/explanation/guarantees/release.md
    """
    own = seed_in(job.snapshot, seed)
    if not job.plan.private_keys:
        return _Stages(job, query, own, None).in_chosen_ranges().release({})
    units = units_per_key(
        query(lower_keys(job.plan, job.schema, own, job.dp.units_min), CELLS_MAX * 10), job.plan, job.count_max
    )
    kept = noise.select_keys(units, job.plan.shape.groups, job.dp.units_min, for_keys(job.budget, job.dp))
    return _Stages(job, query, own, in_order(list(kept))).in_chosen_ranges().release(kept)


def for_keys(budget: Budget, dp: Dp) -> noise.Paid:
    """What the stage that selects private keys may spend."""
    return noise.Paid(dp.accountant, budget.keys, budget.delta)


def seed_in(snapshot: str, seed: bytes) -> bytes:
    """The seed of bounding in one snapshot. Unit ids are numbers of one snapshot: who has which hangs on who else is
    there, so a rank must be fresh wherever ids are, and then says nothing of the others."""
    return hashlib.sha256(b"bpk-bounding-v1" + bytes.fromhex(snapshot) + seed).digest()


@dataclass(frozen=True, slots=True)
class _Stages:
    """What follows once the groups are known. Where there is none, nothing is read any more."""

    job: Job
    query: Query
    seed: bytes
    survivors: tuple[Group, ...] | None

    def in_chosen_ranges(self) -> _Stages:
        """The same stages over a plan whose wide ranges were narrowed, and whose grids fit the groups."""
        job = self.job if self.survivors is None else replace(self.job, plan=fitted(self.job.plan, len(self.survivors)))
        ends = ends_of(job.plan)
        if not ends:
            return replace(self, job=job)
        lowered = lower_ranges(job.plan, ends, job.schema, self.survivors)
        highest = {i: end.levels for i, end in enumerate(ends)}
        rows = self._run(lowered, sum(highest.values()) + len(ends))
        units = units_per_level(rows, highest, job.count_max)
        groups, accountant = len(Groups(job.plan, self.survivors).all), job.dp.accountant
        chosen = [
            choices.choose_end(units[i], end, max(1, groups), accountant, job.budget.shares[end.statistic])
            for i, end in enumerate(ends)
        ]
        return replace(self, job=replace(job, plan=drawn_in(job.plan, ends, chosen)))

    def release(self, units: dict[Group, int]) -> Release:
        """`units` are the released numbers of units of the private groups."""
        job, groups = self.job, Groups(self.job.plan, self.survivors)
        found = self._vectors(groups)
        statistics = tuple(found[i] if i in found else self._alone(i, groups) for i in range(len(job.plan.statistics)))
        return Release(
            format="bpk-release-2",
            dataset=job.question.dataset,
            asked=job.plan.release,
            policy_digest=job.question.policy_digest,
            snapshot=job.snapshot,
            mode=job.question.mode,
            price=job.budget.price,
            keys=tuple(ReleasedKey(key.type, key.keys is not None) for key in job.plan.keys),
            groups=groups.all,
            near_threshold=_near(job, groups.all, units),
            statistics=statistics,
            measures=released_measures(job.plan),
            units_dropped=units_dropped(job.plan.release.source, job.schema),
        )

    def _run(self, lowered: Lowered, rows_max: int) -> list[tuple[Value, ...]]:
        nobody = self.survivors == () or self.job.plan.cells == 0
        return [] if nobody else self.query(lowered, rows_max)

    def _vectors(self, groups: Groups) -> dict[int, ReleasedStatistic]:
        """All vectors, in one statement: their norms are chosen first where they are loose."""
        job, plan, accountant = self.job, self.job.plan, self.job.dp.accountant
        numbers = [i for i, statistic in enumerate(plan.statistics) if isinstance(statistic, Vector)]
        if not numbers:
            return {}
        shares = [job.budget.shares[i] for i in numbers]
        bounded = self._bounded(groups, shares)
        lowered = lower_values(plan, job.schema, accountant, job.count_max, self.survivors, bounded)
        exact = exact_vectors(self._run(lowered, CELLS_MAX), plan.vectors, groups, job.count_max)
        return {
            i: self._noised(vector, declared, cells, share)
            for i, vector, declared, cells, share in zip(numbers, bounded, plan.vectors, exact, shares, strict=True)
        }

    def _bounded(self, groups: Groups, shares: list[Share]) -> tuple[Vector, ...]:
        plan, accountant = self.job.plan, self.job.dp.accountant
        if not plan.loose:
            return plan.vectors
        lowered = lower_levels(plan, self.job.schema, accountant, self.survivors)
        highest = {i: vector.levels(accountant) for i, vector in enumerate(plan.vectors) if vector.loose}
        rows = self._run(lowered, sum(highest.values()) + len(highest))
        found = units_per_level(rows, highest, self.job.count_max)
        cells = max(1, len(groups.all))
        return tuple(
            vector.at_level(choices.choose_level(found[i], vector, cells, accountant, share), accountant)
            if vector.loose
            else vector
            for i, (vector, share) in enumerate(zip(plan.vectors, shares, strict=True))
        )

    def _noised(self, vector: Vector, declared: Vector, cells: Cells, share: Share) -> ReleasedStatistic:
        accountant = self.job.dp.accountant
        scale = noise.scale_of(vector.norm, accountant, share.values)
        chosen = f"{vector.limit(accountant)}/{declared.limit(accountant)}" if vector.loose else None
        return ReleasedStatistic(
            mechanism=scale.mechanism,
            scale=scale.value,
            grid=vector.components[0].grid,
            arguments=grids_of(vector),
            norm=chosen,
            noisy=_noisy(cells, vector, accountant, share.values),
        )

    def _alone(self, number: int, groups: Groups) -> ReleasedStatistic:
        """A statistic with statements of its own."""
        statistic, share = self.job.plan.statistics[number], self.job.budget.shares[number]
        match statistic:
            case DistinctCount():
                return self._distinct(statistic, groups, share.values)
            case Quantiles():
                return self._quantiles(statistic, groups, share)
            case Vector():
                raise AssertionError("vectors are read together")
            case _:
                assert_never(statistic)

    def _distinct(self, statistic: DistinctCount, groups: Groups, share: int) -> ReleasedStatistic:
        job, accountant = self.job, self.job.dp.accountant
        lowered = lower_distinct(job.plan, statistic, job.schema, self.seed, self.survivors)
        exact = exact_counts(self._run(lowered, CELLS_MAX), groups, job.count_max * statistic.pairs)
        scale = noise.scale_of(statistic.norm, accountant, share)
        noisy = _noisy(exact, statistic, accountant, share)
        return ReleasedStatistic(scale.mechanism, scale.value, 1, (), None, noisy)

    def _quantiles(self, statistic: Quantiles, groups: Groups, share: Share) -> ReleasedStatistic:
        """Every fraction pays for two passes: which coarse cell, then which of its cells."""
        job, accountant = self.job, self.job.dp.accountant
        each = share.of_choice(statistic)
        limit = min(job.count_max * statistic.weight, 2**62)
        rows_max = len(groups.all) * statistic.coarse
        coarse = self._run(lower_coarse(job.plan, statistic, job.schema, self.survivors), rows_max)
        where = histograms(coarse, groups, 0, statistic.coarse - 1, limit)
        columns = []
        for fraction in statistic.fractions:
            outer = [
                choices.choose_cell((0, 0), counts, statistic.coarse, fraction, statistic, accountant, each)
                for counts in where
            ]
            picked = tuple(zip(groups.all, outer, strict=True))
            rows_max = len(groups.all) * (statistic.inner + len(("below", "above")))
            fine = self._run(lower_fine(job.plan, statistic, job.schema, picked, self.survivors), rows_max)
            inside = histograms(fine, groups, -1, statistic.inner, limit)
            columns.append(
                [
                    cell * statistic.inner
                    + choices.choose_cell(
                        (counts.get(-1, 0), counts.get(statistic.inner, 0)),
                        counts,
                        min(statistic.inner, statistic.cells - cell * statistic.inner),
                        fraction,
                        statistic,
                        accountant,
                        each,
                    )
                    for cell, counts in zip(outer, inside, strict=True)
                ]
            )
        mechanism = noise.choice_scale(statistic.weight, accountant, each, monotonic=False)
        noisy = tuple(zip(*columns, strict=True))
        return ReleasedStatistic(mechanism.mechanism, mechanism.value, statistic.grid, grids_of(statistic), None, noisy)


def _noisy(cells: Cells, statistic: Vector | DistinctCount, accountant: Accountant, share: int) -> Cells:
    size = len(cells[0]) if cells else 1
    flat = noise.add_noise([number for cell in cells for number in cell], statistic.norm, accountant, share)
    return tuple(flat[i : i + size] for i in range(0, len(flat), size))


def grids_of(statistic: Vector | Quantiles) -> tuple[ReleasedGrid, ...]:
    steps = (statistic.cell,) if isinstance(statistic, Quantiles) else tuple(a.step for a in statistic.arguments)
    pairs = zip(statistic.arguments, steps, strict=True)
    return tuple(ReleasedGrid(str(a.low), str(a.high), str(step)) for a, step in pairs)


def _near(job: Job, groups: tuple[Group, ...], units: dict[Group, int]) -> tuple[bool, ...]:
    if not job.plan.private_keys:
        return (False,) * len(groups)
    limit = noise.threshold_for(job.plan.shape.groups, for_keys(job.budget, job.dp))
    edge = limit.value + job.dp.units_min - 1 + NEAR_SCALES * limit.scale
    return tuple(units[group] < edge for group in groups)


def released_measures(plan: ReleasePlan) -> tuple[ReleasedMeasure, ...]:
    """How each number of the answer is told from the plan's statistics."""
    return tuple(_measure(figure, plan) for figure in plan.figures)


def _measure(figure: Figure, plan: ReleasePlan) -> ReleasedMeasure:
    statistic = plan.statistics[figure.statistic]
    quantiles = statistic if isinstance(statistic, Quantiles) else None
    return ReleasedMeasure(
        function=figure.measure.function,
        type=figure.type,
        statistic=figure.statistic,
        clamped=may_be_clipped(figure, plan),
        place=quantiles.fractions.index(figure.fraction) if quantiles and figure.fraction is not None else 0,
        coarse=quantiles is not None and quantiles.coarser,
    )


def may_be_clipped(figure: Figure, plan: ReleasePlan) -> bool:
    """Whether values outside the declared range, or units above the declared rows, may have been bounded."""
    counted = figure.measure.function in ("count_rows", "count", "count_units", "count_distinct")
    return not counted or not plan.shape.unit_once
