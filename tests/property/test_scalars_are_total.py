"""Whatever the rows say, a lowered statement runs to its end, and its integers stay within what the plan declares.

An error that hangs on a row would tell of that row. Statements are executed, not only bound, with the engine's strict
settings. `BPK_POISONED` sets the number of random nested expressions, `BPK_SEED` the seed.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal

import duckdb
import pytest

from policies.types import BIGINT, BOOLEAN, DATE, DOUBLE, TEXT, Type, Value
from sandbox.relational import calendar, expressions
from sandbox.relational.expressions import Call, Column, Expression
from sandbox.relational.facts import Refuse
from sandbox.relational.lower import cells, functions, inputs, scalars
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import Filter, Measure, Output, Relation, Release, Sort
from sandbox.relational.plan import plan_release
from sandbox.release import post
from sandbox.release.intake import BadIntake
from tests.made_expressions import FORMS, Maker, single
from tests.noiseless import exact_release, job_of
from tests.poisoned_rows import CONSTANTS, SCAN, Poisoned, poisoned

RANDOM = int(os.environ.get("BPK_POISONED", "400"))
SEED = int(os.environ.get("BPK_SEED", "20261123"))
PARTS = 4
"""So that no single test keeps the others waiting."""


def test_every_function_is_tried() -> None:
    assert set(FORMS) - {"case"} == set(expressions.FUNCTIONS)


def statements(expression: Expression) -> Iterator[Release]:
    """The expression as a key, in WHERE, and under each aggregate."""
    count = Measure("count_rows", None)
    yield Release(SCAN, (expression,), (count, Measure("count_units", None)))
    yield Release(Filter(SCAN, (expression,)), (), (count,))
    yield Release(Filter(SCAN, (Call("is_null", (expression,)),)), (), (count,))
    yield Release(SCAN, (Column("0.letter"),), (Measure("count", expression),))
    yield Release(SCAN, (Column("0.small"),), (Measure("avg", expression), Measure("sum", expression)))
    yield Release(SCAN, (), (Measure("avg", expression), Measure("sum", expression)))


def run(world: Poisoned, asked: Release) -> str | None:
    """What went wrong, if anything; None too where the plan is refused, and `refused` counts for nothing."""
    try:
        plan = plan_release(asked, world.schema)
    except Refuse:
        return None
    dp = world.schema.policy.release.dp
    assert dp is not None
    job, ran = job_of(Output(asked, ()), world.schema, dp, plan), [""]

    def execute(lowered: Lowered) -> list[tuple[Value, ...]]:
        ran.append(lowered.whole)
        return world.engine.execute(lowered.whole).fetchall()

    try:
        exact_release(job, execute)
    except BadIntake:
        return f"a worker's honest answer is refused: {asked.keys} {asked.measures}"
    except (duckdb.Error, ValueError, OverflowError) as error:
        return f"{type(error).__name__} {str(error)[:200]}: {ran[-1][:2000]}"
    return None


def troubles(world: Poisoned, made: Sequence[Expression], most: int = 5) -> tuple[list[str], int]:
    """The first `most` troubles, and how many statements ran or were refused."""
    found: list[str] = []
    seen = 0
    for expression in made:
        for asked in statements(expression):
            seen += 1
            problem = run(world, asked)
            if problem:
                found.append(problem)
                if len(found) == most:
                    return found, seen
    return found, seen


@pytest.mark.parametrize("part", range(PARTS))
def test_every_function_over_poisoned_rows_runs_to_its_end(part: int) -> None:
    world = poisoned(random.Random(SEED))
    found, seen = troubles(world, list(single(SEED))[part::PARTS])
    print(f"\nstatements: {seen}")
    assert not found, "\n".join(found)


def test_nested_expressions_over_poisoned_rows_run_to_their_end() -> None:
    dice = random.Random(SEED)
    world = poisoned(dice, strict=False)
    maker = Maker(dice)
    found, seen = troubles(world, [maker.make(dice.choice(list(CONSTANTS)), 3) for _ in range(RANDOM)])
    print(f"\nstatements: {seen}, seed {SEED}")
    assert not found, "\n".join(found)


def _whole_division(a: str, b: str) -> str:
    return f"(CAST({a} AS BIGINT) // NULLIF(CAST({b} AS BIGINT), 0))"


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a plain cast of a key": lambda m: m.setattr(
        cells, "key_sql", lambda key, facts: f"CAST({scalars.scalar(key.expression, facts)} AS INTEGER)"
    ),
    "whole division": lambda m: m.setitem(functions.OPERATORS, "divide", _whole_division),
    "whole multiplication": lambda m: m.setitem(
        functions.OPERATORS, "multiply", lambda a, b: f"(TRY_CAST({a} AS BIGINT) * TRY_CAST({b} AS BIGINT))"
    ),
    "a plain cast of a row": lambda m: m.setattr(
        inputs,
        "_row",
        lambda c, argument, facts: (
            f"CAST({scalars.number(argument.expression, facts)} AS BIGINT)",
            argument.step,
        ),
    ),
    "year 0 of the first decade": lambda m: m.setattr(
        functions, "truncated", lambda part, day: f"CAST(date_trunc('{part}', {day}) AS DATE)"
    ),
    "a root of what is negative": lambda m: m.setattr(functions, "_not_negative", lambda x: x),
    "a logarithm of 0": lambda m: m.setattr(functions, "_positive", lambda x: x),
    "a power of 0": lambda m: m.setitem(functions.WRITERS, "power", lambda call, x, _: f"pow({x[0]}, -3)"),
    "a day beyond the calendar": lambda m: m.setattr(calendar, "reach", lambda unit, count: (None, None)),
    "a plain cast of text": lambda m: m.setitem(
        functions.WRITERS, "to_integer", lambda c, x, _: f"CAST({x[0]} AS INT)"
    ),
}


SUSPECTS = {
    "year 0 of the first decade": expressions.DATE_TRUNCATIONS,
    "a root of what is negative": ("sqrt",),
    "a logarithm of 0": ("ln", "log2", "log10"),
    "a power of 0": ("power",),
    "a day beyond the calendar": ("date_add",),
    "a plain cast of text": ("to_integer",),
}
"""The functions that a fault is looked for in, where a walk through all of them would take long."""


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_partial_function_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world, made = poisoned(random.Random(SEED)), list(single(SEED))
    if fault in SUSPECTS:
        made = [each for each in made if isinstance(each, Call) and each.function in SUSPECTS[fault]]
    PLANTED[fault](monkeypatch)
    assert troubles(world, made, 1)[0], f"{fault} was not noticed"


RELEASED: dict[str, Type] = {
    "k0": TEXT, "k1": BIGINT, "k2": DATE, "k3": DOUBLE, "k4": BOOLEAN, "m0": BIGINT, "m1": DOUBLE,
    "m2": Type("decimal", 38, 2),
}  # fmt: skip
ROWS: list[tuple[Value, ...]] = [
    ("a", 0, date(1, 1, 1), 0.0, True, 0, 0.0, Decimal(0)),
    (None, None, None, None, None, -(2**63), -1e308, Decimal("-9e35")),
    ("", 2**63 - 1, date(9999, 12, 31), 1e308, False, 2**63 - 1, 1e308, Decimal("9e35")),
    ("x" * 300, -1, date(5, 1, 1), -5e-324, None, -3, 5e-324, Decimal("-0.01")),
]
_BY_KIND = {
    "text": ("k0",), "number": ("k1", "k3", "m0", "m1", "m2"), "boolean": ("k4",),
    "date": ("k2",), "timestamp": ("k2",),
}  # fmt: skip


class Above(Maker):
    """Expressions over released columns."""

    def leaf(self, kind: str) -> Expression:
        if self.dice.random() < 0.3 and kind != "timestamp":
            return self.dice.choice(CONSTANTS[kind])
        return Column(self.dice.choice(_BY_KIND[kind]))


def above_the_release(count: int, seed: int) -> tuple[list[str], int]:
    """Random HAVING, ORDER BY and arithmetic over released rows of extreme numbers: what raised, how many ran."""
    maker, found, ran = Above(random.Random(seed)), [], 0
    for _ in range(count):
        kind = maker.dice.choice(("number", "number", "text", "date", "boolean"))
        condition, value = maker.make("boolean", 2), maker.make(kind, 3)
        below: Relation = (
            Filter(Release(SCAN, (), ()), (condition,)) if maker.dice.random() < 0.5 else Release(SCAN, (), ())
        )
        if maker.dice.random() < 0.5:
            below = Sort(below, ((maker.make("number", 2), True, False),))
        plan = Output(below, (("x", value), ("y", maker.make("number", 3))))
        try:
            post.outputs(plan, RELEASED)
        except Refuse:
            continue
        ran += 1
        try:
            post.run(plan, RELEASED, ROWS)
        except (duckdb.Error, ArithmeticError, ValueError, TypeError) as error:
            found.append(f"{type(error).__name__} {str(error)[:200]}: {plan.columns} {below}")
    return found, ran


def test_arithmetic_over_released_rows_never_raises() -> None:
    found, ran = above_the_release(RANDOM, SEED)
    print(f"\nran {ran}")
    assert not found, "\n".join(found[:4])
    assert ran > RANDOM // 4


def test_a_planted_partial_function_above_the_release_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(functions.OPERATORS, "multiply", lambda a, b: f"(CAST({a} AS BIGINT) * CAST({b} AS BIGINT))")
    assert above_the_release(RANDOM // 2, SEED)[0]
