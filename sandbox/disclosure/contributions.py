"""What units add to groups of rows, for many groups at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.model import Aggregate
from sandbox.disclosure.cells import Integers
from sandbox.disclosure.sorting import by_number, starts

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Contributions:
    """Parallel, each pair of a group and a unit once, ascending by group. Units are numbered below `units_count`."""

    groups: Integers
    units: Integers
    values: Floats
    units_count: int

    @staticmethod
    def of(groups: Integers, units: Integers, values: Floats, units_count: int) -> Contributions:
        """The contributions of rows, which are parallel and in any order."""
        order = np.argsort(groups * units_count + units)
        return _added(groups[order], units[order], values[order], units_count)

    @staticmethod
    def ascending(groups: Integers, units: Integers, values: Floats, units_count: int, count: int) -> Contributions:
        """The contributions of rows, which ascend by unit, to `count` groups; those of group -1 are left out."""
        if len(groups) and groups.min() < 0:
            groups, units, values = groups[groups >= 0], units[groups >= 0], values[groups >= 0]
        order = by_number(groups, count)
        return _added(groups[order], units[order], values[order], units_count)

    def totals(self, count: int) -> Floats:
        return np.bincount(self.groups, weights=self.values, minlength=count).astype(np.float64)

    def only(self, groups: Integers) -> Contributions:
        """Those to one of `groups` together, as to group 0."""
        low, high = np.searchsorted(self.groups, groups), np.searchsorted(self.groups, groups, side="right")
        places = np.concatenate([np.arange(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)])
        owner = np.zeros(len(places), dtype=np.int64)
        return Contributions.of(owner, self.units[places], self.values[places], self.units_count)

    def together(self, coarser: Integers) -> Contributions:
        """Those to unions of groups: `coarser` has the number of the union for each group, -1 where it is in none."""
        found = coarser[self.groups]
        within = found >= 0
        return Contributions.of(found[within], self.units[within], self.values[within], self.units_count)


def _added(groups: Integers, units: Integers, values: Floats, units_count: int) -> Contributions:
    """Of rows that ascend by group and unit."""
    if not len(groups):
        return Contributions(groups, units, values, units_count)
    first = np.flatnonzero(starts(groups) | starts(units))
    return Contributions(groups[first], units[first], np.add.reduceat(values, first), units_count)


class Sizes:
    """How many units stand behind each of `count` groups, and how much of it is whose: contributions by their size."""

    def __init__(self, found: Contributions, count: int) -> None:
        self._sizes = np.abs(found.values)
        self._groups = found.groups
        self.totals = found.totals(count)
        self.units = np.bincount(found.groups[self._sizes > 0], minlength=count)
        self.whole = np.bincount(found.groups, weights=self._sizes, minlength=count).astype(np.float64)
        self.present = np.bincount(found.groups, minlength=count) > 0
        self._left = self._sizes.copy()
        self.largest = self._next()
        self._second = self._next()

    def _next(self) -> Floats:
        """The largest contribution to each group that was not taken before."""
        top = np.zeros(len(self.whole))
        if not len(self._groups):
            return top
        first = np.flatnonzero(starts(self._groups))
        top[self._groups[first]] = np.maximum.reduceat(self._left, first)
        at = np.flatnonzero(self._left == top[self._groups])
        self._left[at[starts(self._groups[at])]] = 0.0
        return top

    def breaking(self, rules: Aggregate) -> Integers:
        """Groups that break a rule of `primary`. One whose contributions cancel is among them."""
        most, taken = self.largest.copy(), 1
        if rules.dominance_units > 1:
            most += self._second
            taken = 2
        while taken < rules.dominance_units:
            most += self._next()
            taken += 1
        few = self.units < rules.units_min
        dominated = most >= float(rules.dominance_share) * self.whole
        told = (self.whole - self.largest - self._second) * 100 < float(rules.p_percent) * self.largest
        return np.flatnonzero(self.present & (few | dominated | told))
