"""Moves that are stopped: where the smallest move of a target would take amounts below 0, these stay at 0.

It is found by stopping, again and again, the amounts that fall too far: the smallest move with these at 0 is put
together from the target's smallest move and theirs. What is found is looked at as it is, number by number.
Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

import numpy as np

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.constraints import Factored, Incidence
from sandbox.disclosure.solver import Floats
from sandbox.recent import Recent

ROUNDS_MAX, AT_ONCE, STOPPED_MAX = 12, 8, 64
KEPT_MAX = 128
"""Smallest moves of single classes that are kept: the same amounts stop many targets."""
BELOW = 1e-9
"""The part of an amount that it may be below 0."""
MISSED_MAX = 1e-7
"""How far a cell may be from what was said, and the target from where it goes, in parts of how far that is."""


class StoppedMoves:
    """`weights` are the amounts of the classes."""

    def __init__(self, incidence: Incidence, factored: Factored, weights: Floats) -> None:
        self._incidence = incidence
        self._factored = factored
        self._weights = weights
        self._alone: Recent[int, Floats] = Recent(KEPT_MAX)

    def go(self, classes: Integers, change: float) -> bool:
        """Whether the sum of `classes` is found to change by `change` while no number that is said does, and no amount
        falls below 0. That it is not found proves nothing."""
        columns, stopped = [self._smallest(classes)], np.empty(0, dtype=np.int64)
        for _ in range(ROUNDS_MAX):
            parts = self._together(np.stack(columns, axis=1), classes, change, stopped)
            if parts is None:
                return False
            low = np.flatnonzero(parts < -1 - BELOW)
            if not len(low):
                return self._right(parts, classes, change)
            low = low[np.argsort(parts[low], kind="stable")][:AT_ONCE]
            if len(stopped) + len(low) > STOPPED_MAX or np.isin(low, stopped).any():
                return False
            stopped = np.concatenate((stopped, low))
            columns += [self._kept(number) for number in low.tolist()]
        return False

    def _kept(self, number: int) -> Floats:
        return self._alone.get(number, lambda: self._smallest(np.array([number])))

    def _smallest(self, classes: Integers) -> Floats:
        """The smallest move of a sum of classes: by which part of itself each amount changes."""
        places, cells = self._incidence.pairs(classes)
        within = np.bincount(cells, weights=self._weights[classes[places]], minlength=self._incidence.width)
        found = -self._incidence.sums(self._factored.solved(within.astype(np.float64)))
        found[classes] += 1.0
        return found

    def _together(self, columns: Floats, classes: Integers, change: float, stopped: Integers) -> Floats | None:
        """The move of `columns` that changes the target by `change` and takes `stopped` to 0."""
        target = self._weights[classes] @ columns[classes]
        wanted = np.concatenate(([change], np.full(len(stopped), -1.0)))
        try:
            factors = np.linalg.solve(np.vstack((target, columns[stopped])), wanted)
        except np.linalg.LinAlgError:
            return None
        found: Floats = columns @ factors
        return found

    def _right(self, parts: Floats, classes: Integers, change: float) -> bool:
        """Whether a move is what it should be, by plain addition."""
        moved = parts * self._weights
        missed = self._incidence.totals(moved)
        most = MISSED_MAX * abs(change)
        return bool(np.abs(missed).max(initial=0.0) <= most and abs(moved[classes].sum() - change) <= most)
