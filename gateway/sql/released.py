"""What stands above the Release: arithmetic over aggregates, HAVING, ORDER BY, LIMIT. Touches released rows only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.scalar import Scalar
from gateway.sql.scope import Source, fold, name_in
from gateway.sql.typed import Typed
from sandbox.relational.canonical import put_in
from sandbox.relational.expressions import Column, Expression, Literal, children
from sandbox.relational.nodes import Limit, Relation, Sort

_ROWS_MAX = 2**53


@dataclass(frozen=True, slots=True)
class Lifted:
    """What is aggregated, from above: `names` holds the columns that stand for keys, aggregates and windows."""

    names: Mapping[Expression, Expression]
    source: Source

    def lift(self, typed: Typed) -> Typed:
        """`typed` over what is aggregated. Raises Refusal column_not_grouped."""
        for column in self._loose(typed.expression):
            bare = name_in(self.source, column)
            message = f"`{bare}` is neither grouped by nor aggregated"
            hint = f"add it to GROUP BY, or aggregate it: `AVG({bare})`, `COUNT({bare})`"
            raise Refusal("column_not_grouped", message, hint=hint, at=column.at)
        return replace(typed, expression=put_in(typed.expression, self.names))

    def _loose(self, expression: Expression) -> Iterator[Column]:
        """Columns outside of all that has a name."""
        if expression in self.names:
            return
        if isinstance(expression, Column):
            yield expression
        for child in children(expression):
            yield from self._loose(child)


@dataclass(frozen=True, slots=True)
class Term:
    """One entry of ORDER BY."""

    value: Typed
    descending: bool
    nulls_first: bool


def order_terms(node: exp.Expr, scalar: Scalar, outputs: Mapping[str, Typed]) -> tuple[Term, ...]:
    """ORDER BY of the SELECT `node`. `outputs` holds its select list by folded name, and by ordinal."""
    order = node.args.get("order")
    found = []
    for term in order.args["expressions"] if order is not None else ():
        value = output_of(term.args["this"], outputs) or scalar.read(term.args["this"])
        if value.is_literal:
            message = "ORDER BY takes a column, or the number of one in the select list"
            raise Refusal("construct_not_allowed", message, at=scalar.reading.at(term))
        found.append(Term(value, bool(term.args.get("desc")), bool(term.args.get("nulls_first"))))
    return tuple(found)


def ordered(relation: Relation, terms: tuple[Term, ...]) -> Relation:
    """`relation` in the order of `terms`, which are over its own columns."""
    if not terms:
        return relation
    by = tuple((term.value.expression, term.descending, term.nulls_first) for term in terms)
    return Sort(relation, by, terms[0].value.at)


def output_of(node: exp.Expr, outputs: Mapping[str, Typed]) -> Typed | None:
    """The entry of the select list that `node` names by alias or by ordinal."""
    if type(node) is exp.Column and node.args.get("table") is None:
        return outputs.get(fold(str(node.args["this"].args["this"])))
    if type(node) is exp.Literal and not node.args.get("is_string"):
        return outputs.get(ordinal(str(node.args["this"])))
    return None


def ordinal(number: str | int) -> str:
    """The key of an entry by its place; a blank keeps it apart from names."""
    return f" {number}"


def has_limit(node: exp.Expr) -> bool:
    return node.args.get("limit") is not None or node.args.get("offset") is not None


def limited(relation: Relation, node: exp.Expr, scalar: Scalar) -> Relation:
    """LIMIT and OFFSET of the SELECT `node` over `relation`."""
    if not has_limit(node):
        return relation
    limit, offset = node.args.get("limit"), node.args.get("offset")
    count = _rows(limit, scalar, "LIMIT") if limit is not None else None
    skipped = _rows(offset, scalar, "OFFSET") if offset is not None else 0
    return Limit(relation, count, skipped, scalar.reading.at(limit if limit is not None else node))


def _rows(node: exp.Expr, scalar: Scalar, word: str) -> int:
    value = scalar.constant(node.args["expression"], word).expression
    rows = value.value if isinstance(value, Literal) else None
    if isinstance(rows, bool) or not isinstance(rows, int) or not 0 <= rows <= _ROWS_MAX:
        raise Refusal("construct_not_allowed", f"{word} takes a number of rows", at=scalar.reading.at(node))
    return rows
