"""All that was said in `aggregate` mode, and how a new table is held against it."""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from pyroaring import BitMap

from policies.model import Aggregate
from sandbox.disclosure import history
from sandbox.disclosure.atoms import Atoms, Cells, Placed
from sandbox.disclosure.cells import Cell
from sandbox.disclosure.guard import Said
from sandbox.disclosure.history import Rows, SaidCell, Space, array_of, bitmap_of
from sandbox.disclosure.linear import to_withhold
from sandbox.disclosure.nearness import not_near
from sandbox.disclosure.past import Past
from sandbox.disclosure.protect import Candidate
from sandbox.disclosure.solver import TooHard
from sandbox.relational.facts import Refuse
from sandbox.release.store import Store

CELLS_MAX: Final = 100_000
"""Of one dataset that are remembered. What cannot be remembered is not said."""
SECRET: Final = ("too_few_units", "dominated", "homogeneous", "difference")
"""Cells that broke a rule by themselves, or are near to something said: what is behind them must stay unknown, for it
would tell a few units. Others only keep these secret."""


class Memories:
    """One for each dataset, read from the domain's file when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pasts: dict[str, Past] = {}
        self._lock = threading.Lock()

    def size(self, dataset: str, units_about: int) -> int:
        """How many cells are remembered of answers that were given: with those whose deadline is to come, a check
        would tell that they are ready."""
        cells = tuple(self._past(dataset, units_about).all)
        hidden = self._store.hidden()  # after the cells: a release is hidden before its transaction ends
        return sum(cell.release not in hidden for cell in cells) if hidden else len(cells)

    def require_room(self, dataset: str, units_about: int) -> None:
        """Raises Refuse where no more cells can be remembered."""
        if self.size(dataset, units_about) >= CELLS_MAX:
            detail = f"`{dataset}` has answered as many exact questions as can be held against each other"
            raise Refuse("budget_exhausted", detail, hint="what was answered is answered again; or ask in mode `dp`")

    @contextmanager
    def of(self, dataset: str, snapshot: str, rules: Aggregate, units_about: int) -> Iterator[Remembered]:
        """The past for one new table. Where its answer is not kept in the end, the past is read from the file anew:
        rows are told by their places there, so memory must never be ahead of it."""
        try:
            yield Remembered(self._past(dataset, units_about), dataset, snapshot, rules)
        except BaseException:
            with self._lock:
                self._pasts.pop(dataset, None)
            raise

    def _past(self, dataset: str, units_about: int) -> Past:
        with self._lock:
            if dataset not in self._pasts:
                with self._store.reading() as connection:
                    self._pasts[dataset] = Past(units_about, *history.load(connection, dataset))
            return self._pasts[dataset]


class Remembered:
    """A dataset's past, for one new table over `snapshot`. See `protect.Memory`."""

    def __init__(self, past: Past, dataset: str, snapshot: str, rules: Aggregate) -> None:
        self._past = past
        self._dataset = dataset
        self._snapshot = snapshot
        self._rules = rules
        self._grounds: dict[Space, Rows] = {}
        """Those of the past, with the rows of the table."""
        self._places: dict[Cell, BitMap] = {}
        self._compared: dict[Cell, Said] = {}

    def differing(self, table: Sequence[Candidate]) -> frozenset[int]:
        """The larger of two cells that are too near each other is said.

        Source: docs/explanation/guarantees/differencing.md
        """
        self._place(table)
        open_ = [i for i, one in enumerate(table) if one.reason is None]
        cells = [(table[i].cell, self._said(table[i])) for i in open_]
        kept = not_near(self._past.compared, cells, self._rules.difference_units_min)
        return frozenset(i for place, i in enumerate(open_) if place not in kept)

    def _place(self, table: Sequence[Candidate]) -> None:
        """Gives each cell its places in the ground of its space, which grows by the rows that are not there yet."""
        spaces: dict[Space, list[Cell]] = {}
        for one in table:
            if one.cell not in self._places:
                spaces.setdefault(self._space(one.cell), []).append(one.cell)
        for space, cells in spaces.items():
            before = self._grounds.get(space) or self._past.grounds.get(space) or Rows()
            ground, places = before.including([cell.rows for cell in cells])
            self._grounds[space] = ground
            self._places |= {cell: bitmap_of(found) for cell, found in zip(cells, places, strict=True)}

    def _space(self, cell: Cell) -> Space:
        return self._snapshot, cell.quantity.name

    def _said(self, one: Candidate) -> Said:
        space, places = self._space(one.cell), self._places[one.cell]
        found = self._compared[one.cell] = Said(space, self._grounds[space], places, self._past.sample, one.shares)
        return found

    def narrowed(self, table: Sequence[Candidate]) -> frozenset[int]:
        """Quantity by quantity: numbers of different ones do not tell of each other.

        Source: docs/explanation/guarantees/linear-audit.md
        """
        self._place(table)
        groups: dict[str, list[int]] = {}
        for i, one in enumerate(table):
            if len(one.cell.rows):
                groups.setdefault(one.cell.quantity.name, []).append(i)
        return frozenset(i for group in groups.values() for i in self._narrowed(table, group))

    def _narrowed(self, table: Sequence[Candidate], group: Sequence[int]) -> frozenset[int]:
        quantity, space = table[group[0]].cell.quantity, self._space(table[group[0]].cell)
        ground = self._grounds[space]
        known = self._past.signatures(space) if space in self._past.grounds else np.zeros(0, dtype=np.uint64)
        signatures = np.concatenate((known, np.zeros(len(ground.items) - len(known), dtype=np.uint64)))
        asked: list[Placed] = []
        secret: list[Placed] = []
        for i in group:
            one = table[i]
            placed = Placed(self._places[one.cell], number=i, price=_price(one))
            signatures[array_of(placed.places)] ^= self._past.signature()
            if one.reason is None:
                asked.append(placed)
            elif one.reason in SECRET:
                secret.append(placed)
        earlier = self._past.of_space(space)
        said = [Placed(cell.places) for cell in earlier if cell.said]
        secret += [Placed(cell.places) for cell in earlier if cell.secret]
        return _until_kept(Atoms(ground, signatures, Cells(said, asked, secret), self._rules, quantity), asked)

    def keeping(self, table: Sequence[Candidate]) -> Callable[[sqlite3.Connection, str], None]:
        """Writes the table down within the transaction that keeps its release, and remembers it."""
        self._place(table)
        kept = [one for one in table if len(one.cell.rows)]

        def write(tx: sqlite3.Connection, release: str) -> None:
            fresh = []
            for space in dict.fromkeys(self._space(one.cell) for one in kept):
                before, ground = self._past.grounds.get(space, Rows()), self._grounds[space]
                if ground is not before:
                    fresh.append((space, ground.since(before)))
                    self._past.grounds[space] = ground
            cells = [self._kept(one, release) for one in kept]
            history.write(tx, self._dataset, fresh, cells)
            for one, cell in zip(kept, cells, strict=True):
                self._past.add(cell, self._compared.get(one.cell))

        return write

    def _kept(self, one: Candidate, release: str) -> SaidCell:
        return SaidCell(
            self._snapshot,
            one.cell.quantity,
            release,
            one.cell.part,
            said=one.reason is None,
            secret=one.reason in SECRET,
            places=self._places[one.cell],
        )


def _price(one: Candidate) -> float:
    """What it costs to withhold a cell: the more units are behind it the more."""
    return 1.0 + math.log2(1 + len(one.shares))


def _until_kept(atoms: Atoms, asked: Sequence[Placed]) -> frozenset[int]:
    """Which of `asked` are withheld. Each that is makes classes coarser, so what is left is looked at again."""
    every, withheld = frozenset(placed.number for placed in asked), frozenset[int]()
    while every - withheld:
        try:
            told = to_withhold(atoms.system(withheld))
        except TooHard:
            return every
        if not told:
            break
        withheld |= told
    return withheld
