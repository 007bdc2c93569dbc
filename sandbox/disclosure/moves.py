"""Moves that prove for many targets at once how far from the truth they may be, without a linear program.

A *move* is a deviation of all amounts that keeps every number that is said. For each target there is a smallest one,
where changes are measured by the amounts that they change. One factorisation of what cells have in common tells it for
all targets. As far as it leaves no amount below 0 it is a world that an attacker cannot rule out, and so it proves how
far the target goes; where that is not far enough nothing is proved.
Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.constraints import Classes, Factored
from sandbox.disclosure.solver import INFINITE, Floats, TooHard
from sandbox.disclosure.sorting import numbered
from sandbox.disclosure.stopped import StoppedMoves
from sandbox.disclosure.targets import ENOUGH, Needs, Target, Targets

CHUNK = 4_000_000
"""Amounts that are moved at a time."""
FREE, FREE_MOVED = 1e-2, 1e-4
"""The least part of a target that nothing told may be, by what is known of all classes and by its own move: below,
doubles do not tell how far it goes."""
STOPPED_MAX = 200
"""Targets whose smallest move is too small, and for which amounts are stopped."""
MISSED_MAX = 1e-7
"""How far a cell may be from what was said, in parts of how far its target goes."""


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """What targets hold of classes: parallel the number of the target, the class, and the weight."""

    owners: Integers
    classes: Integers
    weights: Floats

    def some(self, targets: Integers, count: int) -> _Held:
        """Of some of `count` targets, which are counted anew."""
        number = np.full(count, -1, dtype=np.int64)
        number[targets] = np.arange(len(targets))
        within = number[self.owners] >= 0
        return _Held(number[self.owners[within]], self.classes[within], self.weights[within])


class Moves:
    """Over all amounts of one system. Raises TooHard where there is no saying.

    `totals` are those of the atoms, which are in `classes` by all that is said.
    """

    def __init__(self, totals: Floats, classes: Classes, *, nonnegative: bool) -> None:
        if nonnegative and len(totals) and totals.min() <= 0:
            raise TooHard
        self._nonnegative = nonnegative
        self._atoms = totals if nonnegative else np.ones(len(totals))
        self._class_of = classes.of
        weights = np.bincount(self._class_of, weights=self._atoms, minlength=classes.count)
        self._weights: Floats = weights.astype(np.float64)
        self._unknown, self._incidence = classes.constraints.unknown, classes.constraints.incidence
        self._cells, self._numbers = len(classes.held), classes.constraints.numbers
        self._factored = Factored(self._incidence.common(self._weights))
        self._stopped = StoppedMoves(self._incidence, self._factored, self._weights)
        self._tied = self._incidence.squares(self._factored.inverse)
        """Times the weight of a class, the part of it that is told."""
        free = 1 - self._tied * self._weights
        narrow = self._unknown & (free < FREE)
        self._wide_most = float(self._tied[self._unknown & ~narrow].max(initial=0.0))
        self._narrow_most = float((FREE / self._weights[narrow]).max(initial=0.0))

    def keep(self, targets: Targets) -> NDArray[np.bool_]:
        """Which targets are shown to keep their intervals.

        Guarantee: for those there are amounts, none below 0 where none may be, with which every number that is said is
        what it is, and the target is as far from the truth as promised, above and below.
        Source: docs/explanation/guarantees/linear-audit.md
        """
        needs, held = Needs.of(targets, nonnegative=self._nonnegative), self._held(targets)
        up, down = self._bounds(held, len(targets))
        left, step = np.flatnonzero(~needs.met(up, down)), max(1, CHUNK // max(1, len(self._weights)))
        for start in range(0, len(left), step):
            some = left[start : start + step]
            up[some], down[some] = self._moved(held.some(some, len(targets)), len(some))
        if self._nonnegative:
            for number in np.flatnonzero(~needs.met(up, down))[:STOPPED_MAX].tolist():
                self._stop(number, held, needs, up, down)
        return needs.met(up, down)

    def pulls(self, target: Target) -> Floats:
        """For each cell of the classes how much more of the target would move without it; 0 for those that say nothing
        new."""
        held = self._held(Targets.of([target]))
        places, cells = self._incidence.pairs(held.classes)
        within = np.bincount(cells, weights=held.weights[places], minlength=self._incidence.width)
        factors = self._factored.solved(within.astype(np.float64))
        found = np.zeros(self._cells)
        found[self._numbers] = np.square(factors) / np.diag(self._factored.inverse)
        return found

    def _stop(self, number: int, held: _Held, needs: Needs, up: Floats, down: Floats) -> None:
        """Lets the target go on where amounts are stopped that fall too far."""
        own = held.owners == number
        classes = held.classes[own]
        if not len(classes):
            return
        moves = self._stopped_for(classes, held.weights[own])
        wanted = float(needs.down[number]) * ENOUGH
        if down[number] < wanted and moves.go(classes, -wanted):
            down[number] = wanted
        wanted = float(needs.up[number]) * ENOUGH - (min(down[number], wanted) if needs.slides[number] else 0.0)
        if up[number] < wanted and moves.go(classes, wanted):
            up[number] = wanted

    def _stopped_for(self, classes: Integers, weights: Floats) -> StoppedMoves:
        """Where a target holds a part of a class, this part is a class of its own, and the rest another."""
        rest = self._weights[classes] - weights
        if not rest.any():
            return self._stopped
        split = np.concatenate((self._weights, rest[rest > 0]))
        split[classes] = weights
        return StoppedMoves(self._incidence.with_again(classes[rest > 0]), self._factored, split)

    def _held(self, targets: Targets) -> _Held:
        """What the targets hold of classes that are unknown."""
        both = targets.owners * len(self._weights) + self._class_of[targets.atoms]
        first, place = numbered(both)
        weights = np.bincount(place, weights=self._atoms[targets.atoms], minlength=len(first)).astype(np.float64)
        owners, classes = np.divmod(both[first], len(self._weights))
        within = self._unknown[classes]
        return _Held(owners[within], classes[within], weights[within])

    def _bounds(self, held: _Held, count: int) -> tuple[Floats, Floats]:
        """How far up and down each of `count` targets goes at least that lies within one class. Its move is not
        reckoned: no amount changes by more than how much its class and the target's can be tied together."""
        alone = np.bincount(held.owners, minlength=count)[held.owners] == 1
        owners, classes, weights = held.owners[alone], held.classes[alone], held.weights[alone]
        told = weights * self._tied[classes]
        free = weights * (1 - told)
        most = np.sqrt(np.maximum(self._wide_most * weights * told, self._narrow_most * np.maximum(free, 0.0)))
        beside = np.where(weights < self._weights[classes], told, 0.0)
        up, down = np.zeros(count), np.zeros(count)
        up[owners] = self._reach(free, FREE * weights, np.maximum(most, beside))
        down[owners] = self._reach(free, FREE * weights, np.maximum(most, 1 - told))
        return up, down

    def _moved(self, held: _Held, count: int) -> tuple[Floats, Floats]:
        """How far up and down each of `count` targets goes by its smallest move."""
        within = np.zeros((self._incidence.width, count))
        places, cells = self._incidence.pairs(held.classes)
        np.add.at(within, (cells, held.owners[places]), held.weights[places])
        factors = self._factored.solved(within)
        weights: Floats = np.bincount(held.owners, weights=held.weights, minlength=count).astype(np.float64)
        free = weights - (within * factors).sum(axis=0)
        free[self._factored.missed(within, factors) > MISSED_MAX * free] = 0.0
        falls = self._incidence.sums(factors)
        rises = -falls
        whole = held.weights >= self._weights[held.classes]
        falls[held.classes[whole], held.owners[whole]] -= 1.0
        rises[held.classes, held.owners] += 1.0
        up, down = falls.max(axis=0, initial=0.0), rises.max(axis=0, initial=0.0)
        return self._reach(free, FREE_MOVED * weights, up), self._reach(free, FREE_MOVED * weights, down)

    def _reach(self, free: Floats, least: Floats, falls: Floats) -> Floats:
        """How far targets go of which so much is `free`, at `least`, where some amount falls to 0 by a part `falls` of
        itself for each `free` that they go."""
        if not self._nonnegative:
            falls = np.zeros(len(free))
        with np.errstate(divide="ignore", invalid="ignore"):
            far = np.where(falls > 0, free / falls, INFINITE)
        return np.where((free > 0) & (free >= least), far, 0.0)
