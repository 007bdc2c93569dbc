"""A question that names its accuracy gets the smallest price that is expected to give it, and no other."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.privacy_loss import EPSILON_UNIT
from policies.types import DOUBLE, Value
from sandbox.protocol import Accuracy, Question
from sandbox.relational import price as pricing
from sandbox.relational.expressions import Call, Column, Expression
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.nodes import Measure, Output, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.release import accuracy, expected, post
from sandbox.release.make import Job
from tests.builders import load, policy_text

MOST = 50 * EPSILON_UNIT
"""What `each_max` of the tests' policy allows."""
MEASURES = (Measure("count_rows"), Measure("sum", Column("0.income")), Measure("avg", Column("0.income")))
N, S, M = Column("m0"), Column("m1"), Column("m2")
SEX = Column("0.sex")


def job(accountant: str = "zcdp", keys: tuple[Column, ...] = (), income: tuple[int, int] = (0, 1000)) -> Job:
    policy = load(policy_text(accountant=accountant, income=income))
    dp, schema = policy.release.dp, Schema(policy, {})
    assert dp is not None
    release = Release(Scan("people", 0), keys, MEASURES)
    plan = plan_release(release, schema)
    question = Question("clinic", policy.digest, "dp", MOST, Output(release, ()))
    return Job(question, plan, pricing.price(plan, dp, MOST), schema, dp, 1000, "0" * 64)


def shown(found: Job, *columns: Expression) -> tuple[post.Shown, ...]:
    types = {f"k{i}": key.type for i, key in enumerate(found.plan.keys)}
    types |= {f"m{i}": figure.type for i, figure in enumerate(found.plan.figures)}
    named = tuple((f"c{i}", column) for i, column in enumerate(columns))
    return post.outputs(Output(found.plan.release, named), types)


def widths_of(found: Job, *columns: Expression) -> tuple[Value, ...]:
    named = shown(found, *columns)
    return expected.half_widths(expected.expectations(found, named), named)


def asked(*, relative: str | None = None, absolute: str | None = None, confidence: str = "0.95") -> Accuracy:
    return Accuracy(relative and Decimal(relative), absolute and Decimal(absolute), Decimal(confidence))


def at(found: Job, epsilon: int) -> Job:
    return replace(found, budget=pricing.price(found.plan, found.dp, epsilon))


def met(found: Job, columns: tuple[post.Shown, ...], wanted: Accuracy, epsilon: int) -> bool:
    """Said again in the plainest way: the half-width of each column against what was asked."""
    try:
        priced = at(found, epsilon)
    except Refuse:
        return False
    alpha = float(1 - wanted.confidence)
    told = expected.expectations(priced, columns, alpha)
    for width, about in zip(expected.half_widths(told, columns), told, strict=True):
        if about is None:  # a ratio whose divisor may be 0
            return False
        if Fraction(width) > (wanted.absolute or Fraction(wanted.relative) * abs(about.value)):
            return False
    return True


@settings(deadline=None, max_examples=30)
@given(
    accountant=st.sampled_from(["zcdp", "pure"]),
    keys=st.sampled_from([(), (SEX,)]),
    columns=st.sets(st.sampled_from([N, S, M, Call("divide", (S, N))]), min_size=1),
    relative=st.decimals("0.01", "0.9", places=3),
    confidence=st.sampled_from(["0.5", "0.9", "0.95", "0.999"]),
)
def test_the_price_is_the_smallest_that_meets_the_accuracy(
    accountant: str, keys: tuple[Column, ...], columns: set[Expression], relative: Decimal, confidence: str
) -> None:
    found = job(accountant, keys)
    noisy = shown(found, *columns)
    wanted = Accuracy(relative, None, Decimal(confidence))
    if not met(found, noisy, wanted, MOST):
        with pytest.raises(Refuse) as caught:
            accuracy.smallest_epsilon(found, noisy, wanted)
        assert caught.value.refused.code == "accuracy_unaffordable"
        return
    epsilon = accuracy.smallest_epsilon(found, noisy, wanted)
    assert met(found, noisy, wanted, epsilon)
    assert not met(found, noisy, wanted, epsilon - 1)


def test_an_absolute_accuracy_is_in_the_numbers_own_unit() -> None:
    found = job()
    epsilon = accuracy.smallest_epsilon(found, shown(found, N), asked(absolute="20"))
    assert widths_of(at(found, epsilon), N) == (20,)
    assert widths_of(at(found, epsilon - 1), N) == (21,)


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_an_accuracy_that_is_hardly_one_costs_hardly_anything(accountant: str) -> None:
    found = job(accountant)
    wanted = asked(absolute="1e90")
    epsilon = accuracy.smallest_epsilon(found, shown(found, N), wanted)
    assert met(found, shown(found, N), wanted, epsilon)
    assert epsilon < EPSILON_UNIT // 1000


def test_more_confidence_costs_more() -> None:
    found = job()
    prices = [
        accuracy.smallest_epsilon(found, shown(found, N), asked(absolute="20", confidence=confidence))
        for confidence in ("0.5", "0.9", "0.95", "0.999")
    ]
    assert prices == sorted(set(prices))


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_what_is_called_affordable_is(accountant: str) -> None:
    found = job(accountant)
    noisy = shown(found, S)
    with pytest.raises(Refuse) as caught:
        accuracy.smallest_epsilon(found, noisy, asked(relative="0.00001"))
    assert caught.value.refused.code == "accuracy_unaffordable"
    best = str(caught.value.refused.hint).split("`relative` ")[1].split()[0]
    assert accuracy.smallest_epsilon(found, noisy, asked(relative=best)) <= MOST
    with pytest.raises(Refuse):
        accuracy.smallest_epsilon(found, noisy, asked(relative=str(Decimal(best) * Decimal("0.99"))))


@pytest.mark.parametrize("wanted", [asked(relative="0.1"), asked(absolute="1000")], ids=["relative", "absolute"])
def test_groups_alone_have_no_accuracy(wanted: Accuracy) -> None:
    found = job(keys=(SEX,))
    with pytest.raises(Refuse) as caught:
        accuracy.smallest_epsilon(found, shown(found, Column("k0")), wanted)
    assert caught.value.refused.code == "accuracy_unknown"


def test_a_number_that_is_near_to_nothing_declared_has_an_absolute_accuracy_alone() -> None:
    found = job(income=(-1000, 1000))
    assert accuracy.smallest_epsilon(found, shown(found, S), asked(absolute="100000")) < MOST
    with pytest.raises(Refuse) as caught:
        accuracy.smallest_epsilon(found, shown(found, S), asked(relative="0.5"))
    assert caught.value.refused.code == "accuracy_unknown"


def test_groups_that_are_not_known_have_an_absolute_accuracy_alone() -> None:
    found = job(keys=(Column("0.diagnosis"),))
    assert accuracy.smallest_epsilon(found, shown(found, N), asked(absolute="1000")) < MOST
    with pytest.raises(Refuse):
        accuracy.smallest_epsilon(found, shown(found, N), asked(relative="0.5"))


def test_a_column_without_a_rule_is_named() -> None:
    found = job()
    either = Call("coalesce", (Call("divide", (S, N)), M))
    with pytest.raises(Refuse, match="`c0`"):
        accuracy.smallest_epsilon(found, shown(found, either), asked(absolute="10"))


@pytest.mark.parametrize(
    "wanted",
    [
        Accuracy(None, None, Decimal("0.95")),
        Accuracy(Decimal("0.1"), Decimal(1), Decimal("0.95")),
        Accuracy(Decimal(0), None, Decimal("0.95")),
        Accuracy(None, Decimal(-1), Decimal("0.95")),
        Accuracy(None, Decimal("1E+999999"), Decimal("0.95")),
        Accuracy(None, Decimal("1E-999999"), Decimal("0.95")),
        Accuracy(None, Decimal(1), Decimal(1)),
        Accuracy(None, Decimal(1), Decimal(0)),
        Accuracy(None, Decimal(1), Decimal("1E-999999")),
    ],
    ids=str,
)
def test_a_broken_gateways_accuracy_is_refused(wanted: Accuracy) -> None:
    found = job()
    with pytest.raises(Refuse):
        accuracy.smallest_epsilon(found, shown(found, N), wanted)


def test_what_is_expected_follows_declarations_alone() -> None:
    """The declared thousand people over three groups (two values and null), each with an income of 500."""
    found = job(keys=(SEX,))
    columns = shown(found, Column("k0"), N, S, M, Call("divide", (S, N)))
    about = expected.values(expected.expectations(found, columns), columns)
    assert about[:4] == (None, 333, 166_667, 500.0)
    assert about[4] == pytest.approx(500, rel=0.1)  # the middle of what a ratio may be
    assert found.schema.policy.unit is not None
    assert shown(found, N)[0].type != DOUBLE


def test_planted_a_search_that_takes_a_cheaper_price_than_suffices_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "_least", lambda _suffices, most: most // 1000)
    found = job()
    noisy, wanted = shown(found, N), asked(absolute="5")
    assert not met(found, noisy, wanted, accuracy.smallest_epsilon(found, noisy, wanted))
