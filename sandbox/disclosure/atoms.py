"""From cells to the unknowns of the linear audit, and to what must stay unknown.

An *atom* are rows that are in the same cells. What a reader can tell apart is coarser: rows that are in the same cells
of those that are said, a *class*. A cell that was withheld splits classes into atoms, for it must stay unknown itself;
but it opens nothing: what is told of a class is held against the whole class.
Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from policies.model import Aggregate
from sandbox.disclosure.cells import Ground, Integers, Quantity, shares_of
from sandbox.disclosure.linear import System, Target
from sandbox.disclosure.solver import Floats, TooHard

Signatures = NDArray[np.uint64]
LEAST_PERCENT = 1.0
"""A sum is never told to within less than this part of the largest contribution, whatever `p_percent` says."""
ENTRIES_MAX = 40_000_000
"""Of the matrix of cells and classes. What is linked by more is withheld."""
TOLD = 1e-7
"""A sum whose part of a random deviation is less than this is the same in all deviations: deviations are about 1."""
SMALL_MAX = 400
"""Small classes whose unions of three are looked at; of more, unions of two."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cell by the places of its rows among all rows of its quantity. `number` is that of a cell that may still be
    withheld, for `price`."""

    places: Integers
    number: int = -1
    price: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of one quantity: `said` before, `asked` now, and `secret` ones, which broke a rule by themselves."""

    said: Sequence[Placed]
    asked: Sequence[Placed]
    secret: Sequence[Placed]


def system_of(rows: Ground, signatures: Signatures, cells: Cells, rules: Aggregate, quantity: Quantity) -> System:
    """`rows` are all rows of the quantity in any order; rows of equal signature are in the same cells.

    Raises TooHard where more hangs together than can be looked at.
    """
    used = np.flatnonzero(signatures)
    names, atom_of_row = np.unique(signatures[used], return_inverse=True)
    atom_of = np.full(len(signatures), -1, dtype=np.int64)
    atom_of[used] = atom_of_row
    said = [np.unique(atom_of[cell.places]) for cell in cells.said]
    asked = [np.unique(atom_of[cell.places]) for cell in cells.asked]
    totals = np.bincount(atom_of_row, weights=rows.values[used].astype(np.float64), minlength=len(names))
    targets = [_target(rows, cell.places, np.unique(atom_of[cell.places]), rules, quantity) for cell in cells.secret]
    targets += _classes(rows, used, atom_of_row, [*said, *asked], rules, quantity)
    prices = {cell.number: (atoms, cell.price) for cell, atoms in zip(cells.asked, asked, strict=True)}
    return System(totals.astype(np.float64), quantity.nonnegative, said, prices, targets)


def _classes(  # noqa: PLR0913, PLR0917  # all rows, in atoms, in cells, and by which rules
    rows: Ground, used: Integers, atom_of_row: Integers, cells: Sequence[Integers], rules: Aggregate, quantity: Quantity
) -> list[Target]:
    """The classes that break a rule for a cell by themselves, and the unions of small ones that are told."""
    if not len(used):
        return []
    dice, marks = np.random.default_rng(), np.zeros(int(atom_of_row.max()) + 1, dtype=np.uint64)
    for atoms in cells:
        marks[atoms] ^= dice.integers(1, 2**63, dtype=np.uint64)
    seen = np.unique(marks)
    class_of = np.where(marks > 0, np.searchsorted(seen, marks), -1)
    within = class_of[atom_of_row] >= 0
    found = _Classes(rows, used[within], class_of[atom_of_row[within]], len(seen), rules)
    kept = {int(own[0]) for atoms in cells if len(own := np.unique(class_of[atoms])) == 1}
    unsafe = [one for one in found.unsafe() if one not in kept]
    members = _members(class_of, unsafe)
    targets = [
        _promise(members[one], float(found.totals[one]), float(found.largest[one]), rules, quantity) for one in unsafe
    ]
    small = [one for one in unsafe if 0 < found.units[one] < rules.units_min]
    for union in _told(small, found.units, [np.unique(class_of[atoms]) for atoms in cells], len(seen), rules):
        atoms = np.concatenate([members[one] for one in union])
        total, largest = float(found.totals[list(union)].sum()), float(found.largest[list(union)].max())
        targets.append(_promise(atoms, total, largest, rules, quantity))
    return targets


def _members(class_of: Integers, wanted: Sequence[int]) -> dict[int, Integers]:
    """The atoms of each class that is wanted."""
    order = np.argsort(class_of, kind="stable")
    edges = np.searchsorted(class_of[order], [*wanted, *(one + 1 for one in wanted)])
    return {one: order[edges[i] : edges[len(wanted) + i]] for i, one in enumerate(wanted)}


class _Classes:
    """What stands in each class: its total, its units, and its largest contributions."""

    def __init__(self, rows: Ground, places: Integers, owners: Integers, count: int, rules: Aggregate) -> None:
        self._rules = rules
        order = np.lexsort((rows.units[places], owners))
        owners, units, values = owners[order], rows.units[places][order], rows.values[places][order].astype(np.float64)
        first = np.flatnonzero(np.concatenate(([True], (owners[1:] != owners[:-1]) | (units[1:] != units[:-1]))))
        owners, shares = owners[first], np.add.reduceat(values, first) if len(first) else values
        order = np.lexsort((-np.abs(shares), owners))
        owners, shares = owners[order], shares[order]
        self._owners, self._sizes, self._count = owners, np.abs(shares), count
        self._rank = np.arange(len(owners)) - np.searchsorted(owners, owners)
        self.totals = self._sums(shares)
        self.units = self._sums((self._sizes > 0).astype(np.float64))
        self.largest = self._top(1)

    def _sums(self, amounts: Floats) -> Floats:
        return np.bincount(self._owners, weights=amounts, minlength=self._count).astype(np.float64)

    def _top(self, most: int) -> Floats:
        """What the `most` largest contributions of each class are together."""
        return self._sums(np.where(self._rank < most, self._sizes, 0.0))

    def unsafe(self) -> list[int]:
        """The rules of `primary`, for all classes at once. A class whose contributions cancel is one of them."""
        rules, whole = self._rules, self._top(len(self._owners) + 1)
        few = self.units < rules.units_min
        dominated = self._top(rules.dominance_units) >= float(rules.dominance_share) * whole
        told = (whole - self._top(2)) * 100 < float(rules.p_percent) * self.largest
        present = np.bincount(self._owners, minlength=self._count) > 0
        found: list[int] = np.flatnonzero(present & (few | dominated | told)).tolist()
        return found


def _told(
    small: Sequence[int], units: Floats, cells: Sequence[Integers], count: int, rules: Aggregate
) -> Iterator[tuple[int, ...]]:
    """Unions of two and three small classes that have too few units together, and whose sum follows from the cells.

    A sum follows from them where no deviation that keeps every cell changes it; a random one tells, almost surely.
    Raises TooHard.
    """
    if len(small) < 2 or not cells:
        return
    if len(cells) * count > ENTRIES_MAX:
        raise TooHard
    moved = _deviation(cells, count)
    places = np.array(sorted(small, key=lambda one: moved[one]), dtype=np.int64)
    sorted_moves = moved[places]
    for one in range(len(places)):
        yield from _completed((one,), places, sorted_moves, units, rules)
    if len(places) <= SMALL_MAX:
        for pair in combinations(range(len(places)), 2):
            if units[places[list(pair)]].sum() < rules.units_min - 1:
                yield from _completed(pair, places, sorted_moves, units, rules)


def _completed(
    some: tuple[int, ...], places: Integers, moves: Floats, units: Floats, rules: Aggregate
) -> Iterator[tuple[int, ...]]:
    """Unions of `some` with one that comes after them, which moves just as far the other way."""
    missing = -float(moves[list(some)].sum())
    low, high = np.searchsorted(moves, [missing - TOLD, missing + TOLD])
    for last in range(max(int(low), some[-1] + 1), int(high)):
        union = tuple(int(places[i]) for i in (*some, last))
        if units[list(union)].sum() < rules.units_min:
            yield union


def _deviation(cells: Sequence[Integers], count: int) -> Floats:
    """A random deviation of all classes that keeps the sum of every cell."""
    matrix = np.zeros((len(cells), count))
    for number, classes in enumerate(cells):
        matrix[number, classes] = 1.0
    drawn = np.random.default_rng().normal(size=count)
    weights = np.linalg.lstsq(matrix @ matrix.T, matrix @ drawn, rcond=None)[0]
    found: Floats = drawn - matrix.T @ weights
    return found


def _target(rows: Ground, places: Integers, atoms: Integers, rules: Aggregate, quantity: Quantity) -> Target:
    shares = shares_of(Ground(rows.items[places], rows.units[places], rows.values[places]))
    largest = float(np.abs(shares.values).max()) if len(shares) else 0.0
    return _promise(atoms, float(rows.values[places].astype(np.float64).sum()), largest, rules, quantity)


def _promise(atoms: Integers, total: float, largest: float, rules: Aggregate, quantity: Quantity) -> Target:
    """The promise for a number that must stay unknown: what was said leaves room for

    - counts: `units_min` values from the least to the greatest possible;
    - sums: its largest contribution to be `p_percent` (at least 1) more, and as much less where an amount can be.
    """
    if quantity.counts:
        return Target(atoms, total, float(rules.units_min), 0.0, slides=True)
    room = max(max(float(rules.p_percent), LEAST_PERCENT) / 100 * largest, 1.0)
    return Target(atoms, total, room, room, slides=False)
