"""HAVING, ORDER BY, LIMIT and computed columns over released rows, held against a plain reading in Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key
from typing import Any

import pytest

from policies.types import BIGINT, BOOLEAN, TEXT, Type, Value
from sandbox.relational.expressions import Call, Case, Column, Expression, Literal
from sandbox.relational.facts import Refuse
from sandbox.relational.nodes import Filter, Limit, Output, Project, Relation, Release, Scan, Sort
from sandbox.release import post

CHAINS = 60
TYPES: Mapping[str, Type] = {"k0": TEXT, "m0": BIGINT, "m1": BIGINT}
RELEASE = Release(Scan("people", 0), (), ())
Named = dict[str, Any]
Numbered = list[tuple[int, Named]]


def number(value: int) -> Literal:
    return Literal(value, BIGINT)


def value_of(expression: Expression, row: Named) -> Any:
    """SQL's meaning, written down again: null in, null out, and three truth values."""
    match expression:
        case Column(name=name):
            return row[name]
        case Literal(value=value):
            return value
        case Case(branches=branches, otherwise=otherwise):
            return next((value_of(v, row) for c, v in branches if value_of(c, row)), value_of(otherwise, row))
        case Call(function="is_null", arguments=(only,)):
            return value_of(only, row) is None
        case Call(function=function, arguments=arguments):
            parts = [value_of(a, row) for a in arguments]
            return None if None in parts else _EXACT[function](*parts)
    raise AssertionError(expression)


_EXACT: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "negate": lambda a: -a,
    "less": lambda a, b: a < b,
    "equal": lambda a, b: a == b,
    "greater_equal": lambda a, b: a >= b,
    "not": lambda a: not a,
}


def run_plainly(node: Relation, rows: Numbered) -> Numbered:
    match node:
        case Filter(source=source, conditions=conditions):
            return [r for r in run_plainly(source, rows) if all(value_of(c, r[1]) is True for c in conditions)]
        case Sort(source=source, by=by):
            return sorted(run_plainly(source, rows), key=cmp_to_key(lambda a, b: _compared(a[1], b[1], by)))
        case Limit(source=source, count=count, offset=offset):
            found = run_plainly(source, rows)[offset:]
            return found if count is None else found[:count]
        case Project(source=source, number=place, columns=columns):
            below = run_plainly(source, rows)
            return [(i, {f"{place}.{n}": value_of(e, r) for n, e in enumerate(columns)}) for i, r in below]
    return rows


def _compared(one: Named, other: Named, by: Sequence[tuple[Expression, bool, bool]]) -> int:
    for expression, descending, nulls_first in by:
        a, b = value_of(expression, one), value_of(expression, other)
        if a is None or b is None:
            if (a is None) != (b is None):
                return -1 if (a is None) == nulls_first else 1
        elif a != b:
            return -1 if (a < b) != descending else 1
    return 0


def random_chain(dice: random.Random) -> Output:
    """Filters, sorts, limits and projections in any order, then the output."""
    node: Relation = RELEASE
    texts, numbers = ["k0"], ["m0", "m1"]
    for step in range(dice.randint(0, 5)):
        match dice.choice(["filter", "sort", "sort", "limit", "project"]):
            case "filter":
                node = Filter(node, tuple(_condition(dice, texts, numbers) for _ in range(dice.randint(1, 2))))
            case "sort":
                terms = [(_term(dice, texts, numbers), dice.random() < 0.5, dice.random() < 0.5) for _ in "ab"]
                node = Sort(node, tuple(terms[: dice.randint(1, 2)]))
            case "limit":
                node = Limit(node, dice.choice([None, 0, 1, 4, 9]), dice.choice([0, 0, 1, 3, 50]))
            case _:
                columns = (Column(dice.choice(texts)), *(_number(dice, numbers) for _ in range(2)))
                node = Project(node, step + 1, columns)
                texts, numbers = [f"{step + 1}.0"], [f"{step + 1}.1", f"{step + 1}.2"]
    return Output(node, (("t", Column(texts[0])), ("n", _number(dice, numbers)), ("m", Column(numbers[1]))))


def _number(dice: random.Random, numbers: list[str]) -> Expression:
    a, b = Column(dice.choice(numbers)), Column(dice.choice(numbers))
    return dice.choice(
        [
            a,
            Call("add", (a, b)),
            Call("subtract", (a, number(3))),
            Call("multiply", (a, number(-2))),
            Call("negate", (b,)),
            Case(((Call("less", (a, number(2))), number(1)),), b),
        ]
    )


def _term(dice: random.Random, texts: list[str], numbers: list[str]) -> Expression:
    return Column(dice.choice(texts)) if dice.random() < 0.4 else _number(dice, numbers)


def _condition(dice: random.Random, texts: list[str], numbers: list[str]) -> Expression:
    a = _number(dice, numbers)
    return dice.choice(
        [
            Call("less", (a, number(5))),
            Call("greater_equal", (a, Column(numbers[0]))),
            Call("not", (Call("equal", (a, number(1))),)),
            Call("is_null", (Column(texts[0]),)),
            Call("not", (Call("is_null", (a,)),)),
            Call("equal", (Column(texts[0]), Literal("b", TEXT))),
        ]
    )


def random_rows(dice: random.Random) -> list[tuple[Value, ...]]:
    """Few values, so that ties are many; nulls in every column."""
    values = [None, -4, 0, 1, 1, 2, 7]
    return [(dice.choice([None, "a", "b", "B", ""]), dice.choice(values), dice.choice(values)) for _ in range(12)]


def disagreements(chains: int, seed: int) -> list[str]:
    dice, found = random.Random(seed), []
    for _ in range(chains):
        plan, rows = random_chain(dice), random_rows(dice)
        named = [(i, dict(zip(TYPES, row, strict=True))) for i, row in enumerate(rows)]
        expected = [(i, tuple(value_of(e, r) for _, e in plan.columns)) for i, r in run_plainly(plan.source, named)]
        if post.run(plan, TYPES, rows) != expected:
            found.append(f"{plan} over {rows}")
    return found


def test_chains_over_released_rows_mean_what_a_plain_reading_says() -> None:
    assert not disagreements(CHAINS, 20261123)


@pytest.mark.parametrize("fault", ["unstable", "nulls", "offset"])
def test_a_planted_disorder_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = post._sort_key
    if fault == "unstable":
        monkeypatch.setattr(post, "_sort_key", lambda e, d, n, facts: f"{honest(e, d, n, facts)}, {post.ROW} DESC")
    elif fault == "nulls":
        monkeypatch.setattr(post, "_sort_key", lambda e, d, n, facts: honest(e, d, d, facts))
    else:
        lower = post._lower

        def careless(node, facts):
            return lower(Limit(node.source, node.count, 0) if isinstance(node, Limit) else node, facts)

        monkeypatch.setattr(post, "_lower", careless)
    assert disagreements(CHAINS, 20261123)


def test_ties_keep_the_order_of_the_release() -> None:
    rows = [("a", 1, i) for i in range(40)]
    plan = Output(Sort(RELEASE, ((Column("m0"), True, False),)), (("i", Column("m1")),))
    assert [row for _, row in post.run(plan, TYPES, rows)] == [(i,) for i in range(40)]


def test_every_value_of_a_released_column_comes_back_as_it_is() -> None:
    types = {"k0": TEXT, "k1": BOOLEAN, "m0": BIGINT, "m1": Type("double"), "m2": Type("decimal", 38, 2)}
    from decimal import Decimal

    rows: list[tuple[Value, ...]] = [
        ('it\'s "quoted"', True, 2**63 - 1, 1e308, Decimal("9" * 36 + ".99")),
        (None, None, -(2**63), 5e-324, Decimal("-0.01")),
    ]
    plan = Output(Limit(RELEASE, None, 0), tuple((name, Column(name)) for name in types))
    assert [row for _, row in post.run(plan, types, rows)] == rows


def test_numbers_that_are_none_are_null() -> None:
    """Overflow and division by 0 end as null, never as an error and never as infinity in an answer."""
    types = {"m0": Type("double"), "m1": BIGINT}
    times = Call("multiply", (Column("m0"), Column("m0")))
    ratio = Call("divide", (Column("m0"), Column("m1")))
    huge = Call("multiply", (Column("m1"), Column("m1")))
    plan = Output(RELEASE, (("a", times), ("b", ratio), ("c", huge)))
    assert post.run(plan, types, [(1e308, 0), (1.0, 2**40)]) == [(0, (None, None, 0)), (1, (1.0, 2.0**-40, None))]


@pytest.mark.parametrize(
    "source",
    [
        Filter(RELEASE, (Column("m0"),)),
        Filter(RELEASE, (Call("bin", (Column("m0"),)),)),
        Sort(RELEASE, ((Call("year", (Column("m0"),)), False, False),)),
        Sort(RELEASE, ((Column("0.income"), False, False),)),
        Filter(Scan("people", 0), ()),
    ],
)
def test_what_could_not_run_is_refused_before_it_is_paid_for(source: Relation) -> None:
    with pytest.raises(Refuse):
        post.outputs(Output(source, (("n", Column("m0")),)), TYPES)
