"""Private group keys under `pure`: answered where the policy has a delta to select them with, else refused."""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Iterator
from decimal import Decimal

import pytest

from policies.model import Dp
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT
from sandbox import words
from sandbox.protocol import Prepare, Question, Refused, Released
from sandbox.relational import price
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Refuse
from sandbox.relational.nodes import Measure, Output, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.release import noise
from tests import noiseless
from tests.builders import World, load, make_world, policy_text
from tests.domain_world import PEOPLE, DomainWorld, domain_world

DIAGNOSIS = Column("0.diagnosis")
ASKED = Release(Scan("people", 0), (DIAGNOSIS,), (Measure("count_rows"),))
EACH = DELTA_UNIT // 2 // 10**12
"""What one query may spend by default: a delta of 1e-9 / 2000."""


def clinic(delta: str) -> tuple[World, Dp]:
    world = make_world(load(policy_text(accountant="pure", delta=delta)), random.Random(1))
    assert world.policy.release.dp is not None
    return world, world.policy.release.dp


def test_the_price_is_epsilon_and_a_share_of_delta_and_a_quarter_selects_the_keys() -> None:
    world, dp = clinic("1e-9")
    budget = price.price(plan_release(ASKED, world.schema), dp, EPSILON_UNIT)
    assert (budget.price.epsilon, budget.price.rho, budget.price.delta) == (EPSILON_UNIT, 0, EACH)
    assert (budget.keys, budget.delta) == (EPSILON_UNIT // 4, EACH)
    assert [share.values for share in budget.shares] == [EPSILON_UNIT * 3 // 4]


def test_groups_alone_are_selected_with_all_of_epsilon() -> None:
    world, dp = clinic("1e-9")
    plan = plan_release(dataclasses.replace(ASKED, measures=()), world.schema)
    assert price.price(plan, dp, EPSILON_UNIT).keys == EPSILON_UNIT


@pytest.mark.parametrize(("measures", "share"), [((), "all"), (ASKED.measures, "a quarter")])
def test_a_check_tells_the_threshold_and_what_it_costs(measures: tuple[Measure, ...], share: str) -> None:
    world, dp = clinic("1e-9")
    dp = dataclasses.replace(dp, units_min=10)
    release = dataclasses.replace(ASKED, measures=measures)
    job = noiseless.job_of(Output(release, (("d", Column("k0")),)), world.schema, dp)
    limit = noise.threshold_for(1, noise.Paid("pure", job.budget.keys, EACH)).value
    told = " ".join(words.steps(job, job.question.plan))
    assert f"reaches {limit + 9} ({share} of the epsilon, delta 0.0000000000005)" in told


def test_public_keys_spend_no_delta() -> None:
    world, dp = clinic("1e-9")
    plan = plan_release(dataclasses.replace(ASKED, keys=(Column("0.sex"),)), world.schema)
    assert price.price(plan, dp, EPSILON_UNIT).price.delta == 0


def test_without_a_delta_private_keys_are_refused() -> None:
    world, _ = clinic("0")
    with pytest.raises(Refuse) as caught:
        plan_release(ASKED, world.schema)
    assert caught.value.refused.code == "keys_not_public"


confined = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    with domain_world(tmp_path_factory.mktemp("home"), policy_text(accountant="pure", delta="1e-9")) as found:
        yield found


def by_diagnosis(domain: DomainWorld, epsilon: str) -> Question:
    return domain.question(keys=(DIAGNOSIS,), epsilon=epsilon)


@confined
def test_large_private_groups_are_answered_and_paid_from_epsilon_and_delta(domain: DomainWorld) -> None:
    before = domain.spent()
    found = domain.run(by_diagnosis(domain, "4"))
    assert isinstance(found, Released)
    counts = {key: int(str(number)) for key, number in found.rows}
    assert counts.keys() == {"flu", "gout"}
    assert all(abs(count - PEOPLE // 2) < 20 for count in counts.values())
    assert domain.spent() == (before[0] + 4 * EPSILON_UNIT, before[1] + EACH)


@confined
def test_at_a_small_epsilon_the_threshold_is_above_these_groups(domain: DomainWorld) -> None:
    found = domain.run(by_diagnosis(domain, "0.1"))
    assert isinstance(found, Released)
    assert found.rows == ()


@confined
def test_the_ceiling_counts_delta_under_pure(domain: DomainWorld) -> None:
    served = domain.door._datasets.find("clinic")
    assert served is not None
    assert served.ceiling is not None
    assert served.ceiling.delta == DELTA_UNIT // 10**9
    full = dataclasses.replace(served.ceiling, delta=domain.spent()[1] + EACH - 1)
    domain.door._datasets._served["clinic"] = dataclasses.replace(served, ceiling=full)
    try:
        found = domain.door.prepare(Prepare(by_diagnosis(domain, "5"), reserve=False))
    finally:
        domain.door._datasets._served["clinic"] = served
    assert isinstance(found, Refused)
    assert found.code == "budget_exhausted"
    assert "no delta left" in found.detail


@confined
def test_a_delta_too_small_for_any_threshold_is_refused_before_anything_is_paid(domain: DomainWorld) -> None:
    served = domain.door._datasets.find("clinic")
    assert served is not None
    assert served.dp is not None
    tiny = dataclasses.replace(served.dp, delta_per_query=Decimal("1e-20"))
    domain.door._datasets._served["clinic"] = dataclasses.replace(served, dp=tiny)
    try:
        found = domain.door.prepare(Prepare(by_diagnosis(domain, "5"), reserve=False))
    finally:
        domain.door._datasets._served["clinic"] = served
    assert isinstance(found, Refused)
    assert found.code == "keys_not_public"
