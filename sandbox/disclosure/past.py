"""A dataset's past in memory: what was said, so laid out that a new table is held against all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers, shares_of
from sandbox.disclosure.guard import Said, said
from sandbox.disclosure.history import Rows, SaidCell, Space, array_of
from sandbox.disclosure.sketches import BUCKETS, Labels, Sample, labels_of
from sandbox.recent import Recent

READY_MAX = 512
"""Earlier cells that are kept ready to be compared unit by unit."""
Part = tuple[str, int, Space]
"""(release, number of the part, space): cells of one part have no row in common."""


class _Grid:
    """Rows of counts that are added one by one."""

    def __init__(self) -> None:
        self._rows = np.zeros((64, BUCKETS), dtype=np.int32)
        self._count = 0

    def add(self, row: NDArray[np.int32]) -> None:
        if self._count == len(self._rows):
            self._rows = np.concatenate((self._rows, np.zeros_like(self._rows)))
        self._rows[self._count] = row
        self._count += 1

    @property
    def rows(self) -> NDArray[np.int32]:
        return self._rows[: self._count]


class Past:
    """Cells that were said, each once, and those that were withheld. Not for two threads at once."""

    def __init__(self, units_about: int, grounds: dict[Space, Rows], cells: Iterable[SaidCell]) -> None:
        self.sample = Sample(units_about)
        self.grounds = grounds
        self.all: list[SaidCell] = []
        self._spaces: dict[Space, list[SaidCell]] = {}
        self.said: list[SaidCell] = []
        self.parts: list[list[int]] = []
        """For each part the numbers of its cells that were said."""
        self._part_of: list[int] = []
        self._parts: dict[Part, int] = {}
        self._sizes: list[int] = []
        self._buckets = _Grid()
        self.samples: list[Integers] = []
        """The columns of the sample of each cell that was said."""
        self._known: set[tuple[Space, bytes]] = set()
        self._compared: Recent[int, Said] = Recent(READY_MAX)
        self._labels: dict[int, Labels] = {}
        self._signatures: dict[Space, NDArray[np.uint64]] = {}
        self._dice = np.random.default_rng()
        for cell in cells:
            self.add(cell)

    def add(self, cell: SaidCell) -> None:
        self.all.append(cell)
        self._spaces.setdefault(cell.space, []).append(cell)
        self.signatures(cell.space)[array_of(cell.places)] ^= self.signature()
        key = (cell.space, cell.places.serialize())
        if not cell.said or key in self._known:
            return
        self._known.add(key)
        one = self._whole(cell)
        part = self._parts.setdefault((cell.release, cell.part, cell.space), len(self.parts))
        if part == len(self.parts):
            self.parts.append([])
        self.parts[part].append(len(self.said))
        self._labels.pop(part, None)
        self._part_of.append(part)
        self.said.append(cell)
        self._sizes.append(len(one.shares))
        self._buckets.add(one.buckets)
        self.samples.append(one.sample)

    @property
    def buckets(self) -> NDArray[np.int32]:
        return self._buckets.rows

    @property
    def sizes(self) -> Integers:
        """The number of units of each cell that was said."""
        return np.array(self._sizes, dtype=np.int64)

    def by_part(self, amounts: Integers) -> Integers:
        """The sums, over the cells of each part, of what each cell that was said has."""
        return np.bincount(self._part_of, weights=amounts, minlength=len(self.parts)).astype(np.int64)

    def compared(self, number: int) -> Said:
        """A cell that was said, with all its units."""
        return self._compared.get(number, lambda: self._whole(self.said[number]))

    def _whole(self, cell: SaidCell) -> Said:
        rows = self.grounds[cell.space].at(array_of(cell.places))
        return said(cell.space, shares_of(rows), rows, self.sample)

    def labels(self, part: int) -> Labels:
        """Who of the sample is in which of the part's cells."""
        if part not in self._labels:
            self._labels[part] = labels_of([self.samples[n] for n in self.parts[part]], self.sample.width)
        return self._labels[part]

    def of_space(self, space: Space) -> Sequence[SaidCell]:
        """All cells of one snapshot and quantity, said or withheld."""
        return self._spaces.get(space, ())

    def signature(self) -> np.uint64:
        """Of one cell. The exclusive or of those of its cells tells in which cells a row is."""
        return self._dice.integers(1, 2**63, dtype=np.uint64)

    def signatures(self, space: Space) -> NDArray[np.uint64]:
        """Of all rows of the ground, in their order."""
        known = self._signatures.get(space, np.zeros(0, dtype=np.uint64))
        missing = len(self.grounds[space].items) - len(known)
        if missing:
            self._signatures[space] = np.concatenate((known, np.zeros(missing, dtype=np.uint64)))
        return self._signatures.get(space, known)
