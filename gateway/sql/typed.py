"""Expressions with their family of types, made only by the functions of this module.

Each function checks types, turns text literals into dates where a date stands beside them, and writes the canonical
form, so that the same question in other words is the same expression. A comparison across families would make the
engine cast, and a cast that fails on a row tells something about that row: refused here, by names and types alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from gateway.errors import Refusal
from gateway.sql import literals
from policies.types import BOOLEAN, Type
from sandbox.codec import digest
from sandbox.relational import canonical
from sandbox.relational.expressions import (
    CASTS,
    CLOCK_PARTS,
    COMPARISONS,
    DATE_PARTS,
    DATE_TRUNCATIONS,
    DAY_PARTS,
    TEXT_TESTS,
    TEXT_TO_TEXT,
    Call,
    Case,
    Column,
    Expression,
    Literal,
    Position,
)

Family = OneOf["number", "text", "boolean", "date", "timestamp", "null"]
_NEGATED = {
    "equal": "not_equal",
    "not_equal": "equal",
    "less": "greater_equal",
    "greater_equal": "less",
    "greater": "less_equal",
    "less_equal": "greater",
}
SIZE_MAX = 5_000
DEPTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Typed:
    """`size` and `depth` count nodes: subqueries are inlined, so a short text could grow without end."""

    expression: Expression
    family: Family
    size: int = 1
    depth: int = 1

    @property
    def at(self) -> Position | None:
        return self.expression.at

    @property
    def is_literal(self) -> bool:
        return isinstance(self.expression, Literal)


def family_of(type_: Type) -> Family:
    if type_.numeric:
        return "number"
    match type_.kind:
        case "text" | "boolean" | "date" | "timestamp" as same:
            return same
        case _:
            raise AssertionError(type_.kind)


def column(name: str, family: Family, at: Position | None) -> Typed:
    return Typed(Column(name, at), family)


def constant(literal: Literal) -> Typed:
    return Typed(literal, "null" if literal.value is None else family_of(literal.type))


def at(typed: Typed, place: Position | None) -> Typed:
    """The same expression, standing at another place of the text."""
    return replace(typed, expression=replace(typed.expression, at=place)) if place else typed


def call(function: str, arguments: Sequence[Typed], place: Position | None) -> Typed:
    """`function` of the closed list over `arguments`. Raises Refusal type_mismatch, sql_too_large."""
    if function in ("and", "or"):
        return _connect(function, arguments, place)
    if function == "not":
        return _negate(arguments[0], place)
    if function in ("add", "subtract") and (found := _of_dates(function, arguments, place)) is not None:
        return found
    parts, family = _typed_arguments(function, list(arguments), place)
    if function == "negate" and isinstance(parts[0].expression, Literal):
        return constant(literals.negative(parts[0].expression, place))
    function, spelled = canonical.spelled(function, [part.expression for part in parts])
    return _make(Call(function, spelled, place), parts, family)


def condition(typed: Typed) -> Typed:
    """`typed` where a truth value is wanted. A bare boolean column is the comparison with true."""
    if typed.family not in ("boolean", "null"):
        raise _mismatch("a condition is wanted here", typed.at, "compare it with something: `x > 0`")
    if isinstance(typed.expression, Column):
        return call("equal", (typed, constant(Literal(value=True, type=BOOLEAN))), typed.at)
    return typed


def case(branches: Sequence[tuple[Typed, Typed]], otherwise: Typed | None, place: Position | None) -> Typed:
    """Searched CASE. Without `otherwise` it is null; one such inside another is one with both conditions."""
    if len(branches) == 1 and _is_null(otherwise):
        branches = [_flat(*branches[0], place)]
    conditions = [condition(when) for when, _ in branches]
    values = [value for _, value in branches]
    values.append(otherwise or constant(literals.null(place)))
    values, family = unify(values, place)
    pairs = tuple((when.expression, value.expression) for when, value in zip(conditions, values, strict=False))
    return _make(Case(pairs, values[-1].expression, place), [*conditions, *values], family)


def _is_null(value: Typed | None) -> bool:
    return value is None or (isinstance(value.expression, Literal) and value.expression.value is None)


def _flat(when: Typed, value: Typed, place: Position | None) -> tuple[Typed, Typed]:
    inner = value.expression
    if not isinstance(inner, Case) or len(inner.branches) != 1:
        return when, value
    if not isinstance(inner.otherwise, Literal) or inner.otherwise.value is not None:
        return when, value
    condition, then = inner.branches[0]
    both = call("and", (when, replace(value, expression=condition, family="boolean")), place)
    return both, replace(value, expression=then)


def conjuncts(typed: Typed) -> tuple[Typed, ...]:
    """The conditions that must all hold, without those that always do."""
    typed = condition(typed)
    expression = typed.expression
    if isinstance(expression, Call) and expression.function == "and":
        return tuple(replace(typed, expression=part) for part in expression.arguments)
    if isinstance(expression, Literal) and expression.value is True:
        return ()
    return (typed,)


def unify(parts: Sequence[Typed], place: Position | None) -> tuple[list[Typed], Family]:
    """`parts` in one family: text and date literals take the type of what stands beside them."""
    families = {part.family for part in parts if not part.is_literal} - {"null"}
    families = families or ({part.family for part in parts} - {"null"})
    target: Family | None = None
    if "timestamp" in families:
        target = "timestamp"
    elif "date" in families:
        target = "date"
    if target is not None:
        parts = [_as_time(part, target) for part in parts]
    found = {part.family for part in parts} - {"null"}
    if found <= {"date", "timestamp"} and found:
        return list(parts), target or "date"
    if len(found) > 1:
        kinds = " and ".join(sorted(found))
        raise _mismatch(f"{kinds} do not go together here", place, "compare a column with a value of its own type")
    return list(parts), next(iter(found), "null")


def _as_time(part: Typed, target: Family) -> Typed:
    if not isinstance(part.expression, Literal) or part.family in ("null", target):
        return part
    if part.family not in ("text", "date", "timestamp"):
        return part
    return constant(literals.as_time(part.expression, "date" if target == "date" else "timestamp"))


def _typed_arguments(function: str, parts: list[Typed], place: Position | None) -> tuple[list[Typed], Family]:
    if function in COMPARISONS or function == "in":
        return unify(parts, place)[0], "boolean"
    if function in ("coalesce", "least", "greatest"):
        return unify(parts, place)
    if function == "is_null":
        return parts, "boolean"
    if function == "date_diff":
        moments, _ = unify(parts[1:], place)
        _want(moments, ("date", "timestamp"), "`date_diff` takes dates or timestamps", place)
        return [parts[0], *moments], "number"
    wanted, result = _signature(function, parts)
    subjects = parts if function in _ALL_ALIKE else parts[:1]
    _want(subjects, wanted, _WANTED[wanted].format(function=function), place, _HINTS.get(wanted))
    return parts, result


def _signature(function: str, parts: list[Typed]) -> tuple[tuple[Family, ...], Family]:
    """The families that `function` takes, and the one that it gives."""
    if function in TEXT_TESTS:
        return ("text",), "boolean"
    if function in TEXT_TO_TEXT:
        return ("text",), "text"
    if function == "length":
        return ("text",), "number"
    if function in DATE_PARTS or function in DAY_PARTS:
        return ("date", "timestamp"), "number"
    if function in CLOCK_PARTS:
        return ("timestamp",), "number"
    if function == "trunc_hour":
        return ("timestamp",), "timestamp"
    if function in DATE_TRUNCATIONS:
        return ("date", "timestamp"), parts[0].family
    if function == "to_date":
        return ("date", "timestamp"), "date"
    if function in CASTS:
        return ("number", "text", "boolean"), "number"
    return ("number",), "number"


_ALL_ALIKE = ("add", "subtract", "multiply", "divide", "modulo", "int_divide", "power", "round", "concat", *TEXT_TESTS)
"""Functions whose arguments are all of one family; else the first alone is what it is about."""
_WANTED: dict[tuple[Family, ...], str] = {
    ("text",): "text is wanted here",
    ("number",): "a number is wanted here",
    ("timestamp",): "`{function}` takes a timestamp",
    ("date", "timestamp"): "`{function}` takes a date or a timestamp",
    ("number", "text", "boolean"): "a date is not cast to a number",
}
_HINTS: dict[tuple[Family, ...], str] = {
    ("number",): "dates are cut with `date_trunc`, read with `year(x)` and its like, and compared with `date_diff`",
    ("text",): "numbers are compared as numbers",
}


def moved(day: Typed, count: int, unit: str, place: Position | None) -> Typed:
    """`count` steps of `unit` later, of the type of `day`. Constants are moved here. Raises Refusal type_mismatch."""
    if isinstance(day.expression, Literal) and day.family in ("date", "timestamp"):
        return constant(literals.moved_by(day.expression, count, unit, place))
    _want([day], ("date", "timestamp"), "an interval is added to a date or a timestamp", place)
    steps, name = literals.exact(count, place), literals.text(unit, place)
    return _make(Call("date_add", (day.expression, steps, name), place), [day], day.family)


def _of_dates(function: str, parts: Sequence[Typed], place: Position | None) -> Typed | None:
    """Dates with whole days added, and the days between two dates; None where no date is among `parts`."""
    first, second = parts
    if function == "add" and second.family == "date":
        first, second = second, first
    if first.family != "date" or function not in ("add", "subtract"):
        return None
    if function == "subtract" and second.family == "date":
        return call("date_diff", (constant(literals.text("day", place)), second, first), place)
    days = second.expression.value if isinstance(second.expression, Literal) else None
    if isinstance(days, bool) or not isinstance(days, int):
        raise _mismatch("whole days are added to a date", place, "x + 7, or x + INTERVAL 1 MONTH")
    return moved(first, days if function == "add" else -days, "day", place)


def _want(
    parts: Sequence[Typed], families: tuple[Family, ...], message: str, place: Position | None, hint: str | None = None
) -> None:
    for part in parts:
        if part.family not in families and part.family != "null":
            raise _mismatch(message, part.at or place, hint)


def in_order(parts: Sequence[Typed]) -> list[Typed]:
    """`parts` in the order of their digests, for what means the same in every order."""
    return sorted(parts, key=lambda part: digest(part.expression))


def _connect(function: str, arguments: Sequence[Typed], place: Position | None) -> Typed:
    flat: list[Expression] = []
    for argument in map(condition, arguments):
        inner = argument.expression
        same = isinstance(inner, Call) and inner.function == function
        flat.extend(inner.arguments if same and isinstance(inner, Call) else (inner,))
    neutral = Literal(value=function == "and", type=BOOLEAN)
    distinct = canonical.in_order({part for part in flat if part != neutral} or {neutral})
    if len(distinct) == 1:
        return replace(arguments[0], expression=distinct[0], family="boolean")
    return _make(Call(function, tuple(distinct), place), arguments, "boolean")


def _negate(argument: Typed, place: Position | None) -> Typed:
    argument = condition(argument)
    inner = argument.expression
    if isinstance(inner, Call) and inner.function in _NEGATED:
        return replace(argument, expression=replace(inner, function=_NEGATED[inner.function]))
    if isinstance(inner, Call) and inner.function == "not":
        return replace(argument, expression=inner.arguments[0])
    return _make(Call("not", (inner,), place), [argument], "boolean")


def _make(expression: Expression, parts: Sequence[Typed], family: Family) -> Typed:
    size = 1 + sum(part.size for part in parts)
    depth = 1 + max((part.depth for part in parts), default=0)
    if size > SIZE_MAX or depth > DEPTH_MAX:
        raise Refusal("sql_too_large", "an expression grows too large once its parts are put in", at=expression.at)
    return Typed(expression, family, size, depth)


def _mismatch(message: str, place: Position | None, hint: str | None) -> Refusal:
    return Refusal("type_mismatch", message, hint=hint, at=place)
