"""The differencing guard: two numbers whose difference is about a few units say what these few add up to.

A new cell may be said where the number of units whose contribution differs is 0 or at least `difference_units_min`,
against every cell that was said before and every union of disjoint cells of one earlier table, whoever was told; and
likewise every earlier cell against the unions of the new table's cells.
Source: docs/explanation/guarantees/differencing.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sandbox.disclosure.cells import Integers, Shares, shares_of
from sandbox.disclosure.history import Rows, Space, array_of
from sandbox.disclosure.sketches import Sample, buckets_of
from sandbox.disclosure.sorting import distinct, found, starts

RATIO_BITS = 16
"""Two ratios are taken for one where they agree to so many bits: what is reckoned within units comes in steps of its
own, so that equal numbers differ in their last digits."""
FIRST = 256
"""Units that are compared before all are: tags are random, so the first are a sample."""


class Said:
    """A number as it is compared: by the contributions of units, and by rows where both are of one `space`.

    `places` are those of its rows in the ground of its space. Units whose contributions cancel are not behind it.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what is known is not reckoned again
        self,
        space: Space,
        ground: Rows,
        places: BitMap,
        sample: Sample,
        shares: Shares | None = None,
        size: int | None = None,
    ) -> None:
        self.space = space
        self.ground = ground
        self.places = places
        self._sample = sample
        if shares is not None:
            self.shares = compact(shares)
        self.size = len(self.shares) if size is None else size
        """The number of its units."""

    @cached_property
    def shares(self) -> Shares:
        return compact(shares_of(self.ground.at(self.rows)))

    @cached_property
    def buckets(self) -> NDArray[np.int32]:
        return buckets_of(self.shares.units)

    @cached_property
    def sample(self) -> Integers:
        """Its columns of the sample."""
        return self._sample.columns(self.shares.units)

    @cached_property
    def rows(self) -> Integers:
        """Its places, ascending."""
        return array_of(self.places)


def touching(first: Said, second: Said) -> bool:
    """Whether a unit is behind both."""
    return bool(found(first.shares.units, second.shares.units)[0].any())


def compact(shares: Shares) -> Shares:
    """Without units whose contributions cancel."""
    kept = shares.values != 0
    return shares if kept.all() else Shares(shares.units[kept], shares.values[kept])


def differing(first: Said, second: Said, enough: int) -> int:
    """In how many units two cells differ; any number from `enough` on where these are so many or more.

    Contributions of different quantities are compared up to one factor: else a sum of what is proportional to another
    would share nothing with it.
    """
    return _apart(first.shares, second.shares, enough, same=first.space[1] == second.space[1])


def _apart(first: Shares, second: Shares, enough: int, *, same: bool) -> int:
    there, at = found(second.units, first.units)
    alone = len(first) + len(second) - 2 * int(there.sum())
    if alone >= enough:
        return alone
    mine, others = first.values[there], second.values[at[there]]
    few = min(FIRST, len(mine))
    apart = few - _agreeing(mine[:few], others[:few], same=same)
    if apart >= enough:
        return apart
    return alone + len(mine) - _agreeing(mine, others, same=same)


def _agreeing(first: NDArray[np.float64], second: NDArray[np.float64], *, same: bool) -> int:
    """How many pairs agree: are equal, or have the most frequent ratio."""
    if same:
        return int((first == second).sum())
    if not len(first):
        return 0
    mantissa, exponent = np.frexp(first / second)
    steps = mantissa * 2**RATIO_BITS
    return max(_most_frequent(np.floor(steps + shift), exponent) for shift in (0.0, 0.5))


def _most_frequent(steps: NDArray[np.float64], exponent: NDArray[np.int32]) -> int:
    keys = steps.astype(np.int64) * 4096 + exponent
    if (keys == keys[0]).all():
        return len(keys)
    return int(np.unique(keys, return_counts=True)[1].max())


class Beside:
    """Cells of one part and quantity: no row is in two of them."""

    def __init__(self, cells: Sequence[Said]) -> None:
        self.cells = cells
        self._sizes = np.array([cell.size for cell in cells], dtype=np.int64)
        self._there = np.ones(len(cells), dtype=np.bool_)

    def drop(self, number: int) -> None:
        """Leaves a cell out of all unions from now on."""
        self._there[number] = False

    @property
    def space(self) -> Space:
        return self.cells[0].space

    def nearest(self, cell: Said, enough: int) -> int:
        """The least number of units in which `cell` differs from a union of these; any number from `enough` on where
        these are so many or more.

        Each cell is in the union if fewer of its units would be too many than would be missing. The sum of what is then
        too much or missing is the least there is, for the choices do not meddle with each other where no unit is in two
        cells. A cell with twice as many units is never chosen.
        """
        smaller = self._there & (self._sizes < 2 * cell.size)
        if not smaller.any():
            return cell.size
        return (
            self._by_rows(cell, smaller, enough) if cell.space == self.space else self._by_units(cell, smaller, enough)
        )

    def _by_rows(self, cell: Said, smaller: NDArray[np.bool_], enough: int) -> int:
        if any(len(self._fewer(number, cell, enough)) >= enough for number in self._some_within(cell, smaller)):
            return enough
        owners = self._owners(cell.rows)
        held = owners >= 0
        held[held] = smaller[owners[held]]
        common = np.bincount(owners[held], minlength=len(self.cells))
        units = _units(cell.ground, cell.rows[~held], enough)
        for number in np.flatnonzero((common > 0) & (common < self._lengths)).tolist():  # of others no unit differs
            if len(units) >= enough:
                break
            units = np.union1d(units, self._fewer(number, cell, enough))
        return len(units)

    def _some_within(self, cell: Said, smaller: NDArray[np.bool_]) -> set[int]:
        """The numbers of a few that have a row in common with `cell`."""
        owners = self._owners(cell.rows[[0, len(cell.rows) // 2, -1]])
        return {number for number in owners.tolist() if number >= 0 and smaller[number]}

    def _fewer(self, number: int, cell: Said, enough: int) -> Integers:
        """The units that would be too many with a cell, or missing without it, whichever are fewer."""
        other = self.cells[number]
        more = _units(other.ground, array_of(other.places - cell.places), enough)
        less = _units(other.ground, array_of(other.places & cell.places), enough)
        return more if len(more) < len(less) else less

    def _owners(self, rows: Integers) -> NDArray[np.int32]:
        """The number of the cell that each row is in, -1 where it is in none."""
        found = np.full(len(rows), -1, dtype=np.int32)
        known = rows < len(self._owner_of_row)
        found[known] = self._owner_of_row[rows[known]]
        return found

    @cached_property
    def _lengths(self) -> Integers:
        return np.array([len(cell.places) for cell in self.cells], dtype=np.int64)

    @cached_property
    def _owner_of_row(self) -> NDArray[np.int32]:
        """By the place of a row the number of the cell that it is in, -1 where it is in none."""
        found = np.full(max(int(cell.places.max()) for cell in self.cells) + 1, -1, dtype=np.int32)
        for number, cell in enumerate(self.cells):
            found[cell.rows] = number
        return found

    def _by_units(self, cell: Said, smaller: NDArray[np.bool_], enough: int) -> int:
        few = self._shared(Shares(cell.shares.units[:FIRST], cell.shares.values[:FIRST]))
        if (apart := few.least_apart(smaller)) >= enough:
            return apart
        shared = self._shared(cell.shares)
        chosen = smaller & (2 * np.bincount(shared.owners, minlength=len(self.cells)) > self._sizes)
        if not chosen.any():
            return cell.size
        if (apart := self._first_apart(cell, shared, chosen)) >= enough:
            return apart
        kept = chosen[shared.owners]
        mine = np.bincount(shared.places[kept], weights=shared.values[kept], minlength=cell.size)
        units, values, owners = self._contributions
        beyond = chosen[owners]
        beyond[shared.entries] = False
        others = _added(units[beyond], values[beyond])
        both = mine != 0
        agreeing = _agreeing(cell.shares.values[both], mine[both], same=cell.space[1] == self.space[1])
        return cell.size + int((others != 0).sum()) - agreeing

    @cached_property
    def _contributions(self) -> tuple[Integers, NDArray[np.float64], Integers]:
        """Parallel, ascending by unit: the unit, what it adds, and the number of the cell."""
        units = np.concatenate([cell.shares.units for cell in self.cells])
        values = np.concatenate([cell.shares.values for cell in self.cells])
        owners = np.repeat(np.arange(len(self.cells)), [len(cell.shares) for cell in self.cells])
        order = np.argsort(units)
        return units[order], values[order], owners[order]

    def _first_apart(self, cell: Said, shared: _Shared, chosen: NDArray[np.bool_]) -> int:
        """How many of the first units differ from the union of the `chosen`."""
        last, few = int(np.searchsorted(shared.places, FIRST)), min(FIRST, cell.size)
        kept = chosen[shared.owners[:last]]
        mine = np.bincount(shared.places[:last][kept], weights=shared.values[:last][kept], minlength=few)
        both = mine != 0
        return few - _agreeing(cell.shares.values[:few][both], mine[both], same=cell.space[1] == self.space[1])

    def touched(self, cell: Said) -> list[int]:
        """The numbers of those that have a unit in common with `cell`."""
        common = np.bincount(self._shared(cell.shares).owners, minlength=len(self.cells))
        found: list[int] = np.flatnonzero(self._there & (common > 0)).tolist()
        return found

    @cached_property
    def overlapping(self) -> bool:
        """Whether a unit is in several of them."""
        return not starts(self._contributions[0]).all()

    @property
    def left(self) -> list[int]:
        """The numbers of those that are not dropped."""
        found: list[int] = np.flatnonzero(self._there).tolist()
        return found

    def _shared(self, shares: Shares) -> _Shared:
        units, values, owners = self._contributions
        low, many = np.searchsorted(units, shares.units), np.searchsorted(units, shares.units, side="right")
        many -= low
        places = np.repeat(np.arange(len(shares)), many)
        entries = np.repeat(low, many) + np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
        return _Shared(shares, places, entries, owners[entries], values[entries])


@dataclass(frozen=True, slots=True, eq=False)
class _Shared:
    """What the units of a cell add to others, parallel: the unit's place in the cell, the place among all
    contributions, the number of the other cell, and what it adds there."""

    shares: Shares
    places: Integers
    entries: Integers
    owners: Integers
    values: NDArray[np.float64]

    def least_apart(self, may_be_chosen: NDArray[np.bool_]) -> int:
        """How many of the units differ from any union at least. Those that are in several cells may agree with all."""
        chosen = may_be_chosen[self.owners]
        many = np.bincount(self.places[chosen], minlength=len(self.shares))
        alone = chosen & (many[self.places] == 1)
        agreeing = _agreeing(self.shares.values[self.places[alone]], self.values[alone], same=False)
        return len(self.shares) - int((many > 1).sum()) - agreeing


def _units(ground: Rows, places: Integers, enough: int) -> Integers:
    """The units of rows, or some of them that are `enough` or more."""
    some = distinct(ground.units[places[: 4 * FIRST]])
    return some if len(places) <= 4 * FIRST or len(some) >= enough else distinct(ground.units[places])


def _added(units: Integers, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each unit adds altogether; `units` ascend."""
    if not len(units):
        return values
    return np.add.reduceat(values, np.flatnonzero(starts(units)))
