"""The linear audit: whether what is withheld can be reckoned from everything that was said, and what to withhold then.

The attacker knows which rows each number is made of, that amounts are not negative where the policy says so, and
every number that was said. Rows that are in the same cells are one unknown to him, an *atom*. He may use any linear
program over them.
Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Integers
from sandbox.disclosure.constraints import Classes, undetermined
from sandbox.disclosure.moves import Moves
from sandbox.disclosure.solver import INFINITE, Floats, Program, TooHard, least
from sandbox.disclosure.targets import ENOUGH, Needs, Target, Targets

ATOMS_MAX, AT_ONCE = 4_000, 16
"""Unknowns of one program; where there are more, cells give way without one, for so many targets at a time."""
PROGRAMS_MAX = 80
ROUNDS_MAX, IDLE_MAX = 10, 2
"""Programs that move many targets at once; after so many in a row that reach nothing new, no more of them."""
MOVED = 1e-5
"""What gives way by more than this part of the interval gives way."""
REWARD = 1_000.0
"""What it is worth to move a target, in prices of the dearest cell."""


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """`said` are the atoms of cells that were said before, `asked` those of the cells that may still be withheld, each
    with the price of withholding it; `classes` are by both. No cell is without atoms."""

    totals: Floats
    nonnegative: bool
    said: Sequence[Integers]
    asked: Mapping[int, tuple[Integers, float]]
    classes: Classes
    targets: Targets


def to_withhold(system: System) -> frozenset[int]:
    """Which of the asked cells must not be said.

    Guarantee: with all others said, every target keeps its interval; or everything that is linked to it is withheld.
    Source: docs/explanation/guarantees/linear-audit.md
    """
    audit = _Audit(system)
    left = audit.still_told(audit.give_way(audit.not_shown_by_moves(system.targets)))
    left.sort(key=lambda target: target.total)
    while left:
        before = len(audit.withheld)
        audit.protect(left.pop(0))
        if len(audit.withheld) > before:
            left = audit.not_shown_by_moves(Targets.of(left))
    return frozenset(audit.withheld)


class _Audit:
    """Goes from target to target. What is withheld for one gives way for the next without a price."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._programs = 0
        self._shown_by: Moves | None = None
        self.withheld: set[int] = set()

    @cached_property
    def _parts(self) -> _Parts:
        return _Parts(self._system)

    def not_shown_by_moves(self, targets: Targets) -> list[Target]:
        """Those of which the smallest move does not show that they keep their intervals."""
        system = self._system
        asked = [atoms for number, (atoms, _) in system.asked.items() if number not in self.withheld]
        try:
            classes = Classes([*system.said, *asked], len(system.totals)) if self.withheld else system.classes
            self._shown_by = Moves(system.totals, classes, nonnegative=system.nonnegative)
        except TooHard:
            self._shown_by = None
            return targets.each(np.arange(len(targets)))
        return targets.each(np.flatnonzero(~self._shown_by.keep(targets)))

    def give_way(self, targets: list[Target]) -> list[Target]:
        """Withholds cells, a few at a time, until moves keep the targets of which there are too many unknowns for a
        program. Those of the others are left."""
        while large := [target for target in targets if self._is_large(target)]:
            chosen: set[int] = set()
            for target in large[:AT_ONCE]:
                chosen |= self._loosest(target, chosen)
            self.withheld |= chosen
            targets = self.not_shown_by_moves(Targets.of(targets))
        return targets

    def _is_large(self, target: Target) -> bool:
        part = self._parts.of(target)
        return (
            part.count > ATOMS_MAX and part.touches(target, self.withheld) and bool(part.asked.keys() - self.withheld)
        )

    def _loosest(self, target: Target, chosen: set[int]) -> set[int]:
        """The asked cell without which most of the target would move, by its price; nothing where one that is `chosen`
        does half as well."""
        numbers = [number for number in self._system.asked if number not in self.withheld]
        if self._shown_by is not None:
            prices = np.array([self._system.asked[number][1] for number in numbers])
            pulls = self._shown_by.pulls(target)[len(self._system.said) :] / prices
            best = int(np.argmax(pulls))
            if pulls[best] > 0:
                near = [pulls[place] for place, number in enumerate(numbers) if number in chosen]
                return set() if near and max(near) * 2 >= pulls[best] else {numbers[best]}
        part = self._parts.of(target)
        return part.touching(target) - self.withheld or part.asked.keys() - self.withheld

    def still_told(self, targets: Sequence[Target]) -> list[Target]:
        """Those that a few programs, each of which moves many at once, do not show to keep their intervals."""
        parts: dict[int, tuple[_Part, list[Target]]] = {}
        for target in targets:
            part = self._parts.of(target)
            parts.setdefault(id(part), (part, []))[1].append(target)
        left: list[Target] = []
        for part, own in parts.values():
            touched = [target for target in own if part.touches(target, self.withheld)]
            left += _together(part, touched, self._system) if part.count <= ATOMS_MAX else touched
        return left

    def protect(self, target: Target) -> None:
        part = self._parts.of(target)
        if not part.touches(target, self.withheld):
            return  # nobody was told of a number that it is in
        try:
            kept = part.count <= ATOMS_MAX and self._moves(part, target)
        except TooHard:
            kept = False
        if not kept:
            self.withheld |= part.asked.keys()

    def _moves(self, part: _Part, target: Target) -> bool:
        """Whether the target keeps its interval, if need be after cells were withheld for it. Raises TooHard."""
        below = target.total if self._system.nonnegative else INFINITE
        if target.slides:
            return self._slides(part, target, below)
        wanted = min(target.down, below)
        ways = ((1.0, target.up), (-1.0, wanted))
        return all(self._move(part, target, sign, size, give_way=True) >= size * ENOUGH for sign, size in ways)

    def _slides(self, part: _Part, target: Target, below: float) -> bool:
        """As far down as it goes, and the rest up; where that is not enough, cells give way to the rest."""
        down = self._move(part, target, -1.0, min(target.up, below), give_way=False)
        up = self._move(part, target, 1.0, target.up - down, give_way=False)
        if up + down < target.up * ENOUGH:
            up = self._move(part, target, 1.0, target.up - down, give_way=True)
        return up + down >= target.up * ENOUGH

    def _move(self, part: _Part, target: Target, sign: float, wanted: float, *, give_way: bool) -> float:
        """How far the target moves, up to `wanted`, once the cheapest cells that have to give way are withheld."""
        if wanted <= target.up * (1 - ENOUGH):
            return max(wanted, 0.0)
        self._programs += 1
        if self._programs > PROGRAMS_MAX:
            raise TooHard
        moved, gave_way = part.move(target, sign, wanted, self.withheld, give_way=give_way)
        self.withheld |= gave_way
        return moved


def _together(part: _Part, targets: Sequence[Target], system: System) -> list[Target]:
    """The targets that no move found keeps: a move that is found counts for every target that it moves."""
    dice, needs = np.random.default_rng(len(targets)), Needs.of(Targets.of(targets), nonnegative=system.nonnegative)
    up, down, idle = np.zeros(len(targets)), np.zeros(len(targets)), 0
    for _ in range(ROUNDS_MAX):
        kept = needs.met(up, down)
        if kept.all() or idle == IDLE_MAX:
            break
        upwards = dice.random(len(targets)) < 0.5
        upwards[~needs.slides & (down >= needs.down * ENOUGH)] = True
        upwards[~needs.slides & (up >= needs.up * ENOUGH)] = False
        before = up.sum() + down.sum()
        try:
            moved = part.move_many(
                [t for t, done in zip(targets, kept, strict=True) if not done], upwards[~kept], targets
            )
        except TooHard:
            break
        up, down = np.maximum(up, moved), np.maximum(down, -moved)
        idle = 0 if up.sum() + down.sum() > before * (1 + 1e-6) + 1e-9 else idle + 1
    kept = needs.met(up, down)
    return [target for target, done in zip(targets, kept, strict=True) if not done]


class _Parts:
    """The system in parts that have no atom in common. What follows from what was said before, one number after the
    other, is known and left out."""

    def __init__(self, system: System) -> None:
        self._system = system
        count = len(system.totals)
        self._labels = _components([*system.said, *(atoms for atoms, _ in system.asked.values())], count)
        self._unknown = undetermined(system.said, count)
        self._made: dict[int, _Part] = {}

    def of(self, target: Target) -> _Part:
        """A target whose atoms lie in several parts is held in the part of all of them."""
        labels = sorted(set(self._labels[target.atoms].tolist()))
        for label in labels[1:]:
            self._labels[self._labels == label] = labels[0]
            self._made.pop(label, None)
            self._made.pop(labels[0], None)
        if labels[0] not in self._made:
            self._made[labels[0]] = _Part(self._system, self._labels == labels[0], self._unknown)
        return self._made[labels[0]]


class _Part:
    def __init__(self, system: System, inside: NDArray[np.bool_], unknown: NDArray[np.bool_]) -> None:
        self._nonnegative = system.nonnegative
        atoms = np.flatnonzero(inside & unknown)
        self.count = len(atoms)
        self._totals = system.totals[atoms]
        self._places = np.full(len(system.totals), -1, dtype=np.int64)
        self._places[atoms] = np.arange(self.count)
        self._said = [place for cell in system.said if inside[cell[0]] and len(place := self._place(cell))]
        self.asked = {
            number: (self._place(cell), price) for number, (cell, price) in system.asked.items() if inside[cell[0]]
        }

    def _place(self, atoms: Integers) -> Integers:
        """Where `atoms` stand among those that are unknown."""
        found = self._places[atoms]
        return found[found >= 0]

    def touches(self, target: Target, withheld: set[int]) -> bool:
        """Whether a number that was said, or may be, has a part of the target in it."""
        there = np.zeros(self.count, dtype=np.bool_)
        there[(place := self._place(target.atoms))] = True
        cells = [*self._said, *(cell for number, (cell, _) in self.asked.items() if number not in withheld)]
        return len(place) < len(target.atoms) or any(there[cell].any() for cell in cells)

    def touching(self, target: Target) -> set[int]:
        """The asked cells that a part of the target is in."""
        there = np.zeros(self.count, dtype=np.bool_)
        there[self._place(target.atoms)] = True
        return {number for number, (cell, _) in self.asked.items() if there[cell].any()}

    def move_many(self, wanted: Sequence[Target], upwards: NDArray[np.bool_], every: Sequence[Target]) -> Floats:
        """How far one move, after which all that is said or asked is the same, moves each of `every`; it moves as many
        of `wanted` as it can in the directions of `upwards`. Raises TooHard."""
        unit = float(np.median([target.up for target in wanted]))
        cost, low, high = np.zeros(self.count), np.full(self.count, -INFINITE), np.full(self.count, INFINITE)
        if self._nonnegative:
            low = -self._totals / unit
        rows = [(cell, np.ones(len(cell)), 0.0, 0.0) for cell in self._said]
        rows += [(cell, np.ones(len(cell)), 0.0, 0.0) for cell, _ in self.asked.values() if len(cell)]
        for target, rises in zip(wanted, upwards.tolist(), strict=True):
            there, size = self._place(target.atoms), target.up / unit
            cost[there] -= (1.0 if rises else -1.0) / size
            bounds = (-INFINITE, size) if rises else (-size, INFINITE)
            if len(there) == 1:
                low[there], high[there] = np.maximum(low[there], bounds[0]), np.minimum(high[there], bounds[1])
            elif len(there):
                rows.append((there, np.ones(len(there)), *bounds))
        x = least(Program(cost, low, high, rows))
        if x is None:
            return np.zeros(len(every))
        return np.array([float(x[self._place(target.atoms)].sum()) * unit for target in every])

    def move(
        self, target: Target, sign: float, wanted: float, withheld: set[int], *, give_way: bool
    ) -> tuple[float, set[int]]:
        """How far the target moves in the direction of `sign`, and the asked cells that give way. Raises TooHard."""
        there = self._place(target.atoms)
        cells = {number: found for number, found in self.asked.items() if number not in withheld}
        x = least(self._program(there, sign, wanted, list(cells.values()), INFINITE if give_way else 0.0))
        if x is None:
            return 0.0, set()
        slack = x[self.count :].reshape(-1, 2).sum(axis=1)
        moved = sign * float(x[there].sum()) * wanted
        return moved, {number for number, gave in zip(cells, slack.tolist(), strict=True) if gave > MOVED}

    def _program(
        self, there: Integers, sign: float, wanted: float, cells: list[tuple[Integers, float]], most: float
    ) -> Program:
        """Columns: by how many times `wanted` each atom deviates, then by how much each cell gives way up and down,
        which is `most` at most."""
        count, width = self.count, self.count + 2 * len(cells)
        low, high, cost = np.zeros(width), np.full(width, INFINITE), np.zeros(width)
        high[count:] = most
        low[:count] = -self._totals / wanted if self._nonnegative else -INFINITE
        cost[count:] = np.repeat([price for _, price in cells], 2)
        cost[there] -= sign * REWARD * max((price for _, price in cells), default=1.0)
        rows = [(cell, np.ones(len(cell)), 0.0, 0.0) for cell in self._said]
        for number, (cell, _) in enumerate(cells):
            slack = count + 2 * number
            columns = np.concatenate((cell, np.array([slack, slack + 1])))
            rows.append((columns, np.concatenate((np.ones(len(cell)), np.array([-1.0, 1.0]))), 0.0, 0.0))
        rows.append((there, np.ones(len(there)), min(0.0, sign), max(0.0, sign)))
        return Program(cost, low, high, rows)


def _components(cells: Sequence[Integers], count: int) -> Integers:
    """A label for each atom, equal for those that hang together through cells."""
    labels = np.arange(count, dtype=np.int64)
    if not cells:
        return labels
    flat, starts = np.concatenate(cells), np.cumsum([0, *(len(cell) for cell in cells[:-1])])
    sizes = np.array([len(cell) for cell in cells])
    while True:
        fresh = labels.copy()
        np.minimum.at(fresh, flat, np.repeat(np.minimum.reduceat(labels[flat], starts), sizes))
        fresh = fresh[fresh]
        if (fresh == labels).all():
            return labels
        labels = fresh
