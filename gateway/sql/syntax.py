"""Walks over the syntax of one SELECT that stop where another one begins."""

from __future__ import annotations

from collections.abc import Iterator

from sqlglot import exp

from gateway.sql import functions

_QUERIES = (exp.Select, exp.Union)


def own(node: exp.Expr) -> Iterator[exp.Expr]:
    """`node` and all below it, outermost first, without what is inside subqueries."""
    pending = [node]
    while pending:
        part = pending.pop()
        yield part
        if not isinstance(part, _QUERIES):
            pending.extend(child for child in reversed(list(part.iter_expressions())))


def aggregates(node: exp.Expr) -> bool:
    """Whether `node` holds an aggregate that is none of a window's or a subquery's own."""
    for part in own(node):
        above = part.parent
        of_window = type(above) is exp.Window and above.args["this"] is part
        of_filter = type(above) is exp.Filter and above.args["this"] is part
        if type(part) in (exp.Grouping, exp.GroupingId):
            return True
        if functions.is_aggregate(part) and not of_window and not (of_filter and _is_window(above)):
            return True
    return False


def _is_window(node: exp.Expr | None) -> bool:
    return node is not None and type(node.parent) is exp.Window and node.parent.args["this"] is node


def has_window(node: exp.Expr) -> bool:
    return any(type(part) is exp.Window for part in own(node))


def is_subquery(node: exp.Expr) -> bool:
    """Whether `node` is an expression that asks a query of its own."""
    if type(node) is exp.In:
        return node.args.get("query") is not None
    return type(node) in (exp.Exists, exp.Subquery)


def subqueries(node: exp.Expr) -> Iterator[exp.Expr]:
    """The outermost subqueries of an expression, in order of the text; `x IN (SELECT …)` is one as a whole."""
    pending = [node]
    while pending:
        part = pending.pop()
        if is_subquery(part):
            yield part
        elif not isinstance(part, _QUERIES):
            pending.extend(child for child in reversed(list(part.iter_expressions())))


def conjuncts(node: exp.Expr) -> Iterator[exp.Expr]:
    """The parts of a condition that must all hold, in order of the text."""
    pending = [node]
    while pending:
        part = pending.pop()
        if type(part) is exp.And:
            pending += [part.args["expression"], part.args["this"]]
        elif type(part) is exp.Paren and type(part.this) in (exp.And, exp.Paren):
            pending.append(part.this)
        else:
            yield part


def unwrapped(node: exp.Expr) -> tuple[exp.Expr, bool]:
    """`node` without parentheses and negations, and whether an odd number of them negates it."""
    negated = False
    while type(node) in (exp.Paren, exp.Not):
        negated ^= type(node) is exp.Not
        node = node.args["this"]
    return node, negated
