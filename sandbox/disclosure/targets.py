"""What must stay unknown, and by how much.

Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.solver import INFINITE, Floats

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
class Needs:
    """What targets need, parallel."""

    up: Floats
    down: Floats
    slides: NDArray[np.bool_]

    @staticmethod
    def of(targets: Sequence[Target], *, nonnegative: bool) -> Needs:
        floor = np.array([target.total for target in targets]) if nonnegative else np.full(len(targets), INFINITE)
        return Needs(
            np.array([target.up for target in targets]),
            np.minimum([target.up if target.slides else target.down for target in targets], floor),
            np.array([target.slides for target in targets], dtype=np.bool_),
        )

    def some(self, targets: Integers) -> Needs:
        return Needs(self.up[targets], self.down[targets], self.slides[targets])

    def met(self, up: Floats, down: Floats) -> NDArray[np.bool_]:
        """By moves that go so far at least."""
        wide = np.minimum(down, self.down) + up >= self.up * ENOUGH
        return np.where(self.slides, wide, (up >= self.up * ENOUGH) & (down >= self.down * ENOUGH))
