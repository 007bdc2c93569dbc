"""What was answered in `aggregate` mode, cell by cell, for life: beside the releases, in the domain's own file.

A cell is a set of places in the *ground* of its snapshot and quantity, which holds each row once and only grows. Sets
are compressed (Roaring); rows are plain arrays of 64-bit integers.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from sandbox.disclosure.cells import Ground, Integers, Quantity
from sandbox.disclosure.sorting import numbered, starts

SPARSE_MAX: Final = 4
"""Times as many numbers as items there may be from the least to the greatest for these to be looked up in a table."""
Space = tuple[str, str]
"""(snapshot, name of the quantity)"""


@dataclass(frozen=True, slots=True)
class SaidCell:
    """A cell that was asked: released (`said`) or withheld, which is `secret` where it must stay unknown itself.

    `places` are those of its rows in the ground.
    """

    snapshot: str
    quantity: Quantity
    release: str
    part: int
    said: bool
    secret: bool
    places: BitMap

    @property
    def space(self) -> Space:
        return self.snapshot, self.quantity.name


@dataclass(frozen=True, slots=True, eq=False)
class ByUnit:
    """Rows unit by unit, parallel: their places, the numbers of their units, counted from 0, and their values."""

    places: Integers
    units: Integers
    values: NDArray[np.float64]


class Rows:
    """The ground of one snapshot and quantity: rows in the order in which they came, and where each item stands."""

    def __init__(self) -> None:
        empty = np.empty(0, dtype=np.int64)
        self.items, self.units, self.values = empty, empty, empty
        self._sorted, self._places = empty, empty
        self._by_unit: ByUnit | None = None
        self._table: NDArray[np.int32] | None = None

    @property
    def everything(self) -> Ground:
        """All rows, in the order in which they came."""
        return Ground(self.items, self.units, self.values)

    @property
    def by_unit(self) -> ByUnit:
        if self._by_unit is None:
            order = np.argsort(self.units)
            numbers = np.cumsum(starts(self.units[order])) - 1
            self._by_unit = ByUnit(order, numbers, self.values[order].astype(np.float64))
        return self._by_unit

    def including(self, cells: Sequence[Ground]) -> tuple[Rows, list[Integers]]:
        """With the rows of `cells`, where those that are not there yet come last, and the places of the rows of each.
        The same object where all are there already."""
        places = [self._found(rows.items) for rows in cells]
        fresh = [self._some(rows, at < 0) for rows, at in zip(cells, places, strict=True) if (at < 0).any()]
        if not fresh:
            return self, places
        columns = [np.concatenate([getattr(rows, name) for rows in fresh]) for name in ("items", "units", "values")]
        first = numbered(columns[0])[0]
        found = Rows()
        found.__dict__.update(self.__dict__)  # arrays are never written into
        found.add(Ground(*(column[first] for column in columns)))
        return found, [found._found(rows.items) for rows in cells]

    @staticmethod
    def _some(rows: Ground, kept: NDArray[np.bool_]) -> Ground:
        return Ground(rows.items[kept], rows.units[kept], rows.values[kept])

    def add(self, fresh: Ground) -> None:
        """Rows whose items are not there yet."""
        if not len(fresh):
            return
        self._by_unit = None
        self.items = np.concatenate((self.items, fresh.items))
        self.units = np.concatenate((self.units, fresh.units))
        self.values = np.concatenate((self.values, fresh.values))
        self._places = np.argsort(self.items, kind="stable")
        self._sorted = self.items[self._places]
        self._table = self._tabled()

    def since(self, before: Rows) -> Ground:
        """The rows that came after those of `before`, in the order in which they came."""
        first = len(before.items)
        return Ground(self.items[first:], self.units[first:], self.values[first:])

    def at(self, places: Integers) -> Ground:
        """The rows at `places`, ascending by item."""
        items = self.items[places]
        order = np.argsort(items, kind="stable")
        return Ground(items[order], self.units[places][order], self.values[places][order])

    def _found(self, items: Integers) -> Integers:
        if not len(self._sorted):
            return np.full(len(items), -1, dtype=np.int64)
        if self._table is not None:
            found: Integers = self._table[np.clip(items - self._sorted[0] + 1, 0, len(self._table) - 1)].astype(
                np.int64
            )
            return found
        near = np.minimum(np.searchsorted(self._sorted, items), len(self._sorted) - 1)
        return np.where(self._sorted[near] == items, self._places[near], -1)

    def _tabled(self) -> NDArray[np.int32] | None:
        """The places of all items from one below the least to one above the greatest, where these are dense."""
        span = int(self._sorted[-1] - self._sorted[0]) + 1
        if span > SPARSE_MAX * len(self._sorted):
            return None
        found = np.full(span + 2, -1, dtype=np.int32)
        found[self._sorted - self._sorted[0] + 1] = self._places
        return found


def bitmap_of(places: Integers) -> BitMap:
    """The set of `places`: an array of the standard library is read ten times as fast as one of numpy."""
    return BitMap(array("I", places.astype(np.uint32).tobytes()))


def array_of(places: BitMap) -> Integers:
    return np.frombuffer(places.to_array(), dtype=np.uint32).astype(np.int64)


def load(connection: sqlite3.Connection, dataset: str) -> tuple[dict[Space, Rows], list[SaidCell]]:
    """All of a dataset's past, in order."""
    grounds: dict[Space, Rows] = {}
    for snapshot, quantity, *blobs in connection.execute(
        "SELECT snapshot, quantity, items, units, amounts FROM said_row WHERE dataset = ? ORDER BY rowid", (dataset,)
    ):
        rows = grounds.setdefault((snapshot, quantity), Rows())
        rows.add(Ground(*(np.frombuffer(blob, dtype="<i8").astype(np.int64) for blob in blobs)))
    return grounds, list(_cells(connection, dataset))


def _cells(connection: sqlite3.Connection, dataset: str) -> Iterator[SaidCell]:
    for snapshot, name, nonnegative, counts, release, part, said, secret, places in connection.execute(
        "SELECT snapshot, quantity, nonnegative, counts, release, part, said, secret, places FROM said_cell "
        "WHERE dataset = ? ORDER BY rowid",
        (dataset,),
    ):
        quantity = Quantity(name, bool(nonnegative), bool(counts))
        yield SaidCell(snapshot, quantity, release, part, bool(said), bool(secret), BitMap.deserialize(places))


def write(
    tx: sqlite3.Connection, dataset: str, rows: Sequence[tuple[Space, Ground]], cells: Sequence[SaidCell]
) -> None:
    """Within an open transaction, that in which the release is kept."""
    for (snapshot, quantity), ground in rows:
        blobs = [column.astype("<i8").tobytes() for column in (ground.items, ground.units, ground.values)]
        tx.execute("INSERT INTO said_row VALUES (?, ?, ?, ?, ?, ?)", (dataset, snapshot, quantity, *blobs))
    tx.executemany(
        "INSERT INTO said_cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                dataset,
                cell.snapshot,
                cell.quantity.name,
                int(cell.quantity.nonnegative),
                int(cell.quantity.counts),
                cell.release,
                cell.part,
                int(cell.said),
                int(cell.secret),
                cell.places.serialize(),
            )
            for cell in cells
        ],
    )
