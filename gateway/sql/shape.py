"""The shape of a text: its words without its literals, and its conditions. For auditors, who compare questions.

Nothing here decides what may run; a text that cannot be read has its bare words for a shape.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sqlglot import errors, exp, parse_one

BYTES_MAX: Final = 20_000
_WORD: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Shape:
    """`text` has `?` for every literal; `literals` are these in order; `conditions` the parts of every WHERE."""

    text: str
    literals: tuple[str, ...]
    conditions: frozenset[str]
    rest: str
    """`text` without what WHERE says."""


def shape_of(sql: str) -> Shape:
    try:
        tree = parse_one(sql[:BYTES_MAX], dialect="duckdb")
    except (errors.SqlglotError, RecursionError):
        bare = _WORD.sub(" ", sql[:BYTES_MAX]).strip().lower()
        return Shape(bare, (), frozenset(), bare)
    conditions = frozenset(
        part.sql(dialect="duckdb")
        for where in tree.find_all(exp.Where)
        for part in (where.this.flatten() if isinstance(where.this, exp.And) else [where.this])
    )
    literals: list[str] = []

    def blank(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Literal):
            literals.append(str(node.this))
            return exp.Placeholder()
        return node

    rest = tree.copy()
    for where in list(rest.find_all(exp.Where)):
        where.pop()
    text = tree.transform(blank).sql(dialect="duckdb", normalize=True)
    return Shape(text, tuple(literals), conditions, rest.sql(dialect="duckdb"))
