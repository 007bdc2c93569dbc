"""A dataset's past in memory: what was said, so laid out that a new table is held against all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.compared import Compared
from sandbox.disclosure.guard import Said
from sandbox.disclosure.history import Rows, SaidCell, Space, array_of
from sandbox.disclosure.sketches import Sample

Part = tuple[str, int, Space]
"""(release, number of the part, space): cells of one part have no row in common."""


class Past:
    """Cells that were said, each once, and those that were withheld. Not for two threads at once."""

    def __init__(self, units_about: int, grounds: dict[Space, Rows], cells: Iterable[SaidCell]) -> None:
        self.sample = Sample(units_about)
        self.grounds = grounds
        self.all: list[SaidCell] = []
        self._spaces: dict[Space, list[SaidCell]] = {}
        self.said: list[SaidCell] = []
        self.compared: Compared[Part] = Compared(self.sample.width, lambda n, size: self._whole(self.said[n], size))
        """Those of `said`."""
        self._known: set[tuple[Space, bytes]] = set()
        self._signatures: dict[Space, NDArray[np.uint64]] = {}
        self._dice = np.random.default_rng()
        for cell in cells:
            self.add(cell)

    def add(self, cell: SaidCell, one: Said | None = None) -> None:
        """`one` is the cell as it is compared, where that is known."""
        self.all.append(cell)
        self._spaces.setdefault(cell.space, []).append(cell)
        self.signatures(cell.space)[array_of(cell.places)] ^= self.signature()
        key = (cell.space, cell.places.serialize())
        if cell.said and key not in self._known:
            self._known.add(key)
            self.said.append(cell)
            self.compared.add(one or self._whole(cell), (cell.release, cell.part, cell.space))

    def _whole(self, cell: SaidCell, size: int | None = None) -> Said:
        return Said(cell.space, self.grounds[cell.space], cell.places, self.sample, size=size)

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
