"""From offsets and syntax nodes to lines and columns of the operator's text."""

from __future__ import annotations

import re
from typing import Final

from sqlglot import exp

from sandbox.relational.expressions import Position

_NAME_MAX: Final = 100
_NAME_BEFORE: Final = re.compile(r"\w+\s*\(\s*$")
_QUERY_BEFORE: Final = re.compile(r"\b(WITH|SELECT(\s+(DISTINCT|ALL))?)\s+$", re.IGNORECASE)


def position(text: str, start: int, end: int) -> Position:
    """The characters `start` to `end` (exclusive) of `text`."""
    start = max(0, min(start, len(text)))
    line_start = text.rfind("\n", 0, start) + 1
    return Position(text.count("\n", 0, start) + 1, start - line_start + 1, max(1, end - start))


def span(node: exp.Expr) -> tuple[int, int] | None:
    """First and last offset (exclusive) that the tokenizer noted below `node`; None where it noted none.

    Keywords such as NULL carry no offset: their nearest parent that has one stands for them.
    """
    at: exp.Expr | None = node
    while at is not None:
        noted = [part.meta for part in at.walk() if "start" in part.meta]
        if noted:
            return min(meta["start"] for meta in noted), max(meta["end"] for meta in noted) + 1
        at = at.parent
    return None


def place(text: str, node: exp.Expr) -> Position | None:
    """Where `node` stands in `text`."""
    found = _with_name(text, node)
    return position(text, *found) if found else None


def _with_name(text: str, node: exp.Expr) -> tuple[int, int] | None:
    """The span of `node`, from words that carry no offset of their own: the name of a function, or what a query begins
    with.
    """
    found = span(node)
    if found is None or not isinstance(node, exp.Func | exp.Query) or "start" in node.meta:
        return found
    word = _NAME_BEFORE if isinstance(node, exp.Func) else _QUERY_BEFORE
    before = word.search(text, max(0, found[0] - _NAME_MAX), found[0])
    return found if before is None else (before.start(), found[1])


def words(text: str, node: exp.Expr, *, most: int = 60) -> str:
    """The caller's own words for `node`, on one line, shortened."""
    found = _with_name(text, node)
    inside = " ".join(text[slice(*found)].split()) if found else ""
    return inside if len(inside) <= most else inside[: most - 1] + "…"
