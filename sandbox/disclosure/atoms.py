"""From cells to the unknowns of the linear audit: rows that are in the same cells, taken together.

Source: docs/explanation/guarantees/linear-audit.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.model import Aggregate
from sandbox.disclosure.cells import Ground, Integers, Shares, shares_of
from sandbox.disclosure.linear import System, Target

Signatures = NDArray[np.uint64]
LEAST_PERCENT = 1.0
"""A sum is never told to within less than this part of the largest contribution, whatever `p_percent` says."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A cell by the places of its rows among all rows of its quantity.

    `number` is that of a cell that may still be withheld; `safe` says that it keeps the rules for a cell by itself.
    """

    places: Integers
    safe: bool
    number: int | None = None
    price: float = 0.0


def system_of(  # noqa: PLR0913, PLR0917  # what there is, what was said, what is asked, what must stay unknown
    rows: Ground,
    signatures: Signatures,
    said: Sequence[Placed],
    asked: Sequence[Placed],
    secret: Sequence[Placed],
    rules: Aggregate,
    *,
    nonnegative: bool,
    counts: bool,
) -> System:
    """`rows` are all rows of a quantity in any order; rows of equal signature are in the same cells."""
    used = np.flatnonzero(signatures)
    names, inverse = np.unique(signatures[used], return_inverse=True)
    atom_of = np.full(len(signatures), -1, dtype=np.int64)
    atom_of[used] = inverse
    totals: NDArray[np.float64] = np.bincount(
        inverse, weights=rows.values[used].astype(np.float64), minlength=len(names)
    ).astype(np.float64)
    atoms = {id(cell): np.unique(atom_of[cell.places]) for cell in (*said, *asked, *secret)}
    whole = {int(atoms[id(cell)][0]) for cell in (*said, *asked) if cell.safe and len(atoms[id(cell)]) == 1}
    targets = [_target(rows, cell.places, atoms[id(cell)], rules, counts=counts) for cell in secret]
    targets += _unsafe(rows, used, inverse, whole, rules, counts=counts)
    return System(
        totals=totals,
        nonnegative=nonnegative,
        said=[atoms[id(cell)] for cell in said],
        asked={cell.number: (atoms[id(cell)], cell.price) for cell in asked if cell.number is not None},
        targets=targets,
    )


def _unsafe(  # noqa: PLR0913  # all rows, in atoms, and by which rules
    rows: Ground, used: Integers, inverse: Integers, whole: set[int], rules: Aggregate, *, counts: bool
) -> list[Target]:
    """Atoms that break the rules for a cell by themselves, but for those that are a cell which keeps them.

    The same rules as `primary`, for all atoms at once.
    """
    if not len(inverse):
        return []
    open_ = np.ones(int(inverse.max()) + 1, dtype=np.bool_)
    open_[list(whole)] = False
    chosen = open_[inverse]
    atoms, places = inverse[chosen], used[chosen]
    if not len(atoms):
        return []
    order = np.lexsort((rows.units[places], atoms))
    atoms, units, values = atoms[order], rows.units[places][order], rows.values[places][order].astype(np.float64)
    first = np.flatnonzero(np.concatenate(([True], (atoms[1:] != atoms[:-1]) | (units[1:] != units[:-1]))))
    owners, shares = atoms[first], np.add.reduceat(values, first)
    sizes, count = np.abs(shares), len(open_)
    order = np.lexsort((-sizes, owners))
    owners, shares, sizes = owners[order], shares[order], sizes[order]
    rank = np.arange(len(owners)) - np.searchsorted(owners, owners)
    units_of = np.bincount(owners, weights=sizes > 0, minlength=count)
    whole_of = np.bincount(owners, weights=sizes, minlength=count)
    top = [np.bincount(owners, weights=np.where(rank < most, sizes, 0), minlength=count) for most in (1, 2)]
    largest = np.bincount(owners, weights=np.where(rank < rules.dominance_units, sizes, 0), minlength=count)
    few = units_of < rules.units_min
    dominated = largest >= float(rules.dominance_share) * whole_of
    told = (whole_of - top[1]) * 100 < float(rules.p_percent) * top[0]
    totals = np.bincount(owners, weights=shares, minlength=count)
    present = np.bincount(owners, minlength=count) > 0
    return [
        _promise(np.array([atom], dtype=np.int64), float(totals[atom]), float(top[0][atom]), rules, counts=counts)
        for atom in np.flatnonzero(present & (few | dominated | told)).tolist()
    ]


def _target(rows: Ground, places: Integers, atoms: Integers, rules: Aggregate, *, counts: bool) -> Target:
    shares = _shares(rows, places)
    total = float(rows.values[places].astype(np.float64).sum())
    return _promise(atoms, total, float(np.abs(shares.values).max()) if len(shares) else 0.0, rules, counts=counts)


def _promise(atoms: Integers, total: float, largest: float, rules: Aggregate, *, counts: bool) -> Target:
    """The promise for a number that must stay unknown: what was said leaves room for

    - counts: `units_min` values from the least to the greatest possible;
    - sums: its largest contribution to be `p_percent` (at least 1) more, and as much less where an amount can be.
    """
    if counts:
        return Target(atoms, total, float(rules.units_min), 0.0, slides=True)
    room = max(max(float(rules.p_percent), LEAST_PERCENT) / 100 * largest, 1.0)
    return Target(atoms, total, room, room, slides=False)


def _shares(rows: Ground, places: Integers) -> Shares:
    return shares_of(Ground(rows.items[places], rows.units[places], rows.values[places]))
