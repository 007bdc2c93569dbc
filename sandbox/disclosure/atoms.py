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
from sandbox.disclosure.targets import Target

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
    """Cells of one quantity: `said` before, `asked` now, and `secret` ones, which broke a rule by themselves."""

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
        values = rows.values[used].astype(np.float64)
        self._totals = np.bincount(atom_of_row, weights=values, minlength=self._count).astype(np.float64)
        self._shares = Contributions.of(atom_of_row, rows.owners[used], values, len(signatures))
        heads = bitmap_of(used[first])
        self._said = [atom_of[array_of(cell.places & heads)] for cell in cells.said]
        self._asked = {cell.number: (atom_of[array_of(cell.places & heads)], cell.price) for cell in cells.asked}
        self._secret = [self._target(atom_of[array_of(cell.places & heads)]) for cell in cells.secret]

    def system(self, withheld: Container[int]) -> System:
        """What has to be kept from those to whom all is said but what is `withheld`. Raises TooHard."""
        asked = {number: found for number, found in self._asked.items() if number not in withheld}
        classes = Classes([*self._said, *(atoms for atoms, _ in asked.values())], self._count)
        targets = [*self._secret, *self._told(classes)]
        return System(self._totals, self._quantity.nonnegative, self._said, asked, classes, targets)

    def _told(self, classes: Classes) -> Iterator[Target]:
        """The classes that break a rule for a cell by themselves, and the unions of small ones that are told."""
        sizes = Sizes(
            self._shares.together(np.where(classes.seen, np.arange(classes.count), -1)[classes.of]), classes.count
        )
        kept = {int(own[0]) for own in classes.held if len(own) == 1}
        unsafe = [one for one in sizes.breaking(self._rules).tolist() if one not in kept]
        members = _members(classes.of, unsafe)
        for one in unsafe:
            yield self._promise(members[one], float(sizes.totals[one]), float(sizes.largest[one]))
        small = np.array([one for one in unsafe if 0 < sizes.units[one] < self._rules.units_min], dtype=np.int64)
        for union in _unions(small, sizes.units, classes, self._rules):
            atoms = np.concatenate([members[one] for one in union.tolist()])
            yield self._promise(atoms, float(sizes.totals[union].sum()), float(sizes.largest[union].max()))

    def _target(self, atoms: Integers) -> Target:
        """A cell that must stay unknown."""
        sizes = Sizes(self._shares.only(atoms), 1)
        return self._promise(atoms, float(sizes.totals[0]), float(sizes.largest[0]))

    def _promise(self, atoms: Integers, total: float, largest: float) -> Target:
        """The promise for a number that must stay unknown: what was said leaves room for

        - counts: `units_min` values from the least to the greatest possible;
        - sums: its largest contribution to be `p_percent` (at least 1) more, and as much less where an amount can be.
        """
        if self._quantity.counts:
            return Target(atoms, total, float(self._rules.units_min), 0.0, slides=True)
        room = max(max(float(self._rules.p_percent), LEAST_PERCENT) / 100 * largest, 1.0)
        return Target(atoms, total, room, room, slides=False)


def _members(class_of: Integers, wanted: Sequence[int]) -> dict[int, Integers]:
    """The atoms of each class that is wanted."""
    order = np.argsort(class_of, kind="stable")
    edges = np.searchsorted(class_of[order], [*wanted, *(one + 1 for one in wanted)])
    return {one: order[edges[i] : edges[len(wanted) + i]] for i, one in enumerate(wanted)}


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
