"""Small summaries of sets of units, by which most earlier cells are seen at once to be far from a new one.

Every number here is a bound that holds for certain, so what is passed over is passed over for certain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import TAG_MAX, Integers
from sandbox.disclosure.sorting import found

BUCKETS = 256
SAMPLE = 4096
OUTSIDE, SEVERAL = -1, -2


def buckets_of(units: Integers) -> NDArray[np.int32]:
    """How many units fall into each bucket, by the last bits of their tags."""
    return np.bincount(units & (BUCKETS - 1), minlength=BUCKETS).astype(np.int32)


def overlaps(one: NDArray[np.int32], many: NDArray[np.int32]) -> Integers:
    """The most units that a set can have in common with each of many."""
    found: Integers = np.minimum(many, one).sum(axis=1, dtype=np.int64)
    return found


def least_apart(size: int, sizes: Integers, overlap: Integers) -> Integers:
    """The fewest units in which a set of `size` differs from each of those that `overlap` it by so many at most."""
    return size + sizes - 2 * overlap


def within_unions(size: int | Integers, sizes: Integers, overlap: Integers) -> Integers:
    """The most units that a cell can add to the union that is nearest to a set: it is in it only where more than half
    of its units are common, so never where the set has half as many units or fewer."""
    possible = (2 * overlap > sizes) & (sizes < 2 * size)
    return np.where(possible, overlap, 0)


class Sample:
    """Some of all units, always the same: all where they are few. Each has a column."""

    def __init__(self, units_about: int) -> None:
        self._limit = TAG_MAX if units_about <= SAMPLE else TAG_MAX // units_about * SAMPLE
        self._columns = np.empty(0, dtype=np.int64)
        self._order = np.empty(0, dtype=np.int64)
        self._sorted = np.empty(0, dtype=np.int64)

    @property
    def width(self) -> int:
        return 2 * SAMPLE

    def columns(self, units: Integers) -> Integers:
        """Of those of `units`, which ascend, that are in the sample; new ones get one while there is room."""
        taken = units[: np.searchsorted(units, self._limit)]
        known, at = found(self._sorted, taken)
        fresh = taken[~known][: self.width - len(self._columns)]
        if len(fresh):
            self._columns = np.concatenate((self._columns, fresh))
            self._order = np.argsort(self._columns)
            self._sorted = self._columns[self._order]
            known, at = found(self._sorted, taken)
        return self._order[at[known]]


class Labels:
    """Who of the sample is in which of a part's cells, and how many each cell has, those in several left out."""

    def __init__(self, width: int) -> None:
        self.of = np.full(width, OUTSIDE, dtype=np.int32)
        self.sizes = np.empty(0, dtype=np.int64)

    def add(self, columns: Integers) -> None:
        """The next cell, by its columns of the sample."""
        held = self.of[columns]
        fresh, count = held == OUTSIDE, len(self.sizes)
        lost = np.bincount(held[held >= 0], minlength=count)
        self.of[columns] = np.where(fresh, count, SEVERAL)
        self.sizes = np.append(self.sizes - lost, int(fresh.sum()))


def labels_of(cells: Sequence[Integers], width: int) -> Labels:
    """`cells` are the columns of each."""
    found = Labels(width)
    for columns in cells:
        found.add(columns)
    return found


def least_of_many(cells: Sequence[Integers], part: Labels) -> Integers:
    """The same for many cells and one part; `cells` are the columns of each."""
    if not cells:
        return np.empty(0, dtype=np.int64)
    count, most = len(cells), len(part.sizes)
    owners = np.repeat(np.arange(count, dtype=np.int64), [len(columns) for columns in cells])
    labels = part.of[np.concatenate(cells)]
    outside = np.bincount(owners[labels == OUTSIDE], minlength=count)
    held = labels >= 0
    common = np.bincount(owners[held] * most + labels[held], minlength=count * most).reshape(count, most)
    found: Integers = outside + np.minimum(common, part.sizes - common).sum(axis=1)
    return found


def least_from_union(columns: Integers, parts: Sequence[Labels]) -> Integers:
    """For each part a lower bound on the units in which a cell differs from any union of the part's cells: `columns`
    are those of the cell. Units that lie in several cells are left out, which can only lower it."""
    if not parts:
        return np.empty(0, dtype=np.int64)
    most, count = max(len(part.sizes) for part in parts), len(parts)
    labels = np.stack([part.of[columns] for part in parts])
    offset = (np.arange(count, dtype=np.int64) * most)[:, None] + labels
    common = np.bincount(offset[labels >= 0], minlength=count * most).reshape(count, most)
    sizes = np.zeros((count, most), dtype=np.int64)
    for number, part in enumerate(parts):
        sizes[number, : len(part.sizes)] = part.sizes
    found: Integers = (labels == OUTSIDE).sum(axis=1) + np.minimum(common, sizes - common).sum(axis=1)
    return found
