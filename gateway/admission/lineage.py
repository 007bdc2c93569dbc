"""Every column of a plan traced back to the policy's own. What cannot be traced is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gateway.errors import Refusal
from policies.model import Column, Policy, Table
from sandbox.relational import expressions, nodes
from sandbox.relational.expressions import Call, Case, Expression, Literal, Position


@dataclass(frozen=True, slots=True)
class Declared:
    """A column of the plan in the policy's words."""

    table: Table
    column: Column

    @property
    def words(self) -> str:
        return f"`{self.table.name}.{self.column.name}`"


@dataclass(frozen=True, slots=True)
class Lineage:
    """`tables` and `computed` hold every Scan, Public and Project below the Release by its number."""

    tables: Mapping[str, Table]
    computed: Mapping[str, tuple[Expression, ...]]

    def declared(self, column: expressions.Column) -> Declared:
        """The policy's column behind `column`. Raises Refusal column_unknown, column_hidden.

        The resolver has refused hidden columns before: this is the same rule again, on the plan instead of the text.
        """
        number, _, name = column.name.partition(".")
        table = self.tables.get(number)
        found = table.columns.get(name) if table is not None else None
        if table is None or found is None:
            raise Refusal("column_unknown", f"there is no column `{name}`", at=column.at)
        if found.role == "hidden":
            raise Refusal("column_hidden", f"`{name}` is hidden: it cannot be asked for", at=column.at)
        return Declared(table, found)

    def traced(self, expression: Expression) -> Expression:
        """`expression` over columns of tables alone: computed columns are replaced by what computes them."""
        match expression:
            case expressions.Column(name=name):
                number, _, place = name.partition(".")
                if number not in self.computed:
                    return expression
                return self.traced(self._computed(number, place, expression.at))
            case Literal():
                return expression
            case Call(arguments=arguments):
                return replace(expression, arguments=tuple(self.traced(argument) for argument in arguments))
            case Case(branches=branches, otherwise=otherwise):
                pairs = tuple((self.traced(when), self.traced(value)) for when, value in branches)
                return replace(expression, branches=pairs, otherwise=self.traced(otherwise))

    def _computed(self, number: str, place: str, at: Position | None) -> Expression:
        columns = self.computed[number]
        if not place.isdecimal() or int(place) >= len(columns):
            raise Refusal("column_unknown", "there is no such column", at=at)
        return columns[int(place)]


def lineage(plan: nodes.Relation, policy: Policy) -> Lineage:
    """Raises Refusal table_unknown where the plan names a table that the policy has not, or calls it public."""
    tables: dict[str, Table] = {}
    computed: dict[str, tuple[Expression, ...]] = {}
    for node in nodes.walk(plan):
        if isinstance(node, nodes.Scan | nodes.Public):
            table = policy.tables.get(node.table)
            if table is None or table.public != isinstance(node, nodes.Public) or str(node.number) in tables:
                raise Refusal("table_unknown", f"there is no table `{node.table}` that you may ask", at=node.at)
            tables[str(node.number)] = table
        elif isinstance(node, nodes.Project):
            computed[str(node.number)] = node.columns
    return Lineage(tables, computed)
