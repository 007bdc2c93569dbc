"""SQL of the relations above a release, over a table `released`. Every row keeps `__row`, the released row that it is
made of, and `__order`, its place: nothing is left to the engine's own order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, assert_never

from policies.types import Type
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
from sandbox.release.above import above
from sandbox.release.windows import ORDER, order_by, shown, window

ROW: Final = identifier("__row")


def lower(node: Relation, released: Mapping[str, Type]) -> str:
    """SQL of `node`, whose facts are known to hold: `above` refuses all else."""
    match node:
        case Release() | Rollup():
            return f"SELECT *, {ROW} AS {ORDER} FROM released"
        case Filter():
            facts = _below(node.source, released)
            conditions = " AND ".join(scalar(c, facts) for c in node.conditions) or "TRUE"
            return f"SELECT * FROM ({lower(node.source, released)}) WHERE {conditions}"
        case Sort():
            order = f"row_number() OVER (ORDER BY {order_by(node.by, _below(node.source, released))}) AS {ORDER}"
            return f"SELECT * EXCLUDE ({ORDER}), {order} FROM ({lower(node.source, released)})"
        case Limit():
            count = "" if node.count is None else f" LIMIT {node.count}"
            return f"SELECT * FROM ({lower(node.source, released)}) ORDER BY {ORDER}{count} OFFSET {node.offset}"
        case Project():
            facts = _below(node.source, released)
            named = [f"{shown(e, facts)} AS {identifier(f'{node.number}.{i}')}" for i, e in enumerate(node.columns)]
            return f"SELECT {', '.join([ROW, ORDER, *named])} FROM ({lower(node.source, released)})"
        case Distinct():
            facts = _below(node.source, released)
            columns = ", ".join(shown(e, facts) for e in node.columns) or "TRUE"
            first = f"row_number() OVER (PARTITION BY {columns} ORDER BY {ORDER}) = 1"
            return f"SELECT * FROM ({lower(node.source, released)}) QUALIFY {first}"
        case Window():
            facts = _below(node.source, released)
            named = [f"{window(c, facts)} AS {identifier(f'{node.number}.w{i}')}" for i, c in enumerate(node.columns)]
            return f"SELECT {', '.join(['*', *named])} FROM ({lower(node.source, released)})"
        case Join() | Scan() | Public() | UnionAll() | UnitAggregate() | Output():
            raise Refuse("construct_not_allowed", "released rows can be filtered, sorted and limited", at=node.at)
        case _:
            assert_never(node)


def _below(node: Relation, released: Mapping[str, Type]) -> Facts:
    return above(node, released).facts
