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
from sandbox.disclosure.cells import Integers
from sandbox.disclosure.guard import Said, differing, from_union, said
from sandbox.disclosure.history import Rows, SaidCell, Space
from sandbox.disclosure.linear import to_withhold
from sandbox.disclosure.past import Past
from sandbox.disclosure.protect import Candidate
from sandbox.disclosure.sketches import labels_of, least_apart, least_from_union, least_of_many, overlaps, within_unions
from sandbox.disclosure.solver import TooHard
from sandbox.relational.facts import Refuse
from sandbox.release.store import Store

CELLS_MAX: Final = 100_000
"""Of one dataset that are remembered. What cannot be remembered is not said."""
SECRET: Final = ("too_few_units", "dominated", "homogeneous")
"""Cells that broke a rule by themselves: what is behind them must stay unknown. Others only keep these secret."""
COMPARED_MAX: Final = 2_000
"""Earlier cells and parts that one new cell is compared with unit by unit; where there are more it is withheld."""


class Memories:
    """One for each dataset, read from the domain's file when it is first asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pasts: dict[str, Past] = {}
        self._lock = threading.Lock()
        store.extend(history.SCHEMA)

    def require_room(self, dataset: str, units_about: int) -> None:
        """Raises Refuse where no more cells can be remembered."""
        if len(self._past(dataset, units_about).all) >= CELLS_MAX:
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
        self._least = rules.difference_units_min
        self._rules = rules

    def differing(self, table: Sequence[Candidate]) -> frozenset[int]:
        """The larger of two cells that are too near each other is said.

        Source: docs/explanation/guarantees/differencing.md
        """
        open_ = [i for i, one in enumerate(table) if one.reason is None]
        open_.sort(key=lambda i: (-len(table[i].shares), table[i].cell.part, table[i].cell.place, table[i].cell.column))
        accepted: dict[int, Said] = {}
        for i in open_:
            one = self._said(table[i])
            if not self._near(one, [(table[j], other) for j, other in accepted.items()], table[i]):
                accepted[i] = one
        for group in self._groups(table, accepted):
            self._drop_smallest(table, accepted, group)
        return frozenset(open_) - frozenset(accepted)

    def _said(self, one: Candidate) -> Said:
        space = (self._snapshot, one.cell.quantity.name)
        return said(space, one.shares, one.cell.rows, self._past.sample)

    def _near(self, one: Said, accepted: list[tuple[Candidate, Said]], own: Candidate) -> bool:
        """Whether a few units tell it from something said before, or from the cells of its own table."""
        past, size = self._past, len(one.shares)
        common = overlaps(one.buckets, past.buckets)
        near = np.flatnonzero(least_apart(size, past.sizes, common) < self._least)
        unions = self._near_parts(one, past.by_part(within_unions(size, past.sizes, common)))
        if len(near) + len(unions) > COMPARED_MAX:
            return True
        if any(self._few(differing(one, past.compared(int(i)))) for i in near):
            return True
        if any(self._few(from_union(one, [past.compared(n) for n in past.parts[part]])) for part in unions):
            return True
        beside = [other for _, other in accepted if self._may_be_near(one, other)]
        if any(self._few(differing(one, other)) for other in beside):
            return True
        groups: dict[tuple[int, str], list[Said]] = {}
        for candidate, other in accepted:
            if candidate.cell.part != own.cell.part:
                groups.setdefault((candidate.cell.part, candidate.cell.quantity.name), []).append(other)
        return any(self._few(self._union(one, cells)) for cells in groups.values())

    def _near_parts(self, one: Said, covered: Integers) -> list[int]:
        """The parts of which a union may be near: so much of the cell is `covered` by their cells at most."""
        parts = np.flatnonzero(len(one.shares) - covered < self._least).tolist()
        several = [part for part in parts if len(self._past.parts[part]) > 1]
        bounds = least_from_union(one.sample, [self._past.labels(part) for part in several])
        return [part for part, bound in zip(several, bounds.tolist(), strict=True) if bound < self._least]

    def _may_be_near(self, one: Said, other: Said) -> bool:
        common = overlaps(one.buckets, other.buckets[None])
        return bool(least_apart(len(one.shares), np.array([len(other.shares)]), common)[0] < self._least)

    def _union(self, cell: Said, cells: Sequence[Said]) -> int:
        """The units in which a cell differs from a union at least: seldom reckoned in full."""
        labels = labels_of([other.sample for other in cells], self._past.sample.width)
        bound = int(least_from_union(cell.sample, [labels])[0])
        return bound if bound >= self._least else from_union(cell, cells)

    def _few(self, units: int) -> bool:
        return 0 < units < self._least

    def _groups(self, table: Sequence[Candidate], accepted: dict[int, Said]) -> Iterator[list[int]]:
        """Cells of this table that have no row in common: of one part and quantity."""
        groups: dict[tuple[int, str], list[int]] = {}
        for i in accepted:
            groups.setdefault((table[i].cell.part, table[i].cell.quantity.name), []).append(i)
        yield from (group for group in groups.values() if len(group) > 1)

    def _drop_smallest(self, table: Sequence[Candidate], accepted: dict[int, Said], group: list[int]) -> None:
        """Withholds the smallest of a group's cells until none of its unions is near to a cell said before."""
        while len(left := [i for i in group if i in accepted]) > 1:
            cells = [accepted[i] for i in left]
            near = self._near_union(cells, [other for i, other in accepted.items() if i not in left])
            if near is None:
                return
            touched = [i for i in left if len(np.intersect1d(accepted[i].shares.units, near.shares.units))]
            del accepted[min(touched or left, key=lambda i: len(table[i].shares))]

    def _near_union(self, cells: Sequence[Said], beside: Sequence[Said]) -> Said | None:
        """A cell, said before or beside, from which a union of `cells` differs in a few units."""
        past = self._past
        labels = labels_of([other.sample for other in cells], past.sample.width)
        numbers = np.flatnonzero(least_of_many(past.samples, labels) < self._least)
        covered = np.zeros(len(numbers), dtype=np.int64)
        for cell in cells:
            size = np.full(len(numbers), len(cell.shares))
            covered += within_unions(past.sizes[numbers], size, overlaps(cell.buckets, past.buckets[numbers]))
        left = numbers[past.sizes[numbers] - covered < self._least]
        for other in (past.compared(int(number)) for number in left):
            if self._few(from_union(other, cells)):
                return other
        return next((other for other in beside if self._few(self._union(other, cells))), None)

    def narrowed(self, table: Sequence[Candidate]) -> frozenset[int]:
        """Quantity by quantity: numbers of different ones do not tell of each other.

        Source: docs/explanation/guarantees/linear-audit.md
        """
        groups: dict[str, list[int]] = {}
        for i, one in enumerate(table):
            if len(one.cell.rows):
                groups.setdefault(one.cell.quantity.name, []).append(i)
        return frozenset(i for group in groups.values() for i in self._narrowed(table, group))

    def _narrowed(self, table: Sequence[Candidate], group: Sequence[int]) -> frozenset[int]:
        quantity = table[group[0]].cell.quantity
        space: Space = (self._snapshot, quantity.name)
        ground = self._past.grounds.get(space, Rows()).including([table[i].cell.rows for i in group])
        known = self._past.signatures(space) if space in self._past.grounds else np.zeros(0, dtype=np.uint64)
        signatures = np.concatenate((known, np.zeros(len(ground.items) - len(known), dtype=np.uint64)))
        asked: list[Placed] = []
        secret: list[Placed] = []
        for i in group:
            one = table[i]
            places = ground.places_of(one.cell.rows.items)
            placed = Placed(BitMap(places.astype(np.uint32)), number=i, price=_price(one))
            signatures[places] ^= self._past.signature()
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
        kept = [one for one in table if len(one.cell.rows)]

        def write(tx: sqlite3.Connection, release: str) -> None:
            fresh = []
            for one in kept:
                space = (self._snapshot, one.cell.quantity.name)
                ground = self._past.grounds.setdefault(space, Rows())
                if len(rows := ground.fresh(one.cell.rows)):
                    ground.add(rows)
                    fresh.append((space, rows))
            cells = [self._kept(one, release) for one in kept]
            history.write(tx, self._dataset, fresh, cells)
            for cell in cells:
                self._past.add(cell)

        return write

    def _kept(self, one: Candidate, release: str) -> SaidCell:
        space: Space = (self._snapshot, one.cell.quantity.name)
        places = BitMap(self._past.grounds[space].places_of(one.cell.rows.items).astype(np.uint32))
        return SaidCell(
            self._snapshot,
            one.cell.quantity,
            release,
            one.cell.part,
            said=one.reason is None,
            secret=one.reason in SECRET,
            places=places,
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
