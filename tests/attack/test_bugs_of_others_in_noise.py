"""Known bugs of other libraries' noise and prices, planted here once: in each case a test of ours notices."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from policies.model import Accountant
from policies.privacy_loss import EPSILON_UNIT, RHO_UNIT
from sandbox.relational import price
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Schema
from sandbox.relational.nodes import Measure, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.relational.price import Share
from sandbox.relational.statistics import Norm
from sandbox.release import noise
from sandbox.release.make import Job, make
from tests.builders import World, load, make_world, policy_text
from tests.neighbouring_pairs import PURE, ZCDP, Pair
from tests.sensitivity import looks
from tests.statistical.test_empirical_epsilon import measured
from tests.tells_too_much import SEED, constant_numbers, job_for

VISITS = Scan("visits", 0)


@pytest.fixture
def clinic() -> Iterator[World]:
    world = make_world(load(policy_text(groups_max=3, visits_max=3)), random.Random(5))
    with world.connection:
        yield world


# SmartNoise


@contextmanager
def counting() -> Iterator[list[int]]:
    """What every mechanism is given to spend, in 1e-12 of the accountant's loss, and what is spent of delta."""
    spent = [0, 0]
    add, least, keys = noise.add_noise, noise.choose_least, noise.select_keys

    def added(values: Sequence[int], norm: Norm, accountant: Any, share: int) -> tuple[int, ...]:
        spent[0] += share
        return add(values, norm, accountant, share)

    def chosen(scores: Sequence[int], sensitivity: int, accountant: Any, share: int, *, monotonic: bool) -> int:
        spent[0] += share
        return least(scores, sensitivity, accountant, share, monotonic=monotonic)

    def selected(units: Mapping[Any, int], groups: int, units_min: int, paid: noise.Paid) -> dict[Any, int]:
        spent[0], spent[1] = spent[0] + paid.share, spent[1] + paid.delta
        return keys(units, groups, units_min, paid)

    with (
        patch.object(noise, "add_noise", added),
        patch.object(noise, "choose_least", chosen),
        patch.object(noise, "select_keys", selected),
    ):
        yield spent


def overspent(pair: Pair) -> bool:
    """Whether the mechanisms of a release spend more than its price, whatever that counts in."""
    world = pair.world()
    with world.connection, counting() as spent:
        job = pair.job(world)
        make(job, lambda lowered, _: world.rows(lowered), b"seed")
    paid = job.budget.price.rho if pair.accountant == "zcdp" else job.budget.price.epsilon
    return spent[0] > paid or spent[1] > job.budget.delta


CHARGED = [pair for pairs in (PURE, ZCDP) for pair in pairs.values() if not pair.keys or "private" in pair.name]
"""Without public groups, in which choices are made side by side at one price."""


@pytest.mark.parametrize("pair", CHARGED, ids=lambda pair: f"{pair.accountant} {pair.name}")
def test_mechanisms_spend_no_more_than_the_price(pair: Pair) -> None:
    assert not overspent(pair)


@pytest.mark.parametrize("pairs", [PURE, ZCDP], ids=["pure", "zcdp"])
def test_a_selection_of_keys_that_is_not_charged_is_noticed(
    pairs: Mapping[str, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmartNoise's `use_dpsu`: a set union at an epsilon of its own, which no odometer hears of."""
    honest = price._shares
    monkeypatch.setattr(price, "_shares", lambda planned, loss, accountant: honest(planned, loss * 4 // 3, accountant))
    assert overspent(pairs["several private keys"])


def test_a_choice_of_norm_that_is_not_charged_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = price._share

    def free(statistic: Any, whole: int, accountant: Any, ends: int) -> Share:
        return dataclasses.replace(honest(statistic, whole, accountant, ends), values=whole)

    monkeypatch.setattr(price, "_share", free)
    assert overspent(PURE["sum by levels"])


def unbounded_job(world: World) -> Job:
    bare = dict(world.policy.tables["people"].columns)
    bare["income"] = dataclasses.replace(bare["income"], range=None, step=None)
    people = dataclasses.replace(world.policy.tables["people"], columns=bare)
    policy = dataclasses.replace(world.policy, tables={**world.policy.tables, "people": people})
    wide = World(policy, Schema(policy, world.schema.public_keys), world.connection, world.units)
    return job_for(wide, Scan("people", 0), Measure("sum", Column("0.income")))


def test_a_sum_without_a_declared_range_has_noise(clinic: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SmartNoise #317: no bound, and so no noise. Here the norm is what rows are cut to, so without one nothing is."""
    job = unbounded_job(clinic)
    assert constant_numbers(job, clinic) == 0
    planned = job.plan
    assert not any(looks(random.Random(SEED), clinic, planned, range(clinic.units)))
    monkeypatch.setattr(noise, "scale_of", lambda *_: noise.Scale("gaussian", 0.0))
    with pytest.raises(noise.MapExceedsPrice):
        noise.add_noise([5], Norm(2**104, 2**52), "zcdp", RHO_UNIT)


def test_the_sensitivity_of_one_moment_for_three_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmartNoise #203: a variance releases three sums, and its noise was for one."""
    honest = noise.add_noise

    def for_one(values: Sequence[int], norm: Norm, accountant: Any, share: int) -> tuple[int, ...]:
        return honest(values, Norm(norm.squared // 3, norm.total // 3), accountant, share)

    monkeypatch.setattr(noise, "add_noise", for_one)
    bound, claim = measured(PURE["variance"], 1500)
    assert bound > claim


def test_a_norm_of_a_variance_that_is_planned_too_small_costs_accuracy_and_no_privacy(clinic: World) -> None:
    """The same mistake in the plan: rows are cut to the norm that noise is for, whichever it is."""
    planned = plan_release(Release(VISITS, (), (Measure("var_pop", Column("0.cost")),)), clinic.schema)
    (vector,) = planned.vectors
    cut = dataclasses.replace(vector, norm=Norm(vector.norm.squared // 3, vector.norm.total // 3))
    small = dataclasses.replace(planned, statistics=(cut,))
    assert not any(looks(random.Random(SEED), clinic, small, range(clinic.units)))


# Google


@pytest.mark.parametrize(("accountant", "share"), [("zcdp", RHO_UNIT // 10), ("pure", EPSILON_UNIT)])
def test_a_threshold_cut_to_a_whole_number_is_noticed(
    accountant: Accountant, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PR #101 of their library: truncated where it had to be rounded up, so lonely keys were shown too often."""
    honest, paid = noise.threshold_for, noise.Paid(accountant, share, 10**15)

    def cut(groups: int, given: noise.Paid) -> noise.Threshold:
        found = honest(groups, given)
        return noise.Threshold(found.scale, found.value - 1)

    units = {("flu",): 1000}
    assert noise.select_keys(units, 1, 1, paid)
    monkeypatch.setattr(noise, "threshold_for", cut)
    with pytest.raises(noise.MapExceedsPrice):
        noise.select_keys(units, 1, 1, paid)


# CWI


EQUAL = 40


def equal_cells_have_equal_noise() -> bool:
    noisy = noise.add_noise([1234] * EQUAL, Norm(100**2, 100), "pure", EPSILON_UNIT)
    return len(set(noisy)) < EQUAL // 2


def test_noise_that_is_seeded_by_its_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """CWI's extension: cells that are equal got the same noise, so that they showed that they are."""
    assert not equal_cells_have_equal_noise()

    def seeded(values: Sequence[int], norm: Norm, accountant: str, share: int) -> tuple[int, ...]:
        return tuple(value + round(random.Random(value).gauss(0, norm.total)) for value in values)

    monkeypatch.setattr(noise, "add_noise", seeded)
    assert equal_cells_have_equal_noise()
