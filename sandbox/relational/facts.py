"""What is known about a relation without looking at data: the facts that every rule proves or refuses.

Facts come from the policy and from public tables alone. Bounds are clamp targets: the lowered SQL clamps every measure
to them, so a wrong declaration costs accuracy, never privacy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeGuard

from policies import model
from policies.types import Type, Value
from sandbox.protocol import Refused
from sandbox.relational.expressions import Expression, Position

Edge = Fraction | date | datetime
Bounds = tuple[Edge, Edge]
KEYS_MAX = 10_000
"""Most public keys of one column."""


def numeric_bounds(bounds: Bounds | None) -> TypeGuard[tuple[Fraction, Fraction]]:
    """Whether `bounds` are bounds of a number."""
    return bounds is not None and isinstance(bounds[0], Fraction) and isinstance(bounds[1], Fraction)


class Refuse(Exception):
    """A plan whose facts cannot be proved. Raised before any data is touched."""

    def __init__(self, code: str, detail: str, *, hint: str | None = None, at: Position | None = None) -> None:
        super().__init__(detail)
        self.refused = Refused(code, detail, hint, at)


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """Facts of one column or expression."""

    type: Type
    label: str
    """The operator's or policy's words for it, for messages."""
    nullable: bool
    """Whether null is a value that may be shown as a group; the lowered SQL never relies on its absence."""
    bounds: Bounds | None = None
    """Low and high edge; numbers as Fraction."""
    step: Fraction | None = None
    """Grid of its values, where one is known or declared."""
    keys: tuple[Value, ...] | None = None
    """Public finite keys in order, without null; None where they are not public."""
    of_unit: bool = False
    """Whether the value is a function of the unit."""
    bins: tuple[Decimal, ...] | None = None
    """Edges of the bins that it is grouped by with `bin(x)`."""
    declared: model.Column | None = None
    source: tuple[str, str] | None = None
    """(table, column) of the policy where this is a bare column."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """What holds of a column of row numbers."""

    most: int
    """Most rows of one unit that carry the same number, as declared."""
    alone: bool
    """No two rows of a unit carry the same number, by structure."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts of a relation of private or public rows."""

    columns: Mapping[str, ColumnFacts]
    unit: frozenset[str] | None
    """Columns that equal the hidden unit; None for public relations, where no row is about a unit."""
    multiplicity: int | None
    """Most rows per unit, as declared; None for public relations."""
    unique: frozenset[frozenset[str]] = frozenset()
    """Sets of columns without two equal rows."""
    fan_out: Mapping[str, int] = field(default_factory=dict)
    """Most rows per value of a column, where declared."""
    unit_once: bool = False
    """Every unit has at most one row, by what ingest checked or by structure; `multiplicity == 1` is only declared."""
    numbered: Mapping[str, Numbering] = field(default_factory=dict)
    """Columns that number the rows of a unit from 1 on."""
    computed: Mapping[Expression, ColumnFacts] = field(default_factory=dict)
    """Expressions of which a condition that holds for all rows says more than is known of their columns."""

    @property
    def private(self) -> bool:
        return self.unit is not None

    def is_unique(self, names: frozenset[str]) -> bool:
        return any(key <= names for key in self.unique)

    def with_columns(self, columns: Mapping[str, ColumnFacts]) -> Facts:
        return replace(self, columns=columns)


@dataclass(frozen=True, slots=True)
class Schema:
    """All that is public about a dataset: its policy, and the distinct values of its public tables' columns."""

    policy: model.Policy
    public_keys: Mapping[str, Mapping[str, tuple[Value, ...]]]
