"""Aggregates of a query, each once, in the order in which they are met until the Release sorts them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.aggregates import AggregateOf
from gateway.sql.reading import Reading
from gateway.sql.scalar import NameReader, Scalar
from gateway.sql.typed import Typed
from sandbox.relational.nodes import Measure

MARK = "#"
"""`#0`, `#1`: stand-ins for aggregates until the Release has numbered them. No table's column starts so."""


@dataclass(slots=True)
class Measures:
    reading: Reading
    name: NameReader
    found: dict[Measure, int] = field(default_factory=dict)

    def read(self, node: exp.Expr) -> Typed:
        """A stand-in for the aggregate `node`."""
        inside = AggregateOf(self.reading, Scalar(self.reading, self.name, self._nested))
        aggregate = inside.read(node)
        number = self.found.setdefault(aggregate.measure, len(self.found))
        return typed.column(f"{MARK}{number}", aggregate.family, aggregate.measure.at)

    def _nested(self, node: exp.Expr) -> Typed:
        hint = "aggregate in a subquery is not answered either: ask for each figure"
        at = self.reading.at(node)
        raise Refusal("construct_not_allowed", "an aggregate inside an aggregate is not answered", hint=hint, at=at)
