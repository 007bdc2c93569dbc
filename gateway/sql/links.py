"""Which pairs of columns tables may be joined on, by the policy alone.

Guarantee: a row of a join of private tables belongs to exactly one unit, because both sides' rows are of the same unit;
and each row of a private relation meets at most the declared number of public rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sql.reading import End, Reading
from gateway.sql.scope import Source
from sandbox.relational.expressions import Column as Name
from sandbox.relational.expressions import Expression, columns
from sandbox.relational.nodes import Project, Public, Relation, Scan, UnionAll, UnitAggregate, Window, walk

Pair = tuple[str, str]
"""(column of the left relation, column of the right one), by their names in the model."""


def private_tables(relation: Relation) -> set[str]:
    return {node.table for node in walk(relation) if isinstance(node, Scan)}


def occurrences(relation: Relation) -> set[int]:
    """The numbers of all that is below."""
    numbered = Scan | Public | Project | UnionAll | UnitAggregate | Window
    return {node.number for node in walk(relation) if isinstance(node, numbered)}


def number_of(name: str) -> int:
    return int(name.split(".", 1)[0])


def lies_in(expression: Expression, relation: Relation) -> bool:
    """Whether every column of `expression` is of `relation`."""
    return {number_of(column.name) for column in columns(expression)} <= occurrences(relation)


def declared(reading: Reading, left: Relation, right: Relation, pair: Pair) -> bool:
    """Whether `left` and `right` may be joined on `pair`.

    Where both are private, a pair over a public table in between does not count: two units that share a region would
    meet. Where one is public, its column must be the unique (or fan-out) one, not the other's.
    """
    first, second = (reading.ends(name) for name in pair)
    left_private, right_private = bool(private_tables(left)), bool(private_tables(right))
    if not first or not second:
        return False
    if left_private and right_private:
        return all(_same_unit(reading, one, other) for one in first for other in second)
    if right_private:
        return all(_to_public(other, one) for one in first for other in second)
    return all(_to_public(one, other) for one in first for other in second)


def _same_unit(reading: Reading, one: End, other: End) -> bool:
    if one.table.public or other.table.public:
        return False
    if one.column.role == "unit" and other.column.role == "unit":
        return True
    target = reading.target_of(one)
    return target is not None and target == reading.target_of(other)


def _to_public(end: End, public: End) -> bool:
    table, key = public.table, public.column.name
    return table.public and (key == table.key or key in table.fan_out) and (table.name, key) in end.column.joins


def possible(reading: Reading, left: Source, right: Source) -> Iterator[tuple[str, str]]:
    """The pairs on which the two could be joined, as `alias.column`, for hints; an answer is joined on any."""
    if left.released or right.released:
        return
    for one, first in _callable(left):
        for other, second in _callable(right):
            if declared(reading, left.relation, right.relation, (first, second)):
                yield one, other


def _callable(source: Source) -> Iterator[tuple[str, str]]:
    for item in source.items:
        for field in item.fields:
            if isinstance(field.typed.expression, Name) and not field.hidden:
                yield (f"{item.alias}.{field.name}" if item.alias else field.name), field.typed.expression.name
