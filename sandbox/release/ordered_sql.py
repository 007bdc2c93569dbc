"""Rows that carry `__order`, their place, filtered, sorted, cut, shown once: alike for an answer and for open rows.

Each takes the SQL of the rows below and their facts, which are known to allow it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sandbox.relational.expressions import Expression
from sandbox.relational.facts import Facts
from sandbox.relational.lower.scalars import scalar
from sandbox.relational.nodes import Limit, Order
from sandbox.release.windows import ORDER, order_by


def filtered(rows: str, conditions: Sequence[Expression], facts: Facts) -> str:
    written = " AND ".join(scalar(condition, facts) for condition in conditions) or "TRUE"
    return f"SELECT * FROM ({rows}) WHERE {written}"


def placed_anew(rows: str, by: Order, facts: Facts) -> str:
    """Rows of a tie keep the order that they had."""
    return f"SELECT * EXCLUDE ({ORDER}), row_number() OVER (ORDER BY {order_by(by, facts)}) AS {ORDER} FROM ({rows})"


def limited(rows: str, node: Limit) -> str:
    count = "" if node.count is None else f" LIMIT {node.count}"
    return f"SELECT * FROM ({rows}) ORDER BY {ORDER}{count} OFFSET {node.offset}"


def each_once(rows: str, columns: Sequence[str]) -> str:
    """The first of the rows that agree in `columns`, which are SQL."""
    first = f"row_number() OVER (PARTITION BY {', '.join(columns) or 'TRUE'} ORDER BY {ORDER}) = 1"
    return f"SELECT * FROM ({rows}) QUALIFY {first}"
