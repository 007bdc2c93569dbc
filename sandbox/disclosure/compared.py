"""Cells so laid out that another one is held against all of them at once, by sketches first.

Source: docs/explanation/guarantees/differencing.md
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.guard import Beside, Said, differing
from sandbox.disclosure.sketches import (
    BUCKETS,
    Labels,
    labels_of,
    least_apart,
    least_from_union,
    least_of_many,
    overlaps,
    within_unions,
)
from sandbox.recent import Recent

K = TypeVar("K", bound=Hashable)
COMPARED_MAX: Final = 2_000
"""Cells and parts that one cell is compared with unit by unit; where there are more it counts as near."""
LARGE: Final = 20_000
READY_MAX, LARGE_READY_MAX, PARTS_READY_MAX = 512, 16, 8
"""Cells that are kept ready to be compared unit by unit; of those with many units, and of whole parts, only a few."""


class _Grown:
    """Rows of numbers that are added one by one."""

    def __init__(self, width: int) -> None:
        self._rows = np.zeros((64, width), dtype=np.int32)
        self._count = 0

    def add(self, row: NDArray[np.int32] | int) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[self._count] = row
        self._count += 1

    @property
    def rows(self) -> NDArray[np.int32]:
        return self._rows[: self._count]


class Compared(Generic[K]):
    """`whole` gives a cell again by its number and size; cells of one part have no row in common."""

    def __init__(self, width: int, whole: Callable[[int, int], Said]) -> None:
        self.width = width
        self._whole: Recent[int, Said] = Recent(READY_MAX)
        self._large: Recent[int, Said] = Recent(LARGE_READY_MAX)
        self._beside: Recent[tuple[int, int], Beside] = Recent(PARTS_READY_MAX)
        self._again = whole
        self._sizes, self._part_of, self._buckets = _Grown(1), _Grown(1), _Grown(BUCKETS)
        self._samples: list[Integers] = []
        self._places: dict[K, int] = {}
        self._keys: list[K] = []
        self._parts: list[list[int]] = []
        self._labels: dict[int, Labels] = {}

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, one: Said, part: K) -> int:
        """The number of the cell."""
        number, place = len(self._samples), self._places.setdefault(part, len(self._parts))
        if place == len(self._parts):
            self._keys.append(part)
            self._parts.append([])
        if place in self._labels:
            self._labels[place].add(one.sample)
        self._parts[place].append(number)
        self._sizes.add(one.size)
        self._part_of.add(place)
        self._buckets.add(one.buckets)
        self._samples.append(one.sample)
        self._ready(one.size).get(number, lambda: one)
        return number

    def near(self, one: Said, least: int) -> bool:
        """Whether some, but fewer than `least` units tell `one` from a cell."""
        numbers = np.flatnonzero(np.abs(self.sizes - one.size) < least)
        common = overlaps(one.buckets, self._buckets.rows[numbers])
        cells = numbers[least_apart(one.size, self.sizes[numbers], common) < least].tolist()
        if len(cells) > COMPARED_MAX:
            return True
        return any(0 < differing(one, self._cell(number), least) < least for number in cells)

    def union_near(self, one: Said, least: int) -> bool:
        """Whether some, but fewer than `least` units tell `one` from a union of cells of a part."""
        covered = self._by_part(within_unions(one.size, self.sizes, overlaps(one.buckets, self._buckets.rows)))
        near = np.flatnonzero(one.size - covered < least).tolist()
        parts = [place for place in near if len(self._parts[place]) > 1]
        bounds = least_from_union(one.sample, [self._labels_of(place) for place in parts]).tolist()
        unions = [place for place, bound in zip(parts, bounds, strict=True) if bound < least]
        if len(unions) > COMPARED_MAX:
            return True
        return any(0 < self._part(place).nearest(one, least) < least for place in unions)

    def may_be_near(self, cells: Beside, least: int, looked_at: Callable[[K], bool] = lambda _: True) -> list[Said]:
        """The cells, of parts that are `looked_at`, that fewer than `least` units may tell from a union of `cells`."""
        labels = labels_of([cell.sample for cell in cells.cells], self.width)
        numbers = np.flatnonzero(least_of_many(self._samples, labels) < least)
        sizes, covered = self.sizes[numbers], np.zeros(len(numbers), dtype=np.int64)
        for cell in cells.cells:
            size = np.full(len(numbers), cell.size)
            covered += within_unions(sizes, size, overlaps(cell.buckets, self._buckets.rows[numbers]))
        near = numbers[sizes - covered < least]
        parts = self._part_of.rows[near, 0].tolist()
        return [self._cell(n) for n, part in zip(near.tolist(), parts, strict=True) if looked_at(self._keys[part])]

    @property
    def sizes(self) -> Integers:
        """The number of units of each cell."""
        return self._sizes.rows[:, 0].astype(np.int64)

    def _by_part(self, amounts: Integers) -> Integers:
        """The sums, over the cells of each part, of what each cell has."""
        found = np.bincount(self._part_of.rows[:, 0], weights=amounts, minlength=len(self._parts))
        return found.astype(np.int64)

    def _cell(self, number: int) -> Said:
        size = int(self._sizes.rows[number, 0])
        return self._ready(size).get(number, lambda: self._again(number, size))

    def _ready(self, size: int) -> Recent[int, Said]:
        return self._large if size > LARGE else self._whole

    def _part(self, place: int) -> Beside:
        numbers = self._parts[place]
        return self._beside.get((place, len(numbers)), lambda: Beside([self._cell(number) for number in numbers]))

    def _labels_of(self, place: int) -> Labels:
        """Who of the sample is in which of a part's cells: made when it is first asked for."""
        if place not in self._labels:
            self._labels[place] = labels_of([self._samples[number] for number in self._parts[place]], self.width)
        return self._labels[place]
