"""From cells to the unknowns of the linear audit, and to what must stay unknown.

An *atom* are rows that are in the same cells. What a reader can tell apart is coarser: rows that are in the same cells
of those that are said, a *class*. A cell that was withheld splits classes into atoms, for it must stay unknown itself;
but it opens nothing: what is told of a class is held against the whole class.
Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from policies.model import Aggregate
from sandbox.disclosure.cells import Integers, Quantity
from sandbox.disclosure.constraints import Classes
from sandbox.disclosure.contributions import Contributions, Sizes
from sandbox.disclosure.history import Rows, array_of, bitmap_of
from sandbox.disclosure.linear import System
from sandbox.disclosure.solver import Floats
from sandbox.disclosure.sorting import numbered
from sandbox.disclosure.targets import Targets

Signatures = NDArray[np.uint64]
LEAST_PERCENT = 1.0
"""A sum is never told to within less than this part of the largest contribution, whatever `p_percent` says."""
TOLD = 1e-7
"""A sum whose part of a random deviation is less than this is the same in all deviations: deviations are about 1."""
SMALL_MAX = 400
"""Small classes whose unions of three are looked at; of more, unions of two."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cell by the places of its rows among all rows of its quantity. `number` is that of a cell that may still be
    withheld, for `price`."""

    places: BitMap
    number: int = -1
    price: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of one quantity: `said` before, `asked` now, and `secret` ones, which must stay unknown."""

    said: Sequence[Placed]
    asked: Sequence[Placed]
    secret: Sequence[Placed]


class Atoms:
    """All rows of one quantity in atoms. `rows` are in any order; those of equal signature are in the same cells."""

    def __init__(self, rows: Rows, signatures: Signatures, cells: Cells, rules: Aggregate, quantity: Quantity) -> None:
        self._rules = rules
        self._quantity = quantity
        used = np.flatnonzero(signatures)
        first, atom_of_row = numbered(signatures[used])
        self._count = len(first)
        atom_of = np.full(len(signatures), -1, dtype=np.int64)
        atom_of[used] = atom_of_row
        by_unit = rows.by_unit
        self._shares = Contributions.ascending(
            atom_of[by_unit.places], by_unit.units, by_unit.values, len(signatures), self._count
        )
        self._totals = self._shares.totals(self._count)
        heads = bitmap_of(used[first])
        self._said = [atom_of[array_of(cell.places & heads)] for cell in cells.said]
        self._asked = {cell.number: (atom_of[array_of(cell.places & heads)], cell.price) for cell in cells.asked}
        self._secret = self._targets([atom_of[array_of(cell.places & heads)] for cell in cells.secret])

    def system(self, withheld: Container[int]) -> System:
        """What has to be kept from those to whom all is said but what is `withheld`. Raises TooHard."""
        asked = {number: found for number, found in self._asked.items() if number not in withheld}
        classes = Classes([*self._said, *(atoms for atoms, _ in asked.values())], self._count)
        return System(
            self._totals, self._quantity.nonnegative, self._said, asked, classes, self._secret.and_(self._told(classes))
        )

    def _told(self, classes: Classes) -> Targets:
        """The classes that break a rule for a cell by themselves, and the unions of small ones that are told."""
        sizes = Sizes(
            self._shares.together(np.where(classes.seen, np.arange(classes.count), -1)[classes.of]), classes.count
        )
        alone = np.zeros(classes.count, dtype=np.bool_)
        alone[[int(own[0]) for own in classes.held if len(own) == 1]] = True
        unsafe = sizes.breaking(self._rules)
        unsafe = unsafe[~alone[unsafe]]
        members = _Members(classes)
        small = unsafe[(sizes.units[unsafe] > 0) & (sizes.units[unsafe] < self._rules.units_min)]
        unions = list(_unions(small, sizes.units, classes, self._rules))
        every = np.concatenate((unsafe, *unions))
        if not len(every):
            return Targets.of(())
        atoms, counts = members.of(every)
        first = np.cumsum([0, *np.ones(len(unsafe), dtype=np.int64), *(len(union) for union in unions)])[:-1]
        return self._promises(
            atoms,
            np.add.reduceat(counts, first),
            np.add.reduceat(sizes.totals[every], first),
            np.maximum.reduceat(sizes.largest[every], first),
        )

    def _targets(self, cells: Sequence[Integers]) -> Targets:
        """Cells that must stay unknown."""
        sizes = [Sizes(self._shares.only(atoms), 1) for atoms in cells]
        return self._promises(
            np.concatenate([np.empty(0, dtype=np.int64), *cells]),
            np.array([len(atoms) for atoms in cells], dtype=np.int64),
            np.array([size.totals[0] for size in sizes], dtype=np.float64),
            np.array([size.largest[0] for size in sizes], dtype=np.float64),
        )

    def _promises(self, atoms: Integers, sizes: Integers, totals: Floats, largest: Floats) -> Targets:
        """The promise for numbers that must stay unknown: what was said leaves room for

        - counts: `units_min` values from the least to the greatest possible;
        - sums: the largest contribution to be `p_percent` (at least 1) more, and as much less where an amount can be.
        """
        if self._quantity.counts:
            up, down = np.full(len(sizes), float(self._rules.units_min)), np.zeros(len(sizes))
            return Targets(atoms, sizes, totals, up, down, slides=np.ones(len(sizes), dtype=np.bool_))
        room = np.maximum(max(float(self._rules.p_percent), LEAST_PERCENT) / 100 * largest, 1.0)
        return Targets(atoms, sizes, totals, room, room, slides=np.zeros(len(sizes), dtype=np.bool_))


class _Members:
    """The atoms of classes."""

    def __init__(self, classes: Classes) -> None:
        self._order = np.argsort(classes.of, kind="stable")
        self._counts = np.bincount(classes.of, minlength=classes.count)
        self._starts = np.cumsum(self._counts) - self._counts

    def of(self, classes: Integers) -> tuple[Integers, Integers]:
        """The atoms of each, one class after the other, and how many each has."""
        counts = self._counts[classes]
        within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._order[np.repeat(self._starts[classes], counts) + within], counts


def _unions(small: Integers, units: Integers, classes: Classes, rules: Aggregate) -> Iterator[Integers]:
    """Unions of two and three small classes that have too few units together, and whose sum follows from the cells.

    A sum follows from them where no deviation that keeps every cell changes it; a random one tells, almost surely.
    A class that is told by itself is looked at by itself. Raises TooHard.
    """
    if len(small) < 2 or not classes.held:
        return
    moved = classes.constraints.deviation()
    small = small[np.abs(moved[small]) > TOLD]
    places = small[np.argsort(moved[small], kind="stable")]
    moves, sizes = moved[places], units[places]
    yield from _completed(np.arange(len(places))[:, None], places, moves, sizes, rules)
    if len(places) <= SMALL_MAX:
        pairs = np.stack(np.triu_indices(len(places), 1), axis=1)
        few = sizes[pairs].sum(axis=1) < rules.units_min - 1
        yield from _completed(pairs[few], places, moves, sizes, rules)


def _completed(
    some: Integers, places: Integers, moves: Floats, sizes: Integers, rules: Aggregate
) -> Iterator[Integers]:
    """Unions of each of `some` with one that comes after them, which moves just as far the other way."""
    missing = -moves[some].sum(axis=1)
    low, high = np.searchsorted(moves, missing - TOLD), np.searchsorted(moves, missing + TOLD)
    low = np.maximum(low, some[:, -1] + 1)
    for number in np.flatnonzero(low < high).tolist():
        for last in range(int(low[number]), int(high[number])):
            union = np.append(some[number], last)
            if sizes[union].sum() < rules.units_min:
                yield places[union]
