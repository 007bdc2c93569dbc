"""The documents that stewards write, key by key: what the JSON Schema and the reference are made from.

These classes say which keys there are and of which kind. Whether facts contradict each other is judged in `columns.py`,
`tables.py` and `releases.py`; a default that depends on other keys is filled in there too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from policies.fields import (
    LIST_MAX,
    ColumnName,
    ColumnNameOrNames,
    Day,
    Document,
    Edge,
    Line,
    Name,
    NameOrNames,
    Names,
    Number,
    Scalar,
    Share,
    TypeName,
)
from policies.model import Accountant, AggregateName, BlocksBy, FilterGrant, Mode, Role, Supply, Via

COUNT_MAX = 2**40
ROWS_PER_UNIT_MAX = 1_000_000
TABLES_MAX = 200
COLUMNS_MAX = 1_000


class BlocksDocument(Document):
    """Units by time, each block with a budget of its own, so that new units come with new budget."""

    column: Name = Field(
        description="A date or timestamp of the unit's own table, with a `range`: when the unit came in, say."
    )
    by: BlocksBy = Field(description="How long a block is. With the `rest` there are at most 64.")


class UnitDocument(Document):
    """Whom the policy protects. Neighbouring datasets differ in one unit and all its rows."""

    name: Line = Field(description="What one unit is called, for people: `person`, `household`, `company`.")
    column: ColumnName = Field(
        description="The column that tells units apart, as `table.column`. Its table is the unit's own table."
    )
    count_max: int = Field(
        ge=1,
        le=COUNT_MAX,
        description="No more units than this, ever. Declared from public knowledge, never counted. At most 2^40.",
    )
    count_about: int = Field(
        ge=1, le=COUNT_MAX, description="The public order of magnitude of the number of units, for price previews."
    )
    blocks: BlocksDocument | None = Field(
        default=None,
        description="Cuts the units into blocks, each with the whole budget of `release.dp` for itself. A unit stays "
        "in its block for life.",
    )


class DpDocument(Document):
    """Answers with noise and a price: differential privacy."""

    accountant: Accountant = Field(
        default="zcdp",
        description="How losses add up: `zcdp` (many answers) or `pure` (delta for private keys alone, fewer answers).",
    )
    epsilon: Number = Field(
        description="The cap for life over all operators together; no refresh, no refund. Above 0, at most 1000."
    )
    delta: Number | None = Field(
        default=None,
        description="The cap on delta, at most 1e-6. Required under `zcdp`; 0 under `pure` unless said, and then "
        "private group keys are refused.",
    )
    epsilon_per_query: Number = Field(description="What a query costs when the caller names nothing.")
    epsilon_per_query_max: Number | None = Field(
        default=None, description="The most that one query may cost. Default: `epsilon_per_query`."
    )
    delta_per_query: Number | None = Field(
        default=None,
        description="What one query may spend on private group keys, at most half of `delta`. Default: `delta` / 2000.",
    )
    groups_per_unit_max: int = Field(
        ge=1, le=LIST_MAX, description="In how many groups of one result a unit may count, where keys are private."
    )
    units_min: int = Field(
        default=1,
        ge=1,
        le=1_000_000,
        description="Private keys: a group with fewer units than this never shows. A floor under the threshold.",
    )


class DominanceDocument(Document):
    """No few units make up a released sum."""

    units: int = Field(ge=1, le=100, description="How many of the largest units are looked at together.")
    share: Share = Field(description="They must hold less than this share of a released sum; above 0, at most 1.")


class AggregateDocument(Document):
    """Exact answers under disclosure control, or none."""

    units_min: int = Field(ge=2, le=1_000_000, description="Distinct units behind every released cell.")
    dominance: DominanceDocument | None = Field(
        default=None,
        description="The largest `units` units hold less than `share` of a sum. Default: 2 and 0.85.",
    )
    p_percent: Number | None = Field(
        default=None,
        description="No unit's contribution can be estimated to within this many percent. From 0 to 100. Default: 10.",
    )
    rounding: int = Field(
        default=5, ge=0, le=1_000_000, description="Base that released counts are rounded to; 0 is no rounding."
    )
    difference_units_min: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Any two released cells differ in no unit or in at least so many. Default: `units_min`.",
    )
    cells_max: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="How many numbers one operator may be shown of the dataset, for life. A repeated answer is free.",
    )
    withheld_max: int = Field(
        default=1_000,
        ge=1,
        le=1_000_000,
        description="How many numbers may be withheld from one operator, for life: each tells a little.",
    )


class ReleaseDocument(Document):
    """How answers leave: the modes on offer, their budgets and their rules."""

    modes: list[Mode] = Field(
        min_length=1, description="The modes on offer; the first is the default, a query may name another."
    )
    reuse_across_operators: bool = Field(
        default=True, description="Whether a stored answer serves every operator who may ask the same question."
    )
    concurrent_max: int = Field(
        default=1,
        ge=1,
        le=64,
        description="How many questions of one operator on this dataset may run at once; the others wait for their "
        "turn. Mode `open` does not count.",
    )
    dp: DpDocument | None = Field(default=None, description="Settings of mode `dp`.")
    aggregate: AggregateDocument | None = Field(default=None, description="Settings of mode `aggregate`.")


class ColumnDocument(Document):
    """One column and what may be done with it. A column that is not listed does not exist."""

    type: TypeName = Field(
        description="`integer`, `bigint`, `double`, `decimal(p,s)`, `text`, `boolean`, `date` or `timestamp`."
    )
    role: Role = Field(
        description="`unit` (join and count distinct only), `key` (join only), `dimension` (group and filter), "
        "`measure` (compute with), `hidden` (nothing)."
    )
    filter: FilterGrant | None = Field(
        default=None,
        description="Which conditions may name it. Default: `range` for dimensions, `none` for all else.",
    )
    aggregates: list[AggregateName] | None = Field(
        default=None,
        description="What may be computed from it. `count` and `count_distinct` are always open. Default for measures: "
        "sum, avg, var, stddev, median, quantile in `dp`; sum, avg in `aggregate`.",
    )
    values: list[Scalar] | None = Field(
        default=None,
        min_length=1,
        max_length=LIST_MAX,
        description="Every value there can be, from public knowledge. They become public group keys.",
    )
    range: Annotated[list[Edge], Field(min_length=2, max_length=2)] | None = Field(
        default=None,
        description="Lowest and highest value, from public knowledge. Measures are clamped to it, keys outside drop.",
    )
    step: Number | None = Field(
        default=None,
        description="The grid that sums are computed on. Default: 1 for whole numbers, 10^-scale for decimals, "
        "a 2^20th of the range for doubles.",
    )
    via: list[Via] | None = Field(
        default=None,
        min_length=1,
        description="Dates: the only forms that may be grouped and filtered, such as `year`.",
    )
    bins: list[Number] | None = Field(
        default=None,
        min_length=2,
        max_length=LIST_MAX + 1,
        description="Edges of public bins, increasing; grouped by `bin(x)`. Half-open, but the last one is closed.",
    )
    sensitive: bool = Field(default=False, description="Whether knowing it of a person would harm them.")
    nullable: bool = Field(default=False, description="Whether it may be empty; null is then a public key of its own.")
    total_per_unit_max: Number | None = Field(
        default=None,
        description="The most that one unit's total of this column counts for: less noise than rows times range.",
    )
    joins: list[ColumnName] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Role `key`: the columns of public tables that it may be joined to, as `table.column`.",
    )


class LinkDocument(Document):
    """How rows of this table lead to their unit."""

    column: Name | None = Field(
        default=None, description="The column of this table. A link has it, or `columns`, and never both."
    )
    columns: Names | None = Field(default=None, description="Instead of `column`: several columns of this table.")
    to: ColumnNameOrNames = Field(
        description="The column it equals, as `table.column`, whose values must be unique there; for `columns` a list "
        "of as many columns of one table, together unique."
    )


class TableDocument(Document):
    """A private table (the unit's own, or linked to the unit) or a public one."""

    public: bool = Field(default=False, description="Whether its rows are not about units: reference data.")
    key: NameOrNames | None = Field(
        default=None,
        description="Public tables: the unique column, or a list of columns that are unique together. "
        "Default: the only column of role `key`.",
    )
    link: LinkDocument | None = Field(default=None, description="Private tables: the step towards the unit.")
    rows_per_unit_max: int | None = Field(
        default=None,
        ge=1,
        le=ROWS_PER_UNIT_MAX,
        description="The most rows of one unit that count. Required for linked tables, 1 for the unit's own table "
        "unless said.",
    )
    fan_out: dict[Name, Annotated[int, Field(ge=1, le=ROWS_PER_UNIT_MAX)]] | None = Field(
        default=None,
        description="Public tables: the most rows per value of a column that is not by itself the key, to join on it.",
    )
    columns: dict[Name, ColumnDocument] = Field(
        min_length=1, max_length=COLUMNS_MAX, description="The columns, by name. What is not listed does not exist."
    )


Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]


class PolicyDocument(Document):
    """What may be asked of a dataset, and at what price."""

    format: Literal[1] = Field(description="The version of this format: 1.")
    dataset: Name = Field(description="The dataset's name, the same as its folder's.")
    version: Line = Field(description="The policy's own version, for people.")
    title: dict[Language, Line] = Field(
        min_length=1, max_length=100, description='The dataset\'s title by language: `{ en = "Outpatient visits" }`.'
    )
    owner: Line = Field(description="Who is responsible for the data.")
    supply: Supply = Field(
        description="`open` (no licence needed), `shared` or `authorised` (licence needed), `withheld` (no answers)."
    )
    grade: str = Field(default="", max_length=500, description="The custodian's classification, free text.")
    purposes: list[Line] = Field(
        min_length=1, max_length=100, description="What the data may be used for; a query names one of them."
    )
    unit: UnitDocument | None = Field(
        default=None, description="Whom the policy protects. Left out only where every table is public."
    )
    release: ReleaseDocument = Field(description="How answers leave.")
    tables: dict[Name, TableDocument] = Field(min_length=1, max_length=TABLES_MAX, description="The tables, by name.")


class CaseDocument(Document):
    """An example of the policy with its verdict."""

    name: Line = Field(description="What the example shows.")
    sql: str = Field(min_length=1, max_length=20_000, description="The question.")
    mode: Mode | None = Field(default=None, description="The mode that it is asked in; the policy's first by default.")
    blocks: list[Line] | None = Field(
        default=None, max_length=LIST_MAX, description="The policy's blocks that are asked; all by default."
    )
    expect: Literal["answer", "refuse"] = Field(description="What must come of it.")
    code: str | None = Field(
        default=None, pattern=r"^[a-z][a-z_]{0,62}$", description="The refusal's code; may be left out."
    )


class CasesDocument(Document):
    """The examples of a policy. At least one."""

    case: list[CaseDocument] = Field(min_length=1, max_length=LIST_MAX, description="The examples, in order.")


class ValidDocument(Document):
    """First and last day, UTC."""

    from_: Day = Field(alias="from", description="First valid day.")
    until: Day = Field(description="Last valid day.")


class PurposeShareDocument(Document):
    """A purpose's share of an operator's budget."""

    epsilon: Number = Field(description="For life, inside the operator's share. Above 0, at most 1000.")


class ShareDocument(Document):
    """An operator's share of a dataset's budget."""

    epsilon: Number = Field(description="For life, inside the dataset's cap. Above 0, at most 1000.")
    purposes: dict[Line, PurposeShareDocument] | None = Field(
        default=None, description="What one purpose may spend of it; without an entry, all of it."
    )


class LicenceDocument(Document):
    """Who may ask, for what, until when."""

    licence: Line = Field(description="The licence's number, unique in the home.")
    operator: Line = Field(description="The operator: the subject of its tokens.")
    datasets: list[Name] = Field(min_length=1, max_length=1_000, description="The datasets that may be asked.")
    purposes: list[Line] = Field(min_length=1, max_length=100, description="The purposes a query may name.")
    valid: ValidDocument = Field(description="From and until when, both days included, UTC.")
    budget: dict[Name, ShareDocument] | None = Field(
        default=None, description="This operator's share per dataset; without an entry, the dataset's own cap."
    )
