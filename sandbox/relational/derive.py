"""Facts of every relation below a release: one rule per node. What proves nothing is refused."""

from __future__ import annotations

from typing import assert_never

from sandbox.relational import narrow
from sandbox.relational.facts import Facts, Refuse, Schema
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
from sandbox.relational.rules import joins, projections, tables, units, windows


def derive(relation: Relation, schema: Schema) -> Facts:
    """Facts of a relation of rows. Raises Refuse with the node's position.

    Guarantee: a fact holds for every dataset that passed ingest under the policy, whatever its rows say.
    """
    match relation:
        case Scan():
            return tables.scan(relation, schema)
        case Public():
            return tables.public(relation, schema)
        case Project():
            return projections.project(relation, _below(relation, schema))
        case Filter():
            return narrow.apply(relation.conditions, derive(relation.source, schema))
        case Join():
            return joins.join(relation, derive(relation.left, schema), derive(relation.right, schema), schema)
        case UnionAll():
            return projections.union_all(relation, tuple(_unused(relation, derive(r, schema)) for r in relation.inputs))
        case UnitAggregate():
            return units.aggregate(relation, _below(relation, schema))
        case Window():
            return windows.window(relation, _below(relation, schema))
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be joined or grouped again", at=relation.at)
        case _:
            assert_never(relation)


def _below(relation: Project | UnitAggregate | Window, schema: Schema) -> Facts:
    return _unused(relation, derive(relation.source, schema))


def _unused(relation: Project | UnionAll | UnitAggregate | Window, below: Facts) -> Facts:
    """`below`, where no name of it is one that `relation` makes: to the engine a name that stands twice is the lower
    one's, and the facts would be those of the upper."""
    prefix = f"{relation.number}."
    if any(name.startswith(prefix) for name in (*below.columns, *(below.unit or ()))):
        raise Refuse("construct_not_allowed", "a part of a question has the number of one below it", at=relation.at)
    return below
