"""What a release takes from the rows, each with the most that one unit adds to it: the statistics of a plan.

- `Vector`: integers that add up over units, an entry per group and component. What a unit adds is scaled down to the
  norm before it is summed, so the norm is the sensitivity, whatever the rows say.
- `DistinctCount`: how many values a group has. A unit counts for at most `pairs` pairs of a group and a value.
- `Quantiles`: the cell of a public grid in which a share of the values lies below. A unit's rows weigh at most `rows`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from policies.model import Accountant
from sandbox.relational.expressions import Expression

CENTRED_GRID = 2**20
"""Grid of centred moments: values in [-1, 1] become integers up to this."""
COUNT_GRID = 2**10
"""Grid of counts whose unit may have to be scaled: rounding toward 0 then loses at most a thousandth."""
NORM_MAX = 2**52
"""Norms stay where doubles are exact and squares fit the engine's 128 bits."""
LEVELS_WORTH = 4
"""Where the declared norm is less than so many times the smallest, choosing a lower one is not worth its price."""

Part = Literal["rows", "present", "finite", "value", "centred", "square", "product", "units"]


@dataclass(frozen=True, slots=True)
class Argument:
    """An expression with the bounds that its values are clamped to, and the grid that they are put on."""

    expression: Expression
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    step: Fraction = Fraction(1)

    @property
    def middle(self) -> Fraction:
        return (self.low + self.high) / 2

    @property
    def half(self) -> Fraction:
        return (self.high - self.low) / 2


@dataclass(frozen=True, slots=True)
class Component:
    """One integer per row, or per unit and group where `part` is `units`.

    `rows` is `grid` for every row, `present` where the argument is not null, `finite` where it is a number; `value` is
    the clamped argument in steps. With u the clamped argument mapped from [low, high] to [-1, 1]: `centred` is u,
    `square` is 2u^2 - 1, `product` is u times the `other` argument's, all in steps of 1 / grid. Where there is an
    `other` argument, a row counts only if both are numbers. `units` is `grid` for a unit, or for one of which a row
    meets the argument.
    """

    part: Part
    grid: int
    argument: Argument | None = None
    other: Argument | None = None


@dataclass(frozen=True, slots=True)
class Norm:
    """What one unit adds at most: `squared` bounds the squared L2 norm (zcdp), `total` the L1 norm (pure)."""

    squared: int
    total: int


@dataclass(frozen=True, slots=True)
class Vector:
    components: tuple[Component, ...]
    norm: Norm
    floor: int
    """The smallest norm that is worth choosing, in steps: what one row adds."""
    loose: bool
    """Whether the norm is far above what one row adds, so that a lower one is chosen by levels and paid for."""
    ranged: bool = False
    """Whether the range of its arguments is wide, so that a narrower one is chosen and paid for."""

    @property
    def arguments(self) -> tuple[Argument, ...]:
        """What the components are of, in SQL's order."""
        first = self.components[0]
        return tuple(a for a in (first.argument, first.other) if a is not None)

    def limit(self, accountant: Accountant) -> int:
        """The norm in the form in which a unit's size is compared with it: squared under zcdp."""
        return self.norm.squared if accountant == "zcdp" else self.norm.total

    def first_level(self, accountant: Accountant) -> int:
        return self.floor**2 if accountant == "zcdp" else self.floor

    def levels(self, accountant: Accountant) -> int:
        """The number of levels below the declared norm: each is the root of two times the one before."""
        ratio = self.limit(accountant) / self.first_level(accountant)
        return math.ceil(math.log2(ratio) * (1 if accountant == "zcdp" else 2))

    def at_level(self, level: int, accountant: Accountant) -> Vector:
        """The same vector with the norm of `level`, at most the declared one."""
        size = self.floor**2 * 2**level
        if accountant == "zcdp":
            return replace(self, norm=replace(self.norm, squared=min(self.norm.squared, size)))
        return replace(self, norm=replace(self.norm, total=min(self.norm.total, math.isqrt(size))))


@dataclass(frozen=True, slots=True)
class DistinctCount:
    argument: Expression
    pairs: int
    """Most pairs of a group and a value that one unit counts for."""
    ranked: bool
    """Whether a unit may have more pairs than that, so that some have to be left out."""

    @property
    def norm(self) -> Norm:
        """All of a unit's pairs may lie in one group."""
        return Norm(self.pairs**2, self.pairs)


@dataclass(frozen=True, slots=True)
class Quantiles:
    """`fractions` are distinct and ascending; each costs a share of its own."""

    argument: Argument
    fractions: tuple[Fraction, ...]
    cells: int
    """The range in cells, from `low` on."""
    cell: Fraction
    """The width of a cell: one of the argument's steps, or several."""
    inner: int
    """Cells in one coarse cell: the first pass chooses a coarse cell, the second one of its cells."""
    rows: int
    grid: int
    """What one row weighs; a unit's rows together weigh at most rows x grid."""
    cells_max: int
    coarser: bool
    """Whether a cell holds several of the column's own steps."""
    ranged: bool
    """Whether the range is too wide for its grid to be fine, so that a narrower one is chosen and paid for."""

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return (self.argument,)

    @property
    def coarse(self) -> int:
        return -(-self.cells // self.inner)

    @property
    def weight(self) -> int:
        return self.rows * self.grid


Statistic = Vector | DistinctCount | Quantiles


@dataclass(frozen=True, slots=True)
class Shape:
    """How often one unit may occur: what the norms depend on."""

    rows: int
    """Most rows per unit, declared."""
    groups: int
    """Most groups per unit that are counted: L0."""
    one_group: bool
    """A unit is in one group at most, by structure."""
    all_groups: bool
    """No unit can be in more than `groups` groups, by structure."""
    unit_once: bool
    """A unit has one row at most, by structure."""
    pairs_max: int
    """Most pairs of a group and a value that one unit counts for in COUNT(DISTINCT x): the policy's groups."""
