"""Which pairs of columns tables may be joined on, by the policy alone.

Guarantee: a row of a join of private tables belongs to exactly one unit, because both sides' rows are of the same unit;
and each row of a private relation meets at most the declared number of public rows.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.sql.reading import Reading
from gateway.sql.scope import Source
from policies.model import Column, Table
from sandbox.relational.expressions import Column as Name
from sandbox.relational.nodes import Public, Relation, Scan, walk

Pair = tuple[str, str]
"""(column of the left relation, column of the right one), by their names in the model."""


def private_tables(relation: Relation) -> set[str]:
    return {node.table for node in walk(relation) if isinstance(node, Scan)}


def occurrences(relation: Relation) -> set[int]:
    """The numbers of the tables below."""
    return {node.number for node in walk(relation) if isinstance(node, Scan | Public)}


def number_of(name: str) -> int:
    return int(name.split(".", 1)[0])


def declared(reading: Reading, left: Relation, right: Relation, pair: Pair) -> bool:
    """Whether `left` and `right` may be joined on `pair`.

    Where both are private, a pair over a public table in between does not count: two units that share a region would
    meet. Where one is public, its column must be the unique (or fan-out) one, not the other's.
    """
    (_, table, column), (_, other_table, other) = (reading.declared(name) for name in pair)
    left_private, right_private = bool(private_tables(left)), bool(private_tables(right))
    if left_private and right_private:
        return not table.public and not other_table.public and _same_unit(table, column, other_table, other)
    if right_private:
        return _to_public(other, table, column)
    return _to_public(column, other_table, other)


def _same_unit(table: Table, column: Column, other_table: Table, other: Column) -> bool:
    if column.role == "unit" and other.role == "unit":
        return True
    return _links(table, column, other_table, other) or _links(other_table, other, table, column)


def _links(child: Table, column: Column, target: Table, to: Column) -> bool:
    link = child.link
    return link is not None and (link.column, link.to_table, link.to_column) == (column.name, target.name, to.name)


def _to_public(column: Column, public: Table, key: Column) -> bool:
    once = key.name == public.key or key.name in public.fan_out
    return public.public and once and (public.name, key.name) in column.joins


def possible(reading: Reading, left: Source, right: Source) -> Iterator[tuple[str, str]]:
    """The pairs on which the two could be joined, as `alias.column`, for hints."""
    for one, first in _callable(left):
        for other, second in _callable(right):
            if declared(reading, left.relation, right.relation, (first, second)):
                yield one, other


def _callable(source: Source) -> Iterator[tuple[str, str]]:
    for item in source.items:
        for field in item.fields:
            if isinstance(field.typed.expression, Name) and not field.hidden:
                yield (f"{item.alias}.{field.name}" if item.alias else field.name), field.typed.expression.name
