"""Relations of a question: about ten frozen nodes. What has no node here cannot be asked.

Names of columns are the model's own, so that aliases in the text make no difference:

- `Scan(number=0, table="people")` and `Public(...)` offer `0.pid`, `0.sex`, ...: the number of the occurrence, a dot
  and the policy's column name. Numbers count from 0 in order of the text.
- `Project(number=3, ...)` offers `3.0`, `3.1`, ... in order of its columns.
- `Join`, `Filter` offer what is below them.
- `Release` offers `k0`, `k1`, ... for its keys and `m0`, `m1`, ... for its measures.
- Above a `Release` the nodes `Filter`, `Project`, `Sort`, `Limit` work on released rows.

A question's plan has exactly one `Release` and ends in an `Output`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from sandbox.relational.expressions import Expression, Position

JoinKind = Literal["inner", "left"]
MeasureFunction = Literal["count_rows", "count", "count_units", "sum", "avg"]


@dataclass(frozen=True, slots=True)
class Scan:
    """A private table: every row belongs to a unit."""

    table: str
    number: int
    at: Position | None = field(default=None, compare=False)


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
    """`on` holds pairs (column of left, column of right), all equated. Other conditions stand in a Filter."""

    left: Relation
    right: Relation
    kind: JoinKind
    on: tuple[tuple[str, str], ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Measure:
    """One aggregate. `argument` is None for `count_rows` and `count_units`, and only for these."""

    function: MeasureFunction
    argument: Expression | None
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
class Sort:
    """`by` holds (expression, descending, nulls_first), most significant first."""

    source: Relation
    by: tuple[tuple[Expression, bool, bool], ...]
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


Relation = Scan | Public | Project | Filter | Join | Release | Sort | Limit | Output


def sources(relation: Relation) -> tuple[Relation, ...]:
    """The relations directly below."""
    if isinstance(relation, Scan | Public):
        return ()
    if isinstance(relation, Join):
        return (relation.left, relation.right)
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
