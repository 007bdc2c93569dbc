"""What the confined child is told, and what it tells back: frozen records, crossing the pipe by the codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from policies.model import Blocks, Column, Policy, Role, Table
from policies.types import Type, Value
from sandbox import codec
from sandbox.ingest.refused import IngestRefused
from sandbox.publics import PublicRows

LAYOUT = 2
"""Of the snapshot. A new number makes every snapshot be built anew."""
UNIT_COLUMN, ITEM_COLUMN = "__unit", "__item"
TAGS_TABLE = "__units"
"""The number of each unit in this snapshot, and the tag that it keeps over snapshots."""
INTEGER_MAX = 2**31 - 1
KNOWN, KNOWN_BEFORE = "known.duckdb", "known-before.duckdb"
"""In the build folder: the blocks of units as the build leaves them, and as it found them."""


@dataclass(frozen=True, slots=True)
class IngestColumn:
    name: str
    type: Type
    role: Role
    nullable: bool
    values: tuple[Value, ...] | None
    low: Decimal | date | datetime | None
    high: Decimal | date | datetime | None


@dataclass(frozen=True, slots=True)
class IngestLink:
    columns: tuple[str, ...]
    to_table: str
    to_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IngestFile:
    """`alias` is a link in the build folder: a name in which the engine finds no pattern. `shown` is for messages."""

    alias: str
    shown: str


@dataclass(frozen=True, slots=True)
class IngestTable:
    name: str
    public: bool
    columns: tuple[IngestColumn, ...]
    key: tuple[str, ...]
    link: IngestLink | None
    rows_per_unit_max: int | None
    fan_out: tuple[tuple[str, int], ...]
    files: tuple[IngestFile, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """`build` is the one folder that the child may write; it is absolute, and the working folder too."""

    tables: tuple[IngestTable, ...]
    unit_table: str | None
    unit_column: str | None
    count_max: int
    build: str
    threads: int
    memory_mb: int
    allow_degraded: tuple[str, ...]
    tag_key: str = ""
    """Hex key of the tags of units; empty where no tags are made."""
    blocks: Blocks | None = None
    """What units are cut into; then tags are kept beside the snapshot, and not in it."""
    known_before: bool = False
    """Whether the build folder holds what was known of units' blocks before."""
    units_known_min: int = 0
    """Of how many units that must say their block."""
    file_bytes: int = 1 << 42
    """The most that one file of the build may grow to."""
    wall_s: int = 21_600

    @property
    def unit_type(self) -> str:
        """Of `__unit`: decided by the policy alone."""
        return unit_type(self.count_max)


@dataclass(frozen=True, slots=True)
class ColumnReport:
    """Counts of the rows that were kept. Nothing here is a value of the data."""

    column: str
    nulls_not_allowed: int
    not_finite: int
    below_range: int
    above_range: int
    outside_values: int


@dataclass(frozen=True, slots=True)
class TableReport:
    table: str
    rows_read: int
    rows_kept: int
    rows_without_unit: int
    """The link (or the unit itself) is null, wholly or in part."""
    rows_without_partner: int
    units: int | None
    units_above_rows_per_unit_max: int | None
    columns: tuple[ColumnReport, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """For the custodian alone."""

    tables: tuple[TableReport, ...]


@dataclass(frozen=True, slots=True)
class PublicKeys:
    table: str
    column: str
    values: tuple[Value, ...]
    """Distinct, sorted, null last."""


@dataclass(frozen=True, slots=True)
class Built:
    public_keys: tuple[PublicKeys, ...]
    public_rows: tuple[PublicRows, ...]
    report: Report
    units_known: tuple[tuple[str, int], ...] = ()
    """Of each block, how many units lie in it for life."""


@dataclass(frozen=True, slots=True)
class NotBuilt:
    message: str


@dataclass(frozen=True, slots=True)
class ChildReply:
    outcome: Built | NotBuilt


def unit_type(count_max: int) -> str:
    """The engine's type of `__unit` in a dataset of at most `count_max` units."""
    return "INTEGER" if count_max <= INTEGER_MAX else "BIGINT"


def tables_of(policy: Policy, files: Mapping[str, tuple[IngestFile, ...]]) -> tuple[IngestTable, ...]:
    """The tables of `policy` with the files that hold them. Raises IngestRefused when a table has none."""
    for name in policy.tables:
        if name not in files:
            raise IngestRefused(f"table `{name}` of the policy has no entry under `tables` in domain.toml")
    for name in files:
        if name not in policy.tables:
            raise IngestRefused(f"table `{name}` in domain.toml is not a table of the policy")
    return tuple(_table(table, files[table.name]) for table in policy.tables.values())


def _table(table: Table, files: tuple[IngestFile, ...]) -> IngestTable:
    taken = next((name for name in table.columns if name.lower() in (UNIT_COLUMN, ITEM_COLUMN)), None)
    if taken is not None:
        raise IngestRefused(f"table `{table.name}` lists a column `{taken}`; that name is taken")
    if table.name.lower() == TAGS_TABLE:
        raise IngestRefused(f"a table is called `{table.name}`; that name is taken")
    link = IngestLink(table.link.columns, table.link.to_table, table.link.to_columns) if table.link else None
    columns = tuple(_column(column) for column in table.columns.values())
    fan_out = tuple(sorted(table.fan_out.items()))
    return IngestTable(table.name, table.public, columns, table.key, link, table.rows_per_unit_max, fan_out, files)


def _column(column: Column) -> IngestColumn:
    low, high = column.range if column.range is not None else (None, None)
    return IngestColumn(column.name, column.type, column.role, column.nullable, column.values, low, high)


def schema_digest(policy: Policy) -> str:
    """Hex SHA-256 of what the snapshot's bytes, and the truths checked while building it, depend on.

    Bounds, values, prices and roles' finer grants are not in it: changing them needs no new snapshot.
    """
    unit = policy.unit and (policy.unit.table, policy.unit.column, policy.unit.count_max)
    tags = ("tags",) if "aggregate" in policy.release.modes else ()
    cut = policy.unit and policy.unit.blocks
    blocks = ("blocks", cut.column, cut.by, cut.names) if cut else ()
    return codec.digest(
        (LAYOUT, unit, *tags, *blocks, tuple(_shape(policy, table) for _, table in sorted(policy.tables.items())))
    )


def _shape(policy: Policy, table: Table) -> tuple[object, ...]:
    columns = tuple((column.name, column.type, column.role) for _, column in sorted(table.columns.items()))
    link = table.link and (_short(table.link.columns), table.link.to_table, _short(table.link.to_columns))
    key = _short(table.key) if table.key else None
    one_row_per_unit = policy.own_table(table.name) and table.rows_per_unit_max == 1
    return (table.name, table.public, columns, key, link, one_row_per_unit, tuple(sorted(table.fan_out.items())))


def _short(names: tuple[str, ...]) -> str | tuple[str, ...]:
    """One name as it stood before there could be several, so that snapshots of then serve on."""
    return names[0] if len(names) == 1 else names
