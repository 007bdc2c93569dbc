"""What was said as equations over classes of rows: which of them say something new, and what cells have in common.

Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.solver import Floats, TooHard
from sandbox.disclosure.sorting import by_number, numbered

CELLS_MAX = 4_000
"""Cells that say something new: a factorisation of so many takes seconds."""
CHUNK = 4_000_000
"""Pairs that are added up at a time."""
JITTER, LEFT = 1e-11, 1e-6
"""What is added to the diagonal so that a cell that others tell can be seen, and which part of it is left then."""
DRAWN, EXACT = 6, 1e-7
"""So many drawn amounts of all classes, of about 1, have to have the same sum in a cell and in what tells it."""
LOST_MAX = 1e-5
"""What may be lost in doubles of the part of a number that is told."""


class Classes:
    """Atoms in classes: those in the same `cells` are one. `held` are the classes of each cell."""

    def __init__(self, cells: Sequence[Integers], atoms: int) -> None:
        dice, marks = np.random.default_rng(), np.zeros(atoms, dtype=np.uint64)
        for held in cells:
            marks[held] ^= dice.integers(1, 2**63, dtype=np.uint64)
        first, self.of = numbered(marks)
        """The class of each atom."""
        self.count = len(first)
        self.seen = marks[first] > 0
        """Which classes are in a cell at all."""
        heads = np.zeros(atoms, dtype=np.bool_)
        heads[first] = True
        self.held = [self.of[held[heads[held]]] for held in cells]

    @cached_property
    def constraints(self) -> Constraints:
        """Raises TooHard."""
        return Constraints(self.held, self.count)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Classes that are in equally many cells: their numbers, and a row of cells for each."""

    classes: Integers
    cells: Integers


class Incidence:
    """Which class is in which cells: `many` is how many each is in, and `owners` are these, class by class."""

    def __init__(self, many: Integers, owners: Integers, width: int) -> None:
        self.count, self.width = len(many), width
        self._many, self._owners = many, owners
        self._starts = np.cumsum(many) - many

    @staticmethod
    def of(cells: Sequence[Integers], count: int) -> Incidence:
        owners = np.repeat(np.arange(len(cells), dtype=np.int64), [len(classes) for classes in cells])
        classes = np.concatenate([np.empty(0, dtype=np.int64), *cells])
        return Incidence(np.bincount(classes, minlength=count), owners[by_number(classes, count)], len(cells))

    def with_again(self, classes: Integers) -> Incidence:
        """With these classes once more, after all others."""
        many = np.concatenate((self._many, self._many[classes]))
        return Incidence(many, np.concatenate((self._owners, self.pairs(classes)[1])), self.width)

    @cached_property
    def _groups(self) -> list[_Group]:
        return [self._group(int(many)) for many in np.unique(self._many) if many]

    def _group(self, many: int) -> _Group:
        classes = np.flatnonzero(self._many == many)
        return _Group(classes, self._owners[self._starts[classes][:, None] + np.arange(many)])

    def pairs(self, classes: Integers) -> tuple[Integers, Integers]:
        """Of all pairs of one of `classes` and a cell that it is in: the place in `classes`, and the cell."""
        many = self._many[classes]
        places = np.repeat(np.arange(len(classes)), many)
        within = np.arange(len(places)) - np.repeat(np.cumsum(many) - many, many)
        return places, self._owners[self._starts[classes[places]] + within]

    def common(self, weights: Floats) -> Floats:
        """For each two cells what the classes weigh that are in both."""
        found = np.zeros(self.width * self.width)
        for classes, cells in self._slices():
            both = (cells[:, :, None] * self.width + cells[:, None, :]).ravel()
            each = np.repeat(weights[classes], cells.shape[1] ** 2)
            found += np.bincount(both, weights=each, minlength=len(found))
        return found.reshape(self.width, self.width)

    def totals(self, amounts: Floats) -> Floats:
        """For each cell the sum of its classes' `amounts`, which are a column of numbers or several."""
        classes = np.repeat(np.arange(self.count), self._many)
        if amounts.ndim == 1:
            return np.bincount(self._owners, weights=amounts[classes], minlength=self.width).astype(np.float64)
        return np.stack([self.totals(column) for column in amounts.T], axis=1)

    def squares(self, matrix: Floats) -> Floats:
        """For each class the sum of `matrix` over all pairs of its cells."""
        found = np.zeros(self.count)
        for classes, cells in self._slices():
            found[classes] = matrix[cells[:, :, None], cells[:, None, :]].sum(axis=(1, 2))
        return found

    def sums(self, amounts: Floats) -> Floats:
        """For each class the sum of its cells' `amounts`, which are a column of numbers or several."""
        found = np.zeros((self.count, *amounts.shape[1:]))
        if amounts.ndim == 1 and len(self._owners):
            there = self._many > 0
            found[there] = np.add.reduceat(amounts[self._owners], self._starts[there])
            return found
        for group in self._groups:
            for cells in group.cells.T:
                found[group.classes] += amounts[cells]
        return found

    def _slices(self) -> Iterator[tuple[Integers, Integers]]:
        for group in self._groups:
            step = max(1, CHUNK // group.cells.shape[1] ** 2)
            for start in range(0, len(group.classes), step):
                yield group.classes[start : start + step], group.cells[start : start + step]


class Constraints:
    """Cells without what follows from others. Raises TooHard where there are too many.

    `unknown` are the classes that cells do not tell one after the other; `incidence` is over those alone.
    """

    def __init__(self, cells: Sequence[Integers], count: int) -> None:
        self.unknown = undetermined(cells, count)
        left = {number: some for number, classes in enumerate(cells) if len(some := classes[self.unknown[classes]])}
        if len(left) > CELLS_MAX:
            raise TooHard
        rest = list(left.values())
        every = Incidence.of(rest, count)
        self._common = every.common(np.ones(count))
        stay = self._new(every)
        self.incidence = every if len(stay) == len(rest) else Incidence.of([rest[i] for i in stay.tolist()], count)
        self.numbers = np.array(list(left), dtype=np.int64)[stay]
        """Which of the cells these are."""
        self._common = self._common[np.ix_(stay, stay)]

    def _new(self, every: Incidence) -> Integers:
        """The numbers of the cells that others do not tell: each that is left out is found to be a combination of those
        that stay, for drawn amounts have the same sum in both."""
        scaled = _scaled(self._common)[1]
        pivots = np.square(np.diag(_root(scaled + JITTER * np.eye(len(scaled)))))
        stay, go = np.flatnonzero(pivots > LEFT), np.flatnonzero(pivots <= LEFT)
        if not len(go):
            return stay
        weights = Factored(self._common[np.ix_(stay, stay)]).solved(self._common[np.ix_(stay, go)])
        drawn = every.totals(np.random.default_rng().normal(size=(every.count, DRAWN)))
        told = (np.abs(drawn[go] - weights.T @ drawn[stay]) < EXACT).all(axis=1)
        return np.sort(np.concatenate((stay, go[~told])))

    def deviation(self) -> Floats:
        """A random deviation of all classes that keeps the sum of every cell. Raises TooHard."""
        drawn = np.where(self.unknown, np.random.default_rng().normal(size=len(self.unknown)), 0.0)
        sums = Factored(self._common).solved(self.incidence.totals(drawn))
        found: Floats = drawn - self.incidence.sums(sums)
        return found


class Factored:
    """The inverse of what `Incidence.common` has found. Raises TooHard where doubles do not tell it."""

    def __init__(self, matrix: Floats) -> None:
        self._matrix = matrix
        scale, scaled = _scaled(matrix)
        root = np.linalg.inv(_root(scaled))
        if len(matrix) * float(np.square(root).sum()) * float(np.finfo(np.float64).eps) > LOST_MAX:
            raise TooHard
        self.inverse: Floats = (root.T @ root) * scale[:, None] * scale

    def solved(self, right: Floats) -> Floats:
        """x with matrix x = right, made more exact once."""
        found = self.inverse @ right
        again: Floats = found + self.inverse @ (right - self._matrix @ found)
        return again

    def missed(self, right: Floats, found: Floats) -> Floats:
        """How far, for each column, `found` is from an x with matrix x = right."""
        missed: Floats = np.abs(right - self._matrix @ found).max(axis=0, initial=0.0)
        return missed


def undetermined(cells: Sequence[Integers], count: int) -> NDArray[np.bool_]:
    """Which classes are left when each cell with one unknown class tells it, over and over. No cell is empty."""
    unknown = np.ones(count, dtype=np.bool_)
    if not cells:
        return unknown
    flat, starts = np.concatenate(cells), np.cumsum([0, *(len(cell) for cell in cells[:-1])])
    sizes = np.array([len(cell) for cell in cells])
    while True:
        left = np.add.reduceat(unknown[flat].astype(np.int64), starts)
        alone = np.repeat(left == 1, sizes) & unknown[flat]
        if not alone.any():
            return unknown
        unknown[flat[alone]] = False


def _scaled(matrix: Floats) -> tuple[Floats, Floats]:
    """Factors of rows and columns, and the matrix with ones in its diagonal that they make."""
    scale = 1 / np.sqrt(np.diag(matrix))
    return scale, matrix * scale[:, None] * scale


def _root(matrix: Floats) -> Floats:
    try:
        return np.linalg.cholesky(matrix).astype(np.float64)
    except np.linalg.LinAlgError:
        raise TooHard from None
