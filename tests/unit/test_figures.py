"""The types of released numbers hold whatever the declared ranges allow."""

from __future__ import annotations

from decimal import Decimal
from functools import reduce

import pytest

from policies.load import load_text
from policies.types import BIGINT, DOUBLE
from sandbox.relational.expressions import Call, Column, Expression
from sandbox.relational.facts import Schema
from sandbox.relational.nodes import Measure, MeasureFunction, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.relational.statistics import Vector
from tests.exact_world import POLICY

SCHEMA = Schema(load_text(POLICY, "policy.toml"), {})
INCOME = Column("0.income")
"""A whole number from -500 to 1000."""


def product(factors: int) -> Expression:
    parts: list[Expression] = [INCOME] * factors
    return reduce(lambda left, right: Call("multiply", (left, right)), parts)


FRACTIONS: dict[MeasureFunction, Decimal | None] = {"sum": None, "quantile": Decimal("0.5"), "min": None}


@pytest.mark.parametrize("function", FRACTIONS)
def test_numbers_of_whole_columns_are_whole_as_long_as_64_bits_hold_them(function: MeasureFunction) -> None:
    kinds = []
    for factors in range(1, 9):
        measure = Measure(function, product(factors), fraction=FRACTIONS[function])
        plan = plan_release(Release(Scan("people", 0), (), (measure,)), SCHEMA)
        kinds.append(plan.figures[0].type)
    first = kinds.index(DOUBLE)
    assert 1 <= first < 8
    assert kinds == [BIGINT] * first + [DOUBLE] * (8 - first)


def test_a_whole_sum_is_counted_in_steps_of_one() -> None:
    """The engine's sum stays below 2^62 steps, so in coarser ones it may pass 64 bits."""
    for factors in range(1, 9):
        plan = plan_release(Release(Scan("people", 0), (), (Measure("sum", product(factors)),)), SCHEMA)
        (vector,) = plan.statistics
        assert isinstance(vector, Vector)
        assert (plan.figures[0].type == BIGINT) == (vector.arguments[0].step == 1)
