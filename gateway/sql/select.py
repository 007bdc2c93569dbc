"""One SELECT to a relation: over rows, within each unit, as a Release, or over the released rows of a subquery."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import literals, typed
from gateway.sql.block import Block, written_out
from gateway.sql.each_unit import distinct, each_unit, groups_units
from gateway.sql.grouping import Groups, read_groups
from gateway.sql.joins import filtered
from gateway.sql.links import private_tables
from gateway.sql.outer import Outer
from gateway.sql.reading import Reading
from gateway.sql.release import over_released, release
from gateway.sql.released import order_terms
from gateway.sql.scalar import Scalar, no_aggregates
from gateway.sql.scope import Source
from gateway.sql.sources import Scope, read_from, read_union, read_with
from gateway.sql.subqueries import Attached, attach
from gateway.sql.syntax import aggregates, conjuncts
from gateway.sql.typed import Typed
from gateway.sql.windows import Windows, definitions, in_place
from sandbox.relational.expressions import Literal


def read_query(
    reading: Reading, node: exp.Expr, scope: Scope, *, top: bool = False, outer: Outer | None = None
) -> Source:
    """The rows that `node` gives, as one item without alias. `outer` is the query around it, which it may name."""
    if type(node) is exp.Subquery:
        node = node.args["this"]
    if type(node) is exp.Union:
        return read_union(reading, node, scope, lambda part, inner: read_query(reading, part, inner))
    return _Select(reading, node, top, outer).read(scope)


@dataclass(frozen=True, slots=True)
class _Select:
    reading: Reading
    node: exp.Expr
    top: bool
    outer: Outer | None

    def read(self, scope: Scope) -> Source:
        self.reading.count_select()
        scope = read_with(self.reading, self.node, scope)
        source = read_from(self.reading, self.node, scope, lambda part, inner: read_query(self.reading, part, inner))
        attached = attach(
            self.reading, source, self.node, lambda part, outer: read_query(self.reading, part, scope, outer=outer)
        )
        source = self._where(attached)
        items = written_out(self.node, source, self.reading, top=self.top)
        block = Block(self.reading, self.node, source, self.top, attached.values, items)
        if source.released:
            return self._over_released(block)
        return self._over_rows(block)

    def _where(self, attached: Attached) -> Source:
        source, clause = attached.source, self.node.args.get("where")
        if clause is None:
            return source
        block = Block(self.reading, self.node, source, self.top, attached.values, ())
        scalar = block.plain("WHERE")
        outer = self.outer if self.reading.open or not source.released else None
        if outer is not None:
            scalar = outer.seen_by(scalar)
        parts = [part for part in conjuncts(clause.args["this"]) if id(part) not in attached.settled]
        conditions = tuple(condition for part in parts for condition in scalar.condition(part))
        if outer is not None:
            conditions = outer.split(self.reading, source.relation, conditions)
        if source.released:
            return replace(source, relation=filtered(source.relation, conditions))
        return replace(source, conditions=source.conditions + conditions)

    def _over_rows(self, block: Block) -> Source:
        if not self._is_grouped(block):
            return self._rows(block)
        groups = read_groups(block)
        if self.top or (self.outer is None and not groups_units(block, groups)):
            if not private_tables(block.source.relation):
                raise _public_only(block)
            return release(block, groups)
        self._require_units(block, groups)
        made = each_unit(block, groups, self.outer)
        return self._distinct(block, made)

    def _over_released(self, block: Block) -> Source:
        """What is open may be aggregated like a table, and again; an answer that was paid for is taken as it is."""
        if self.reading.open and self._is_aggregated(block):
            return release(block, read_groups(block))
        return over_released(block)

    def _is_grouped(self, block: Block) -> bool:
        if self._is_aggregated(block):
            return True
        return self.top and block.clause("distinct") is not None

    def _is_aggregated(self, block: Block) -> bool:
        parts = [*block.items, block.clause("having"), block.clause("qualify"), block.clause("order")]
        return block.clause("group") is not None or any(part is not None and aggregates(part) for part in parts)

    def _require_units(self, block: Block, groups: Groups) -> None:
        """A subquery in an expression aggregates the rows of one unit, or it is refused."""
        if not private_tables(block.source.relation):
            raise _public_only(block)
        if self.outer is None:
            return
        at = self.reading.at(self.node.args["expressions"][0])
        tied = self.reading.tells_unit(inner for _, inner in self.outer.pairs)
        if not tied and not groups_units(block, groups):
            message = "this subquery aggregates the rows of many units: one unit could change its answer for all"
            hint = "tie it to the unit: WHERE inner.unit = outer.unit; or ask for the figure first"
            raise Refusal("construct_not_allowed", message, hint=hint, at=at)
        if self.outer.kind == "exists" and block.clause("group") is None:
            message = "an aggregate without GROUP BY always gives a row, so that EXISTS is always true"
            raise Refusal("construct_not_allowed", message, hint="select the rows themselves", at=at)
        if self.outer.kind == "value" and block.clause("having") is not None:
            message = "HAVING in a scalar subquery is not answered"
            raise Refusal("construct_not_allowed", message, hint="use CASE around it", at=at)

    def _rows(self, block: Block) -> Source:
        """A SELECT without aggregates over rows that are not released: it names and computes columns."""
        if self.top:
            raise self._rows_do_not_leave(block)
        self._refuse_limits(block)
        aggregate = no_aggregates(self.reading, "this SELECT")
        windows = Windows(self.reading, block.scalar(aggregate), definitions(self.node), self.reading.tells_unit)
        values = block.read_items(block.scalar(aggregate, windows.read))
        named = block.scalar(aggregate, windows.read, block.outputs(values))
        conditions = block.qualify(named, windows)
        order_terms(self.node, named, block.outputs(values))  # its names are checked, its order is no matter
        if windows.found or windows.definitions:
            return self._distinct(block, self._windowed(block, windows, values, conditions))
        return self._distinct(block, replace(block.source, items=block.fields(values), merged=MappingProxyType({})))

    def _windowed(self, block: Block, windows: Windows, values: list[Typed], qualify: tuple[Typed, ...]) -> Source:
        if self.outer is not None and self.outer.pairs:
            message = "a window in a subquery that is tied to the query around it is not answered"
            hint = "write IN (SELECT … ), or compute the window in a subquery in FROM"
            raise Refusal("construct_not_allowed", message, hint=hint, at=self.reading.at(self.node))
        below = filtered(block.source.relation, block.source.conditions)
        relation, names = windows.over(below, lambda inside: inside)  # refuses definitions that are not used
        items = block.fields([in_place(value, names) for value in values])
        return Source(relation, items, tuple(in_place(condition, names) for condition in qualify))

    def _distinct(self, block: Block, source: Source) -> Source:
        clause = block.clause("distinct")
        if clause is None or (self.outer is not None and self.outer.kind != "value"):  # IN and EXISTS count nothing
            return source
        return distinct(self.reading, source, self.reading.at(self.node.args["expressions"][0]))

    def _refuse_limits(self, block: Block) -> None:
        """LIMIT 1 in EXISTS is a habit that means nothing; elsewhere it would choose among rows of many units."""
        limit = block.clause("limit")
        if limit is not None and self.outer is not None and self.outer.kind == "exists":
            count = block.plain("LIMIT").constant(limit.args["expression"], "LIMIT").expression
            if isinstance(count, Literal) and isinstance(count.value, int) and count.value >= 1:
                limit = None
        block.refuse_clauses("offset", "having", *(("limit",) if limit is not None else ()))

    def _rows_do_not_leave(self, block: Block) -> Refusal:
        if not private_tables(block.source.relation):
            return _public_only(block)
        block.read_items(Scalar(self.reading, block.plain("SELECT").name, _unread, _unread, block.values))
        message = "rows do not leave: the select list aggregates"
        hint = "COUNT(*), SUM(x) or AVG(x), with GROUP BY for the columns beside them"
        return Refusal("aggregate_required", message, hint=hint, at=self.reading.at(self.node.args["expressions"][0]))


def _unread(node: exp.Expr) -> Typed:
    return typed.constant(literals.null(None))


def _public_only(block: Block) -> Refusal:
    message = "a query on public tables alone is not answered in this mode"
    hint = "their values are in the catalogue; join them to a private table"
    if block.reading.policy is not None and block.reading.policy.open_part is not None:
        hint = "ask it in mode `open`, which answers them as they are"
    return Refusal("construct_not_allowed", message, hint=hint, at=block.reading.at(block.node.args["from_"]))
