"""Interval arithmetic encloses: whatever two values within their intervals do, the result lies within the result's."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.types import BIGINT, DOUBLE
from sandbox.relational import intervals
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import ColumnFacts, Facts
from sandbox.relational.lower.scalars import number
from sandbox.relational.scalar import facts_of

ENGINE = duckdb.connect(":memory:", config={"threads": "1"})
numbers = st.fractions(min_value=-1000, max_value=1000, max_denominator=64)
shares = st.fractions(min_value=0, max_value=1, max_denominator=16)


@st.composite
def inside(draw: st.DrawFn) -> tuple[intervals.Interval, Fraction]:
    """An interval, and a value in it: often an edge."""
    low, high = sorted((draw(numbers), draw(numbers)))
    return (low, high), low + draw(shares | st.sampled_from([Fraction(0), Fraction(1)])) * (high - low)


TWO: dict[str, tuple[Callable[..., intervals.Interval | None], Callable[[Fraction, Fraction], Fraction]]] = {
    "add": (intervals.add, lambda a, b: a + b),
    "subtract": (intervals.subtract, lambda a, b: a - b),
    "multiply": (intervals.multiply, lambda a, b: a * b),
    "divide": (intervals.divide, lambda a, b: a / b),
    "least": (lambda a, b: intervals.least((a, b)), min),
    "greatest": (lambda a, b: intervals.greatest((a, b)), max),
    "hull": (lambda a, b: intervals.hull((a, b)), lambda a, _: a),
}
ONE: dict[str, tuple[Callable[[intervals.Interval], intervals.Interval], Callable[[Fraction], Fraction]]] = {
    "negate": (intervals.negate, lambda a: -a),
    "absolute": (intervals.absolute, abs),
    "floor": (intervals.floor, lambda a: Fraction(math.floor(a))),
    "ceil": (intervals.ceil, lambda a: Fraction(math.ceil(a))),
    **{f"rounded {d}": (lambda i, d=d: intervals.rounded(i, d), lambda a, d=d: _away(a, d)) for d in (0, 1, 3)},
    **{f"banker {d}": (lambda i, d=d: intervals.rounded(i, d), lambda a, d=d: round(a, d)) for d in (0, 1, 3)},
}


def _away(value: Fraction, digits: int) -> Fraction:
    """Halves away from 0, as the engine rounds doubles."""
    steps = abs(value) * 10**digits
    whole = Fraction(math.floor(steps + Fraction(1, 2)), 10**digits)
    return whole if value >= 0 else -whole


@pytest.mark.parametrize("name", TWO)
@settings(max_examples=100, deadline=None)
@given(inside(), inside())
def test_what_two_values_make_lies_within(
    name: str, first: tuple[intervals.Interval, Fraction], second: tuple[intervals.Interval, Fraction]
) -> None:
    rule, exact = TWO[name]
    found = rule(first[0], second[0])
    if found is None:
        assert name == "divide"
        assert second[0][0] <= 0 <= second[0][1]
        return
    assert found[0] <= exact(first[1], second[1]) <= found[1]


@pytest.mark.parametrize("name", ONE)
@settings(max_examples=100, deadline=None)
@given(inside())
def test_what_one_value_becomes_lies_within(name: str, given_: tuple[intervals.Interval, Fraction]) -> None:
    rule, exact = ONE[name]
    low, high = rule(given_[0])
    assert low <= exact(given_[1]) <= high


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "least", "greatest", "hull"])
def test_the_edges_are_reached(name: str) -> None:
    """An interval wider than needed would cost accuracy: some pair of edges makes each edge of the result."""
    rule, exact = TWO[name]
    for first in ((Fraction(-3), Fraction(2)), (Fraction(1), Fraction(5))):
        for second in ((Fraction(-7), Fraction(-1)), (Fraction(-1), Fraction(4))):
            made = {exact(a, b) for a in first for b in second}
            made |= {exact(b, a) for a in first for b in second} if name == "hull" else set()
            assert rule(first, second) == (min(made), max(made))


COLUMNS = {
    "narrow": (Fraction(18), Fraction(27)),
    "wide": (Fraction(-500), Fraction(1000)),
    "double": (Fraction(-1, 4), Fraction(201, 2)),
}
LEAVES: list[Expression] = [*(Column(name) for name in COLUMNS), Literal(2, BIGINT), Literal(-7, BIGINT)]


def _facts(*, nullable: bool) -> Facts:
    return Facts(
        {
            name: ColumnFacts(DOUBLE if name == "double" else BIGINT, name, nullable, bounds, Fraction(1, 4))
            for name, bounds in COLUMNS.items()
        },
        None,
        None,
    )


def _trees(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    pair = st.tuples(inner, inner)
    condition = pair.map(lambda p: Call("less", p))
    return st.one_of(
        st.builds(
            Call, st.sampled_from(("add", "subtract", "multiply", "divide", "least", "greatest", "coalesce")), pair
        ),
        st.builds(Call, st.sampled_from(("negate", "abs", "floor", "ceil", "round")), st.tuples(inner)),
        st.builds(lambda c, p: Case(((c, p[0]),), p[1]), condition, pair),
    )


values = st.fixed_dictionaries(
    {
        "narrow": st.none() | st.integers(18, 27),
        "wide": st.none() | st.integers(-500, 1000),
        "double": st.none() | st.integers(-1, 402).map(lambda quarters: quarters / 4),
    }
)


@settings(max_examples=400, deadline=None)
@given(st.recursive(st.sampled_from(LEAVES), _trees, max_leaves=6), values)
def test_the_engine_stays_within_the_bounds_of_every_expression(
    expression: Expression, row: dict[str, int | float | None]
) -> None:
    """Nulls among them: LEAST and GREATEST pass over nulls, so a null must not let the other value out."""
    facts = _facts(nullable=True)
    found = facts_of(expression, facts)
    if found.bounds is None:
        return
    rows = ", ".join(f"CAST({'NULL' if v is None else repr(v)} AS DOUBLE) AS {k}" for k, v in row.items())
    made = ENGINE.execute(f"SELECT {number(expression, facts)} FROM (SELECT {rows})").fetchall()[0][0]
    low, high = found.bounds
    assert isinstance(low, Fraction)
    assert isinstance(high, Fraction)
    slack = Fraction(1, 10**9) * (1 + abs(low) + abs(high))  # the engine computes in doubles
    assert made is None or low - slack <= Fraction(made) <= high + slack


def test_a_constant_holds_least_back_and_a_null_does_not() -> None:
    facts = _facts(nullable=True)
    capped = facts_of(Call("least", (Column("wide"), Literal(100, BIGINT))), facts)
    assert capped.bounds == (-500, 100)
    assert facts_of(Call("least", (Column("narrow"), Column("wide"))), facts).bounds == (-500, 1000)
    known = _facts(nullable=False)
    assert facts_of(Call("least", (Column("narrow"), Column("wide"))), known).bounds == (-500, 27)
    assert facts_of(Call("greatest", (Column("narrow"), Column("wide"))), known).bounds == (18, 1000)


def test_least_has_the_finest_grid_of_its_arguments() -> None:
    cut = Call("least", (Literal(3, BIGINT), Column("double")))
    assert facts_of(cut, _facts(nullable=False)).step == Fraction(1, 4)
