"""Aggregates of a query, each once, in the order in which they are met until the node that computes them sorts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, cast, get_args

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions, literals, typed
from gateway.sql.aggregates import Aggregate, AggregateOf
from gateway.sql.block import Block
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Column, Expression, Position
from sandbox.relational.nodes import Measure, UnitFunction, UnitMeasure

MARK: Final = "#"
"""`#0`, `#1`: stand-ins for aggregates until the Release has numbered them. No table's column starts so."""
ROLLED: Final = "?"
"""`?0`, `?1`: stand-ins for GROUPING of a key."""
_WITHIN_UNIT: Final = get_args(UnitFunction)


@dataclass(slots=True)
class Measures:
    """`within_unit` admits what is computed exactly over the rows of one unit, and nothing else."""

    block: Block
    within_unit: bool = False
    found: dict[Measure, int] = field(default_factory=dict)
    rolled: dict[Expression, int] = field(default_factory=dict)
    """Keys of which GROUPING is asked."""

    def read(self, node: exp.Expr) -> Typed:
        """A stand-in for the aggregate `node`."""
        if type(node) in (exp.Grouping, exp.GroupingId):
            return self._grouping(node)
        aggregate = self._aggregate(node)
        number = self.found.setdefault(aggregate.measure, len(self.found))
        return typed.column(f"{MARK}{number}", aggregate.family, aggregate.measure.at)

    def for_units(self) -> dict[Expression, UnitMeasure]:
        """The measure over the rows of one unit that each stand-in is for."""
        return {
            Column(f"{MARK}{number}"): UnitMeasure(cast("UnitFunction", measure.function), measure.argument, measure.at)
            for measure, number in self.found.items()
        }

    def _aggregate(self, node: exp.Expr) -> Aggregate:
        aggregate = AggregateOf(self.block.reading, self.block.scalar(self._nested)).read(node)
        if self.within_unit and aggregate.measure.function not in _WITHIN_UNIT:
            raise refused_within_unit(functions.aggregate_name(node), aggregate.measure.at)
        return aggregate

    def _nested(self, node: exp.Expr) -> Typed:
        hint = "aggregate for each unit in a subquery: `SELECT pid, COUNT(*) AS n FROM … GROUP BY pid`"
        at = self.block.reading.at(node)
        raise Refusal("construct_not_allowed", "an aggregate inside an aggregate is not answered", hint=hint, at=at)

    def _grouping(self, node: exp.Expr) -> Typed:
        """GROUPING(a, b) is a number of one binary digit for each."""
        at, members = self.block.reading.at(node), node.args.get("expressions") or []
        if self.within_unit:
            raise refused_within_unit("grouping", at)
        if not members:
            raise Refusal("construct_not_allowed", "GROUPING names columns of GROUP BY", hint="GROUPING(x)", at=at)
        total: Typed | None = None
        for member in members:
            key = self.block.plain("GROUPING").read(member).expression
            number = self.rolled.setdefault(key, len(self.rolled))
            digit = typed.column(f"{ROLLED}{number}", "number", at)
            if total is None:
                total = digit
            else:
                doubled = typed.call("multiply", (total, typed.constant(literals.exact(2, at))), at)
                total = typed.call("add", (doubled, digit), at)
        if total is None:
            raise AssertionError("GROUPING without members")
        return total


def refused_within_unit(name: str, at: Position | None) -> Refusal:
    message = f"{name.upper()} is not answered for each unit"
    return Refusal("aggregate_not_allowed", message, hint="COUNT, COUNT(DISTINCT x), SUM, AVG, MIN, MAX", at=at)
