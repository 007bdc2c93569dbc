"""One aggregate of the text to a Measure of the model, over rows that are not yet aggregated.

`FILTER (WHERE c)` and `COUNT_IF(c)` are written as CASE, so that all ways of saying it are one question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import functions, literals, typed
from gateway.sql.links import number_of
from gateway.sql.position import words
from gateway.sql.reading import Reading
from gateway.sql.scalar import Scalar
from gateway.sql.typed import Family, Typed
from sandbox.relational.expressions import Case, Column, Expression, Literal, Position
from sandbox.relational.nodes import SYMMETRIC, Measure

_FRACTION_DIGITS_MAX: Final = 12
_HALF: Final = Decimal("0.5")
_ORDERED: Final = ("number", "date", "timestamp")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`family` is the type of what it gives."""

    measure: Measure
    family: Family


@dataclass(frozen=True, slots=True)
class AggregateOf:
    """Reads aggregates over the rows that `scalar` reads."""

    reading: Reading
    scalar: Scalar

    def read(self, node: exp.Expr) -> Aggregate:
        """Raises Refusal."""
        at, when = self.reading.at(node), None
        if type(node) is exp.Filter:
            when = self._condition(node.args["expression"].args["this"])
            node = node.args["this"]
            if not functions.aggregate_name(node) or type(node) is exp.Filter:
                message = f"FILTER stands behind an aggregate, not behind `{words(self.reading.sql, node)}`"
                raise Refusal("construct_not_allowed", message, hint="COUNT(*) FILTER (WHERE …)", at=at)
        found = _READERS[functions.aggregate_name(node)](self, node, when, at)
        return replace(found, measure=replace(found.measure, at=at))

    def _condition(self, node: exp.Expr) -> Typed | None:
        """The condition of FILTER; None where it holds for every row."""
        parts = self.scalar.condition(node)
        return typed.call("and", parts, self.reading.at(node)) if parts else None

    def _argument(self, node: exp.Expr | None, at: Position | None) -> Typed:
        if node is None:
            raise Refusal("construct_not_allowed", "an aggregate takes one argument", hint="COUNT(*)", at=at)
        return self.scalar.read(node)

    # -- counts -------------------------------------------------------------------------------------------------

    def count(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        argument = node.args.get("this")
        if type(argument) is exp.Distinct:
            return self._count_distinct(argument, when, at)
        if type(argument) is exp.Star:
            return self._count_of(None, when, at)
        value = self._argument(argument, at)
        if value.family == "null":
            raise Refusal("construct_not_allowed", "COUNT of NULL is 0", hint="write COUNT(*)", at=at)
        return self._count_of(value, when, at)

    def count_if(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        condition = typed.condition(self._argument(node.args.get("this"), at))
        both = condition if when is None else typed.call("and", (when, condition), at)
        return self._count_of(None, both, at)

    def _count_of(self, value: Typed | None, when: Typed | None, at: Position | None) -> Aggregate:
        """How many rows have a value, and meet `when`. What is never null counts as 1 in every form."""
        value = self._one_for_what_is_there(value or _one(at), at)
        if when is not None:
            value = typed.case([(when, value)], None, at)
        if value.is_literal:
            return _number(Measure("count_rows"))
        return _number(Measure("count", value.expression))

    def _one_for_what_is_there(self, value: Typed, at: Position | None) -> Typed:
        """Constants and units are never null, so that only whether they are reached counts."""
        one = _one(at)
        expression = value.expression
        if isinstance(expression, Case):
            values = [self._is_there(then, at) for _, then in expression.branches]
            otherwise = expression.otherwise
            if all(values) and self._is_there(otherwise, at):
                return one
            if all(values) and isinstance(otherwise, Literal):
                pairs = tuple((when, one.expression) for when, _ in expression.branches)
                return replace(value, expression=replace(expression, branches=pairs), family="number")
            return value
        return one if self._is_there(expression, at) else value

    def _is_there(self, expression: Expression, at: Position | None) -> bool:
        if isinstance(expression, Literal):
            return expression.value is not None
        return self._is_unit(expression, at)

    def _is_unit(self, expression: Expression, at: Position | None) -> bool:
        """Whether it is the column of the unit. On the right of a LEFT JOIN it may be missing: refused."""
        if not isinstance(expression, Column):
            return False
        if not self.reading.is_unit(expression.name):
            return False
        if number_of(expression.name) in self.reading.optional:
            message = "this side of the LEFT JOIN may be missing, so its units are not counted"
            raise Refusal("aggregate_not_allowed", message, hint="use an INNER JOIN, or the left table's column", at=at)
        # Rows without a unit do not exist in the model: every row counts.
        return True

    def _count_distinct(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        members = node.args["expressions"]
        if len(members) != 1:
            message = "COUNT(DISTINCT …) takes one column"
            hint = "group by the columns, or count the rows of `SELECT DISTINCT` with the unit among them"
            raise Refusal("construct_not_allowed", message, hint=hint, at=at)
        value = self._argument(members[0], at)
        if value.is_literal:
            message = "a constant has one value"
            raise Refusal("construct_not_allowed", message, hint="COUNT(DISTINCT x) of a column", at=at)
        units = self._units_where(value, at)
        if units is not None:
            conditions = (*units, when) if when is not None else units
            if not conditions:
                return _number(Measure("count_units"))
            return _number(Measure("count_units", typed.call("and", conditions, at).expression))
        return _number(Measure("count_distinct", _where(value, when, at).expression))

    def _units_where(self, value: Typed, at: Position | None) -> tuple[Typed, ...] | None:
        """The condition under which `value` is the unit and not null: none for the bare column; None if never so."""
        expression = value.expression
        if self._is_unit(expression, at):
            return ()
        if not isinstance(expression, Case) or not _is_null(expression.otherwise):
            return None
        if not all(self._is_unit(then, at) for _, then in expression.branches):
            return None
        whens = [Typed(when, "boolean", value.size, value.depth) for when, _ in expression.branches]
        return (typed.call("or", whens, at),)

    # -- numbers ------------------------------------------------------------------------------------------------

    def of_number(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        name = functions.aggregate_name(node)
        argument = node.args["expressions"][0] if type(node) is exp.Anonymous else node.args.get("this")
        value = self._number(argument, name.upper(), at)
        return _number(Measure(functions.ONE_NUMBER[name], _where(value, when, at).expression))

    def of_two(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        name = functions.aggregate_name(node)
        first, second = (self._number(node.args.get(side), name.upper(), at) for side in ("this", "expression"))
        function, sides = functions.TWO_NUMBERS[name], [_where(first, when, at), second]
        if function in SYMMETRIC:
            sides = typed.in_order(sides)
        return _number(Measure(function, sides[0].expression, sides[1].expression))

    def _number(self, node: exp.Expr | None, word: str, at: Position | None) -> Typed:
        if node is None:
            raise Refusal("construct_not_allowed", f"{word} takes two numbers", hint="CORR(y, x)", at=at)
        value = self._argument(node, at)
        if value.family != "number":  # null too: a sum of nothing
            hint = "count yes and no with COUNT or SUM(CASE WHEN … THEN 1 ELSE 0 END)"
            raise Refusal("type_mismatch", f"{word} takes a number", hint=hint, at=value.at or at)
        return value

    # -- ranks --------------------------------------------------------------------------------------------------

    def median(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        return self._quantile(node.args["this"], _HALF, when, at)

    def quantile(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        written = node.args.get("quantile") or node.args.get("expression")
        if written is None:
            hint = "QUANTILE_CONT(x, 0.9), or PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)"
            raise Refusal("construct_not_allowed", "a quantile takes a column and a fraction", hint=hint, at=at)
        return self._quantile(node.args["this"], self._fraction(written), when, at)

    def within_group(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        inner, terms = node.args["this"], node.args["expression"].args["expressions"]
        if type(inner) is not exp.PercentileCont or inner.args.get("expression") is not None or len(terms) != 1:
            hint = "PERCENTILE_CONT(0.9) WITHIN GROUP (ORDER BY x)"
            raise Refusal("construct_not_allowed", "WITHIN GROUP stands behind a quantile", hint=hint, at=at)
        fraction = self._fraction(inner.args["this"])
        if terms[0].args.get("desc"):
            fraction = 1 - fraction
        return self._quantile(terms[0].args["this"], fraction, when, at)

    def _quantile(self, node: exp.Expr, fraction: Decimal, when: Typed | None, at: Position | None) -> Aggregate:
        value = self._ordered(node, "a quantile", at)
        measure = Measure("quantile", _where(value, when, at).expression, None, fraction.normalize())
        return Aggregate(measure, value.family)

    def extreme(self, node: exp.Expr, when: Typed | None, at: Position | None) -> Aggregate:
        value = self._ordered(node.args["this"], "MIN and MAX", at)
        function = functions.EXTREMES[functions.aggregate_name(node)]
        return Aggregate(Measure(function, _where(value, when, at).expression), value.family)

    def _ordered(self, node: exp.Expr, word: str, at: Position | None) -> Typed:
        value = self._argument(node, at)
        if value.family not in _ORDERED:
            message = f"{word} of a number or a date" if word[0] == "M" else f"{word} is of a number or a date"
            raise Refusal("type_mismatch", message, hint="count values with COUNT and GROUP BY", at=value.at or at)
        return value

    def _fraction(self, node: exp.Expr) -> Decimal:
        at = self.reading.at(node)
        value = self.scalar.constant(node, "the fraction of a quantile").expression
        number = value.value if isinstance(value, Literal) else None
        if isinstance(number, bool) or not isinstance(number, int | Decimal) or not 0 < number < 1:
            message = "the fraction of a quantile lies between 0 and 1, both left out"
            raise Refusal("construct_not_allowed", message, hint="0.99, or MAX(x) where the policy opens it", at=at)
        exponent = Decimal(number).as_tuple().exponent
        if isinstance(exponent, int) and -exponent > _FRACTION_DIGITS_MAX:
            message = f"the fraction of a quantile has at most {_FRACTION_DIGITS_MAX} digits"
            raise Refusal("construct_not_allowed", message, at=at)
        return Decimal(number)


def _one(at: Position | None) -> Typed:
    return typed.constant(literals.exact(1, at))


def _is_null(expression: Expression) -> bool:
    return isinstance(expression, Literal) and expression.value is None


def _where(value: Typed, when: Typed | None, at: Position | None) -> Typed:
    return value if when is None else typed.case([(when, value)], None, at)


def _number(measure: Measure) -> Aggregate:
    return Aggregate(measure, "number")


Reader = Callable[[AggregateOf, exp.Expr, Typed | None, Position | None], Aggregate]
_READERS: Final[dict[str, Reader]] = {
    "count": AggregateOf.count,
    "count_if": AggregateOf.count_if,
    **dict.fromkeys(functions.ONE_NUMBER, AggregateOf.of_number),
    **dict.fromkeys(functions.TWO_NUMBERS, AggregateOf.of_two),
    "median": AggregateOf.median,
    "quantile": AggregateOf.quantile,
    "percentile_cont": AggregateOf.within_group,
    **dict.fromkeys(functions.EXTREMES, AggregateOf.extreme),
}
