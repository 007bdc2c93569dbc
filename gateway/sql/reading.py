"""What is known while one query is read: the policies, what was numbered so far, and where each column comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import literals
from gateway.sql.limits import SqlLimits
from gateway.sql.position import place
from gateway.sql.scope import fold
from policies.model import Column, Policy, Table
from sandbox.relational.expressions import Literal, Position


@dataclass(slots=True)
class Reading:
    """Lives for one call of `read`."""

    sql: str
    policies: Mapping[str, Policy]
    parameters: Mapping[str, object]
    limits: SqlLimits
    policy: Policy | None = None
    """The one dataset of this query, known with its first table."""
    tables: dict[int, Table] = field(default_factory=dict)
    """Number of an occurrence -> its table."""
    optional: set[int] = field(default_factory=set)
    """Occurrences on the right of a LEFT JOIN: their rows may be missing."""
    used: set[str] = field(default_factory=set)
    """Parameters that the text names."""
    selects: int = 0

    @property
    def dataset(self) -> str:
        if self.policy is None:
            raise AssertionError("a query without a table was not refused")
        return self.policy.dataset

    def at(self, node: exp.Expr) -> Position | None:
        return place(self.sql, node)

    def number(self, table: Table) -> int:
        """Numbers an occurrence of `table`, in order of the text."""
        if len(self.tables) >= self.limits.tables_max:
            raise Refusal("sql_too_large", f"a query uses at most {self.limits.tables_max} tables")
        self.tables[len(self.tables)] = table
        return len(self.tables) - 1

    def count_select(self) -> None:
        self.selects += 1
        if self.selects > self.limits.selects_max:
            raise Refusal("sql_too_large", "the query uses its subqueries too many times")

    def declared(self, name: str) -> tuple[int, Table, Column]:
        """Occurrence, table and policy column of a model column such as `0.sex`."""
        number, column = name.split(".", 1)
        table = self.tables[int(number)]
        return int(number), table, table.columns[column]

    def unit_occurrence(self, name: str) -> int | None:
        """The occurrence of the table whose unit the model column `name` is."""
        number, _, column = self.declared(name)
        return number if column.role == "unit" else None

    def parameter(self, node: exp.Placeholder) -> Literal:
        """The typed constant that `$name` stands for."""
        name, at = node.args.get("this"), self.at(node)
        if not isinstance(name, str) or not name or name.isdecimal():
            raise Refusal(
                "construct_not_allowed", "parameters have names", hint="write `$name`, and send `parameters`", at=at
            )
        if name not in self.parameters:
            raise Refusal("parameter_missing", f"`${name}` has no value", hint="send it in `parameters`", at=at)
        self.used.add(name)
        return literals.given(name, self.parameters[name], at)

    def check_parameters(self) -> None:
        """Every parameter that was sent is used: a slip in its name would else go unseen."""
        for name in self.parameters:
            if name not in self.used:
                hint = "the query names " + (", ".join(f"`${used}`" for used in sorted(self.used)) or "none")
                raise Refusal("parameter_invalid", f"the query does not use `${name[:40]}`", hint=hint)

    def is_table_name(self, name: str) -> bool:
        """Whether a table that this caller may ask is called `name`."""
        return any(fold(table) == fold(name) for policy in self.policies.values() for table in policy.tables)
