"""What is known while one query is read: the policies, what was numbered so far, and where each column comes from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import literals
from gateway.sql.limits import SqlLimits
from gateway.sql.position import place
from gateway.sql.scope import fold
from policies.model import Column, LinkEnd, Policy, Table
from sandbox.relational import expressions
from sandbox.relational.expressions import Expression, Literal, Position


@dataclass(frozen=True, slots=True)
class End:
    """A column of the policy behind a column of a plan. `number` is its occurrence's, or of what offers the unit."""

    number: int
    table: Table
    column: Column

    @property
    def place(self) -> tuple[int, str]:
        return self.number, self.column.name


@dataclass(frozen=True, slots=True)
class Made:
    """What a numbered node that is no table offers: for each name the expressions behind it, one for each input.

    Empty for what is computed anew. `unit` is the policy's own column for the unit of its rows.
    """

    columns: Mapping[str, tuple[Expression, ...]]
    unit: End | None = None


def _is_link(end: End) -> bool:
    """Whether rows find their unit through this column, or with it: where it is null there is no row."""
    return end.table.link is not None and end.column.name in end.table.link.columns


@dataclass(slots=True)
class Reading:
    """Lives for one call of `read`."""

    sql: str
    policies: Mapping[str, Policy]
    parameters: Mapping[str, object]
    limits: SqlLimits
    mode: str | None = None
    """As the caller asked for; the policy's first where none was named."""
    policy: Policy | None = None
    """The one dataset of this query, known with its first table."""
    tables: dict[int, Table] = field(default_factory=dict)
    """Number of an occurrence -> its table."""
    made: dict[int, Made] = field(default_factory=dict)
    """Number of a node that is no table -> what it offers."""
    optional: set[int] = field(default_factory=set)
    """Numbers on the right of a LEFT JOIN: their rows may be missing."""
    used: set[str] = field(default_factory=set)
    """Parameters that the text names."""
    selects: int = 0

    @property
    def dataset(self) -> str:
        if self.policy is None:
            raise AssertionError("a query without a table was not refused")
        return self.policy.dataset

    @property
    def open(self) -> bool:
        """Whether rows are answered as they are: the question is of mode `open`, and so of public tables alone."""
        return self.policy is not None and self.policy.opens(self.mode)

    def at(self, node: exp.Expr) -> Position | None:
        return place(self.sql, node)

    # -- numbers ------------------------------------------------------------------------------------------------

    def number(self, table: Table) -> int:
        """Numbers an occurrence of `table`, in order of the text."""
        if len(self.tables) >= self.limits.tables_max:
            raise Refusal("sql_too_large", f"a query uses at most {self.limits.tables_max} tables")
        number = self._next()
        self.tables[number] = table
        return number

    def number_made(self, columns: Mapping[str, tuple[Expression, ...]], *, unit: bool = False) -> int:
        """Numbers a node that is no table. With `unit` it offers `unit`, the unit of its rows."""
        number = self._next()
        self.made[number] = Made(columns, self._unit(number) if unit else None)
        return number

    def _next(self) -> int:
        return len(self.tables) + len(self.made)

    def _unit(self, number: int) -> End:
        if self.policy is None or self.policy.unit is None:
            raise AssertionError("a private table without a unit")
        table = self.policy.tables[self.policy.unit.table]
        return End(number, table, table.columns[self.policy.unit.column])

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is numbered inside is forgotten afterwards, so that two readings can be compared number by number."""
        kept = dict(self.tables), dict(self.made), set(self.optional)
        try:
            yield
        finally:
            self.tables, self.made, self.optional = kept

    def count_select(self) -> None:
        self.selects += 1
        if self.selects > self.limits.selects_max:
            raise Refusal("sql_too_large", "the query uses its subqueries too many times")

    # -- where columns come from --------------------------------------------------------------------------------

    def ends(self, name: str) -> tuple[End, ...]:
        """The policy's columns behind a model column such as `0.sex`: one for each input of a union. () if computed."""
        number, _, column = name.partition(".")
        if (table := self.tables.get(int(number))) is not None:
            return (End(int(number), table, table.columns[column]),)
        made = self.made[int(number)]
        if column == "unit" and made.unit is not None:
            return (made.unit,)
        found: list[End] = []
        for expression in made.columns.get(column, ()):
            behind = self.ends(expression.name) if isinstance(expression, expressions.Column) else ()
            if not behind:
                return ()
            found += behind
        return tuple(found)

    def is_unit(self, name: str) -> bool:
        """Whether the model column `name` is the unit itself."""
        ends = self.ends(name)
        return bool(ends) and all(end.column.role == "unit" for end in ends)

    def tells_unit(self, names: Iterable[str]) -> bool:
        """Whether rows that agree in `names` are of one unit: it is among them, or all columns of an end of a link.

        Null would be one value for the rows of many units.
        """
        found = [ends for name in names if (ends := self.ends(name)) and not self.may_be_null(name)]
        return any(
            all(
                end.column.role == "unit" or self._in_link(end, [one[i] for one in found if len(one) == len(ends)])
                for i, end in enumerate(ends)
            )
            for ends in found
        )

    def _in_link(self, end: End, beside: list[End]) -> bool:
        """Whether an end of a link with the column of `end` stands `beside` it, of one occurrence."""
        named = {one.column.name for one in beside if one.number == end.number}
        ends = (one.names for one in self.link_ends(end.table))
        return any(end.column.name in names and names <= named for names in ends)

    def link_ends(self, table: Table) -> Iterator[LinkEnd]:
        return self._policy().link_ends(table.name)

    def _policy(self) -> Policy:
        if self.policy is None:
            raise AssertionError("a column without a dataset")
        return self.policy

    def may_be_null(self, name: str) -> bool:
        """Whether `name` may be null. Rows without a unit do not exist in the model."""
        number, _, column = name.partition(".")
        if int(number) in self.optional:
            return True
        if (table := self.tables.get(int(number))) is not None:
            declared = table.columns[column]
            return declared.nullable and declared.role != "unit" and not _is_link(End(int(number), table, declared))
        if column == "unit":
            return False
        behind = self.made[int(number)].columns.get(column, ())
        return not behind or any(
            not isinstance(one, expressions.Column) or self.may_be_null(one.name) for one in behind
        )

    # -- parameters and names -----------------------------------------------------------------------------------

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
