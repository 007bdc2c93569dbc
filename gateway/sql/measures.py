"""Aggregates of a query, each once, in the order in which they are met until the Release sorts them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import typed
from gateway.sql.position import words
from gateway.sql.reading import Reading
from gateway.sql.scalar import NameReader, Scalar
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Column, Position
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
        at = self.reading.at(node)
        measure = self._count(node, at) if type(node) is exp.Count else self._of_number(node, at)
        number = self.found.setdefault(measure, len(self.found))
        return typed.column(f"{MARK}{number}", "number", at)

    def _count(self, node: exp.Expr, at: Position | None) -> Measure:
        argument = node.args.get("this")
        if type(argument) is exp.Star:
            return Measure("count_rows", at=at)
        if type(argument) is exp.Distinct:
            return self._count_distinct(argument, at)
        value = self._argument(argument, at)
        if value.family == "null":
            raise Refusal("construct_not_allowed", "COUNT of NULL is 0", hint="write COUNT(*)", at=at)
        if value.is_literal:
            return Measure("count_rows", at=at)
        number = self._unit_occurrence(value)
        if number is None:
            return Measure("count", value.expression, at=at)
        self._check_present(number, at)
        # Rows without a unit do not exist in the model: every row counts.
        return Measure("count_rows", at=at)

    def _count_distinct(self, node: exp.Expr, at: Position | None) -> Measure:
        members = node.args["expressions"]
        value = self._argument(members[0], at) if len(members) == 1 else None
        number = self._unit_occurrence(value) if value is not None else None
        if number is None:
            message = f"`COUNT(DISTINCT {words(self.reading.sql, members[0])})` is not answered"
            hint = "COUNT(DISTINCT …) takes the column of the unit; to count values, group by them"
            raise Refusal("aggregate_not_allowed", message, hint=hint, at=at)
        self._check_present(number, at)
        return Measure("count_units", at=at)

    def _of_number(self, node: exp.Expr, at: Position | None) -> Measure:
        value = self._argument(node.args.get("this"), at)
        if value.family != "number":  # null too: a sum of nothing
            hint = "count yes and no with COUNT or SUM(CASE WHEN … THEN 1 ELSE 0 END)"
            raise Refusal("type_mismatch", "SUM and AVG take a number", hint=hint, at=value.at or at)
        return Measure("sum" if type(node) is exp.Sum else "avg", value.expression, at=at)

    def _argument(self, node: exp.Expr | None, at: Position | None) -> Typed:
        if node is None:
            raise Refusal("construct_not_allowed", "an aggregate takes one argument", hint="COUNT(*)", at=at)
        return Scalar(self.reading, self.name, self._nested).read(node)

    def _nested(self, node: exp.Expr) -> Typed:
        hint = "aggregate in a subquery is not answered either: ask for each figure"
        at = self.reading.at(node)
        raise Refusal("construct_not_allowed", "an aggregate inside an aggregate is not answered", hint=hint, at=at)

    def _unit_occurrence(self, value: Typed) -> int | None:
        """The occurrence of the table whose unit column `value` is."""
        if not isinstance(value.expression, Column):
            return None
        number, _, column = self.reading.declared(value.expression.name)
        return number if column.role == "unit" else None

    def _check_present(self, number: int, at: Position | None) -> None:
        """On the right of a LEFT JOIN the unit may be missing, and then its rows do not count."""
        if number in self.reading.optional:
            message = "this side of the LEFT JOIN may be missing, so its units are not counted"
            raise Refusal("aggregate_not_allowed", message, hint="use an INNER JOIN, or the left table's column", at=at)
