"""What must stay unknown, and by how much.

Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.solver import Floats

ENOUGH = 1 - 1e-3
"""The part of the wanted interval that is taken for all of it, for all is reckoned in doubles."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What must stay unknown: the sum of `atoms`, which is `total`.

    Everything that can be reckoned leaves an interval around the truth. It has to reach `up` above it and `down`
    below, or as far below as an amount can; where it `slides`, it has to be `up` wide altogether.
    """

    atoms: Integers
    total: float
    up: float
    down: float
    slides: bool


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """Many targets, parallel. `atoms` are those of all, one target after the other, and `sizes` how many each has."""

    atoms: Integers
    sizes: Integers
    totals: Floats
    up: Floats
    down: Floats
    slides: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sizes)

    @staticmethod
    def of(targets: Sequence[Target]) -> Targets:
        return Targets(
            np.concatenate([np.empty(0, dtype=np.int64), *(target.atoms for target in targets)]),
            np.array([len(target.atoms) for target in targets], dtype=np.int64),
            np.array([target.total for target in targets], dtype=np.float64),
            np.array([target.up for target in targets], dtype=np.float64),
            np.array([target.down for target in targets], dtype=np.float64),
            np.array([target.slides for target in targets], dtype=np.bool_),
        )

    def and_(self, others: Targets) -> Targets:
        return Targets(
            np.concatenate((self.atoms, others.atoms)),
            np.concatenate((self.sizes, others.sizes)),
            np.concatenate((self.totals, others.totals)),
            np.concatenate((self.up, others.up)),
            np.concatenate((self.down, others.down)),
            np.concatenate((self.slides, others.slides)),
        )

    @property
    def owners(self) -> Integers:
        """The number of the target of each of `atoms`."""
        return np.repeat(np.arange(len(self)), self.sizes)

    def each(self, numbers: Integers) -> list[Target]:
        ends = np.cumsum(self.sizes)
        return [
            Target(
                self.atoms[ends[i] - self.sizes[i] : ends[i]],
                float(self.totals[i]),
                float(self.up[i]),
                float(self.down[i]),
                bool(self.slides[i]),
            )
            for i in numbers.tolist()
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Needs:
    """What targets need, parallel."""

    up: Floats
    down: Floats
    slides: NDArray[np.bool_]

    @staticmethod
    def of(targets: Targets, *, nonnegative: bool) -> Needs:
        down = np.where(targets.slides, targets.up, targets.down)
        return Needs(targets.up, np.minimum(down, targets.totals) if nonnegative else down, targets.slides)

    def some(self, targets: Integers) -> Needs:
        return Needs(self.up[targets], self.down[targets], self.slides[targets])

    def met(self, up: Floats, down: Floats) -> NDArray[np.bool_]:
        """By moves that go so far at least."""
        wide = np.minimum(down, self.down) + up >= self.up * ENOUGH
        return np.where(self.slides, wide, (up >= self.up * ENOUGH) & (down >= self.down * ENOUGH))
