"""Relations of a question: about ten frozen nodes. What has no node here cannot be asked.

Names of columns are the model's own, so that aliases in the text make no difference:

- `Scan(number=0, table="people")` and `Public(...)` offer `0.pid`, `0.sex`, ...: the number of the occurrence, a dot
  and the policy's column name. Numbers count from 0 in order of the text.
- `Project(number=3, ...)` offers `3.0`, `3.1`, ... in order of its columns.
- `UnionAll(number=3, ...)` offers `3.0`, `3.1`, ... likewise.
- `UnitAggregate(number=3, ...)` offers `3.unit`, the unit that its row is about, `3.k0`, ... for its keys and `3.m0`,
  ... for its measures.
- `Window(number=3, ...)` offers what is below it, and `3.w0`, `3.w1`, ... besides.
- `Join`, `Filter` offer what is below them; a semi or anti join what is below its left side.
- `Release` offers `k0`, `k1`, ... for its keys and `m0`, `m1`, ... for its measures.
- `Rollup` offers the same, and `g0`, `g1`, ...: 1 where the key is rolled up, else 0.
- Above a `Release` the nodes `Rollup`, `Filter`, `Project`, `Window`, `Distinct`, `Sort`, `Limit` work on released
  rows.

A question's plan has exactly one `Release` and ends in an `Output`. In mode `open` every row is released: all nodes
but those of units stand on public tables in any order, a `Release` computes exactly, and there may be none or several;
below the `Output` lies the `Limit` of the page that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal

from sandbox.relational.expressions import Expression, Position

JoinKind = Literal["inner", "left", "semi", "anti"]
MeasureFunction = Literal[
    "count_rows",
    "count",
    "count_units",
    "count_distinct",
    "sum",
    "avg",
    "var_pop",
    "var_samp",
    "stddev_pop",
    "stddev_samp",
    "covar_pop",
    "covar_samp",
    "corr",
    "regr_slope",
    "regr_intercept",
    "quantile",
    "min",
    "max",
]
SYMMETRIC: Final[tuple[MeasureFunction, ...]] = ("covar_pop", "covar_samp", "corr")
"""Of two numbers that may change places."""
UnitFunction = Literal["count_rows", "count", "count_distinct", "sum", "avg", "min", "max"]
WindowFunction = Literal[
    "row_number", "rank", "dense_rank", "lag", "lead", "count_rows", "count", "sum", "avg", "min", "max"
]
PAGE_ROWS_MAX: Final = 10_000
"""Rows of an answer in mode `open`."""
Order = tuple[tuple[Expression, bool, bool], ...]
"""(expression, descending, nulls first), most significant first."""


@dataclass(frozen=True, slots=True)
class Scan:
    """A private table: every row belongs to a unit."""

    table: str
    number: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BlockScan(Scan):
    """Of a private table the rows of those units alone that lie in one of `blocks`: some of the policy's, in order."""

    blocks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Public:
    """A public table: its rows are not about units."""

    table: str
    number: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Project:
    """Computed columns `<number>.<i>`; nothing else of `source` is offered, but the hidden unit passes through."""

    source: Relation
    number: int
    columns: tuple[Expression, ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows where every one of `conditions` is true. Conjuncts are sorted by digest where the resolver makes them."""

    source: Relation
    conditions: tuple[Expression, ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Join:
    """`on` holds pairs (column of left, column of right), all equated. Other conditions stand in a Filter.

    A `semi` join keeps the rows of `left` that find a partner, an `anti` join those that find none. Two relations
    with units always meet on the unit, whatever `on` says.
    """

    left: Relation
    right: Relation
    kind: JoinKind
    on: tuple[tuple[str, str], ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class UnionAll:
    """The rows of all `inputs`; `columns` holds for each of them what it puts into the columns of the whole."""

    inputs: tuple[Relation, ...]
    columns: tuple[tuple[Expression, ...], ...]
    number: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class UnitMeasure:
    """One aggregate over the rows of one unit, exact. `argument` is None for `count_rows` alone."""

    function: UnitFunction
    argument: Expression | None
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class UnitAggregate:
    """One row for each unit, or for each unit and value of `keys`."""

    source: Relation
    keys: tuple[Expression, ...]
    measures: tuple[UnitMeasure, ...]
    number: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WindowColumn:
    """A window function over rows of equal `partition`, in `order`. Aggregates go over the whole partition.

    Above a Release an aggregate with an `order` runs from the first row of the partition up to this one and its ties,
    as SQL's does, and rows of a tie keep the order that they had. A negative `offset` is refused.

    `argument` is None for `row_number`, `rank`, `dense_rank` and `count_rows`. `offset` is of `lag` and `lead`.
    """

    function: WindowFunction
    argument: Expression | None
    partition: tuple[Expression, ...]
    order: Order
    offset: int = 1
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Window:
    """Columns beside the rows of `source`. Below a Release each window lies within one unit; above, it is free."""

    source: Relation
    columns: tuple[WindowColumn, ...]
    number: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate over units.

    `argument` is None for `count_rows`, and for `count_units` unless it counts the units of which a row meets a
    condition. `other` is the second number of `covar_*`, `corr` and `regr_*`, in SQL's order. `fraction` is of
    `quantile` alone, from 0 to 1.
    """

    function: MeasureFunction
    argument: Expression | None = None
    other: Expression | None = None
    fraction: Decimal | None = None
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """The one place where private rows become released numbers.

    `keys` and `measures` are distinct and sorted by digest, so that their order in the text is no matter.
    """

    source: Relation
    keys: tuple[Expression, ...]
    measures: tuple[Measure, ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Rollup:
    """GROUPING SETS over released groups: for each of `sets`, the numbers of the keys that it keeps, in order.

    A key that a set does not keep is null there, and the groups that differ in it alone are added up.
    """

    source: Release
    sets: tuple[tuple[int, ...], ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Distinct:
    """Released rows, each once, by the values of `columns`."""

    source: Relation
    columns: tuple[Expression, ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Sort:
    source: Relation
    by: Order
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Limit:
    source: Relation
    count: int | None
    offset: int
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Output:
    """The top of a plan: the columns of the answer, with the operator's names for them."""

    source: Relation
    columns: tuple[tuple[str, Expression], ...]
    at: Position | None = field(default=None, compare=False)


Relation = (
    Scan
    | BlockScan
    | Public
    | Project
    | Filter
    | Join
    | UnionAll
    | UnitAggregate
    | Window
    | Release
    | Rollup
    | Distinct
    | Sort
    | Limit
    | Output
)


def sources(relation: Relation) -> tuple[Relation, ...]:
    """The relations directly below."""
    if isinstance(relation, Scan | Public):
        return ()
    if isinstance(relation, Join):
        return (relation.left, relation.right)
    if isinstance(relation, UnionAll):
        return relation.inputs
    return (relation.source,)


def walk(relation: Relation) -> Iterator[Relation]:
    """`relation` and everything below it, topmost first."""
    yield relation
    for below in sources(relation):
        yield from walk(below)


def find_release(relation: Relation) -> Release:
    """The plan's one Release. Raises ValueError when there is none or more than one."""
    found = [node for node in walk(relation) if isinstance(node, Release)]
    if len(found) != 1:
        raise ValueError(f"a plan has exactly one Release, this one has {len(found)}")
    return found[0]


def private_part(relation: Relation) -> Release | Rollup:
    """What an exact answer is of: the Release with its grouping sets, which have to be protected together."""
    return next((node for node in walk(relation) if isinstance(node, Rollup)), None) or find_release(relation)
