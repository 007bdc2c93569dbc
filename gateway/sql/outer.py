"""The query around a subquery: what a condition inside may name, and how the two are tied together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal as OneOf

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql.links import Pair, lies_in
from gateway.sql.reading import Reading
from gateway.sql.scalar import Scalar
from gateway.sql.scope import Source, named
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Call, Column
from sandbox.relational.nodes import Relation

Kind = OneOf["exists", "in", "value"]


@dataclass(slots=True)
class Outer:
    """`kind` is what is asked of the subquery; `pairs` is filled while it is read."""

    source: Source
    kind: Kind
    pairs: list[Pair] = field(default_factory=list)
    """(column of the outer query, column of what the subquery makes): equal."""

    def seen_by(self, scalar: Scalar) -> Scalar:
        """`scalar` with the outer query's columns in sight behind its own."""
        inside = scalar.name

        def name(node: exp.Column) -> Typed:
            try:
                return inside(node)
            except Refusal as refusal:
                if refusal.code not in ("column_unknown", "table_unknown"):
                    raise
                try:
                    return named(self.source, node, scalar.reading.at(node))
                except Refusal as outside:
                    raise (outside if outside.code == "column_hidden" else refusal) from None

        return replace(scalar, name=name)

    def split(self, reading: Reading, inside: Relation, conditions: tuple[Typed, ...]) -> tuple[Typed, ...]:
        """The conditions that are about `inside` alone; the others become pairs. Raises Refusal."""
        own = []
        for condition in conditions:
            if lies_in(condition.expression, inside):
                own.append(condition)
                continue
            pair = self._pair(inside, condition)
            if pair is None:
                message = "a subquery is tied to the query around it by equal columns only"
                hint = "`inner.column = outer.column`, with all else about the inner table"
                raise Refusal("construct_not_allowed", message, hint=hint, at=condition.at)
            self.pairs.append(pair)
        return tuple(own)

    def _pair(self, inside: Relation, condition: Typed) -> Pair | None:
        match condition.expression:
            case Call(function="equal", arguments=(Column() as first, Column() as second)):
                for inner, outer in ((first, second), (second, first)):
                    if lies_in(inner, inside) and lies_in(outer, self.source.relation):
                        return outer.name, inner.name
        return None
