"""What removing one unit does to everything that a plan's statements count, held against what the plan declares."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from policies.model import Accountant
from policies.types import Value
from sandbox.relational.lower import distinct, keys, levels, quantiles, ranges, values
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.ranges import drawn_in, ends_of
from sandbox.relational.statistics import DistinctCount, Quantiles, Vector
from tests.builders import World

Group = tuple[Value, ...]
Rows = dict[Group, tuple[int, ...]]
SURVIVORS_MAX = 20
COUNT_MAX = 10**6


def looks(dice: random.Random, world: World, plan: ReleasePlan, units: Sequence[int]) -> Iterator[str | None]:
    """A violation or None for each statistic of `plan` and each of `units`, taken away one at a time."""
    dp = world.policy.release.dp
    assert dp is not None
    look = _Look(world, plan, dp.accountant, units)
    survivors = None
    if plan.private_keys:
        lowered = keys.lower_keys(plan, world.schema, b"seed", 1)
        yield from look.at(lowered, 1, _few_keys(plan.shape.groups))
        survivors = tuple(row[:-1] for row in world.rows(lowered))[:SURVIVORS_MAX]
        if not survivors:
            return
    if ends := ends_of(plan):
        yield from look.at(ranges.lower_ranges(plan, ends, world.schema, survivors), 1, _one_level)
        plan = drawn_in(plan, ends, [dice.randrange(end.levels + 1) for end in ends])
        look = _Look(world, plan, dp.accountant, units)
    if plan.loose:
        yield from look.at(levels.lower_levels(plan, world.schema, dp.accountant, survivors), 1, _one_level)
    if plan.vectors:
        yield from look.at_vectors(survivors, plan.vectors)
        lower = tuple(v.at_level(dice.randrange(v.levels(dp.accountant) + 1), dp.accountant) for v in plan.vectors)
        yield from look.at_vectors(survivors, lower)
    for statistic in plan.statistics:
        if isinstance(statistic, DistinctCount):
            lowered = distinct.lower_distinct(plan, statistic, world.schema, b"seed", survivors)
            yield from look.at(lowered, 1, _total(statistic.pairs, "count_distinct"))
        if isinstance(statistic, Quantiles):
            yield from look.at_quantiles(dice, statistic, survivors)


Judge = Callable[[Rows, Rows], str | None]


class _Look:
    def __init__(self, world: World, plan: ReleasePlan, accountant: Accountant, units: Sequence[int]) -> None:
        self.world, self.plan, self.accountant, self.units = world, plan, accountant, units

    def at(self, lowered: Lowered, integers: int, judge: Judge) -> Iterator[str | None]:
        whole = self._rows(lowered, integers, None)
        for unit in self.units:
            yield judge(whole, self._rows(lowered, integers, unit))

    def at_vectors(self, survivors: Sequence[Group] | None, bounded: Sequence[Vector]) -> Iterator[str | None]:
        plan = self.plan
        lowered = values.lower_values(plan, self.world.schema, self.accountant, COUNT_MAX, survivors, bounded)
        integers = sum(len(vector.components) for vector in bounded)
        yield from self.at(lowered, integers, _norms(plan, bounded, self.accountant))

    def at_quantiles(
        self, dice: random.Random, statistic: Quantiles, survivors: Sequence[Group] | None
    ) -> Iterator[str | None]:
        plan, schema = self.plan, self.world.schema
        judge = _total(statistic.weight, "quantile")
        coarse = quantiles.lower_coarse(plan, statistic, schema, survivors)
        yield from self.at(coarse, 1, judge)
        found = {row[: len(plan.keys)] for row in self.world.rows(coarse)} or {(None,) * len(plan.keys)}
        picked = tuple((group, dice.randrange(statistic.coarse)) for group in found)
        yield from self.at(quantiles.lower_fine(plan, statistic, schema, picked, survivors), 1, judge)

    def _rows(self, lowered: Lowered, integers: int, without: int | None) -> Rows:
        rows = self.world.rows(lowered, without=without)
        return {row[:-integers]: tuple(int(v) for v in row[-integers:] if isinstance(v, int)) for row in rows}


def _differences(whole: Rows, less: Rows) -> dict[Group, tuple[int, ...]]:
    width = len(next(iter(whole.values()), next(iter(less.values()), ())))
    zero = (0,) * width
    return {
        group: tuple(a - b for a, b in zip(whole.get(group, zero), less.get(group, zero), strict=True))
        for group in whole.keys() | less.keys()
    }


def _few_keys(groups: int) -> Judge:
    def judge(whole: Rows, less: Rows) -> str | None:
        moved = [m for (m,) in _differences(whole, less).values() if m]
        if len(moved) > groups or any(abs(m) > 1 for m in moved):
            return f"keys: {len(moved)} changed, allowed {groups}"
        return None

    return judge


def _one_level(whole: Rows, less: Rows) -> str | None:
    """One unit fewer at one level of each vector, and nothing else."""
    changed: Counter[Value] = Counter()
    for (vector, _), (moved,) in _differences(whole, less).items():
        if moved not in (0, 1):
            return f"levels: one count moved by {moved}"
        changed[vector] += moved
    return next((f"levels: {n} counts moved" for n in changed.values() if n > 1), None)


def _total(most: int, word: str) -> Judge:
    def judge(whole: Rows, less: Rows) -> str | None:
        moved = sum(abs(m) for (m,) in _differences(whole, less).values())
        return f"{word}: moved {moved}, allowed {most}" if moved > most else None

    return judge


def _norms(plan: ReleasePlan, bounded: Sequence[Vector], accountant: Accountant) -> Judge:
    def judge(whole: Rows, less: Rows) -> str | None:
        start = 0
        for number, vector in enumerate(bounded):
            size = len(vector.components)
            parts = [m for row in _differences(whole, less).values() for m in row[start : start + size]]
            start += size
            moved = sum(m * m for m in parts) if accountant == "zcdp" else sum(abs(m) for m in parts)
            if moved > vector.limit(accountant):
                return f"{_named(plan, number)}: moved {moved}, allowed {vector.limit(accountant)}"
        return None

    return judge


def _named(plan: ReleasePlan, vector: int) -> str:
    place = [i for i, statistic in enumerate(plan.statistics) if isinstance(statistic, Vector)][vector]
    return " ".join(figure.measure.function for figure in plan.figures if figure.statistic == place)
