"""SQL of the relations above a release, over the table `released` and one for each public table.

Every row keeps `__row`, the released row that it is made of, and `__order`, its place: nothing is left to the engine's
own order.
"""

from __future__ import annotations

from typing import Final, assert_never

from sandbox.relational.expressions import Call, Column
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.lower.scalars import identifier, scalar
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
from sandbox.release.above import Ground, above, public
from sandbox.release.ordered_sql import each_once, filtered, limited, placed_anew
from sandbox.release.windows import ORDER, shown, window

ROW: Final = identifier("__row")
PLACE: Final = identifier("__place")
"""A row's place in its public table."""


def lower(node: Relation, ground: Ground) -> str:
    """SQL of `node`, whose facts are known to hold: `above` refuses all else."""
    match node:
        case Release() | Rollup():
            return f"SELECT *, {ROW} AS {ORDER} FROM released"
        case Filter():
            return filtered(lower(node.source, ground), node.conditions, _below(node.source, ground))
        case Sort():
            return placed_anew(lower(node.source, ground), node.by, _below(node.source, ground))
        case Limit():
            return limited(lower(node.source, ground), node)
        case Project():
            facts = _below(node.source, ground)
            named = [f"{shown(e, facts)} AS {identifier(f'{node.number}.{i}')}" for i, e in enumerate(node.columns)]
            return f"SELECT {', '.join([ROW, ORDER, *named])} FROM ({lower(node.source, ground)})"
        case Distinct():
            facts = _below(node.source, ground)
            return each_once(lower(node.source, ground), [shown(e, facts) for e in node.columns])
        case Window():
            facts = _below(node.source, ground)
            named = [f"{window(c, facts)} AS {identifier(f'{node.number}.w{i}')}" for i, c in enumerate(node.columns)]
            return f"SELECT {', '.join(['*', *named])} FROM ({lower(node.source, ground)})"
        case Join():
            return _join(node, ground)
        case Scan() | Public() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


def _join(node: Join, ground: Ground) -> str:
    """Rows of the public table that meet the same row keep its own order."""
    _, beside = public(node.right, ground)
    facts = Facts({**_below(node.left, ground).columns, **beside.columns}, None, None)
    pairs = (Call("equal", (Column(one), Column(other))) for one, other in node.on)
    on = " AND ".join(scalar(pair, facts) for pair in pairs)
    sides = f"({lower(node.left, ground)}) {node.kind.upper()} JOIN ({_public(node.right, ground)}) ON {on}"
    order = f"row_number() OVER (ORDER BY {ORDER}, {PLACE}) AS {ORDER}"
    return f"SELECT * EXCLUDE ({ORDER}, {PLACE}), {order} FROM (SELECT * FROM {sides})"


def _public(node: Relation, ground: Ground) -> str:
    match node:
        case Public():
            columns = ground.publics[node.table].columns
            named = [f"{identifier(c.name)} AS {identifier(f'{node.number}.{c.name}')}" for c in columns]
            return f"SELECT {', '.join([PLACE, *named])} FROM {public_table(node.table)}"
        case Filter():
            _, facts = public(node.source, ground)
            return filtered(_public(node.source, ground), node.conditions, facts)
        case _:
            raise Refuse("join_not_allowed", "an answer is joined with public tables only", at=node.at)


def public_table(name: str) -> str:
    """The engine's name of a public table; `released` is none of them."""
    return identifier(f"public {name}")


def _below(node: Relation, ground: Ground) -> Facts:
    return above(node, ground).facts
