"""On which columns tables may meet: the rule of `gateway.sql.links` again, on the plan instead of the text.

Each side of a join of private tables must be tied to the other through the unit or a declared link. A broken resolver
would be caught here; the domain holds the same rule a third time.
"""

from __future__ import annotations

from gateway.admission.lineage import Declared, Lineage
from gateway.errors import Refusal
from policies.model import Column, Table
from sandbox.relational import expressions
from sandbox.relational.nodes import Join, Relation, Scan, walk


def require_joinable(join: Join, lineage: Lineage) -> None:
    """Raises Refusal join_not_allowed."""
    pairs = [(_declared(left, join, lineage), _declared(right, join, lineage)) for left, right in join.on]
    left_private, right_private = _private(join.left), _private(join.right)
    if right_private and not left_private and join.kind == "left":
        raise Refusal("join_not_allowed", "a LEFT JOIN keeps all rows of a private table only", at=join.at)
    for left, right in pairs:
        if left_private and right_private:
            allowed = _one_unit(left, right)
        elif right_private:
            allowed = _reaches(right.column, left.table, left.column)
        else:
            allowed = _reaches(left.column, right.table, right.column)
        if not allowed:
            message = f"{left.words} and {right.words} are not a declared pair"
            raise Refusal("join_not_allowed", message, at=join.at)
    if not pairs:
        raise Refusal("join_not_allowed", "a join needs columns that are equal", at=join.at)


def _declared(name: str, join: Join, lineage: Lineage) -> Declared:
    traced = lineage.traced(expressions.Column(name, join.at))
    if not isinstance(traced, expressions.Column):
        raise Refusal("join_not_allowed", "computed values are not joined on", at=join.at)
    return lineage.declared(traced)


def _private(relation: Relation) -> bool:
    return any(isinstance(node, Scan) for node in walk(relation))


def _one_unit(left: Declared, right: Declared) -> bool:
    if left.table.public or right.table.public:
        return False
    if left.column.role == "unit" and right.column.role == "unit":
        return True
    return _links(left, right) or _links(right, left)


def _links(child: Declared, target: Declared) -> bool:
    link = child.table.link
    wanted = (child.column.name, target.table.name, target.column.name)
    return link is not None and (link.column, link.to_table, link.to_column) == wanted


def _reaches(column: Column, public: Table, key: Column) -> bool:
    once = key.name == public.key or key.name in public.fan_out
    return public.public and once and (public.name, key.name) in column.joins
