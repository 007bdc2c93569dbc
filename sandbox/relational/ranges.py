"""Ranges that are chosen from the data: each end of a wide declared range may be drawn in towards 0.

A range is anchored at its point nearest to 0. From there it reaches up, down or both ways; each reach is an `End`, and
one of its levels is chosen: the step of the column times a power of the root of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import assert_never

from sandbox.relational.measures import quantiles_on
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.statistics import Argument, Component, DistinctCount, Quantiles, Statistic, Vector


@dataclass(frozen=True, slots=True)
class End:
    """One side of the range of one argument of one statistic."""

    statistic: int
    argument: Argument
    up: bool

    @property
    def anchor(self) -> Fraction:
        return min(max(Fraction(0), self.argument.low), self.argument.high)

    @property
    def reach(self) -> Fraction:
        """The declared one."""
        return self.argument.high - self.anchor if self.up else self.anchor - self.argument.low

    @property
    def levels(self) -> int:
        return math.ceil(2 * math.log2(self.reach / self.argument.step))

    def at(self, level: int) -> Fraction:
        """The reach of `level` in whole steps, at most the declared one."""
        steps = math.isqrt(2**level - 1) + 1
        return min(self.reach, steps * self.argument.step)


def ends_of(plan: ReleasePlan) -> tuple[End, ...]:
    """All ends that are chosen, in a fixed order."""
    return tuple(
        end
        for i, statistic in enumerate(plan.statistics)
        if not isinstance(statistic, DistinctCount) and statistic.ranged
        for argument in dict.fromkeys(statistic.arguments)
        for end in (End(i, argument, up=True), End(i, argument, up=False))
        if end.reach > end.argument.step
    )


def drawn_in(plan: ReleasePlan, ends: Sequence[End], levels: Sequence[int]) -> ReleasePlan:
    """`plan` with the ranges that were chosen. Values beyond them count as their edge, as with declared ranges."""
    reaches: dict[tuple[int, Argument], dict[bool, Fraction]] = {}
    for end, level in zip(ends, levels, strict=True):
        reaches.setdefault((end.statistic, end.argument), {})[end.up] = end.at(level)
    statistics = list(plan.statistics)
    for (place, argument), found in reaches.items():
        anchor = End(place, argument, up=True).anchor
        low = anchor - found[False] if False in found else argument.low
        high = anchor + found[True] if True in found else argument.high
        statistics[place] = _within(statistics[place], {argument: replace(argument, low=low, high=high)})
    return replace(plan, statistics=tuple(statistics))


def _within(statistic: Statistic, narrower: Mapping[Argument, Argument]) -> Statistic:
    match statistic:
        case Vector():
            components = tuple(_narrowed(component, narrower) for component in statistic.components)
            return replace(statistic, components=components)
        case Quantiles():
            argument = narrower.get(statistic.argument, statistic.argument)
            return quantiles_on(
                argument, statistic.fractions, rows=statistic.rows, grid=statistic.grid, cells_max=statistic.cells_max
            )
        case DistinctCount():
            return statistic
        case _:
            assert_never(statistic)


def _narrowed(component: Component, narrower: Mapping[Argument, Argument]) -> Component:
    argument, other = (None if a is None else narrower.get(a, a) for a in (component.argument, component.other))
    return replace(component, argument=argument, other=other)
