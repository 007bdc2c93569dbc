"""What moves show to be wide enough is so by linear programming, cell by cell and number by number."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from sandbox.disclosure import constraints, moves, stopped
from sandbox.disclosure.cells import Integers
from sandbox.disclosure.constraints import Classes, Constraints
from sandbox.disclosure.moves import FREE, Moves
from sandbox.disclosure.solver import INFINITE, Floats, Program, least
from sandbox.disclosure.stopped import StoppedMoves
from sandbox.disclosure.targets import Target, Targets

SEEDS = range(24)


class World:
    """Amounts of atoms, and cells as somebody asks for them: groups by two keys, their unions, totals."""

    def __init__(self, seed: int) -> None:
        dice = random.Random(seed)
        self.nonnegative = seed % 4 != 3
        count = dice.choice((12, 30, 60))
        self.totals = np.array([float(dice.choice((1, 2, 5, 9, 40))) for _ in range(count)])
        if not self.nonnegative:
            self.totals *= [dice.choice((-1, 1)) for _ in range(count)]
        keys = [[dice.randrange(4) for _ in range(count)] for _ in range(3)]
        groups = [[i for i in range(count) if key[i] == value] for key in keys for value in range(4)]
        groups += [sorted({*a, *b}) for a, b in combinations(groups, 2) if dice.random() < 0.1]
        groups += [dice.sample(range(count), dice.randint(2, count)) for _ in range(4)] + [list(range(count))]
        self.cells: list[Integers] = [np.array(sorted(group)) for group in groups if len(group) > 1]
        chosen = [np.array([i]) for i in range(count)]
        chosen += [np.array(sorted(dice.sample(range(count), dice.randint(2, 5)))) for _ in range(20)]
        self.targets = [self._target(atoms, slides=seed % 2 == 0) for atoms in chosen]

    def _target(self, atoms: Integers, *, slides: bool) -> Target:
        total = float(self.totals[atoms].sum())
        room = 10.0 if slides else 0.1 * float(np.abs(self.totals[atoms]).max())
        return Target(atoms, total, room, 0.0 if slides else room, slides=slides)

    def far(self, target: Target, sign: float) -> float:
        """How far the target goes, by the solver; no further than it has to."""
        cost, low = np.zeros(len(self.totals)), np.full(len(self.totals), -INFINITE)
        cost[target.atoms] = -sign
        if self.nonnegative:
            low = -self.totals
        rows: list[tuple[Integers, Floats, float, float]] = [
            (cell, np.ones(len(cell)), 0.0, 0.0) for cell in self.cells
        ]
        rows.append((target.atoms, np.ones(len(target.atoms)), -100.0, 100.0))
        found = least(Program(cost, low, np.full(len(self.totals), INFINITE), rows))
        assert found is not None
        return sign * float(found[target.atoms].sum())

    def wide(self, target: Target) -> bool:
        up, down = self.far(target, 1.0), self.far(target, -1.0)
        if target.slides:
            return up + down >= target.up * (1 - 1e-3)
        wanted = min(target.down, target.total) if self.nonnegative else target.down
        return up >= target.up * (1 - 1e-3) and down >= wanted * (1 - 1e-3)


def shown(world: World) -> Sequence[bool]:
    classes = Classes(world.cells, len(world.totals))
    found: Sequence[bool] = (
        Moves(world.totals, classes, nonnegative=world.nonnegative).keep(Targets.of(world.targets)).tolist()
    )
    return found


def wrong(seeds: Sequence[int] = SEEDS) -> list[int]:
    """The number of targets of each world that moves show to be wide, and that are not."""
    found = []
    for seed in seeds:
        world = World(seed)
        found.append(sum(kept and not world.wide(t) for t, kept in zip(world.targets, shown(world), strict=True)))
    return found


def test_what_moves_show_is_so() -> None:
    assert sum(wrong()) == 0


def test_moves_show_most_of_what_is_so() -> None:
    """Else they would be of no use, and the test above would prove nothing."""
    kept = wide = narrow = 0
    for seed in SEEDS:
        world = World(seed)
        kept += sum(shown(world))
        found = [world.wide(target) for target in world.targets]
        wide, narrow = wide + sum(found), narrow + len(found) - sum(found)
    print(f"{kept} of {wide} wide targets are shown to be so; {narrow} are narrow")
    assert kept >= 0.98 * wide
    assert narrow >= wide / 20


def test_cells_that_others_tell_are_left_out_and_no_others() -> None:
    for seed in SEEDS:
        world = World(seed)
        rows = np.zeros((len(world.cells), len(world.totals)))
        for number, cell in enumerate(world.cells):
            rows[number, cell] = 1.0
        found = Constraints(world.cells, len(world.totals))
        left = rows[:, found.unknown]
        assert found.incidence.width == np.linalg.matrix_rank(left)
        assert np.abs(rows @ found.deviation()).max() < 1e-9


def test_a_cell_that_differs_by_one_small_amount_of_many_is_not_left_out() -> None:
    many = np.arange(50_000)
    found = Constraints([many, many[1:], many[:-1], many[::2], many[1::2]], len(many))
    assert found.incidence.width == 4


def all_of_them() -> None:
    test_what_moves_show_is_so()
    test_cells_that_others_tell_are_left_out_and_no_others()


PLANTED: dict[str, tuple[tuple[object, str, object], ...]] = {
    "amounts below 0": (
        (Moves, "_reach", lambda self, free, weights, falls: np.where(free > FREE * weights, INFINITE, 0.0)),
    ),
    "bounds that are too wide": (
        (Moves, "_bounds", lambda self, held, count, real=Moves._bounds: [4 * far for far in real(self, held, count)]),
    ),
    "numbers that are told": ((moves, "FREE", -1.0),),
    "amounts that are stopped below 0": ((stopped, "BELOW", 0.5),),
    "stopped moves that change what is said": (
        (
            StoppedMoves,
            "_together",
            lambda self, columns, classes, change, _: np.isin(range(len(columns)), classes) * change,
        ),
        (StoppedMoves, "_right", lambda *_: True),
    ),
    "cells left out that others do not tell": ((constraints, "LEFT", 0.9), (constraints, "EXACT", INFINITE)),
}


@pytest.mark.parametrize("name", PLANTED)
def test_moves_that_forget_something_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, what, planted in PLANTED[name]:
        monkeypatch.setattr(where, what, planted)
    with pytest.raises(AssertionError):
        all_of_them()
