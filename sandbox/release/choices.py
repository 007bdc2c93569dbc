"""What is chosen from exact counts: the norm of a vector by levels, the cell of a quantile.

Guarantee: each choice spends the share it is given; what goes in are counts whose sensitivity `lower` guarantees.
Source: docs/explanation/guarantees/choice.md, levels.md, quantile.md
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from policies.model import Accountant
from policies.privacy_loss import EPSILON_UNIT, RHO_UNIT
from sandbox.relational.price import PARTS, Share
from sandbox.relational.ranges import End
from sandbox.relational.statistics import Norm, Quantiles, Vector
from sandbox.release import noise

ENOUGH: Final = 100
"""So many units for each unit of the choice's own noise, or the declared bound is taken."""
CLIPPED_AT_MOST: Final = 20
"""At most one unit in so many is meant to lie above the level."""
LEANING_AT_MOST: Final = 8
"""All leaning together weighs no more than one unit in so many."""
SCORE_MAX: Final = 2**62
LEANING: Final[Mapping[Accountant, float]] = {"zcdp": 2.0, "pure": 1.0}
"""How much a level has to be better than the one below, in scales of the choice: ties go to the smaller norm."""


def choose_level(units: Mapping[int, int], vector: Vector, groups: int, accountant: Accountant, share: Share) -> int:
    """The level of the norm of `vector`: with about as many units above it as bias and noise balance at."""
    return _balanced(units, vector.levels(accountant), groups, accountant, share.values, share.levels)


def choose_end(units: Mapping[int, int], end: End, groups: int, accountant: Accountant, share: Share) -> int:
    """The level of an end of a range: with about as many units beyond it as bias and noise balance at."""
    return _balanced(units, end.levels, groups, accountant, share.values, share.ends)


def _balanced(  # noqa: PLR0913, PLR0917  # what was counted, and the prices of the choice and of what follows
    units: Mapping[int, int], levels: int, groups: int, accountant: Accountant, values: int, choice: int
) -> int:
    """One of `levels` + 1 levels, at a price of `choice`; `values` is the price of the noise that the level sizes.

    `units` maps a level to the number of units of exactly that level. A noisy number of all of them comes first: where
    they are too few for the choice to see them through its own noise, the last level is taken, which is the declared
    bound; a small one would give a wrong number with a narrow interval. Else, lowering the level by a little costs each
    unit above that little, in bias, and saves every group its part of the noise: the sum of both is least where the
    number of units above is the number of groups times the noise per unit of norm.
    Guarantee: the number of units above each level moves by at most 1 for a unit, and for all levels in one direction;
    that of all units by 1. A quarter of the price is for the number of units, the rest for the choice.
    Source: docs/explanation/guarantees/levels.md, ranges.md
    """
    for_number = choice // PARTS
    (many,) = noise.add_noise([sum(units.values())], Norm(1, 1), accountant, for_number)
    scale = noise.choice_scale(1, accountant, choice - for_number, monotonic=True).value
    if many < ENOUGH * scale:
        return levels
    target = min(math.ceil(groups * _noise_per_norm(accountant, values)), many // CLIPPED_AT_MOST)
    lean = min(scale * LEANING[accountant], many / (LEANING_AT_MOST * max(1, levels)))
    above = [sum(n for level, n in units.items() if level > j) for j in range(levels + 1)]
    scores = [max(n - target, 0) + round(lean * j) for j, n in enumerate(above)]
    return noise.choose_least(scores, 1, accountant, choice - for_number, monotonic=True)


def _noise_per_norm(accountant: Accountant, share: int) -> float:
    return 1 / math.sqrt(2 * share / RHO_UNIT) if accountant == "zcdp" else EPSILON_UNIT / share


def choose_cell(  # noqa: PLR0913, PLR0917  # what was counted, what is wanted, and at which price
    outside: tuple[int, int],
    counts: Mapping[int, int],
    cells: int,
    fraction: Fraction,
    statistic: Quantiles,
    accountant: Accountant,
    share: int,
) -> int:
    """The one of `cells` cells in which the quantile lies; `counts` maps cells to weights, `outside` is (below, above).

    A cell's score is how far, in weight times the fraction's denominator, the wanted rank lies outside the cell.
    Guarantee: a unit moves each score by at most max(a, d - a) times its weight, for the fraction a / d. Over several
    groups the losses add up to no more than that of the whole weight in one, because each is at most proportional to
    its weight (pure) or to the square of it (zcdp), and the weights add up to at most rows x grid.
    Source: docs/explanation/guarantees/quantile.md
    """
    a, d = fraction.numerator, fraction.denominator
    inside = [counts.get(cell, 0) for cell in range(cells)]
    before, total = outside[0], sum(outside) + sum(inside)
    scores = []
    for count in inside:
        score = max(a * total - d * (before + count), d * before - a * total, 0)
        scores.append(min(score, SCORE_MAX))  # no larger than what the mechanism counts in; saturating is 1-Lipschitz
        before += count
    sensitivity = max(a, d - a) * statistic.weight
    return noise.choose_least(scores, sensitivity, accountant, share, monotonic=False)
