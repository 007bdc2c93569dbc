"""Nothing that must stay unknown is told by linear combinations of what was said, whatever was asked besides."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import combinations

import numpy as np
import pytest

from policies.model import Aggregate
from sandbox.disclosure import atoms, linear, memory
from sandbox.disclosure.cells import Cell, Ground, Quantity, shares_of
from sandbox.disclosure.memory import Remembered
from sandbox.disclosure.past import Past
from sandbox.disclosure.primary import primary
from sandbox.disclosure.protect import Candidate

RULES = Aggregate(10, 2, Decimal("0.85"), Decimal(10), 0, 10)
SUM = Quantity("sum of a", nonnegative=True, counts=False)
Members = Mapping[int, int]
"""What each unit adds."""


def group(first: int, size: int) -> dict[int, int]:
    return {unit: 100 + unit % 7 for unit in range(first, first + size)}


class World:
    """Questions with one or several cells, judged by the rules for a cell by itself and by the audit alone."""

    def __init__(self) -> None:
        self.past = Past(1000, {}, [])
        self.said: list[Members] = []

    def ask(self, *cells: Members, guarded: bool = False) -> list[bool]:
        """Which of the cells are said. Where `guarded`, none that differs from another in a few units."""
        remembered = Remembered(self.past, "clinic", "s1", RULES)
        table = [self._candidate(members, place) for place, members in enumerate(cells)]
        near = remembered.differing(table) if guarded else frozenset()
        table = [Candidate(c.cell, c.shares, "difference" if i in near else c.reason) for i, c in enumerate(table)]
        told = remembered.narrowed(table)
        kept = [Candidate(c.cell, c.shares, "complementary" if i in told else c.reason) for i, c in enumerate(table)]
        remembered.keeping(kept)(NoFile(), f"rel_{len(self.past.all)}")  # type: ignore[arg-type]
        shown = [one.reason is None for one in kept]
        self.said += [members for members, said in zip(cells, shown, strict=True) if said]
        return shown

    @staticmethod
    def _candidate(members: Members, place: int) -> Candidate:
        units = np.array(sorted(members), dtype=np.int64)
        rows = Ground(units, units, np.array([members[int(unit)] for unit in units], dtype=np.int64))
        shares = shares_of(rows)
        return Candidate(Cell(SUM, rows, place, 0, 0), shares, primary(shares, RULES))

    def told(self, members: Members) -> bool:
        """Whether the sum over `members` is a linear combination of what was said."""
        units = sorted({unit for cell in [*self.said, members] for unit in cell})
        rows = np.array([[cell.get(unit, 0) for unit in units] for cell in self.said], dtype=float).reshape(
            -1, len(units)
        )
        wanted = np.array([members.get(unit, 0) for unit in units], dtype=float)
        with_it = np.vstack([rows, wanted])
        return int(np.linalg.matrix_rank(with_it)) == int(np.linalg.matrix_rank(rows))


class NoFile:
    def execute(self, *_: object) -> None:
        pass

    executemany = execute


A, B, C, D = (group(start, 20) for start in (0, 20, 40, 60))
SMALL = group(100, 8)
HALF = group(100, 4)
AROUND: Sequence[Members] = (A | B, C | D, A | C | SMALL, B | D)
"""The last two together are the first two and the small group."""


def test_a_small_group_is_not_told_by_four_sums() -> None:
    world = World()
    assert [world.ask(cell) for cell in AROUND] == [[True], [True], [True], [False]]
    assert not world.told(SMALL)


def test_asking_for_a_part_of_it_first_does_not_open_it() -> None:
    """A withheld cell splits the small group in two, neither of which is told; both together are as small."""
    world = World()
    assert world.ask(HALF) == [False]
    for cell in AROUND:
        world.ask(cell)
    assert not world.told(SMALL)


def test_what_is_withheld_in_the_same_table_does_not_open_it_either() -> None:
    world = World()
    world.ask(*AROUND[:3], HALF)
    world.ask(AROUND[3])
    assert not world.told(SMALL)


WOMEN, MEN = group(200, 30), group(300, 80)
FIVE = dict(list(WOMEN.items())[:5])
"""Each of whom is in a number of her own, with some of the men."""


def test_a_number_withheld_for_its_difference_is_not_told_by_others() -> None:
    """All women are five more than those that were said, and all less the men."""
    world = World()
    men = list(MEN.items())
    beside = [{unit: value, **dict(men[16 * i : 16 * i + 16])} for i, (unit, value) in enumerate(FIVE.items())]
    rest = {unit: value for unit, value in WOMEN.items() if unit not in FIVE}
    for cell in (rest, *beside, WOMEN | MEN):
        assert world.ask(cell, guarded=True) == [True]
    assert world.ask(WOMEN, guarded=True) == [False]
    world.ask(MEN, guarded=True)
    assert not world.told(WOMEN)


@pytest.mark.parametrize("seed", range(30))
def test_random_series_tell_no_small_group(seed: int) -> None:
    """Groups of a common partition, some of them small, put together at random: no union of few units is told."""
    dice = random.Random(seed)
    sizes = [dice.choice((3, 4, 12, 25)) for _ in range(7)]
    parts = [group(100 * i, size) for i, size in enumerate(sizes)]
    unions = [
        {unit: value for part in chosen for unit, value in part.items()}
        for count in (1, 2, 3)
        for chosen in combinations(parts, count)
    ]
    small = [union for union in unions if len(union) < RULES.units_min]
    world = World()
    for _ in range(14):
        chosen = dice.sample(parts, dice.randint(1, len(parts)))
        world.ask({unit: value for part in chosen for unit, value in part.items()})
    assert [len(members) for members in small if world.told(members)] == []


def _no_audit(system: linear.System) -> frozenset[int]:
    return frozenset()


def test_no_audit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "to_withhold", _no_audit)
    with pytest.raises(AssertionError):
        test_a_small_group_is_not_told_by_four_sums()


def test_an_audit_without_history_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Past, "of_space", lambda self, space: ())
    with pytest.raises(AssertionError):
        test_a_small_group_is_not_told_by_four_sums()


def test_an_audit_that_looks_at_classes_one_by_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atoms, "_unions", lambda *_: iter(()))
    with pytest.raises(AssertionError):
        _all_random_series()


def test_an_audit_to_which_withheld_cells_open_classes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each atom as a class of its own, as if a reader could tell apart what only a withheld cell does."""
    real = atoms.Classes
    monkeypatch.setattr(
        atoms, "Classes", lambda cells, count: real([*cells, *(np.array([i]) for i in range(count))], count)
    )
    with pytest.raises(AssertionError):
        test_asking_for_a_part_of_it_first_does_not_open_it()


def test_an_audit_that_forgets_differences_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SECRET", ("too_few_units", "dominated", "homogeneous"))
    with pytest.raises(AssertionError):
        test_a_number_withheld_for_its_difference_is_not_told_by_others()


def test_cells_give_way_without_a_program_where_there_are_many_unknowns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "ATOMS_MAX", 0)
    test_a_small_group_is_not_told_by_four_sums()
    test_a_number_withheld_for_its_difference_is_not_told_by_others()
    _all_random_series()


def _all_random_series() -> None:
    for seed in range(30):
        test_random_series_tell_no_small_group(seed)
