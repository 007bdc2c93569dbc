"""A dataset's past in memory: what was said, so laid out that a new table is held against all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import shares_of
from sandbox.disclosure.guard import Said, said
from sandbox.disclosure.history import Rows, SaidCell, Space, array_of
from sandbox.disclosure.sketches import BUCKETS, Sample, buckets_of, labels_of
from sandbox.recent import Recent

READY_MAX = 512
"""Earlier cells that are kept ready to be compared unit by unit."""
Part = tuple[str, int, Space]
"""(release, number of the part, space): cells of one part have no row in common."""


@dataclass(eq=False)
class _Grid:
    """Rows of one width that are added one by one."""

    width: int
    dtype: type
    rows: NDArray[np.generic] = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.rows = np.zeros((64, self.width), dtype=self.dtype)

    def add(self, row: NDArray[np.generic]) -> None:
        if self.count == len(self.rows):
            self.rows = np.concatenate((self.rows, np.zeros_like(self.rows)))
        self.rows[self.count] = row
        self.count += 1


class Past:
    """Cells that were said, each once, and those that were withheld. Not for two threads at once."""

    def __init__(self, units_about: int, grounds: dict[Space, Rows], cells: Iterable[SaidCell]) -> None:
        self.sample = Sample(units_about)
        self.grounds = grounds
        self.all: list[SaidCell] = []
        self._spaces: dict[Space, list[SaidCell]] = {}
        self.said: list[SaidCell] = []
        self.parts: dict[Part, list[int]] = {}
        """For each part the numbers of its cells that were said."""
        self._buckets = _Grid(BUCKETS, np.int32)
        self._samples = _Grid(self.sample.width, np.bool_)
        self._known: set[tuple[Space, bytes]] = set()
        self._compared: Recent[int, Said] = Recent(READY_MAX)
        self._labels: dict[Part, NDArray[np.int32]] = {}
        self._together: tuple[list[Part], NDArray[np.int32], int] | None = None
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
        shares = shares_of(self.grounds[cell.space].at(array_of(cell.places)))
        units = shares.units[shares.values != 0]
        part = (cell.release, cell.part, cell.space)
        self.parts.setdefault(part, []).append(len(self.said))
        self._labels.pop(part, None)
        self._together = None
        self.said.append(cell)
        self._buckets.add(buckets_of(units))
        self._samples.add(self.sample.row(units))

    @property
    def buckets(self) -> NDArray[np.int32]:
        return self._buckets.rows[: self._buckets.count].astype(np.int32, copy=False)

    @property
    def samples(self) -> NDArray[np.bool_]:
        return self._samples.rows[: self._samples.count].astype(np.bool_, copy=False)

    def compared(self, number: int) -> Said:
        """A cell that was said, with all its units."""
        return self._compared.get(number, lambda: self._whole(number))

    def _whole(self, number: int) -> Said:
        cell = self.said[number]
        rows = self.grounds[cell.space].at(array_of(cell.places))
        return said(cell.space, shares_of(rows), rows, self.samples[number])

    def labels(self) -> tuple[list[Part], NDArray[np.int32], int]:
        """The parts that have several cells, who of the sample is in which cell of each, and the most cells of one."""
        if self._together is None:
            self._together = self._laid_out()
        return self._together

    def _laid_out(self) -> tuple[list[Part], NDArray[np.int32], int]:
        parts = [part for part, numbers in self.parts.items() if len(numbers) > 1]
        for part in parts:
            if part not in self._labels:
                self._labels[part] = labels_of(self.samples[self.parts[part]])
        most = max((len(self.parts[part]) for part in parts), default=1)
        rows = [self._labels[part] for part in parts]
        return parts, np.array(rows, dtype=np.int32).reshape(len(rows), self.sample.width), most

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
