"""Public tables beside an answer: what of them may be named above the release."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import Refusal
from policies.model import Policy, Table
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Filter, Join, Public, Relation

SHOWN = ("dimension", "measure")
"""Roles of columns that reference data shows; keys are joined on, and hidden columns are nowhere."""


@dataclass(frozen=True, slots=True)
class Beside:
    offered: frozenset[str]
    """Columns that may be shown, filtered and sorted by."""
    joined_on: frozenset[str]
    """Keys of the public table: they may stand in ON and nowhere else."""
    used: tuple[Expression, ...]
    """What narrows the public table below the join, and the columns of the answer that it is joined on."""


def require_beside(join: Join, policy: Policy) -> Beside:
    """What the public side of `join` brings. Raises Refusal join_not_allowed, table_unknown, column_unknown."""
    if join.kind not in ("inner", "left"):
        raise Refusal("join_not_allowed", "an answer is joined by INNER or LEFT JOIN", at=join.at)
    public, conditions = _public(join.right)
    table = policy.tables.get(public.table)
    if table is None or not table.public:
        raise Refusal("table_unknown", f"there is no table `{public.table}` that you may ask", at=public.at)
    offered, keys = _columns(public, table, *SHOWN), _columns(public, table, "key")
    for _, column in join.on:
        if column not in offered | keys:
            raise Refusal("column_unknown", "the join names a column that is not there", at=join.at)
    return Beside(offered, keys, (*conditions, *(Column(name, join.at) for name, _ in join.on)))


def not_shown(column: Column) -> Refusal:
    message = f"`{column.name.partition('.')[2]}` may be joined on, but not shown"
    return Refusal("column_not_groupable", message, hint="select another column of its table", at=column.at)


def _columns(public: Public, table: Table, *roles: str) -> frozenset[str]:
    return frozenset(f"{public.number}.{name}" for name, column in table.columns.items() if column.role in roles)


def _public(node: Relation) -> tuple[Public, tuple[Expression, ...]]:
    match node:
        case Public():
            return node, ()
        case Filter(source=source, conditions=conditions):
            table, inner = _public(source)
            return table, inner + conditions
        case _:
            raise Refusal("join_not_allowed", "an answer is joined with public tables only", at=node.at)
