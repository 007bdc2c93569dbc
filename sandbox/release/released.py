"""What a release keeps: noisy integers, and all that is needed to say again what they mean. Nothing exact."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from policies.model import Mode
from policies.types import BIGINT, DOUBLE, Type, Value
from sandbox.codec import digest
from sandbox.protocol import Price
from sandbox.relational.nodes import MeasureFunction
from sandbox.release.noise import Mechanism


@dataclass(frozen=True, slots=True)
class ReleasedKey:
    type: Type


@dataclass(frozen=True, slots=True)
class ReleasedMeasure:
    """One measure over all groups. `noisy` holds per group (count,), (sum,) or (count, centred sum), in steps."""

    function: MeasureFunction
    type: Type
    mechanism: Mechanism
    scale: float
    grid: int
    low: str
    """Bounds and step as exact fractions, `n/d`."""
    high: str
    step: str
    clamped: bool
    """Whether values may have been clamped, or units bounded: a function of the policy."""
    noisy: tuple[tuple[int, ...], ...]

    @property
    def bounds(self) -> tuple[Fraction, Fraction]:
        return Fraction(self.low), Fraction(self.high)


@dataclass(frozen=True, slots=True)
class Release:
    """A release as it is stored: its rows in the fixed order of its keys."""

    format: Literal["bpk-release-1"]
    dataset: str
    plan_digest: str
    policy_digest: str
    snapshot: str
    mode: Mode
    price: Price
    keys: tuple[ReleasedKey, ...]
    groups: tuple[tuple[Value, ...], ...]
    near_threshold: tuple[bool, ...]
    """Per group: whether its released number of units was within two scales of the threshold."""
    measures: tuple[ReleasedMeasure, ...]

    @property
    def digest(self) -> str:
        return digest(self)


def measure_type(function: MeasureFunction, argument: Type | None, *, bare: bool) -> Type:
    """The type of a released number: sums of whole or fixed-point columns keep their kind, all else is a double."""
    if function in ("count_rows", "count", "count_units"):
        return BIGINT
    if function == "sum" and argument is not None:
        if argument.whole:
            return BIGINT
        if argument.kind == "decimal" and bare:
            return Type("decimal", 38, argument.scale)
    return DOUBLE
