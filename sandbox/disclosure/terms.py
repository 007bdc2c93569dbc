"""What a sum adds up, term by term: SUM(2 * a + b) is 2 * SUM(a) + SUM(b), and CASE chooses rows.

So a number that is scaled, shifted or put together from others is no other number: each term is protected by itself,
as if it had been asked alone, and the sum is put together from what is released.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import assert_never

from policies.types import BOOLEAN
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import Facts, Refuse
from sandbox.relational.scalar import facts_of

FACTORS_MAX = 2
TERMS_MAX = 16
_HINT = "sums and products of columns and constants, CASE and COALESCE are added up here"


@dataclass(frozen=True, slots=True)
class Term:
    """The product of `factors` (1 where there are none) over the rows that meet all `conditions`."""

    factors: tuple[Column, ...]
    conditions: tuple[Expression, ...]


def terms_of(expression: Expression, facts: Facts) -> dict[Term, Fraction]:
    """The terms of SUM(expression), each with its coefficient. Raises Refuse (`aggregate_not_allowed`).

    Rows for which the expression is null count in no term.
    Source: docs/explanation/guarantees/disclosure.md
    """
    found: dict[Term, Fraction] = defaultdict(Fraction)
    for conditions, polynomial in _branches(expression, facts):
        present = sorted({column for factors in polynomial for column in factors}, key=lambda column: column.name)
        for factors, coefficient in polynomial.items():
            others = [_not_null(column) for column in present if column not in factors]
            found[Term(factors, (*conditions, *others))] += coefficient
    kept = {term: coefficient for term, coefficient in found.items() if coefficient}
    if len(kept) > TERMS_MAX:
        detail = f"a sum of more than {TERMS_MAX} terms"
        raise Refuse("aggregate_not_allowed", detail, hint="ask for its parts", at=expression.at)
    return kept


Polynomial = dict[tuple[Column, ...], Fraction]
Branch = tuple[tuple[Expression, ...], Polynomial]


def _branches(expression: Expression, facts: Facts) -> list[Branch]:
    """The expression as polynomials of columns, each over the rows that meet its conditions."""
    match expression:
        case Column():
            if not facts_of(expression, facts).type.numeric:
                raise Refuse("type_mismatch", "only numbers are added up", at=expression.at)
            return [((), {(expression,): Fraction(1)})]
        case Literal():
            return _literal(expression)
        case Case(branches=branches, otherwise=otherwise):
            return _few(_case(branches, otherwise, facts), expression)
        case Call(function="coalesce", arguments=arguments):
            return _few(_coalesce(arguments, facts), expression)
        case Call():
            return _few(_call(expression, facts), expression)
        case _:
            assert_never(expression)


def _literal(literal: Literal) -> list[Branch]:
    if literal.value is None:
        return []
    if isinstance(literal.value, bool) or not isinstance(literal.value, int | Decimal):
        raise Refuse("type_mismatch", "only numbers are added up", at=literal.at)
    return [((), {(): Fraction(literal.value)})]


def _case(branches: tuple[tuple[Expression, Expression], ...], otherwise: Expression, facts: Facts) -> list[Branch]:
    """Each value over the rows that meet its condition, and none of those before it."""
    found: list[Branch] = []
    before: tuple[Expression, ...] = ()
    for when, then in branches:
        found += [((*before, when, *conditions), polynomial) for conditions, polynomial in _branches(then, facts)]
        before = (*before, _not_true(when))
    return [*found, *(((*before, *conditions), polynomial) for conditions, polynomial in _branches(otherwise, facts))]


def _coalesce(arguments: tuple[Expression, ...], facts: Facts) -> list[Branch]:
    found: list[Branch] = []
    before: tuple[Expression, ...] = ()
    for argument in arguments:
        found += [((*before, *conditions), polynomial) for conditions, polynomial in _branches(argument, facts)]
        before = (*before, Call("is_null", (argument,)))
    return found


def _call(call: Call, facts: Facts) -> list[Branch]:
    match call.function, call.arguments:
        case "negate", (argument,):
            return [(conditions, _scaled(one, Fraction(-1))) for conditions, one in _branches(argument, facts)]
        case "to_double", (argument,) if facts_of(argument, facts).type.numeric:
            return _branches(argument, facts)
        case (("add" | "subtract" | "multiply"), (left, right)):
            pairs = [(a, b) for a in _branches(left, facts) for b in _branches(right, facts)]
            return [((*a[0], *b[0]), _together(call, a[1], b[1])) for a, b in pairs]
        case "divide", (left, Literal(value=value)) if isinstance(value, int | Decimal) and value:
            return [(conditions, _scaled(one, 1 / Fraction(value))) for conditions, one in _branches(left, facts)]
        case _:
            detail = "what is added up here cannot be taken apart into columns"
            raise Refuse("aggregate_not_allowed", detail, hint=_HINT, at=call.at)


def _few(found: list[Branch], expression: Expression) -> list[Branch]:
    if len(found) > TERMS_MAX:
        raise Refuse("aggregate_not_allowed", "a sum with too many cases", hint="ask for its parts", at=expression.at)
    return found


def _scaled(polynomial: Polynomial, by: Fraction) -> Polynomial:
    return {factors: coefficient * by for factors, coefficient in polynomial.items()}


def _together(call: Call, left: Polynomial, right: Polynomial) -> Polynomial:
    found: Polynomial = defaultdict(Fraction)
    if call.function == "multiply":
        for (a, first), (b, second) in ((x, y) for x in left.items() for y in right.items()):
            factors = tuple(sorted((*a, *b), key=lambda column: column.name))
            if len(factors) > FACTORS_MAX:
                detail = f"a product of more than {FACTORS_MAX} columns"
                raise Refuse("aggregate_not_allowed", detail, hint=_HINT, at=call.at)
            found[factors] += first * second
        return dict(found)
    sign = -1 if call.function == "subtract" else 1
    for polynomial, by in ((left, 1), (right, sign)):
        for factors, coefficient in polynomial.items():
            found[factors] += coefficient * by
    return dict(found)


def _not_null(column: Expression) -> Expression:
    return Call("not", (Call("is_null", (column,)),))


def _not_true(condition: Expression) -> Expression:
    """NULL is not true either."""
    return Call("not", (Call("coalesce", (condition, Literal(value=False, type=BOOLEAN))),))


def present(expressions: Iterable[Expression]) -> tuple[Expression, ...]:
    """The conditions that none of `expressions` is null."""
    return tuple(_not_null(expression) for expression in expressions)
