"""One spelling for each meaning of an expression: literals to the right, what commutes in the order of its digests.

Digests hang on the names of columns, so an expression whose columns are called otherwise is put in order again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from sandbox.codec import digest
from sandbox.relational.expressions import COMPARISONS, Call, Case, Column, Expression, Literal

_SWAPPED: Final = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}
_COMMUTATIVE: Final = ("add", "multiply", "equal", "not_equal", "least", "greatest")


def in_order(parts: Iterable[Expression]) -> list[Expression]:
    """`parts` in the order of their digests, for what means the same in every order."""
    return sorted(parts, key=digest)


def spelled(function: str, arguments: Sequence[Expression]) -> tuple[str, tuple[Expression, ...]]:
    """A call of anything but `and` and `or` in its one spelling; lists are sets, texts put together are one list."""
    first, *rest = arguments
    of_columns = function in COMPARISONS and not isinstance(rest[0], Literal)
    if of_columns and isinstance(first, Literal):
        return _SWAPPED.get(function, function), (*rest, first)
    if of_columns and function in _SWAPPED:
        ordered = in_order(arguments)
        return (function if ordered[0] is first else _SWAPPED[function]), tuple(ordered)
    if of_columns or (function in _COMMUTATIVE and function not in COMPARISONS):
        return function, tuple(in_order(arguments))
    if function == "concat":
        return function, tuple(inner for part in arguments for inner in _parts_of(part))
    if function == "in":
        members = dict.fromkeys(in_order(rest))
        return ("in" if len(members) > 1 else "equal"), (first, *members)
    return function, tuple(arguments)


def put_in(expression: Expression, names: Mapping[Expression, Expression]) -> Expression:
    """`expression` with what `names` knows put in, spelled anew."""
    known = names.get(expression)
    if known is not None:
        return replace(known, at=expression.at)
    match expression:
        case Call(function=function, arguments=arguments):
            parts = [put_in(argument, names) for argument in arguments]
            if function in ("and", "or"):
                return replace(expression, arguments=tuple(in_order(parts)))
            function, spelled_parts = spelled(function, parts)
            return Call(function, spelled_parts, expression.at)
        case Case(branches=branches, otherwise=otherwise):
            pairs = tuple((put_in(when, names), put_in(value, names)) for when, value in branches)
            return replace(expression, branches=pairs, otherwise=put_in(otherwise, names))
        case Column() | Literal():
            return expression


def _parts_of(part: Expression) -> tuple[Expression, ...]:
    """The parts of text put together, without a nesting that means nothing."""
    return part.arguments if isinstance(part, Call) and part.function == "concat" else (part,)
