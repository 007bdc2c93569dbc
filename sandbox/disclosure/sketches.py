"""Small summaries of sets of units, by which most earlier cells are seen at once to be far from a new one.

Every number here is a lower bound on how many units differ, so what is passed over is passed over for certain.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import TAG_MAX, Integers

BUCKETS = 64
SAMPLE = 512
OUTSIDE, SEVERAL = -1, -2


def buckets_of(units: Integers) -> NDArray[np.int32]:
    """How many units fall into each bucket. The distance of two such counts is at most the number of units in one of
    two sets alone."""
    return np.bincount(units & (BUCKETS - 1), minlength=BUCKETS).astype(np.int32)


class Sample:
    """Some of all units, always the same: all where they are few. Rows of 1 and 0 say which of them a cell has."""

    def __init__(self, units_about: int) -> None:
        self._limit = TAG_MAX if units_about <= SAMPLE else TAG_MAX // units_about * SAMPLE
        self._columns = np.empty(0, dtype=np.int64)
        self._order = np.empty(0, dtype=np.int64)
        self._sorted = np.empty(0, dtype=np.int64)

    @property
    def width(self) -> int:
        return 2 * SAMPLE

    def places(self, units: Integers) -> Integers:
        """The columns of those of `units` that are in the sample; new ones get one while there is room."""
        taken = np.unique(units[units < self._limit])
        known = np.isin(taken, self._sorted, assume_unique=True)
        fresh = taken[~known][: self.width - len(self._columns)]
        if len(fresh):
            self._columns = np.concatenate((self._columns, fresh))
            self._order = np.argsort(self._columns)
            self._sorted = self._columns[self._order]
        there = taken[np.isin(taken, self._sorted, assume_unique=True)]
        return self._order[np.searchsorted(self._sorted, there)]

    def row(self, units: Integers) -> NDArray[np.bool_]:
        found = np.zeros(self.width, dtype=np.bool_)
        found[self.places(units)] = True
        return found


def labels_of(rows: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For each column of the sample which one of disjoint cells has it."""
    count = rows.sum(axis=0)
    labels = np.where(count == 1, rows.argmax(axis=0), OUTSIDE) if len(rows) else np.full(rows.shape[1], OUTSIDE)
    return np.where(count > 1, SEVERAL, labels).astype(np.int32)


def least_from_union(cell: NDArray[np.bool_], labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """For each row of `labels` (tables x sample) a lower bound on the units in which `cell` differs from any union of
    that table's `count` cells. Units that lie in several cells are left out, which can only lower it."""
    tables = len(labels)
    usable = labels != SEVERAL
    inside = usable & cell
    outside = (inside & (labels == OUTSIDE)).sum(axis=1)
    offset = (np.arange(tables, dtype=np.int64) * count)[:, None] + np.maximum(labels, 0)
    held = labels >= 0
    common = np.bincount(offset[held & inside], minlength=tables * count).reshape(tables, count)
    sizes = np.bincount(offset[held], minlength=tables * count).reshape(tables, count)
    found: NDArray[np.int64] = outside + np.minimum(common, sizes - common).sum(axis=1)
    return found


def least_from_any_union(cells: NDArray[np.bool_], labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """For each row of `cells` a lower bound on the units in which it differs from any union of one table's `count`
    cells, to which `labels` gives the sample."""
    held = np.zeros((len(labels), count), dtype=np.float32)
    places = np.flatnonzero(labels >= 0)
    held[places, labels[places]] = 1
    masks = cells.astype(np.float32)
    common = masks @ held
    outside = masks @ (labels == OUTSIDE).astype(np.float32)
    found: NDArray[np.float32] = outside + np.minimum(common, held.sum(axis=0) - common).sum(axis=1)
    return found.astype(np.int64)
