"""Ranges that are chosen from the data: each end of a wide declared range may be drawn in towards 0.

A range is anchored at its point nearest to 0. From there it reaches up, down or both ways; each reach is an `End`, and
one of its levels is chosen: the step of the column times a power of the root of two. The rows of a unit that weigh in
a quantile have an end too: they reach from none up to the declared number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, assert_never

from sandbox.relational.measures import cells_max_of, quantiles_on
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import LEVELS_WORTH, Argument, Component, DistinctCount, Quantiles, Statistic, Vector

Side = Literal["up", "down", "rows"]


@dataclass(frozen=True, slots=True)
class End:
    """One side of the range of one argument of one statistic, or the rows of a unit that have a value of it."""

    statistic: int
    argument: Argument
    side: Side
    reach: Fraction
    """The declared one."""
    step: Fraction

    @property
    def anchor(self) -> Fraction:
        return _anchor(self.argument)

    @property
    def levels(self) -> int:
        return math.ceil(2 * math.log2(self.reach / self.step))

    def at(self, level: int) -> Fraction:
        """The reach of `level` in whole steps, at most the declared one."""
        return min(self.reach, (math.isqrt(2**level - 1) + 1) * self.step)


def _anchor(argument: Argument) -> Fraction:
    return min(max(Fraction(0), argument.low), argument.high)


def ends_of(plan: ReleasePlan) -> tuple[End, ...]:
    """All ends that are chosen, in a fixed order."""
    found = (end for i, statistic in enumerate(plan.statistics) for end in _ends(i, statistic))
    return tuple(end for end in found if end.reach > end.step)


def _ends(place: int, statistic: Statistic) -> Iterator[End]:
    if isinstance(statistic, DistinctCount):
        return
    if statistic.ranged:
        for argument in dict.fromkeys(statistic.arguments):
            anchor = _anchor(argument)
            yield End(place, argument, "up", argument.high - anchor, argument.step)
            yield End(place, argument, "down", anchor - argument.low, argument.step)
    if isinstance(statistic, Quantiles) and statistic.rows >= LEVELS_WORTH:
        yield End(place, statistic.argument, "rows", Fraction(statistic.rows), Fraction(1))


def drawn_in(plan: ReleasePlan, ends: Sequence[End], levels: Sequence[int]) -> ReleasePlan:
    """`plan` with the ranges that were chosen. Values beyond them count as their edge, as with declared ranges."""
    reaches: dict[tuple[int, Argument], dict[Side, Fraction]] = {}
    for end, level in zip(ends, levels, strict=True):
        reaches.setdefault((end.statistic, end.argument), {})[end.side] = end.at(level)
    statistics = list(plan.statistics)
    for (place, argument), found in reaches.items():
        low = _anchor(argument) - found["down"] if "down" in found else argument.low
        high = _anchor(argument) + found["up"] if "up" in found else argument.high
        narrowed = _within(statistics[place], {argument: replace(argument, low=low, high=high)})
        if isinstance(narrowed, Quantiles) and "rows" in found:
            narrowed = replace(narrowed, rows=int(found["rows"]))
        statistics[place] = narrowed
    return replace(plan, statistics=tuple(statistics))


def fitted(plan: ReleasePlan, groups: int) -> ReleasePlan:
    """`plan` with grids of quantiles that fit the number of released private groups, which was not known before."""
    return replace(plan, statistics=tuple(_fitted(statistic, groups) for statistic in plan.statistics))


def _fitted(statistic: Statistic, groups: int) -> Statistic:
    if not isinstance(statistic, Quantiles):
        return statistic
    return _on(statistic, statistic.argument, min(statistic.cells_max, cells_max_of(groups)))


def _on(statistic: Quantiles, argument: Argument, cells_max: int) -> Quantiles:
    return quantiles_on(argument, statistic.fractions, rows=statistic.rows, grid=statistic.grid, cells_max=cells_max)


def _within(statistic: Statistic, narrower: Mapping[Argument, Argument]) -> Statistic:
    match statistic:
        case Vector():
            components = tuple(_narrowed(component, narrower) for component in statistic.components)
            return replace(statistic, components=components)
        case Quantiles():
            argument = narrower.get(statistic.argument, statistic.argument)
            return _on(statistic, argument, statistic.cells_max)
        case DistinctCount():
            return statistic
        case _:
            assert_never(statistic)


def _narrowed(component: Component, narrower: Mapping[Argument, Argument]) -> Component:
    argument, other = (None if a is None else narrower.get(a, a) for a in (component.argument, component.other))
    return replace(component, argument=argument, other=other)
