"""Window functions: `f(x) OVER (PARTITION BY … ORDER BY …)` to columns of a Window node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions, typed
from gateway.sql.aggregates import AggregateOf
from gateway.sql.position import words
from gateway.sql.reading import Reading
from gateway.sql.scalar import Scalar
from gateway.sql.scope import fold
from gateway.sql.typed import Family, Typed
from sandbox.codec import digest
from sandbox.relational.canonical import put_in
from sandbox.relational.expressions import Column, Expression, Literal, Position
from sandbox.relational.nodes import Order, Relation, Window, WindowColumn, WindowFunction

MARK: Final = "~"
"""`~0`, `~1`: stand-ins for window functions until their node is numbered. No table's column starts so."""
_OFFSET_MAX: Final = 10_000
_RANKS: Final[dict[type[exp.Expr], WindowFunction]] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
}
_SHIFTS: Final[dict[type[exp.Expr], WindowFunction]] = {exp.Lag: "lag", exp.Lead: "lead"}
_AGGREGATES: Final[dict[str, WindowFunction]] = {
    "count_rows": "count_rows",
    "count": "count",
    "sum": "sum",
    "avg": "avg",
    "min": "min",
    "max": "max",
}


@dataclass(slots=True)
class Windows:
    """Window functions of one SELECT, each once. `scalar` reads what is inside them.

    Below a release `tells_unit` says whether columns keep a window within one unit; above it is None.
    """

    reading: Reading
    scalar: Scalar
    definitions: Mapping[str, exp.Expr]
    tells_unit: Callable[[Iterable[str]], bool] | None = None
    found: dict[WindowColumn, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    """Names of the WINDOW clause that are used."""

    def read(self, node: exp.Expr) -> Typed:
        """A stand-in for the window function `node`."""
        at = self.reading.at(node)
        function, family = self._function(node.args["this"], at)
        over = self._over(node)
        partition = self._partition(over, at)
        order = self._order(over)
        self._check_order(function, order, at)
        argument, offset = function.argument, function.offset
        column = WindowColumn(function.name, argument, partition, order, offset, at)
        number = self.found.setdefault(column, len(self.found))
        return typed.column(f"{MARK}{number}", family, at)

    def over(self, relation: Relation, lift: Callable[[Typed], Typed]) -> tuple[Relation, dict[Expression, Expression]]:
        """`relation` with all windows beside its rows, and what each stand-in is called there.

        `lift` writes what is inside them over the columns of `relation`.
        """
        for name, definition in self.definitions.items():
            if name not in self.named:
                at = self.reading.at(definition)
                raise Refusal("construct_not_allowed", f"the window `{name}` is not used", hint=f"OVER {name}", at=at)
        if not self.found:
            return relation, {}
        lifted = {_lifted(column, lift): number for column, number in self.found.items()}
        columns = tuple(sorted(lifted, key=digest))
        offered = {f"w{place}": _behind(column) for place, column in enumerate(columns)}
        number = self.reading.number_made(offered)
        names: dict[Expression, Expression] = {
            Column(f"{MARK}{found}"): Column(f"{number}.w{columns.index(_lifted(column, lift))}")
            for column, found in self.found.items()
        }
        return Window(relation, columns, number, columns[0].at), names

    # -- what is computed ---------------------------------------------------------------------------------------

    def _function(self, node: exp.Expr, at: Position | None) -> tuple[_Function, Family]:
        if type(node) in _RANKS:
            return _Function(_RANKS[type(node)], None), "number"
        if type(node) in _SHIFTS:
            value = self.scalar.read(node.args["this"])
            return _Function(_SHIFTS[type(node)], value.expression, self._offset(node)), value.family
        if functions.is_aggregate(node):
            found = AggregateOf(self.reading, self.scalar).read(node)
            function = _AGGREGATES.get(found.measure.function)
            if function is not None:
                return _Function(function, found.measure.argument), found.family
        message = f"`{words(self.reading.sql, node)}` is not answered over a window"
        hint = "ROW_NUMBER, RANK, DENSE_RANK, LAG, LEAD, COUNT, SUM, AVG, MIN, MAX"
        raise Refusal("construct_not_allowed", message, hint=hint, at=at)

    def _offset(self, node: exp.Expr) -> int:
        written = node.args.get("offset")
        if written is None:
            return 1
        value = self.scalar.constant(written, "the offset of LAG and LEAD").expression
        number = value.value if isinstance(value, Literal) else None
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _OFFSET_MAX:
            message = f"the offset of LAG and LEAD lies between 1 and {_OFFSET_MAX}"
            raise Refusal("construct_not_allowed", message, at=self.reading.at(written))
        return number

    # -- over what ----------------------------------------------------------------------------------------------

    def _over(self, node: exp.Expr) -> exp.Expr:
        """The specification of `node`: its own, or the one of the WINDOW clause that it names."""
        name = node.args.get("alias")
        if name is None:
            return node
        found = self.definitions.get(fold(str(name.args["this"])))
        if found is None or node.args.get("partition_by") or node.args.get("order"):
            at = self.reading.at(node)
            raise Refusal("construct_not_allowed", "OVER names a window of the WINDOW clause, or has its own", at=at)
        self.named.add(fold(str(name.args["this"])))
        return found

    def _partition(self, over: exp.Expr, at: Position | None) -> tuple[Expression, ...]:
        parts = [self.scalar.read(part).expression for part in over.args.get("partition_by") or []]
        if self.tells_unit is not None and not self.tells_unit(part.name for part in parts if isinstance(part, Column)):
            message = "a window over rows of many units is not answered: one unit could change everybody's rows"
            hint = "put the column of the unit into PARTITION BY"
            raise Refusal("construct_not_allowed", message, hint=hint, at=at)
        return tuple(sorted(set(parts), key=digest))

    def _order(self, over: exp.Expr) -> Order:
        clause, found = over.args.get("order"), []
        for term in clause.args["expressions"] if clause is not None else ():
            value = self.scalar.read(term.args["this"])
            if value.is_literal:
                at = self.reading.at(term)
                raise Refusal("construct_not_allowed", "ORDER BY of a window takes a column", at=at)
            found.append((value.expression, bool(term.args.get("desc")), bool(term.args.get("nulls_first"))))
        return tuple(found)

    def _check_order(self, function: _Function, order: Order, at: Position | None) -> None:
        if function.name in _AGGREGATES and order and self.tells_unit is not None:
            message = "running totals are not answered: an aggregate goes over its whole window"
            raise Refusal("construct_not_allowed", message, hint="leave ORDER BY out", at=at)
        if function.name not in _AGGREGATES and not order:
            message = "this window function takes ORDER BY: else any row could be the first"
            hint = "OVER (PARTITION BY … ORDER BY …)"
            raise Refusal("construct_not_allowed", message, hint=hint, at=at)


@dataclass(frozen=True, slots=True)
class _Function:
    name: WindowFunction
    argument: Expression | None
    offset: int = 1


def _lifted(column: WindowColumn, lift: Callable[[Typed], Typed]) -> WindowColumn:
    def put(expression: Expression) -> Expression:
        return lift(Typed(expression, "null")).expression

    return WindowColumn(
        column.function,
        None if column.argument is None else put(column.argument),
        tuple(sorted(map(put, column.partition), key=digest)),
        tuple((put(term), down, first) for term, down, first in column.order),
        column.offset,
        column.at,
    )


def _behind(column: WindowColumn) -> tuple[Expression, ...]:
    """Where the value of a window comes from: a shifted column is that column, all else is computed."""
    shifted = column.function in ("lag", "lead") and column.argument is not None
    return (column.argument,) if shifted and column.argument is not None else ()


def definitions(node: exp.Expr) -> Mapping[str, exp.Expr]:
    """The WINDOW clause of a SELECT, by folded name."""
    return {fold(str(one.args["this"].args["this"])): one for one in node.args.get("windows") or []}


def in_place(value: Typed, names: Mapping[Expression, Expression]) -> Typed:
    """`value` with its window functions called by what they are called in the node that computes them."""
    return Typed(put_in(value.expression, names), value.family, value.size, value.depth)
