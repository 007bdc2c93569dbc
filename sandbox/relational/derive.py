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
    sources,
)
from sandbox.relational.rules import joins, projections, tables, units, windows

ABOVE = (Release, Rollup, Distinct, Sort, Limit, Output)
"""What works on released rows, and has no place below a release."""


def derive(relation: Relation, schema: Schema) -> Facts:
    """Facts of a relation of rows. Raises Refuse with the node's position.

    Guarantee: a fact holds for every dataset that passed ingest under the policy, whatever its rows say.
    """
    below = () if isinstance(relation, ABOVE) else tuple(derive(each, schema) for each in sources(relation))
    return proved(relation, below, schema)


def proved(relation: Relation, below: tuple[Facts, ...], schema: Schema) -> Facts:
    """Facts of a relation, given those of the relations directly below."""
    match relation:
        case Scan():
            return tables.scan(relation, schema)
        case Public():
            return tables.public(relation, schema)
        case Project():
            return projections.project(relation, _unused(relation, below[0]))
        case Filter():
            return narrow.apply(relation.conditions, below[0])
        case Join():
            return joins.join(relation, below[0], below[1], schema)
        case UnionAll():
            return projections.union_all(relation, tuple(_unused(relation, each) for each in below))
        case UnitAggregate():
            return units.aggregate(relation, _unused(relation, below[0]))
        case Window():
            return windows.window(relation, _unused(relation, below[0]))
        case Release() | Rollup() | Distinct() | Sort() | Limit() | Output():
            raise Refuse("construct_not_allowed", "a released result cannot be joined or grouped again", at=relation.at)
        case _:
            assert_never(relation)


def _unused(relation: Project | UnionAll | UnitAggregate | Window, below: Facts) -> Facts:
    """`below`, where no name of it is one that `relation` makes: to the engine a name that stands twice is the lower
    one's, and the facts would be those of the upper."""
    prefix = f"{relation.number}."
    if any(name.startswith(prefix) for name in (*below.columns, *(below.unit or ()))):
        raise Refuse("construct_not_allowed", "a part of a question has the number of one below it", at=relation.at)
    return below
