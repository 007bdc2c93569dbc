"""INNER and LEFT joins over pairs of columns that the policy declares; everything else is refused."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.links import Pair, lies_in, occurrences, possible, private_tables, tied
from gateway.sql.reading import Reading
from gateway.sql.scalar import Scalar, no_aggregates
from gateway.sql.scope import Field, Source, find, fold, named
from gateway.sql.typed import Typed
from sandbox.codec import digest
from sandbox.relational.expressions import Call, Column, Position
from sandbox.relational.nodes import Filter, Join, JoinKind, Project, Relation

Merged = tuple[str, tuple[Field, int]]
"""A column of USING by its folded name, with the number of columns that become it."""
_ON = "write `JOIN … ON` and the columns that are equal"


@dataclass(frozen=True, slots=True)
class _On:
    """What ON or USING says: declared pairs (left, right), all other conditions, and the columns that become one."""

    pairs: tuple[Pair, ...]
    conditions: tuple[Typed, ...]
    merged: tuple[Merged, ...] = ()


def join(reading: Reading, left: Source, right: Source, node: exp.Expr) -> Source:
    """`left` joined with `right` as `node` says. Raises Refusal join_not_allowed."""
    at = reading.at(node)
    check_names(left, right, at)
    kind = kind_of(reading, left, right, node)
    if kind != "inner" and private_tables(right.relation) and not private_tables(left.relation):
        hint = "put the private table on the left"
        message = f"a {kind.upper()} JOIN keeps rows of a private table only"
        raise Refusal("join_not_allowed", message, hint=hint, at=at)
    on = _read_on(reading, left, right, node)
    if not on.pairs:
        message = "these tables are joined on declared pairs of columns only"
        raise Refusal("join_not_allowed", message, hint=_possible(reading, left, right), at=at)
    if kind == "left":
        return _left_join(reading, left, right, on, at)
    if kind in ("semi", "anti"):
        return _partner_join(left, right, on, kind, at)
    return _inner_join(left, right, on, at)


def filtered(relation: Relation, conditions: Iterable[Typed]) -> Relation:
    """`relation` with all `conditions` in one Filter, in the order of their digests."""
    distinct = dict.fromkeys(condition.expression for condition in conditions)
    if not distinct:
        return relation
    ordered = sorted(distinct, key=digest)
    return Filter(relation, tuple(ordered), ordered[0].at)


def _inner_join(left: Source, right: Source, on: _On, at: Position | None) -> Source:
    """The private side stands left, so that `a JOIN b` and `b JOIN a` read alike to the planner."""
    first, second, pairs = left, right, on.pairs
    if private_tables(right.relation) and not private_tables(left.relation):
        first, second, pairs = right, left, tuple((b, a) for a, b in on.pairs)
    relation = Join(first.relation, second.relation, "inner", tuple(sorted(set(pairs))), at)
    return _joined(left, right, relation, left.conditions + right.conditions + on.conditions, on)


def _left_join(reading: Reading, left: Source, right: Source, on: _On, at: Position | None) -> Source:
    """Conditions beside the pairs act on the right side only, below the join."""
    inside = occurrences(right.relation)
    for condition in on.conditions:
        if not lies_in(condition.expression, right.relation):
            message = "in a LEFT JOIN, ON may only narrow the right table"
            raise Refusal("join_not_allowed", message, hint="move the condition to WHERE", at=condition.at or at)
    reading.optional |= inside
    below, pairs = filtered(right.relation, right.conditions + on.conditions), on.pairs
    if any(not isinstance(field.typed.expression, Column) for item in right.items for field in item.fields):
        below, right, pairs = _computed_below(reading, below, right, pairs, at)
    relation = Join(left.relation, below, "left", tuple(sorted(set(pairs))), at)
    return _joined(left, right, relation, left.conditions, on)


def _computed_below(
    reading: Reading, below: Relation, right: Source, pairs: Sequence[Pair], at: Position | None
) -> tuple[Relation, Source, tuple[Pair, ...]]:
    """Inlined above the join, a computed column would not be null in rows without a partner: computed below it."""
    fields = [field for item in right.items for field in item.fields]
    columns = [*(field.typed.expression for field in fields), *(Column(name) for _, name in pairs)]
    offered = sorted(set(columns), key=digest)
    number = reading.number_made({str(place): (one,) for place, one in enumerate(offered)})
    reading.optional.add(number)
    names = {one: f"{number}.{place}" for place, one in enumerate(offered)}
    items = tuple(
        replace(item, fields=tuple(_renamed(field, names[field.typed.expression]) for field in item.fields))
        for item in right.items
    )
    renamed = tuple((one, names[Column(other)]) for one, other in pairs)
    return Project(below, number, tuple(offered), at), replace(right, items=items), renamed


def _renamed(field: Field, name: str) -> Field:
    return replace(field, typed=typed.column(name, field.typed.family, field.typed.at))


def _partner_join(left: Source, right: Source, on: _On, kind: JoinKind, at: Position | None) -> Source:
    """SEMI and ANTI JOIN ask whether there is a partner; nothing of the right side is offered above."""
    for condition in on.conditions:
        if not lies_in(condition.expression, right.relation):
            message = f"in a {kind.upper()} JOIN, ON may only narrow the right table"
            raise Refusal("join_not_allowed", message, hint="move the condition to WHERE", at=condition.at or at)
    below = filtered(right.relation, right.conditions + on.conditions)
    return replace(left, relation=Join(left.relation, below, kind, tuple(sorted(set(on.pairs))), at))


def _joined(left: Source, right: Source, relation: Relation, conditions: tuple[Typed, ...], on: _On) -> Source:
    merged = MappingProxyType({**left.merged, **right.merged, **dict(on.merged)})
    return Source(relation, left.items + right.items, conditions, merged=merged)


def kind_of(reading: Reading, left: Source, right: Source, node: exp.Expr) -> JoinKind:
    side, kind = str(node.args.get("side") or "").upper(), str(node.args.get("kind") or "").upper()
    at = reading.at(node)
    if kind == "CROSS" or (not node.args.get("on") and not node.args.get("using")):
        message = "every row with every row is not answered: rows of different units would meet"
        raise Refusal("join_not_allowed", message, hint=_possible(reading, left, right), at=at)
    if kind in ("SEMI", "ANTI") and not side:
        return "semi" if kind == "SEMI" else "anti"
    if kind not in ("", "INNER", "OUTER") or side not in ("", "LEFT"):
        hint = "swap the tables and write LEFT JOIN" if side == "RIGHT" else _ON
        raise Refusal("join_not_allowed", f"{side} {kind}".strip() + " JOIN is not answered", hint=hint, at=at)
    return "left" if side == "LEFT" else "inner"


def check_names(left: Source, right: Source, at: Position | None) -> None:
    called = {fold(item.alias) for item in left.items if item.alias}
    for item in right.items:
        if item.alias and fold(item.alias) in called:
            message = f"two tables here are called `{item.alias}`"
            raise Refusal("table_ambiguous", message, hint="give one of them an alias", at=at)


def possible_pairs(reading: Reading, left: Source, right: Source) -> str | None:
    """Pairs of columns that the two could be joined on, in words."""
    ways = [" AND ".join(f"{one} = {other}" for one, other in pairs) for pairs in possible(reading, left, right)]
    return " or ".join(f"`{way}`" for way in ways[:3]) or None


def _possible(reading: Reading, left: Source, right: Source) -> str:
    pairs = possible_pairs(reading, left, right)
    return f"join them ON {pairs}" if pairs else _ON


def _read_on(reading: Reading, left: Source, right: Source, node: exp.Expr) -> _On:
    conditions, merged = read_conditions(reading, left, right, node)
    on = _split(reading, left, right, conditions)
    return _On(on.pairs, on.conditions, merged)


def read_conditions(
    reading: Reading, left: Source, right: Source, node: exp.Expr
) -> tuple[Sequence[Typed], tuple[Merged, ...]]:
    """What ON or USING says, and the columns that become one."""
    if node.args.get("using"):
        return _read_using(reading, left, right, node)
    merged = MappingProxyType({**left.merged, **right.merged})
    both = Source(left.relation, left.items + right.items, merged=merged)
    scalar = Scalar(reading, lambda column: named(both, column, reading.at(column)), no_aggregates(reading, "ON"))
    return scalar.condition(node.args["on"]), ()


def _read_using(
    reading: Reading, left: Source, right: Source, node: exp.Expr
) -> tuple[Sequence[Typed], tuple[Merged, ...]]:
    conditions, merged = [], list[Merged]()
    for identifier in node.args["using"]:
        name, at = str(identifier.args["this"]), reading.at(identifier)
        sides = find(left, None, name, at), find(right, None, name, at)
        conditions.append(typed.call("equal", [typed.at(side.typed, at) for side in sides], at))
        same = sum(source.merged.get(fold(name), (None, 1))[1] for source in (left, right))
        merged.append((fold(name), (sides[0], same)))
    return conditions, tuple(merged)


def _split(reading: Reading, left: Source, right: Source, conditions: Sequence[Typed]) -> _On:
    read = [(condition, _pair(left, right, condition)) for condition in conditions]
    equated = [pair for _, pair in read if pair is not None]
    pairs = tied(reading, left.relation, right.relation, equated)
    return _On(pairs, tuple(condition for condition, pair in read if pair not in pairs))


def _pair(left: Source, right: Source, condition: Typed) -> Pair | None:
    """(left column, right column) where `condition` is `a = b` over both sides."""
    expression = condition.expression
    if not isinstance(expression, Call) or expression.function != "equal":
        return None
    first, second = expression.arguments
    if not isinstance(first, Column) or not isinstance(second, Column):
        return None
    for one, other in ((first, second), (second, first)):
        if lies_in(one, left.relation) and lies_in(other, right.relation):
            return one.name, other.name
    return None
