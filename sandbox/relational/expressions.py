"""Scalar expressions of a question: a closed set of forms over a closed list of functions.

Positions point into the operator's text. They travel with a node, and count neither for equality nor for the digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from policies.types import Type, Value


@dataclass(frozen=True, slots=True)
class Position:
    """Where in the operator's text: line and column count from 1, `length` in characters."""

    line: int
    column: int
    length: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the relation below, by that relation's own name for it (see `nodes.py`)."""

    name: str
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Literal:
    """A typed constant. Numbers are int or Decimal, never float; null has the type of its context or `text`."""

    value: Value
    type: Type
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A function of the closed list `FUNCTIONS` applied to its arguments."""

    function: str
    arguments: tuple[Expression, ...]
    at: Position | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Case:
    """CASE WHEN condition THEN value ... ELSE otherwise END. `otherwise` is a null literal where the text has none."""

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression
    at: Position | None = field(default=None, compare=False)


Expression = Column | Literal | Call | Case

ARITHMETIC = ("add", "subtract", "multiply", "divide", "negate")
COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGIC = ("and", "or", "not")
DATE_PARTS = ("year", "quarter", "month", "week", "day", "decade")
DATE_TRUNCATIONS = ("trunc_year", "trunc_quarter", "trunc_month", "trunc_week", "trunc_day", "trunc_decade")
DAY_PARTS = ("day_of_week", "day_of_year")
CLOCK_PARTS = ("hour", "minute", "second")
TIME_STEPS = ("day", "week", "month", "quarter", "year")
"""What `date_diff` counts and `date_add` adds."""
NUMERIC = ("abs", "floor", "ceil", "round", "least", "greatest")
WHOLE_DIVISION = ("modulo", "int_divide")
ROOTS = ("sqrt", "ln", "log10", "log2", "exp", "power")
TEXT_TO_TEXT = ("lower", "upper", "trim", "trim_start", "trim_end", "left", "right", "substring", "concat")
TEXT_TESTS = ("like", "ilike", "starts_with", "contains", "ends_with")
CASTS = ("to_integer", "to_double", "to_date")

FUNCTIONS: dict[str, tuple[int, int | None]] = {
    # name -> (fewest, most) arguments; None is no limit. `and`, `or` are n-ary. Null in, null out, unless said.
    **dict.fromkeys(("add", "subtract", "multiply", "divide"), (2, 2)),
    "negate": (1, 1),
    "modulo": (2, 2),  # the remainder, with the sign of the first; null where the second is 0
    "int_divide": (2, 2),  # the quotient cut toward 0, as `//` does; null where the second is 0
    **dict.fromkeys(COMPARISONS, (2, 2)),
    "and": (2, None),
    "or": (2, None),
    "not": (1, 1),
    "in": (2, None),  # in(x, literal, literal, ...): no null among the literals
    "is_null": (1, 1),
    **dict.fromkeys(TEXT_TESTS, (2, 2)),  # like(x, text literal); `%` and `_` of (i)like as in SQL, no escape
    "coalesce": (1, None),
    **dict.fromkeys(DATE_PARTS, (1, 1)),
    **dict.fromkeys(DATE_TRUNCATIONS, (1, 1)),
    **dict.fromkeys(DAY_PARTS, (1, 1)),  # day_of_week counts from Monday = 1 to Sunday = 7, as ISO does
    **dict.fromkeys(CLOCK_PARTS, (1, 1)),  # of a timestamp; whole seconds
    "trunc_hour": (1, 1),  # of a timestamp, to a timestamp
    "date_diff": (3, 3),  # date_diff(text literal of TIME_STEPS, from, to): steps from the one to the other, signed
    "date_add": (3, 3),  # date_add(x, integer literal, text literal of TIME_STEPS): of the type of x
    "bin": (1, 1),  # lower edge of the column's declared bin
    "abs": (1, 1),
    "floor": (1, 1),
    "ceil": (1, 1),
    "round": (1, 2),  # round(x) or round(x, integer literal)
    "sign": (1, 1),  # -1, 0 or 1
    "least": (2, None),
    "greatest": (2, None),
    **dict.fromkeys(("sqrt", "ln", "log10", "log2", "exp"), (1, 1)),  # null where they are not defined or overflow
    "power": (2, 2),  # power(x, number literal from -16 to 16); null where it is not defined or overflows
    **dict.fromkeys(("lower", "upper", "trim", "trim_start", "trim_end"), (1, 1)),  # trims spaces
    "length": (1, 1),  # of text, in characters
    **dict.fromkeys(("left", "right"), (2, 2)),  # left(x, integer literal, not negative)
    "substring": (2, 3),  # substring(x, integer literal from 1 on) or with a third: integer literal, not negative
    "concat": (2, None),  # of text; null where one part is null, as `||` is
    "to_integer": (1, 1),  # of a number or text; null where it is none
    "to_double": (1, 1),  # likewise
    "to_date": (1, 1),  # of a timestamp or date
}


def children(expression: Expression) -> tuple[Expression, ...]:
    """The expressions directly inside `expression`, in order of the text."""
    if isinstance(expression, Call):
        return expression.arguments
    if isinstance(expression, Case):
        inner = [part for branch in expression.branches for part in branch]
        return (*inner, expression.otherwise)
    return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """`expression` and everything inside it, outermost first."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def columns(expression: Expression) -> tuple[Column, ...]:
    """Every column named in `expression`, in order of the text."""
    return tuple(part for part in walk(expression) if isinstance(part, Column))
