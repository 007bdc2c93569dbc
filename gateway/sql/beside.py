"""An answer beside a public table: a join above the release, of released rows with reference data. It costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.joins import Merged, check_names, filtered, kind_of, read_conditions
from gateway.sql.links import Pair
from gateway.sql.reading import Reading
from gateway.sql.scope import Source
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Call, Column, Position, columns
from sandbox.relational.nodes import Join, JoinKind, Public, Relation


def beside(reading: Reading, left: Source, right: Source, node: exp.Expr) -> Source:
    """`left` joined with `right`, one of which is an answer. Raises Refusal join_not_allowed."""
    at = reading.at(node)
    check_names(left, right, at)
    if not node.args.get("on") and not node.args.get("using"):
        raise _not_equal(at)
    kind = kind_of(reading, left, right, node)
    answer, other = (left, right) if left.released else (right, left)
    table = _public(other, at)
    _check_kind(kind, answer, left, at)
    conditions, merged = read_conditions(reading, left, right, node)
    pairs, others = _split(conditions, table)
    if not pairs:
        raise _not_equal(at)
    if kind == "left":
        return _left(left, right, table, (pairs, others, merged), at)
    below = filtered(table, other.conditions)
    relation = filtered(Join(answer.relation, below, "inner", tuple(sorted(set(pairs))), at), others)
    return _joined(left, right, relation, merged)


def _not_equal(at: Position | None) -> Refusal:
    hint = "write ON and a column of each that are equal"
    return Refusal("join_not_allowed", "an answer is joined where columns are equal", hint=hint, at=at)


def _left(
    left: Source,
    right: Source,
    table: Public,
    on: tuple[Sequence[Pair], Sequence[Typed], tuple[Merged, ...]],
    at: Position | None,
) -> Source:
    pairs, others, merged = on
    if any(not isinstance(field.typed.expression, Column) for item in right.items for field in item.fields):
        # Inlined above the join, a computed column would not be null in rows without a partner.
        message = "a subquery on the right of a LEFT JOIN has plain columns only"
        raise Refusal("join_not_allowed", message, hint="compute in the outer SELECT", at=at)
    for condition in others:
        if not all(_of(table, column) for column in columns(condition.expression)):
            message = "in a LEFT JOIN, ON may only narrow the right table"
            raise Refusal("join_not_allowed", message, hint="move the condition to WHERE", at=condition.at or at)
    below = filtered(table, (*right.conditions, *others))
    return _joined(left, right, Join(left.relation, below, "left", tuple(sorted(set(pairs))), at), merged)


def _joined(left: Source, right: Source, relation: Relation, merged: tuple[Merged, ...]) -> Source:
    named = MappingProxyType({**left.merged, **right.merged, **dict(merged)})
    return Source(relation, left.items + right.items, merged=named, released=True)


def _public(other: Source, at: Position | None) -> Public:
    if other.released:
        message = "two answers are not joined"
        raise Refusal("construct_not_allowed", message, hint="ask two queries and join their answers", at=at)
    if not isinstance(other.relation, Public):
        message = "an answer is joined with public tables, one after the other"
        hint = "join private tables below the aggregation"
        raise Refusal("join_not_allowed", message, hint=hint, at=at)
    return other.relation


def _check_kind(kind: JoinKind, answer: Source, left: Source, at: Position | None) -> None:
    if kind not in ("inner", "left"):
        message = f"a {kind.upper()} JOIN of an answer is not answered"
        raise Refusal("join_not_allowed", message, hint="write JOIN, or LEFT JOIN and IS NULL", at=at)
    if kind == "left" and answer is not left:
        hint = "put the subquery that aggregates on the left"
        raise Refusal("join_not_allowed", "a LEFT JOIN keeps the rows of an answer only", hint=hint, at=at)


def _split(conditions: Sequence[Typed], table: Public) -> tuple[list[Pair], list[Typed]]:
    """(column of the answer, column of `table`) for each `a = b` over both, and all other conditions."""
    pairs: list[Pair] = []
    others: list[Typed] = []
    for condition in conditions:
        pair = _pair(condition, table)
        if pair is None:
            others.append(condition)
        else:
            pairs.append(pair)
    return pairs, others


def _pair(condition: Typed, table: Public) -> Pair | None:
    match condition.expression:
        case Call(function="equal", arguments=(Column() as one, Column() as other)):
            if _of(table, one) != _of(table, other):
                return (other.name, one.name) if _of(table, one) else (one.name, other.name)
    return None


def _of(table: Public, column: Column) -> bool:
    return column.name.startswith(f"{table.number}.")
