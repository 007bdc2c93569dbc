"""The differencing guard: two numbers whose difference is about a few units say what these few add up to.

A new cell may be said where the number of units whose contribution differs is 0 or at least `difference_units_min`,
against every cell that was said before and every union of disjoint cells of one earlier table, whoever was told; and
likewise every earlier cell against the unions of the new table's cells.
Source: docs/explanation/guarantees/differencing.md
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sandbox.disclosure.cells import Ground, Integers, Shares
from sandbox.disclosure.sketches import Sample, buckets_of

RATIO_BITS = 16
"""Two ratios are taken for one where they agree to so many bits: what is reckoned within units comes in steps of its
own, so that equal numbers differ in their last digits."""


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """A number as it is compared: by the contributions of units, and by rows where both are of one `space`."""

    space: tuple[str, str]
    shares: Shares
    """Units whose contributions do not cancel."""
    rows: Ground
    buckets: NDArray[np.int32]
    sample: Integers
    """Its columns of the sample."""


def compact(shares: Shares) -> Shares:
    """Without units whose contributions cancel."""
    kept = shares.values != 0
    return Shares(shares.units[kept], shares.values[kept])


def differing(first: Said, second: Said) -> int:
    """In how many units two cells differ. Contributions of different quantities are compared up to one factor: else
    a sum of what is proportional to another would share nothing with it."""
    common, a, b = np.intersect1d(first.shares.units, second.shares.units, assume_unique=True, return_indices=True)
    everybody = len(first.shares) + len(second.shares) - len(common)
    return everybody - _agreeing(
        first.shares.values[a], second.shares.values[b], same=first.space[1] == second.space[1]
    )


def _agreeing(first: NDArray[np.float64], second: NDArray[np.float64], *, same: bool) -> int:
    """How many pairs agree: are equal, or have the most frequent ratio."""
    if same:
        return int((first == second).sum())
    if not len(first):
        return 0
    mantissa, exponent = np.frexp(first / second)
    steps = mantissa * 2**RATIO_BITS
    return max(_most_frequent(np.floor(steps + shift), exponent) for shift in (0.0, 0.5))


def _most_frequent(steps: NDArray[np.float64], exponent: NDArray[np.int32]) -> int:
    keys = steps.astype(np.int64) * 4096 + exponent
    return int(np.unique(keys, return_counts=True)[1].max())


def from_union(cell: Said, cells: Sequence[Said]) -> int:
    """The least number of units in which `cell` differs from a union of `cells`, which have no row in common.

    Each cell is in the union if fewer of its units would be too many than would be missing. The sum of what is then too
    much or missing is the least there is, for the choices do not meddle with each other where no unit is in two cells.
    """
    cells = [other for other in cells if len(other.shares) < 2 * len(cell.shares)]  # a larger one is never chosen
    if not cells:
        return len(cell.shares)
    if all(other.space == cell.space for other in cells):
        return _by_rows(cell, cells)
    return _by_units(cell, cells)


def _by_rows(cell: Said, cells: Sequence[Said]) -> int:
    items = np.concatenate([other.rows.items for other in cells])
    units = np.concatenate([other.rows.units for other in cells])
    owners = np.repeat(np.arange(len(cells)), [len(other.rows) for other in cells])
    within = np.isin(items, cell.rows.items, assume_unique=True)
    common, sizes = np.bincount(owners[within], minlength=len(cells)), np.bincount(owners, minlength=len(cells))
    differing_units = [cell.rows.units[~np.isin(cell.rows.items, items[within], assume_unique=True)]]
    for number in np.flatnonzero((common > 0) & (common < sizes)).tolist():  # of others no unit differs
        own = owners == number
        more, less = np.unique(units[own & ~within]), np.unique(units[own & within])
        differing_units.append(more if len(more) < len(less) else less)
    return len(np.unique(np.concatenate(differing_units)))


def _by_units(cell: Said, cells: Sequence[Said]) -> int:
    chosen = [other for other in cells if 2 * _common(cell.shares.units, other.shares.units) > len(other.shares)]
    if not chosen:
        return len(cell.shares)
    units = np.concatenate([other.shares.units for other in chosen])
    values = np.concatenate([other.shares.values for other in chosen])
    order = np.argsort(units, kind="stable")
    units, values = units[order], values[order]
    first = np.flatnonzero(np.concatenate(([True], units[1:] != units[:-1])))
    together = compact(Shares(units[first], np.add.reduceat(values, first)))
    return differing(cell, Said(chosen[0].space, together, cell.rows, cell.buckets, cell.sample))


def _common(first: Integers, second: Integers) -> int:
    return len(np.intersect1d(first, second, assume_unique=True))


def said(space: tuple[str, str], shares: Shares, rows: Ground, sample: Sample) -> Said:
    kept = compact(shares)
    return Said(space, kept, rows, buckets_of(kept.units), sample.columns(kept.units))
