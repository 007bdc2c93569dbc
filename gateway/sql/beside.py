"""Joins of released rows: an answer beside a public table, and in mode `open` any rows beside any others.

The former is a join above the release, with reference data. It costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.joins import Merged, check_names, filtered, kind_of, read_conditions
from gateway.sql.links import Pair, occurrences
from gateway.sql.reading import Reading
from gateway.sql.scope import Source
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Call, Column, Position, columns
from sandbox.relational.nodes import Join, JoinKind, Public, Relation


def beside(reading: Reading, left: Source, right: Source, node: exp.Expr) -> Source:
    """`left` joined with `right`, one of which is an answer, or both open rows. Raises Refusal join_not_allowed."""
    at = reading.at(node)
    check_names(left, right, at)
    if not node.args.get("on") and not node.args.get("using"):
        raise _not_equal(reading, at)
    kind = kind_of(reading, left, right, node)
    if reading.open:
        kept, other = left, right
    else:
        kept, other = (left, right) if left.released else (right, left)
        _require_public(other, at)
        _check_kind(kind, kept, left, at)
    conditions, merged = read_conditions(reading, left, right, node)
    pairs, others = _split(conditions, other.relation)
    if not pairs:
        raise _not_equal(reading, at)
    on = tuple(sorted(set(pairs)))
    if kind == "inner":
        joined: Relation = Join(kept.relation, filtered(other.relation, other.conditions), kind, on, at)
        return _joined(left, right, filtered(joined, others), merged)
    _require_right(kind, right, others, at)
    joined = Join(left.relation, filtered(right.relation, (*right.conditions, *others)), kind, on, at)
    if kind == "left":
        return _joined(left, right, joined, merged)
    return Source(joined, left.items, merged=left.merged, released=True)


def _not_equal(reading: Reading, at: Position | None) -> Refusal:
    what = "tables are" if reading.open else "an answer is"
    hint = "write ON and a column of each that are equal"
    return Refusal("join_not_allowed", f"{what} joined where columns are equal", hint=hint, at=at)


def _require_right(kind: JoinKind, right: Source, others: Sequence[Typed], at: Position | None) -> None:
    """What stands beside the pairs acts on the right side only, below the join."""
    computed = any(not isinstance(field.typed.expression, Column) for item in right.items for field in item.fields)
    if kind == "left" and computed:
        # Inlined above the join, a computed column would not be null in rows without a partner.
        message = "a subquery on the right of a LEFT JOIN has plain columns only"
        raise Refusal("join_not_allowed", message, hint="compute in the outer SELECT", at=at)
    for condition in others:
        if not all(_is_of(column, right.relation) for column in columns(condition.expression)):
            message = f"in a {kind.upper()} JOIN, ON may only narrow the right table"
            raise Refusal("join_not_allowed", message, hint="move the condition to WHERE", at=condition.at or at)


def _joined(left: Source, right: Source, relation: Relation, merged: tuple[Merged, ...]) -> Source:
    named = MappingProxyType({**left.merged, **right.merged, **dict(merged)})
    return Source(relation, left.items + right.items, merged=named, released=True)


def _require_public(other: Source, at: Position | None) -> None:
    if other.released:
        message = "two answers are not joined"
        raise Refusal("construct_not_allowed", message, hint="ask two queries and join their answers", at=at)
    if not isinstance(other.relation, Public):
        message = "an answer is joined with public tables, one after the other"
        hint = "join private tables below the aggregation"
        raise Refusal("join_not_allowed", message, hint=hint, at=at)


def _check_kind(kind: JoinKind, answer: Source, left: Source, at: Position | None) -> None:
    if kind not in ("inner", "left"):
        message = f"a {kind.upper()} JOIN of an answer is not answered"
        raise Refusal("join_not_allowed", message, hint="write JOIN, or LEFT JOIN and IS NULL", at=at)
    if kind == "left" and answer is not left:
        hint = "put the subquery that aggregates on the left"
        raise Refusal("join_not_allowed", "a LEFT JOIN keeps the rows of an answer only", hint=hint, at=at)


def _split(conditions: Sequence[Typed], other: Relation) -> tuple[list[Pair], list[Typed]]:
    """(column that is kept, column of `other`) for each `a = b` over both sides, and all other conditions."""
    pairs: list[Pair] = []
    others: list[Typed] = []
    for condition in conditions:
        pair = _pair(condition, other)
        if pair is None:
            others.append(condition)
        else:
            pairs.append(pair)
    return pairs, others


def _pair(condition: Typed, other: Relation) -> Pair | None:
    match condition.expression:
        case Call(function="equal", arguments=(Column() as first, Column() as second)):
            if _is_of(first, other) != _is_of(second, other):
                return (second.name, first.name) if _is_of(first, other) else (first.name, second.name)
    return None


def _is_of(column: Column, relation: Relation) -> bool:
    """Whether `column` is one of a table, or of a numbered node, of `relation`; released columns have no number."""
    number, dot, _ = column.name.partition(".")
    return bool(dot) and int(number) in occurrences(relation)
