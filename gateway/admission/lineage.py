"""Every column of a plan traced back to the policy's own. What cannot be traced is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from gateway.errors import Refusal
from policies.model import Column, LinkEnd, Policy, Table
from sandbox.relational import expressions, nodes
from sandbox.relational.expressions import Call, Case, Expression, Literal, Position

Made = nodes.Project | nodes.UnionAll | nodes.UnitAggregate | nodes.Window
T = TypeVar("T")
_WAYS_MAX: Final = 256
"""Most inputs of unions, multiplied where unions meet, that one expression is judged for."""
_STEPS_MAX: Final = 20_000
_VALUES: Final = ("min", "max", "lag", "lead")
"""Functions within a unit whose result is a value of their argument."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A column of the plan in the policy's words."""

    table: Table
    column: Column

    @property
    def words(self) -> str:
        return f"`{self.table.name}.{self.column.name}`"


@dataclass(frozen=True, slots=True)
class Computed:
    """A column that is computed within one unit: `argument` is None where rows are counted or ranked."""

    function: nodes.UnitFunction | nodes.WindowFunction
    argument: Expression | None

    @property
    def counts(self) -> bool:
        return self.function not in ("sum", "avg", *_VALUES)


@dataclass(frozen=True, slots=True)
class Lineage:
    """Every numbered node below the Release, by its number."""

    tables: Mapping[str, Table]
    made: Mapping[str, Made]
    unit: Declared | None
    """The policy's own column of the unit, for what stands for it."""
    link_ends: Mapping[str, tuple[LinkEnd, ...]]
    """Table -> both ends of links that it is: rows that agree in all columns of one are of one unit."""

    def declared(self, column: expressions.Column) -> Declared:
        """The policy's column behind `column`. Raises Refusal column_unknown, column_hidden.

        The resolver has refused hidden columns before: this is the same rule again, on the plan instead of the text.
        """
        number, _, name = column.name.partition(".")
        if name == "unit" and isinstance(self.made.get(number), nodes.UnitAggregate) and self.unit is not None:
            return self.unit
        table = self.tables.get(number)
        found = table.columns.get(name) if table is not None else None
        if table is None or found is None:
            raise Refusal("column_unknown", f"there is no column `{name}`", at=column.at)
        if found.role == "hidden":
            raise Refusal("column_hidden", f"`{name}` is hidden: it cannot be asked for", at=column.at)
        return Declared(table, found)

    def tells_unit(self, expression: Expression, beside: Iterable[Expression] = ()) -> bool:
        """Whether rows that agree in the traced `expression`, and in those `beside` it, are of one unit.

        `expression` has a part in that: it is the unit, or one column of an end of a link that is there as a whole.
        """
        if not isinstance(expression, expressions.Column) or self.computed(expression) is not None:
            return False
        declared, number = self.declared(expression), expression.name.partition(".")[0]
        if declared.column.role == "unit":
            return True
        names = [one.name for one in (expression, *beside) if isinstance(one, expressions.Column)]
        here = {name.partition(".")[2] for name in names if name.partition(".")[0] == number}
        ends = [end.names for end in self.link_ends[declared.table.name]]
        return any(declared.column.name in end and end <= here for end in ends)

    def computed(self, column: expressions.Column) -> Computed | None:
        """How `column` is computed within one unit; None for any other. Raises Refusal column_unknown."""
        number, _, name = column.name.partition(".")
        made = self.made.get(number)
        if isinstance(made, nodes.UnitAggregate) and name.startswith("m"):
            measure = _pick(made.measures, name[1:], column.at)
            return Computed(measure.function, measure.argument)
        if isinstance(made, nodes.Window) and name.startswith("w"):
            window = _pick(made.columns, name[1:], column.at)
            return Computed(window.function, window.argument)
        return None

    def ways(self, *expressions_: Expression | None) -> Iterator[Expression]:
        """All that `traced` gives for each of them."""
        for expression in expressions_:
            if expression is not None:
                yield from self.traced(expression)

    def traced(self, expression: Expression) -> tuple[Expression, ...]:
        """`expression` over columns of tables, and over counts, ranks, sums and means within a unit.

        One for each input of the unions below it: a rule holds where it holds for all of them. Raises Refusal.
        """
        found, pending, steps = list[Expression](), [expression], 0
        while pending:
            one, steps = pending.pop(), steps + 1
            ways = next((ways for part in expressions.columns(one) if (ways := self._behind(part, one))), None)
            if ways is None:
                found.append(one)
                continue
            pending += ways
            if len(found) + len(pending) > _WAYS_MAX or steps > _STEPS_MAX:
                raise Refusal("sql_too_large", "unions meet too many times in one expression", at=expression.at)
        return tuple(found)

    def _behind(self, column: expressions.Column, whole: Expression) -> list[Expression]:
        """`whole` with `column` in terms of what lies below, once for each input; nothing where it is the ground."""
        number, _, name = column.name.partition(".")
        made = self.made.get(number)
        match made:
            case nodes.Project(columns=columns):
                return [_put(whole, {column.name: _pick(columns, name, column.at)})]
            case nodes.UnionAll(columns=rows):
                own = [one for one in expressions.columns(whole) if one.name.partition(".")[0] == number]
                return [
                    _put(whole, {one.name: _pick(row, one.name.partition(".")[2], one.at) for one in own})
                    for row in rows
                ]
            case nodes.UnitAggregate(keys=keys) if name.startswith("k"):
                return [_put(whole, {column.name: _pick(keys, name[1:], column.at)})]
        computed = self.computed(column)
        if computed is not None and computed.function in _VALUES and computed.argument is not None:
            return [_put(whole, {column.name: computed.argument})]
        return []


def _pick(offered: tuple[T, ...], place: str, at: Position | None) -> T:
    if not place.isdecimal() or int(place) >= len(offered):
        raise Refusal("column_unknown", "there is no such column", at=at)
    return offered[int(place)]


def _put(expression: Expression, names: Mapping[str, Expression]) -> Expression:
    """`expression` with columns replaced, all standing where the columns stood."""
    match expression:
        case expressions.Column(name=name, at=at):
            found = names.get(name)
            return expression if found is None else replace(found, at=at or found.at)
        case Literal():
            return expression
        case Call(arguments=arguments):
            return replace(expression, arguments=tuple(_put(argument, names) for argument in arguments))
        case Case(branches=branches, otherwise=otherwise):
            pairs = tuple((_put(when, names), _put(value, names)) for when, value in branches)
            return replace(expression, branches=pairs, otherwise=_put(otherwise, names))


def lineage(plan: nodes.Relation, policy: Policy) -> Lineage:
    """Raises Refusal table_unknown where the plan names a table that the policy has not, or calls it public."""
    tables: dict[str, Table] = {}
    made: dict[str, Made] = {}
    for node in nodes.walk(plan):
        if isinstance(node, nodes.Scan | nodes.Public):
            table = policy.tables.get(node.table)
            if table is None or table.public != isinstance(node, nodes.Public) or _taken(node.number, tables, made):
                raise Refusal("table_unknown", f"there is no table `{node.table}` that you may ask", at=node.at)
            tables[str(node.number)] = table
        elif isinstance(node, Made):
            if _taken(node.number, tables, made):
                raise Refusal("column_unknown", "two parts of the plan have one number", at=node.at)
            made[str(node.number)] = node
    return Lineage(tables, made, _unit(policy), {name: tuple(policy.link_ends(name)) for name in policy.tables})


def _taken(number: int, tables: Mapping[str, Table], made: Mapping[str, Made]) -> bool:
    return str(number) in tables or str(number) in made


def _unit(policy: Policy) -> Declared | None:
    if policy.unit is None:
        return None
    table = policy.tables[policy.unit.table]
    return Declared(table, table.columns[policy.unit.column])
