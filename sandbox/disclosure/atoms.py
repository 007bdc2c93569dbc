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
from sandbox.disclosure.primary import primary

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
    """Atoms that break the rules for a cell by themselves, but for those that are a cell which keeps them."""
    order = np.argsort(inverse, kind="stable")
    edges = np.searchsorted(inverse[order], np.arange(int(inverse.max()) + 2 if len(inverse) else 1))
    found = []
    for atom in range(len(edges) - 1):
        if atom in whole:
            continue
        places = used[order[edges[atom] : edges[atom + 1]]]
        if primary(_shares(rows, places), rules) is not None:
            found.append(_target(rows, places, np.array([atom], dtype=np.int64), rules, counts=counts))
    return found


def _target(rows: Ground, places: Integers, atoms: Integers, rules: Aggregate, *, counts: bool) -> Target:
    """The promise for a number that must stay unknown: what was said leaves room for

    - counts: `units_min` values from the least to the greatest possible;
    - sums: its largest contribution to be `p_percent` (at least 1) more, and as much less where an amount can be.
    """
    shares = _shares(rows, places)
    total = float(rows.values[places].astype(np.float64).sum())
    if counts:
        return Target(atoms, total, float(rules.units_min), 0.0, slides=True)
    largest = float(np.abs(shares.values).max()) if len(shares) else 0.0
    room = max(float(rules.p_percent), LEAST_PERCENT) / 100 * largest
    return Target(atoms, total, max(room, 1.0), max(room, 1.0), slides=False)


def _shares(rows: Ground, places: Integers) -> Shares:
    return shares_of(Ground(rows.items[places], rows.units[places], rows.values[places]))
