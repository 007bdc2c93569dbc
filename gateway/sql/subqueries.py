"""Subqueries in expressions as joins: IN and EXISTS keep or drop rows, a scalar subquery brings a column.

A private one is tied to the query around it by the unit: else one unit could change the rows of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from typing import Literal as OneOf

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import literals, typed
from gateway.sql.each_unit import per_unit
from gateway.sql.joins import filtered, possible_pairs
from gateway.sql.links import Pair, number_of, private_tables, tied
from gateway.sql.outer import Outer
from gateway.sql.reading import Reading
from gateway.sql.scalar import Scalar, no_aggregates
from gateway.sql.scope import Source, named
from gateway.sql.syntax import conjuncts, subqueries, unwrapped
from gateway.sql.typed import Typed
from sandbox.codec import digest
from sandbox.relational.expressions import Column, Position
from sandbox.relational.nodes import Join, JoinKind, Public, Relation, UnitAggregate, UnitMeasure

Ask = Callable[[exp.Expr, Outer], Source]
"""Reads the query of a subquery, in sight of the query around it."""
_Form = OneOf["keep", "drop", "value"]
_CLAUSES: Final = ("group", "having", "qualify", "order")
_ROWS: Final = Column("#0")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A subquery of the text. `keep` and `drop` are conditions of WHERE that must hold; all else is a value."""

    node: exp.Expr
    form: _Form
    condition: exp.Expr | None = None
    """The whole condition that it settles."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What a subquery becomes: a relation to join, and what stands in its place in expressions."""

    kind: JoinKind
    right: Relation
    on: tuple[Pair, ...]
    at: Position | None
    value: Typed | None = None


@dataclass(frozen=True, slots=True)
class Attached:
    """`source` with its subqueries joined; `values` by the id of their node; ids of conditions that are dealt with."""

    source: Source
    values: dict[int, Typed]
    settled: frozenset[int]


def attach(reading: Reading, source: Source, node: exp.Expr, ask: Ask) -> Attached:
    """Joins every subquery in the expressions of the SELECT `node`.

    Equal ones are joined once, and in the order of their meaning, so that the order of conditions is no matter.
    """
    asked = list(_asked(node))
    if asked and source.released and not reading.open:
        message = "an answer is not compared with another query"
        hint = "ask two queries and compare their answers"
        raise Refusal("construct_not_allowed", message, hint=hint, at=reading.at(asked[0].node))
    marks = [_mark(reading, source, one, ask) if len(asked) > 1 else "" for one in asked]
    joined, values, parts = source, dict[int, Typed](), dict[str, _Part]()
    for mark, one in sorted(zip(marks, asked, strict=True), key=lambda pair: pair[0]):
        if mark not in parts:
            part = parts[mark] = _read(reading, source, one, ask)
            joined = replace(joined, relation=Join(joined.relation, part.right, part.kind, part.on, part.at))
        value = parts[mark].value
        if value is not None:
            values[id(one.node)] = typed.at(value, reading.at(one.node))
    return Attached(joined, values, frozenset(id(one.condition) for one in asked if one.condition is not None))


def _asked(node: exp.Expr) -> Iterator[_Asked]:
    where = node.args.get("where")
    for condition in conjuncts(where.args["this"]) if where is not None else ():
        inside, negated = unwrapped(condition)
        if type(inside) is exp.Exists or (type(inside) is exp.In and inside.args.get("query") is not None):
            yield _Asked(inside, "drop" if negated else "keep", condition)
        else:
            yield from (_Asked(one, "value") for one in subqueries(condition))
    parts = [*node.args["expressions"], *(node.args.get(name) for name in _CLAUSES)]
    for part in parts:
        if part is not None:
            yield from (_Asked(one, "value") for one in subqueries(part))


def _mark(reading: Reading, source: Source, one: _Asked, ask: Ask) -> str:
    """The meaning of a subquery, whatever stands beside it."""
    with reading.aside():
        part = _read(reading, source, one, ask)
    return digest((part.kind, part.right, part.on, None if part.value is None else part.value.expression))


def _read(reading: Reading, source: Source, one: _Asked, ask: Ask) -> _Part:
    node, at = one.node, reading.at(one.node)
    match node:
        case exp.In():
            outer = Outer(source, "in")
            inner = ask(node.args["query"].args["this"], outer)
            pair = _member(reading, source, node, inner)
            if one.form != "keep" and any(map(reading.may_be_null, pair)):
                message = "IN and NOT IN beside nulls are neither true nor false"
                raise Refusal("construct_not_allowed", message, hint="write EXISTS or NOT EXISTS", at=at)
            outer.pairs.append(pair)
        case exp.Exists():
            outer = Outer(source, "exists")
            inner = ask(node.args["this"], outer)
        case _:
            outer = Outer(source, "value")
            inner = ask(node.args["this"], outer)
    _require_tied(reading, source, inner, outer, at)
    right, on = filtered(inner.relation, inner.conditions), tuple(sorted(set(outer.pairs)))
    if one.form == "value":
        if type(node) is exp.Subquery:
            return _value(reading, inner, right, on, at)
        return _whether(reading, right, on, at)
    return _Part("semi" if one.form == "keep" else "anti", right, on, at)


def _member(reading: Reading, source: Source, node: exp.In, inner: Source) -> Pair:
    """The pair of columns that `x IN (SELECT y …)` equates."""
    at = reading.at(node)
    names = Scalar(reading, lambda column: named(source, column, reading.at(column)), no_aggregates(reading, "IN"))
    one, offered = names.read(node.args["this"]), _only(inner, at)
    typed.call("equal", (one, offered), at)  # of one type
    if not isinstance(one.expression, Column) or not isinstance(offered.expression, Column):
        message = "IN with a subquery compares a column with a column"
        raise Refusal("construct_not_allowed", message, hint="x IN (SELECT y FROM …)", at=at)
    return one.expression.name, offered.expression.name


def _only(inner: Source, at: Position | None) -> Typed:
    fields = [field for item in inner.items for field in item.fields]
    if len(fields) != 1:
        message = f"this subquery gives one column, not {len(fields)}"
        raise Refusal("construct_not_allowed", message, hint="select one column", at=at)
    return fields[0].typed


def _require_tied(reading: Reading, source: Source, inner: Source, outer: Outer, at: Position | None) -> None:
    if inner.released and not reading.open:
        message = "an answer is not compared with rows"
        raise Refusal("construct_not_allowed", message, hint="ask for it first, then write it as a constant", at=at)
    if not outer.pairs and not private_tables(inner.relation):
        message = "this subquery is not tied to the query around it"
        hint = "WHERE inner.column = outer.column, or IN (SELECT …)"
        raise Refusal("construct_not_allowed", message, hint=hint, at=at)
    if not private_tables(inner.relation):
        return
    kept = [pair for pair in outer.pairs if number_of(pair[0]) not in reading.optional]
    if private_tables(source.relation) and tied(reading, source.relation, inner.relation, kept):
        return
    message = "a subquery on private rows is tied to the query around it by the unit: one unit could change all rows"
    hint = "WHERE inner.unit = outer.unit, or unit IN (SELECT unit …)"
    if outer.kind == "value" and not outer.pairs:
        hint = "ask for this figure first, then write it as a constant; or tie it to the unit: WHERE inner.x = outer.x"
    elif (pairs := possible_pairs(reading, source, inner)) is not None:
        hint = f"tie it by {pairs}"
    raise Refusal("construct_not_allowed", message, hint=hint, at=at)


def _value(reading: Reading, inner: Source, right: Relation, on: tuple[Pair, ...], at: Position | None) -> _Part:
    """A scalar subquery: a left join with at most one row for each row outside, and null where there is none."""
    value = _only(inner, at)
    if not _one_row(reading, inner.relation, {name for _, name in on}, on):
        message = "this subquery may give several rows for one row outside"
        hint = "aggregate inside it: COUNT(*), SUM(x), MAX(x); or join the table"
        raise Refusal("construct_not_allowed", message, hint=hint, at=at)
    number = number_of(on[0][1])
    reading.optional.add(number)
    return _Part("left", right, on, at, value)


def _one_row(reading: Reading, relation: Relation, names: set[str], on: tuple[Pair, ...]) -> bool:
    if isinstance(relation, UnitAggregate):
        keys = {f"{relation.number}.k{place}" for place in range(len(relation.keys))}
        return keys <= names and reading.tells_unit(names)
    if isinstance(relation, Public):
        ends = [end for name in names for end in reading.ends(name)]
        return {end.column.name for end in ends} == set(ends[0].table.key)
    return False


def _whether(reading: Reading, right: Relation, on: tuple[Pair, ...], at: Position | None) -> _Part:
    """EXISTS or IN inside an expression: whether a unit has such rows, counted beside each row."""
    if not private_tables(right):
        message = "IN and EXISTS on a public table stand in WHERE, beside other conditions by AND"
        raise Refusal("construct_not_allowed", message, hint="join the public table", at=at)
    keys = [Column(inner) for _, inner in on]
    counted, names = per_unit(reading, right, keys, {_ROWS: UnitMeasure("count_rows", None, at)}, at)
    pairs = tuple(sorted((outer, _name(names[Column(inner)])) for outer, inner in on))
    reading.optional.add(counted.number)
    rows = Typed(names[_ROWS], "number")
    zero = typed.constant(literals.exact(0, at))
    there = typed.call("greater", (typed.call("coalesce", (rows, zero), at), zero), at)
    return _Part("left", counted, pairs, at, there)


def _name(expression: object) -> str:
    if not isinstance(expression, Column):
        raise AssertionError(expression)
    return expression.name
