"""Scalar syntax to typed expressions: one entry for each accepted class, all else refused.

Recursion is bounded by the depth that `grammar.py` allows; chains of AND and OR are taken apart in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import cast

from sqlglot import exp

from gateway.errors import Refusal
from gateway.sql import calls, functions, literals, typed
from gateway.sql.position import words
from gateway.sql.reading import Reading
from gateway.sql.syntax import is_subquery
from gateway.sql.typed import Typed
from sandbox.relational.expressions import Position

NameReader = Callable[[exp.Column], Typed]
NodeReader = Callable[[exp.Expr], Typed]
_SIDES = ("this", "expression")


@dataclass(frozen=True, slots=True)
class Scalar:
    """Reads expressions of one place: `name` says what columns mean there, `aggregate` what aggregates do.

    `window` is None where no window functions stand. `values` holds what subqueries stand for, by the id of their node.
    """

    reading: Reading
    name: NameReader
    aggregate: NodeReader
    window: NodeReader | None = None
    values: Mapping[int, Typed] = field(default_factory=lambda: MappingProxyType({}))

    def read(self, node: exp.Expr) -> Typed:
        kind = type(node)
        at = self.reading.at(node)
        if id(node) in self.values:
            return self.values[id(node)]
        if kind in functions.ONE_ARGUMENT:
            return typed.call(functions.ONE_ARGUMENT[kind], (self.read(node.args["this"]),), at)
        if kind in functions.MANY_ARGUMENTS:
            return self._many(functions.MANY_ARGUMENTS[kind], node)
        if functions.is_aggregate(node) or kind in (exp.Grouping, exp.GroupingId):
            return self.aggregate(node)
        if kind is exp.Window and self.window is not None:
            return self.window(node)
        if kind in (exp.Add, exp.Sub) and any(type(node.args[side]) is exp.Interval for side in _SIDES):
            return calls.moved(self, node)
        if kind in functions.PLAIN:
            sides = (self.read(node.args["this"]), self.read(node.args["expression"]))
            self._no_null(kind, sides, node)
            return typed.call(functions.PLAIN[kind], sides, at)
        if kind in calls.READERS:
            return calls.READERS[kind](self, node)
        reader = _READERS.get(kind)
        if reader is None or is_subquery(node):
            raise self._misplaced(node)
        return reader(self, node)

    def _misplaced(self, node: exp.Expr) -> Refusal:
        at = self.reading.at(node)
        if is_subquery(node):
            message = "a subquery is not answered here"
            hint = "it stands in FROM, in WHERE, in the select list, in HAVING or in QUALIFY"
            return Refusal("construct_not_allowed", message, hint=hint, at=at)
        if type(node) is exp.Window:
            message = "a window function is not answered here"
            hint = "compute it in the select list of a subquery, or filter with QUALIFY"
            return Refusal("construct_not_allowed", message, hint=hint, at=at)
        return Refusal("construct_not_allowed", f"`{words(self.reading.sql, node)}` is not answered here", at=at)

    def condition(self, node: exp.Expr) -> tuple[Typed, ...]:
        """The conditions that must all hold for `node` to be true."""
        return typed.conjuncts(self.read(node))

    def constant(self, node: exp.Expr, wanted: str) -> Typed:
        """A constant, or Refusal: what `wanted` says must not hang on a row."""
        found = self.read(node)
        if not found.is_literal:
            raise Refusal("construct_not_allowed", f"{wanted} is a constant", at=self.reading.at(node))
        return found

    def _no_null(self, kind: type[exp.Expr], sides: tuple[Typed, Typed], node: exp.Expr) -> None:
        comparison = issubclass(kind, exp.EQ | exp.NEQ | exp.LT | exp.LTE | exp.GT | exp.GTE)
        if comparison and any(side.family == "null" and side.is_literal for side in sides):
            at = self.reading.at(node)
            raise Refusal("construct_not_allowed", "a comparison with NULL is never true", hint="write IS NULL", at=at)

    def _many(self, function: str, node: exp.Expr) -> Typed:
        arguments = [node.args["this"], *(node.args.get("expressions") or [])]
        parts = [self.read(argument) for argument in arguments]
        if len(parts) == 1:
            return parts[0]
        return typed.call(function, parts, self.reading.at(node))

    def paren(self, node: exp.Expr) -> Typed:
        return self.read(node.args["this"])

    def column(self, node: exp.Expr) -> Typed:
        if type(node.args["this"]) is not exp.Identifier:
            at = self.reading.at(node)
            raise Refusal("construct_not_allowed", "`*` stands alone in a select list", hint="name the columns", at=at)
        return self.name(cast("exp.Column", node))

    def literal(self, node: exp.Expr) -> Typed:
        at, written = self.reading.at(node), str(node.args["this"])
        if node.args.get("is_string"):
            return typed.constant(literals.text(written, at))
        return typed.constant(literals.number(written, at))

    def boolean(self, node: exp.Expr) -> Typed:
        return typed.constant(literals.boolean(self.reading.at(node), value=bool(node.args["this"])))

    def null(self, node: exp.Expr) -> Typed:
        return typed.constant(literals.null(self.reading.at(node)))

    def parameter(self, node: exp.Expr) -> Typed:
        return typed.constant(self.reading.parameter(cast("exp.Placeholder", node)))

    def connect(self, node: exp.Expr) -> Typed:
        parts, pending = [], [node]
        while pending:
            part = pending.pop()
            if type(part) is type(node):
                pending += [part.args["expression"], part.args["this"]]
            else:
                parts.append(self.read(part))
        return typed.call("and" if type(node) is exp.And else "or", parts, self.reading.at(node))

    def negation(self, node: exp.Expr) -> Typed:
        return typed.call("not", (self.read(node.args["this"]),), self.reading.at(node))

    def between(self, node: exp.Expr) -> Typed:
        at, middle = self.reading.at(node), self.read(node.args["this"])
        low, high = self.read(node.args["low"]), self.read(node.args["high"])
        self._no_null(exp.GTE, (low, high), node)
        above = typed.call("greater_equal", (middle, low), at)
        return typed.call("and", (above, typed.call("less_equal", (middle, high), at)), at)

    def membership(self, node: exp.Expr) -> Typed:
        at = self.reading.at(node)
        members = [self.constant(member, "each value of IN") for member in node.args.get("expressions") or []]
        if not members:
            raise Refusal("construct_not_allowed", "IN takes a list of values", at=at)
        for member in members:
            if member.family == "null":
                raise Refusal("construct_not_allowed", "NULL is never IN a list", hint="add OR x IS NULL", at=at)
        return typed.call("in", (self.read(node.args["this"]), *members), at)

    def is_null(self, node: exp.Expr) -> Typed:
        at, value, wanted = self.reading.at(node), self.read(node.args["this"]), node.args["expression"]
        if type(wanted) is exp.Boolean:
            truth = typed.constant(literals.boolean(at, value=bool(wanted.args["this"])))
            return self._equal_and_there(value, truth, at)
        if type(wanted) is not exp.Null:
            message = "IS is answered with NULL, TRUE and FALSE"
            raise Refusal("construct_not_allowed", message, hint="write `=`", at=at)
        return typed.call("is_null", (value,), at)

    def null_safe(self, node: exp.Expr) -> Typed:
        """`a IS NOT DISTINCT FROM b`: equal, or both null; never null itself."""
        at, sides = self.reading.at(node), [self.read(node.args[side]) for side in _SIDES]
        nulls = [side for side in sides if side.family == "null" and side.is_literal]
        others = [side for side in sides if side not in nulls]
        if nulls:
            found = typed.call("is_null", (others[0] if others else sides[0],), at)
        else:
            found = self._equal_and_there(sides[0], sides[1], at)
            if not sides[0].is_literal and not sides[1].is_literal:
                neither = typed.call("and", [typed.call("is_null", (side,), at) for side in sides], at)
                found = typed.call("or", (found, neither), at)
        return typed.call("not", (found,), at) if type(node) is exp.NullSafeNEQ else found

    def _equal_and_there(self, one: Typed, other: Typed, at: Position | None) -> Typed:
        """Whether the two are equal; false, not null, where one of them is null."""
        may_be_null = [side for side in (one, other) if not side.is_literal]
        there = [typed.call("not", (typed.call("is_null", (side,), at),), at) for side in may_be_null]
        return typed.call("and", (typed.call("equal", (one, other), at), *there), at)

    def case(self, node: exp.Expr) -> Typed:
        at, subject, default = self.reading.at(node), node.args.get("this"), node.args.get("default")
        value = self.read(subject) if subject is not None else None  # once: nested subjects would multiply
        branches = []
        for branch in node.args["ifs"]:
            when = self.read(branch.args["this"])
            if value is not None:
                sides = (value, when)
                self._no_null(exp.EQ, sides, branch)
                when = typed.call("equal", sides, self.reading.at(branch))
            branches.append((when, self.read(branch.args["true"])))
        return typed.case(branches, self.read(default) if default is not None else None, at)

    def if_(self, node: exp.Expr) -> Typed:
        otherwise = node.args.get("false")
        branch = (self.read(node.args["this"]), self.read(node.args["true"]))
        return typed.case([branch], self.read(otherwise) if otherwise is not None else None, self.reading.at(node))

    def nullif(self, node: exp.Expr) -> Typed:
        at, value = self.reading.at(node), self.read(node.args["this"])
        sides = (value, self.read(node.args["expression"]))
        self._no_null(exp.EQ, sides, node)
        same = typed.call("equal", sides, at)
        return typed.case([(same, typed.constant(literals.null(at)))], value, at)


def no_aggregates(reading: Reading, place: str) -> NodeReader:
    """For places where rows are not yet aggregated."""

    def refuse(node: exp.Expr) -> Typed:
        message = f"{place} holds no aggregates"
        hint = "conditions on aggregates stand in HAVING" if place in ("WHERE", "ON") else None
        raise Refusal("construct_not_allowed", message, hint=hint, at=reading.at(node))

    return refuse


_READERS: dict[type[exp.Expr], Callable[[Scalar, exp.Expr], Typed]] = {
    exp.Paren: Scalar.paren,
    exp.Column: Scalar.column,
    exp.Literal: Scalar.literal,
    exp.Boolean: Scalar.boolean,
    exp.Null: Scalar.null,
    exp.Placeholder: Scalar.parameter,
    exp.And: Scalar.connect,
    exp.Or: Scalar.connect,
    exp.Not: Scalar.negation,
    exp.Between: Scalar.between,
    exp.In: Scalar.membership,
    exp.Is: Scalar.is_null,
    exp.NullSafeEQ: Scalar.null_safe,
    exp.NullSafeNEQ: Scalar.null_safe,
    exp.Case: Scalar.case,
    exp.If: Scalar.if_,
    exp.Nullif: Scalar.nullif,
}
