"""What the columns above a release are, before anything is paid for: types, and the released columns behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, assert_never

from policies.types import BOOLEAN, Type
from sandbox.publics import ROWS_MAX, Publics
from sandbox.relational.expressions import Call, Case, Column, Expression, columns
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.functions.numbers import EXACT_MAX
from sandbox.relational.nodes import (
    Distinct,
    Filter,
    Join,
    Limit,
    Output,
    Project,
    Public,
    Relation,
    Release,
    Rollup,
    Scan,
    Sort,
    UnionAll,
    UnitAggregate,
    Window,
)
from sandbox.relational.scalar import facts_of
from sandbox.release import windows

Reads = frozenset[str]
"""Names of released columns."""
NOTHING: Reads = frozenset()
EXACT: Final = Fraction(EXACT_MAX)
"""No released number is expected to be larger; of one that is, whole results too large for 64 bits are null."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What everything above a release stands on: released columns, and rows of public tables."""

    released: Mapping[str, Type]
    publics: Publics


@dataclass(frozen=True, slots=True)
class Above:
    """A relation over released rows."""

    facts: Facts
    stands: Mapping[str, Expression]
    """What each column is in terms of the released columns of the same row; columns of windows and of public tables
    stand for themselves."""
    reads: Mapping[str, Reads]
    """The released columns, of whichever row, that each column is made of."""
    shape: Reads = NOTHING
    """The released columns that decided which rows are here, and in which order."""
    fan: int = 1
    """The most rows that one released row has become."""

    def reads_of(self, *expressions: Expression) -> Reads:
        names = (column.name for expression in expressions for column in columns(expression))
        return frozenset().union(*(self.reads[name] for name in names))

    def shaped_by(self, *expressions: Expression) -> Above:
        return replace(self, shape=self.shape | self.reads_of(*expressions))


def above(node: Relation, ground: Ground) -> Above:
    """The columns of `node`. Raises Refuse for what cannot be done with released rows, or with their types."""
    match node:
        case Release() | Rollup():
            return _bottom(ground.released)
        case Filter():
            return _filter(node, above(node.source, ground))
        case Sort():
            return _every(above(node.source, ground), *(expression for expression, _, _ in node.by))
        case Limit():
            return above(node.source, ground)
        case Project():
            return _project(node, above(node.source, ground))
        case Distinct():
            return _every(above(node.source, ground), *node.columns)
        case Window():
            return _window(node, above(node.source, ground))
        case Join():
            return _join(node, above(node.left, ground), ground)
        case Scan() | Public() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


def _bottom(released: Mapping[str, Type]) -> Above:
    facts = {name: _released(name, type_) for name, type_ in released.items()}
    stands: dict[str, Expression] = {name: Column(name) for name in released}
    return Above(Facts(facts, None, None), stands, {name: frozenset({name}) for name in released})


def _released(name: str, type_: Type) -> ColumnFacts:
    """Whole numbers with bounds, so that what is computed of them and may be too large for 64 bits is a double."""
    found = _bare(name, type_, "the released column")
    return replace(found, bounds=(-EXACT, EXACT)) if type_.whole else found


def _bare(name: str, type_: Type, label: str) -> ColumnFacts:
    """A column that lies in the engine as it is: with a source of its own, whole numbers are compared as such."""
    return ColumnFacts(type_, label, nullable=True, source=("", name))


def _every(below: Above, *expressions: Expression) -> Above:
    """`below`, in an order or without rows that `expressions` decide."""
    for expression in expressions:
        facts_of(expression, below.facts)  # refuses here, before anything is paid for, what could not be written
    return below.shaped_by(*expressions)


def _filter(node: Filter, below: Above) -> Above:
    for condition in node.conditions:
        if facts_of(condition, below.facts).type != BOOLEAN:
            raise Refuse("type_mismatch", "a condition is expected here", at=condition.at)
    return below.shaped_by(*node.conditions)


def _project(node: Project, below: Above) -> Above:
    named = {f"{node.number}.{i}": expression for i, expression in enumerate(node.columns)}
    return Above(
        Facts({name: facts_of(e, below.facts) for name, e in named.items()}, None, None),
        {name: substitute(e, below.stands) for name, e in named.items()},
        {name: below.reads_of(e) for name, e in named.items()},
        below.shape,
        below.fan,
    )


def _window(node: Window, below: Above) -> Above:
    """A window column is made of the rows around it, and so of what decided on them."""
    facts, stands, reads = dict(below.facts.columns), dict(below.stands), dict(below.reads)
    for i, column in enumerate(node.columns):
        name, word = f"{node.number}.w{i}", column.function.upper()
        type_ = windows.type_of(column, below.facts)
        facts[name] = _bare(name, type_, f"this {word}")
        stands[name] = Column(name, column.at)
        reads[name] = below.shape.union(*(below.reads[each] for each in windows.names_in(column)))
    return replace(below, facts=Facts(facts, None, None), stands=stands, reads=reads)


def public(node: Relation, ground: Ground) -> tuple[Public, Facts]:
    """The public table that released rows are joined with, and its columns. Raises Refuse."""
    match node:
        case Public():
            return node, _public(node, ground)
        case Filter():
            table, facts = public(node.source, ground)
            for condition in node.conditions:
                if facts_of(condition, facts).type != BOOLEAN:
                    raise Refuse("type_mismatch", "a condition is expected here", at=condition.at)
            return table, facts
        case _:
            detail = "an answer is joined with public tables only"
            raise Refuse("join_not_allowed", detail, hint="ask two queries and join their answers", at=node.at)


def _public(node: Public, ground: Ground) -> Facts:
    table = ground.publics.get(node.table)
    if table is None:
        detail = f"`{node.table}` is no public table that is small enough to be joined with an answer"
        hint = f"join it below the aggregation; an answer is joined with tables of up to {ROWS_MAX} rows"
        raise Refuse("join_not_allowed", detail, hint=hint, at=node.at)
    named = {f"{node.number}.{column.name}": column for column in table.columns}
    return Facts({name: _bare(name, c.type, f"`{node.table}.{c.name}`") for name, c in named.items()}, None, None)


def _join(node: Join, below: Above, ground: Ground) -> Above:
    """What a public table says beside a row is made of the columns that found it."""
    if node.kind not in ("inner", "left") or not node.on:
        detail = "an answer is joined by INNER or LEFT JOIN, on columns that are equal"
        raise Refuse("join_not_allowed", detail, at=node.at)
    table, beside = public(node.right, ground)
    facts = Facts({**below.facts.columns, **beside.columns}, None, None)
    for one, other in node.on:
        if one not in below.facts.columns or other not in beside.columns:
            raise Refuse("column_unknown", "the question joins on a column that is not there", at=node.at)
        facts_of(Call("equal", (Column(one, node.at), Column(other, node.at)), node.at), facts)
    by = below.reads_of(*(Column(one) for one, _ in node.on))
    names = [other.partition(".")[2] for _, other in node.on]
    return Above(
        facts,
        {**below.stands, **{name: Column(name) for name in beside.columns}},
        {**below.reads, **dict.fromkeys(beside.columns, by)},
        below.shape | by,
        below.fan * max(1, ground.publics[table.table].most_rows(names)),
    )


def substitute(expression: Expression, known: Mapping[str, Expression]) -> Expression:
    """`expression` with every column replaced by what it stands for."""
    match expression:
        case Column(name=name):
            return known.get(name, expression)
        case Call(function=function, arguments=arguments, at=at):
            return Call(function, tuple(substitute(a, known) for a in arguments), at)
        case Case(branches=branches, otherwise=otherwise, at=at):
            inner = tuple((substitute(c, known), substitute(v, known)) for c, v in branches)
            return Case(inner, substitute(otherwise, known), at)
        case _:
            return expression
