"""The rules that a cell has to pass by itself, whatever else was said: how many units are behind it, and who.

Source: docs/explanation/guarantees/disclosure.md
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from policies.model import Aggregate
from sandbox.disclosure.cells import Integers, Shares

Reason = Literal["too_few_units", "dominated", "homogeneous", "difference", "complementary"]
"""Why a cell is withheld. It stays in the domain: which rule it was would tell what is behind it."""


def primary(shares: Shares, rules: Aggregate) -> Reason | None:
    """The first rule that a cell breaks; None where it may be said, for all that is in it.

    Guarantee: at least `units_min` units contribute; the largest `dominance_units` hold less than `dominance_share` of
    all contributions, and nobody who knows one contribution can tell another's to within `p_percent`. Contributions
    count by their size, so that one below 0 hides nobody.
    """
    sizes = np.abs(shares.values[shares.values != 0])
    if len(sizes) < rules.units_min:
        return "too_few_units"
    total, most = float(sizes.sum()), min(len(sizes), max(2, rules.dominance_units))
    top = np.sort(np.partition(sizes, -most)[-most:])[::-1]
    if float(top[: rules.dominance_units].sum()) >= float(rules.dominance_share) * total:
        return "dominated"
    rest = total - float(top[:2].sum())
    return "dominated" if rest * 100 < float(rules.p_percent) * float(top[0]) else None


def alike(units: Integers, population: Integers, rules: Aggregate) -> bool:
    """Whether all of `population` but fewer than `units_min` are in a cell that a sensitive column picks them by."""
    return len(np.setdiff1d(population, units)) < rules.units_min


def one_value(values: Integers) -> bool:
    """Whether all rows have the same value, so that everybody's is told by the mean."""
    return bool(len(values)) and int(values.min()) == int(values.max())
