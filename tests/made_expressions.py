"""Expressions over the table of poisoned rows: every function with odd constants, and random nests of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from policies.types import BIGINT, TEXT, Type
from sandbox.relational import expressions
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from tests.poisoned_rows import COLUMNS, CONSTANTS, kind_of

PATTERNS = ("", "%", "_", "\\", "a\\", "%\\%", "%%%%a%%%b", "[", "x" * 300, "é%", "'")


@dataclass(frozen=True, slots=True)
class Maker:
    """Expressions by kind. With `depth` 0 a column or a constant."""

    dice: random.Random

    def leaf(self, kind: str) -> Expression:
        if self.dice.random() < 0.2:
            return self.dice.choice(CONSTANTS[kind])
        return Column("0." + self.dice.choice([name for name in COLUMNS if kind_of(name) == kind]))

    def make(self, kind: str, depth: int) -> Expression:
        if depth == 0:
            return self.leaf(kind)
        names = [name for name, (result, _) in FORMS.items() if kind in (result, "any") or result == "any"]
        name = self.dice.choice(names)
        arguments = FORMS[name][1]
        count = self.dice.choice((1, 2, 3)) if name in ("coalesce", "in") else 0
        inner = [self.make(kind if k == "any" else k, self.dice.randint(0, depth - 1)) for k in arguments]
        match name:
            case "case":
                return Case(
                    ((self.make("boolean", depth - 1), self.make(kind, depth - 1)),), self.make(kind, depth - 1)
                )
            case "coalesce":
                return Call(name, tuple(self.make(kind, depth - 1) for _ in range(count)))
            case "in":
                subject = self.dice.choice(list(CONSTANTS))
                return Call(name, (self.make(subject, depth - 1), *CONSTANTS[subject][:count]))
            case "like" | "ilike" | "starts_with" | "contains" | "ends_with":
                return Call(name, (inner[0], Literal(self.dice.choice(PATTERNS), TEXT)))
            case "left" | "right" | "substring" | "power" | "date_diff" | "date_add":
                return self.dice.choice(list(_with_constants(name, inner[0], inner[-1])))
            case "round":
                return Call(name, (inner[0], Literal(self.dice.choice((0, 1, 12)), BIGINT)))
            case "bin":
                return Call(name, (Column("0." + self.dice.choice(("big", "real", "fixed"))),))
        if name in expressions.COMPARISONS:
            both = self.dice.choice([*[(k, k) for k in CONSTANTS], ("date", "timestamp"), ("timestamp", "date")])
            return Call(name, tuple(self.make(k, self.dice.randint(0, depth - 1)) for k in both))
        if name in ONE_OF:
            return Call(name, (self.make(self.dice.choice(ONE_OF[name]), depth - 1),))
        return Call(name, tuple(inner))


ONE_OF: dict[str, tuple[str, ...]] = {
    "is_null": tuple(CONSTANTS),
    **dict.fromkeys(("to_integer", "to_double"), ("number", "text", "boolean")),
    **dict.fromkeys((*expressions.DATE_PARTS, *expressions.DATE_TRUNCATIONS), ("date", "timestamp")),
    **dict.fromkeys((*expressions.DAY_PARTS, "to_date"), ("date", "timestamp")),
}
"""Kinds of the one argument."""
FORMS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("add", "subtract", "multiply", "divide"), ("number", ("number", "number"))),
    **dict.fromkeys(("negate", "abs", "floor", "ceil", "round"), ("number", ("number",))),
    **dict.fromkeys(("least", "greatest"), ("number", ("number", "number"))),
    **dict.fromkeys(expressions.COMPARISONS, ("boolean", ())),
    **dict.fromkeys(("and", "or"), ("boolean", ("boolean", "boolean"))),
    "not": ("boolean", ("boolean",)),
    "in": ("boolean", ()),
    "is_null": ("boolean", ()),
    **dict.fromkeys(expressions.TEXT_TESTS, ("boolean", ("text",))),
    **dict.fromkeys(expressions.WHOLE_DIVISION, ("number", ("number", "number"))),
    **dict.fromkeys((*expressions.ROOTS, "sign"), ("number", ("number",))),
    **dict.fromkeys(expressions.TEXT_TO_TEXT, ("text", ("text",))),
    "concat": ("text", ("text", "text")),
    "length": ("number", ("text",)),
    **dict.fromkeys(expressions.DAY_PARTS, ("number", ())),
    **dict.fromkeys(expressions.CLOCK_PARTS, ("number", ("timestamp",))),
    "trunc_hour": ("timestamp", ("timestamp",)),
    "date_diff": ("number", ("timestamp", "date")),
    "date_add": ("date", ("date",)),
    **dict.fromkeys(("to_integer", "to_double"), ("number", ())),
    "to_date": ("date", ()),
    "coalesce": ("any", ()),
    "case": ("any", ()),
    "bin": ("number", ()),
    **dict.fromkeys(expressions.DATE_PARTS, ("number", ())),
    **dict.fromkeys(expressions.DATE_TRUNCATIONS, ("date", ())),
}


COUNTS = (0, 1, 3, 10_000)
STEPS = (0, 1, -1, 13, 100_000, -100_000)
EXPONENTS = (0, 2, -3, 16, -16, Decimal("0.5"), Decimal("-1.5"))


def _with_constants(name: str, subject: Expression, other: Expression) -> Iterator[Expression]:
    """A function that takes constants besides, with odd ones."""
    match name:
        case "left" | "right":
            yield from (Call(name, (subject, Literal(count, BIGINT))) for count in COUNTS)
        case "substring":
            for start in (1, 10_000):
                yield Call(name, (subject, Literal(start, BIGINT)))
                yield from (Call(name, (subject, Literal(start, BIGINT), Literal(count, BIGINT))) for count in COUNTS)
        case "power":
            yield from (Call(name, (subject, _number(exponent))) for exponent in EXPONENTS)
        case "date_diff":
            yield from (Call(name, (Literal(unit, TEXT), subject, other)) for unit in expressions.TIME_STEPS)
        case "date_add":
            for unit in expressions.TIME_STEPS:
                yield from (Call(name, (subject, Literal(count, BIGINT), Literal(unit, TEXT))) for count in STEPS)


def _number(value: int | Decimal) -> Literal:
    return Literal(value, BIGINT if isinstance(value, int) else Type("decimal", 4, 2))


def single(seed: int) -> Iterator[Expression]:
    """Every function over every column that it takes, beside each constant of its kind."""
    maker = Maker(random.Random(seed))
    for name in COLUMNS:
        column, kind = Column(f"0.{name}"), kind_of(name)
        yield column
        yield Call("is_null", (column,))
        yield from (Call("coalesce", (column, constant)) for constant in CONSTANTS[kind])
        yield Call("in", (column, *CONSTANTS[kind]))
        partners = [*CONSTANTS[kind], *(Column(f"0.{n}") for n in COLUMNS if kind_of(n) == kind)]
        partners += [Column("0.any_moment"), Column("0.any_day")] if kind in ("date", "timestamp") else []
        yield from (Call(sign, (column, other)) for other in partners for sign in ("equal", "less"))
        match kind:
            case "number":
                two = ("add", "subtract", "multiply", "divide", "least", "greatest", *expressions.WHOLE_DIVISION)
                yield from (Call(f, (column, other)) for f in two for other in partners)
                yield from (Call(f, (column,)) for f in ("negate", "abs", "floor", "ceil", "round", "sign"))
                yield from (Call(f, (column,)) for f in (*expressions.ROOTS[:-1], *expressions.CASTS[:-1]))
                yield from _with_constants("power", column, column)
                yield Call("round", (column, Literal(12, BIGINT)))
                yield Call("bin", (column,))
            case "text":
                yield from (Call(f, (column, Literal(p, TEXT))) for p in PATTERNS for f in expressions.TEXT_TESTS)
                yield from (Call(f, (column,)) for f in ("lower", "upper", "trim", "trim_start", "trim_end", "length"))
                yield from (Call(f, (column,)) for f in expressions.CASTS[:-1])
                yield from (Call("concat", (column, other)) for other in partners)
                yield from (
                    piece for f in ("left", "right", "substring") for piece in _with_constants(f, column, column)
                )
            case "boolean":
                yield Call("not", (column,))
                yield from (Call(f, (column,)) for f in expressions.CASTS[:-1])
            case "date" | "timestamp":
                parts = (*expressions.DATE_PARTS, *expressions.DATE_TRUNCATIONS, *expressions.DAY_PARTS, "to_date")
                yield from (Call(f, (column,)) for f in parts)
                yield from _with_constants("date_add", column, column)
                for other in (partners[0], Column("0.any_moment")):
                    yield from _with_constants("date_diff", column, other)
                if kind == "timestamp":
                    yield from (Call(f, (column,)) for f in (*expressions.CLOCK_PARTS, "trunc_hour"))
        yield Case(((maker.make("boolean", 1), column),), maker.leaf(kind))
