"""No number that was said differs from another, nor from a union of disjoint ones, in a few units: by brute force."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.model import Aggregate
from sandbox.disclosure import compared, guard, past
from sandbox.disclosure.cells import Cell, Ground, Quantity, shares_of
from sandbox.disclosure.memory import Remembered
from sandbox.disclosure.past import Past
from sandbox.disclosure.protect import Candidate

Table = Sequence[Sequence[Mapping[int, int]]]
"""By part, cells: what each unit adds."""
K = 3
RULES = Aggregate(2, 2, Decimal(1), Decimal(0), 0, K)
SUM, OTHER = Quantity("sum of a", nonnegative=True, counts=False), Quantity("sum of b", nonnegative=True, counts=False)


def spread(unit: int) -> int:
    """Tags are digests: evenly spread."""
    return (unit * 0x9E3779B97F4A7C15) % 2**60


def candidates(table: Table, quantity: Quantity = SUM) -> list[Candidate]:
    found = []
    for part, cells in enumerate(table):
        for place, cell in enumerate(cells):
            units = np.array(sorted(spread(unit) for unit in cell), dtype=np.int64)
            values = np.array([cell[unit] for unit in sorted(cell, key=spread)], dtype=np.int64)
            rows = Ground(units, units, values)
            found.append(Candidate(Cell(quantity, rows, part, place, 0), shares_of(rows), None))
    return found


class World:
    """A past that grows as the domain's does, without its file."""

    def __init__(self, units_about: int = 100) -> None:
        self.past = Past(units_about, {}, [])
        self.released: list[tuple[Quantity, str, list[list[Mapping[int, int]]]]] = []

    def ask(self, table: Table, quantity: Quantity = SUM, snapshot: str = "s1") -> list[bool]:
        """Which of the cells are said."""
        remembered = Remembered(self.past, "clinic", snapshot, RULES)
        asked = candidates(table, quantity)
        withheld = remembered.differing(asked)
        kept = [Candidate(one.cell, one.shares, "difference" if i in withheld else None) for i, one in enumerate(asked)]
        remembered.keeping(kept)(NoFile(), f"rel_{len(self.released)}")  # type: ignore[arg-type]
        flags = iter([i not in withheld for i in range(len(asked))])
        self.released.append((quantity, snapshot, [[cell for cell in part if next(flags)] for part in table]))
        return [i not in withheld for i in range(len(asked))]

    def leaks(self) -> list[tuple[Mapping[int, int], Sequence[Mapping[int, int]]]]:
        """Every cell that was said, with a union of disjoint ones that was said too, in a few units apart."""
        cells = [cell for _, _, parts in self.released for part in parts for cell in part]
        groups = [part for _, _, parts in self.released for part in parts]
        return [
            (cell, union)
            for cell in cells
            for group in groups
            for union in unions(group)
            if 0 < apart(cell, together(union)) < K
        ]


class NoFile:
    def execute(self, *_: object) -> None:
        pass

    executemany = execute


def unions(group: Sequence[Mapping[int, int]]) -> Iterable[Sequence[Mapping[int, int]]]:
    for size in range(1, len(group) + 1):
        yield from combinations(group, size)


def together(cells: Sequence[Mapping[int, int]]) -> dict[int, int]:
    found: dict[int, int] = {}
    for cell in cells:
        for unit, value in cell.items():
            found[unit] = found.get(unit, 0) + value
    return found


def apart(first: Mapping[int, int], second: Mapping[int, int]) -> int:
    return sum(first.get(unit, 0) != second.get(unit, 0) for unit in {*first, *second})


UNITS = 14


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """A partition of some units into cells of three or more, and the total besides, or not."""
    chosen = draw(st.sets(st.integers(0, UNITS - 1), min_size=K, max_size=UNITS))
    values = {unit: 1 + unit * unit for unit in chosen}
    count = draw(st.integers(1, 4))
    groups = [dict[int, int]() for _ in range(count)]
    for unit in sorted(chosen):
        groups[draw(st.integers(0, count - 1))][unit] = values[unit]
    kept = [group for group in groups if len(group) >= K]
    return [kept, [values]] if draw(st.booleans()) else [kept]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(tables(), min_size=1, max_size=6))
def test_no_two_numbers_are_a_few_units_apart(series: list[Table]) -> None:
    world = World()
    for table in series:
        world.ask(table)
    assert world.leaks() == []


MANY_UNITS = 60_000
"""Far more than the sample holds."""


@pytest.mark.parametrize("seed", range(12))
def test_sketches_pass_over_nothing(seed: int) -> None:
    """Of many cells and parts, each cell and each union asked with one unit more or less is found."""
    dice = random.Random(seed)
    world = World(units_about=MANY_UNITS)
    tables = []
    for _ in range(8):
        units = dice.sample(range(MANY_UNITS), dice.choice((60, 600, 3000)))
        cuts = sorted(dice.sample(range(10, len(units) - 10, 10), dice.randint(1, 4)))
        cells = [dict.fromkeys(units[a:b], 1) for a, b in zip([0, *cuts], [*cuts, len(units)], strict=True)]
        if all(world.ask([cells])):
            tables.append(cells)
    assert len(tables) >= 4
    for cells in tables:
        union = together(dice.sample(cells, dice.randint(1, len(cells))))
        other = union | {dice.randrange(MANY_UNITS, 2 * MANY_UNITS): 1}
        assert world.ask([[other]]) == [False]
        union.pop(next(iter(union)))
        assert world.ask([[union]]) == [False]


@pytest.mark.parametrize("seed", range(6))
def test_sketches_pass_over_no_union_of_new_cells(seed: int) -> None:
    dice = random.Random(seed)
    world = World(units_about=MANY_UNITS)
    for size in (300, 3000):
        units = dice.sample(range(MANY_UNITS), size)
        assert world.ask([[dict.fromkeys(units, 1)]]) == [True]
        cut = dice.randrange(40, size - 40)
        parts = [dict.fromkeys(units[:cut], 1), dict.fromkeys(units[cut:-1], 1)]
        assert sum(world.ask([parts])) == 1


FEW = {unit: 1 + unit for unit in range(2)}
MANY = {unit: 1 + unit for unit in range(2, 12)}
REST = {unit: 1 + unit for unit in range(12, 30)}


def test_a_cell_with_a_few_units_more_is_withheld() -> None:
    world = World()
    assert world.ask([[MANY]]) == [True]
    assert world.ask([[MANY | FEW]]) == [False]
    assert world.ask([[MANY | REST]]) == [True]


def test_one_visit_fewer_is_a_difference() -> None:
    world = World()
    assert world.ask([[MANY]]) == [True]
    assert world.ask([[MANY | {2: 1}]]) == [False]


def test_over_snapshots() -> None:
    world = World()
    assert world.ask([[MANY]], snapshot="s1") == [True]
    assert world.ask([[MANY | FEW]], snapshot="s2") == [False]
    assert world.ask([[MANY]], snapshot="s3") == [True]


def test_a_total_that_its_parts_do_not_fill_by_a_few_units() -> None:
    world = World()
    assert world.ask([[MANY | FEW | REST]]) == [True]
    assert world.ask([[MANY, REST]]) == [False, True]


def test_a_union_of_an_earlier_table() -> None:
    world = World()
    assert world.ask([[MANY, REST]]) == [True, True]
    assert world.ask([[MANY | FEW | REST]]) == [False]


def test_what_is_proportional_is_the_same_number() -> None:
    """SUM(price) and SUM(price * tax) where everybody's tax is the same."""
    world = World()
    assert world.ask([[MANY]]) == [True]
    scaled = {unit: 7 * value for unit, value in (MANY | FEW).items()}
    assert world.ask([[scaled]], quantity=OTHER) == [False]


PLANTED = {
    "rows instead of contributions": (guard, "_agreeing", lambda first, second, *, same: len(first)),
    "no factor": (guard, "_agreeing", lambda first, second, *, same: int((first == second).sum())),
    "no pairs": (compared, "least_apart", lambda size, sizes, overlap: np.full(len(sizes), 99)),
    "no unions": (compared, "least_from_union", lambda columns, parts: np.full(len(parts), 99)),
    "no unions of new cells": (compared.Compared, "may_be_near", lambda self, *_: []),
    "no past": (past.Past, "add", lambda self, cell, one: None),
}
ALL = (
    test_a_cell_with_a_few_units_more_is_withheld,
    test_one_visit_fewer_is_a_difference,
    test_over_snapshots,
    test_a_total_that_its_parts_do_not_fill_by_a_few_units,
    test_a_union_of_an_earlier_table,
    test_what_is_proportional_is_the_same_number,
)


def _all_of_them() -> None:
    for test in ALL:
        test()


@pytest.mark.parametrize("name", PLANTED)
def test_a_guard_without_one_of_its_rules_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, what, broken = PLANTED[name]
    monkeypatch.setattr(where, what, broken)
    with pytest.raises(AssertionError):
        _all_of_them()


@pytest.mark.parametrize("what", ["overlaps", "within_unions"])
def test_a_sketch_that_sees_too_little_in_common_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = getattr(compared, what)
    monkeypatch.setattr(compared, what, lambda *arguments: real(*arguments) // 4)
    with pytest.raises(AssertionError):
        _all_sketches()


def _all_sketches() -> None:
    for seed in range(6):
        test_sketches_pass_over_nothing(seed)
        test_sketches_pass_over_no_union_of_new_cells(seed)
