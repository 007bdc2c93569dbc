"""What a release keeps: noisy integers, and all that is needed to say again what they mean. Nothing exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from policies.model import Mode
from policies.types import Type, Value
from sandbox.codec import digest
from sandbox.protocol import Price
from sandbox.relational import nodes
from sandbox.relational.nodes import MeasureFunction
from sandbox.relational.normal import bare
from sandbox.release.noise import Mechanism


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    type: Type
    public: bool
    """Whether all of its values were answered, so that no group was kept back."""


@dataclass(frozen=True, slots=True)
class ReleasedGrid:
    """Bounds and step of an argument as exact fractions, `n/d`."""

    low: str
    high: str
    step: str

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.low), Fraction(self.high)

    @property
    def middle(self) -> Fraction:
        return sum(self.bounds, Fraction(0)) / 2

    @property
    def half(self) -> Fraction:
        low, high = self.bounds
        return (high - low) / 2


@dataclass(frozen=True, slots=True)
class ReleasedStatistic:
    """One mechanism's output over all groups.

    `noisy` holds per group the components of a vector in steps of 1 / `grid`, the one number of a COUNT(DISTINCT x), or
    the chosen cell of each quantile. `arguments` are the grids of what was read: none for counts of rows, two of pairs.
    `norm` is the norm that was chosen by levels, as a fraction of the declared one; None where it was fixed.
    """

    mechanism: Mechanism
    scale: float
    grid: int
    arguments: tuple[ReleasedGrid, ...]
    norm: str | None
    noisy: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ReleasedMeasure:
    """How a number of the answer is told from the statistic of number `statistic`."""

    function: MeasureFunction
    type: Type
    statistic: int
    clamped: bool
    """Whether values may have been clamped, or units bounded: a function of the policy."""
    place: int = 0
    """Which of the fractions of a quantile."""
    divisor: int | None = None
    """Of a mean that is told from a sum: the statistic of its count."""
    coarse: bool = False
    """Whether a quantile's grid is coarser than the column's own steps."""


@dataclass(frozen=True, slots=True)
class Release:
    """A release as it is stored: its rows in the fixed order of its keys."""

    format: Literal["bpk-release-2"]
    dataset: str
    asked: nodes.Release
    """The question's private part. Everything else of a question only looks at what was released for it."""
    policy_digest: str
    snapshot: str
    mode: Mode
    price: Price
    keys: tuple[ReleasedKey, ...]
    groups: tuple[tuple[Value, ...], ...]
    near_threshold: tuple[bool, ...]
    """Per group: whether its released number of units was within two scales of the threshold."""
    statistics: tuple[ReleasedStatistic, ...]
    measures: tuple[ReleasedMeasure, ...]
    units_dropped: bool
    """Whether rows without a unit may have been left out: a function of the policy."""

    @property
    def plan_digest(self) -> str:
        return digest(self.asked)

    @property
    def source_digest(self) -> str:
        """The same for all questions about the same rows, whatever columns of them are read."""
        return digest(bare(self.asked.source))
