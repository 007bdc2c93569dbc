"""Cells: one number each that is asked for, with the rows that it is made of.

A row is told from others by its *item*, a number within one snapshot and one *quantity*: what is added up, such as
`rows`, `units`, or one term of a sum. Whatever the question, the same item of one quantity has the same unit and the
same value, so two cells of one quantity are related by their items alone. Units are told by a tag that stays the same
over snapshots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
EXACT_MAX = 2.0**53
"""Doubles are whole numbers below this, and add up to the same in any order."""
TAG_MAX = 2**60
"""Tags of units are evenly spread below this."""


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Rows of one quantity, parallel and ascending by item, each item once. A value of 0 contributes nothing and is
    left out; values are in steps of the quantity."""

    items: Integers
    units: Integers
    values: Integers

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the numbers of a column of cells add up.

    `name` is equal for two questions exactly where equal items have equal values. `nonnegative` says that policy and
    function allow no value below 0, which everybody knows. `counts` says that what is counted are units or rows.
    """

    name: str
    nonnegative: bool
    counts: bool


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A number that is asked for: the sum over `rows`. Cells of one `part` of a table have no item in common.

    `part` is the number of the grouping set; (`part`, `place`, `column`) tells the cell within its table, where
    `column` is the number of the quantity.
    """

    quantity: Quantity
    rows: Ground
    part: int
    place: int
    column: int

    @property
    def total(self) -> int:
        """Exact, whatever the size."""
        values = self.rows.values
        return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What each unit adds to a cell: parallel, ascending by unit, each unit once."""

    units: Integers
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.units)


def shares_of(rows: Ground) -> Shares:
    """What each unit adds; units whose rows cancel out are still there, with 0. Sums do not hang on the order of rows,
    or are taken in the order of items."""
    if not len(rows):
        return Shares(rows.units, np.empty(0))
    if (rows.units[1:] > rows.units[:-1]).all():  # units are counted, or each has a row
        return Shares(rows.units, rows.values.astype(np.float64))
    exact = float(np.abs(rows.values.astype(np.float64)).sum()) < EXACT_MAX
    order = np.argsort(rows.units) if exact else np.argsort(rows.units, kind="stable")
    units, values = rows.units[order], rows.values[order].astype(np.float64)
    first = np.flatnonzero(np.concatenate(([True], units[1:] != units[:-1])))
    return Shares(units[first], np.add.reduceat(values, first))
