"""A policy as frozen, checked values: what may be asked of a dataset, and at what price.

`load.py` is the only maker. Numbers of privacy and bounds are Decimal or int, never float. An object of this module is
consistent: every link resolves, every table leads to the unit or is public, every bound has low <= high.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from policies.types import Type, Value

Supply = Literal["open", "shared", "authorised", "withheld"]
Mode = Literal["dp", "aggregate", "open"]
Accountant = Literal["zcdp", "pure"]
Role = Literal["unit", "key", "dimension", "measure", "hidden"]
FilterGrant = Literal["none", "equality", "range"]
BlocksBy = Literal["year", "month"]
Via = Literal["year", "quarter", "month", "week", "day", "decade"]
AggregateName = Literal[
    "count", "count_distinct", "sum", "avg", "var", "stddev", "covar", "corr", "median", "quantile", "min", "max"
]
Bound = Decimal | date | datetime
"""An edge of a declared range: Decimal for numbers, date or datetime for times."""


@dataclass(frozen=True, slots=True)
class Column:
    """One listed column. Defaults of the format are already filled in (`filter`, `aggregates`, `step`)."""

    name: str
    type: Type
    role: Role
    filter: FilterGrant
    aggregates: frozenset[AggregateName]
    values: tuple[Value, ...] | None = None
    range: tuple[Bound, Bound] | None = None
    step: Decimal | None = None
    """Grid of fixed-point sums; None when the column is not numeric or has no range."""
    via: tuple[Via, ...] = ()
    bins: tuple[Decimal, ...] | None = None
    sensitive: bool = False
    nullable: bool = False
    total_per_unit_max: Decimal | None = None
    joins: tuple[tuple[str, str], ...] = ()
    """(table, column) pairs of public tables that a `key` column may be joined to: keys, parts of keys, fan-outs."""


@dataclass(frozen=True, slots=True)
class Link:
    """`columns` of the linked table equal `to_columns` of `to_table`, one by one, which are together unique there."""

    columns: tuple[str, ...]
    to_table: str
    to_columns: tuple[str, ...]

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(column, the column of `to_table` that it equals)."""
        return tuple(zip(self.columns, self.to_columns, strict=True))


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """Columns of a table that are together one end of a link: rows that agree in all of them are of one unit."""

    to_table: str
    columns: frozenset[tuple[str, str]]
    """(column of `to_table`, the table's own column that holds its values)."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset(own for _, own in self.columns)

    def meets(self, other: LinkEnd) -> frozenset[tuple[str, str]]:
        """(own column, column of the other's table): equal in all of them, rows belong to one row of `to_table`."""
        first, second = dict(self.columns), dict(other.columns)
        if self.to_table != other.to_table or first.keys() != second.keys():
            return frozenset()
        return frozenset((first[target], second[target]) for target in first)


@dataclass(frozen=True, slots=True)
class Table:
    """A private table (`link` or the unit's own) or a public one (`public`)."""

    name: str
    public: bool
    columns: Mapping[str, Column]
    key: tuple[str, ...] = ()
    """The columns of a public table that are together its unique key, checked at ingest; () where it has none."""
    link: Link | None = None
    rows_per_unit_max: int | None = None
    """Most rows of one unit; None for public tables."""
    fan_out: Mapping[str, int] = field(default_factory=dict)
    """Public tables: most rows per value of a column that is not by itself the key."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Units by the time that a column of their own table names, each block with a budget of its own.

    Every unit lies in one block with all its rows, for life; in the last one where the time is null or out of range.
    """

    column: str
    by: BlocksBy
    names: tuple[str, ...]
    """In order: `2024`, ... or `2024-01`, ..., and `rest`."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Whom the policy protects. Neighbouring datasets differ in one unit and all its rows."""

    name: str
    table: str
    column: str
    count_max: int
    count_about: int
    blocks: Blocks | None = None


@dataclass(frozen=True, slots=True)
class Dp:
    accountant: Accountant
    epsilon: Decimal
    delta: Decimal
    epsilon_per_query: Decimal
    epsilon_per_query_max: Decimal
    delta_per_query: Decimal
    groups_per_unit_max: int
    units_min: int


@dataclass(frozen=True, slots=True)
class Aggregate:
    units_min: int
    dominance_units: int
    dominance_share: Decimal
    p_percent: Decimal
    rounding: int
    difference_units_min: int
    cells_max: int = 10_000
    """Numbers that one operator may be shown, for life."""
    withheld_max: int = 1_000
    """Numbers that may be withheld from one operator, for life."""


@dataclass(frozen=True, slots=True)
class Release:
    modes: tuple[Mode, ...]
    reuse_across_operators: bool
    dp: Dp | None
    aggregate: Aggregate | None
    concurrent_max: int = 1
    """Questions of one operator on this dataset at once, but for those of mode `open`."""


@dataclass(frozen=True, slots=True)
class Case:
    """An example of the policy with its verdict. `code` only narrows a refusal; without `mode` the first is asked."""

    name: str
    sql: str
    expect: Literal["answer", "refuse"]
    code: str | None = None
    mode: Mode | None = None
    blocks: tuple[str, ...] | None = None
    """None asks of all."""


@dataclass(frozen=True, slots=True)
class Policy:
    dataset: str
    version: str
    title: Mapping[str, str]
    owner: str
    supply: Supply
    grade: str
    purposes: tuple[str, ...]
    unit: Unit | None
    """None only where every table is public."""
    release: Release
    tables: Mapping[str, Table]
    digest: str
    """Hex SHA-256 of the document's canonical form (RFC 8785): layout and comments do not count."""

    def opens(self, mode: str | None) -> bool:
        """Whether a question asked in `mode`, or in none, is of mode `open`, and that is on offer."""
        modes = self.release.modes
        return "open" in modes and (mode or modes[0]) == "open"

    @property
    def blocks(self) -> tuple[str, ...]:
        """The names of its blocks, in order; none where all units share one budget."""
        return () if self.unit is None or self.unit.blocks is None else self.unit.blocks.names

    @property
    def open_part(self) -> Policy | None:
        """What is open to everybody: the public tables, in mode `open` alone. None where the policy does not offer it.

        It is the same policy, and carries its digest.
        """
        if "open" not in self.release.modes:
            return None
        tables = {name: table for name, table in self.tables.items() if table.public}
        release = replace(self.release, modes=("open",), dp=None, aggregate=None)
        return replace(self, unit=None, release=release, tables=MappingProxyType(tables))

    def seen(self, *, licensed: bool) -> Policy | None:
        """What there is of it for somebody: all where it is open or they are licensed, else what is open to everybody;
        of a withheld one nothing without a licence."""
        if licensed or self.supply == "open":
            return self
        return None if self.supply == "withheld" else self.open_part

    def own_table(self, name: str) -> bool:
        """Whether `name` is the unit's own table."""
        return self.unit is not None and self.unit.table == name

    def link_ends(self, name: str) -> Iterator[LinkEnd]:
        """Both ends of links that table `name` is: where it leads, and where others lead to it."""
        for table in self.tables.values():
            if table.link is not None and table.name == name:
                yield LinkEnd(table.link.to_table, frozenset((target, own) for own, target in table.link.pairs))
            if table.link is not None and table.link.to_table == name:
                yield LinkEnd(name, frozenset((target, target) for target in table.link.to_columns))


@dataclass(frozen=True, slots=True)
class BudgetShare:
    """An operator's part of a dataset's budget, in epsilon for life."""

    epsilon: Decimal
    purposes: Mapping[str, Decimal] = field(default_factory=dict)
    """purpose -> its own part of it; a purpose without an entry may spend all of it."""


@dataclass(frozen=True, slots=True)
class Licence:
    """Who may ask, for what, until when, with which share of the budget."""

    licence: str
    operator: str
    datasets: tuple[str, ...]
    purposes: tuple[str, ...]
    valid_from: date
    valid_until: date
    """Last valid day, UTC."""
    budget: Mapping[str, BudgetShare]
    """dataset -> this operator's share; a dataset without an entry has the dataset's own cap."""

    def valid_on(self, day: date) -> bool:
        return self.valid_from <= day <= self.valid_until
