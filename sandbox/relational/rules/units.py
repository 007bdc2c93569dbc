"""Facts of aggregates within units: one row for each unit, or for each unit and key."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from sandbox.relational.aggregates import aggregate_facts, same_in_all_rows
from sandbox.relational.facts import ColumnFacts, Facts, Refuse
from sandbox.relational.nodes import UnitAggregate
from sandbox.relational.scalar import facts_of


def aggregate(node: UnitAggregate, below: Facts) -> Facts:
    """Facts of a unit's own aggregates. Raises Refuse (`bound_missing`, `type_mismatch`, `construct_not_allowed`).

    Guarantee: rows are grouped by the hidden unit, so each row of the result is made of rows of one unit and belongs
    to it. Without keys, or with keys that are the same in all rows of a unit, there is one row for each.
    Source: docs/explanation/guarantees/unit-aggregate.md
    """
    if not below.private:
        raise Refuse("construct_not_allowed", "only tables about units have aggregates of each unit", at=node.at)
    once = same_in_all_rows(below, node.keys)
    keys = {f"{node.number}.k{i}": facts_of(key, below) for i, key in enumerate(node.keys)}
    measures = {
        f"{node.number}.m{i}": aggregate_facts(measure.function, measure.argument, below, measure.at or node.at)
        for i, measure in enumerate(node.measures)
    }
    columns = {
        name: replace(found, of_unit=once or (name in keys and found.of_unit))
        for name, found in {**keys, **measures}.items()
    }
    unit = f"{node.number}.unit"
    unique = frozenset({frozenset({unit, *keys})}) | (frozenset({frozenset({unit})}) if once else frozenset())
    return Facts(columns, frozenset({unit}), 1 if once else groups_max(list(keys.values()), below), unique, {}, once)


def groups_max(keys: list[ColumnFacts], below: Facts) -> int:
    """Most groups that one unit can be in, as declared."""
    rows = below.multiplicity or 1
    if any(key.keys is None for key in keys):
        return rows
    return max(1, min(rows, prod(len(key.keys or ()) + key.nullable for key in keys)))
