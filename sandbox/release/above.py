"""What the columns above a release are, before anything is paid for: types, and the released columns behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from policies.types import BOOLEAN, Type
from sandbox.relational.expressions import Call, Case, Column, Expression, columns
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
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


@dataclass(frozen=True, slots=True)
class Above:
    """A relation over released rows."""

    facts: Facts
    stands: Mapping[str, Expression]
    """What each column is in terms of the released columns of the same row; a window column stands for itself."""
    reads: Mapping[str, Reads]
    """The released columns, of whichever row, that each column is made of."""
    shape: Reads = NOTHING
    """The released columns that decided which rows are here, and in which order."""

    def reads_of(self, *expressions: Expression) -> Reads:
        names = (column.name for expression in expressions for column in columns(expression))
        return frozenset().union(*(self.reads[name] for name in names))

    def shaped_by(self, *expressions: Expression) -> Above:
        return replace(self, shape=self.shape | self.reads_of(*expressions))


def released_facts(released: Mapping[str, Type]) -> Facts:
    """Released columns carry their own names as their source: the engine compares them as they are."""
    found = {
        name: ColumnFacts(type_, "the released column", nullable=True, source=("", name))
        for name, type_ in released.items()
    }
    return Facts(found, None, None)


def above(node: Relation, released: Mapping[str, Type]) -> Above:
    """The columns of `node`. Raises Refuse for what cannot be done with released rows, or with their types."""
    match node:
        case Release() | Rollup():
            stands: dict[str, Expression] = {name: Column(name) for name in released}
            return Above(released_facts(released), stands, {name: frozenset({name}) for name in released})
        case Filter():
            return _filter(node, above(node.source, released))
        case Sort():
            return _every(above(node.source, released), *(expression for expression, _, _ in node.by))
        case Limit():
            return above(node.source, released)
        case Project():
            return _project(node, above(node.source, released))
        case Distinct():
            return _every(above(node.source, released), *node.columns)
        case Window():
            return _window(node, above(node.source, released))
        case Join():
            detail = "released rows are not joined with other tables yet"
            raise Refuse("construct_not_allowed", detail, at=node.at)
        case Scan() | Public() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


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
    )


def _window(node: Window, below: Above) -> Above:
    """A window column is made of the rows around it, and so of what decided on them."""
    facts, stands, reads = dict(below.facts.columns), dict(below.stands), dict(below.reads)
    for i, column in enumerate(node.columns):
        name, word = f"{node.number}.w{i}", column.function.upper()
        type_ = windows.type_of(column, below.facts)
        facts[name] = ColumnFacts(type_, f"this {word}", nullable=True, source=("", name))
        stands[name] = Column(name, column.at)
        reads[name] = below.shape.union(*(below.reads[each] for each in windows.names_in(column)))
    return Above(Facts(facts, None, None), stands, reads, below.shape)


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
