"""What releases lose, by experiment: a 95 % lower bound on epsilon is at or under the price, and over it with a fault.

Releases are made as the domain makes them, over tiny neighbouring datasets, for each mechanism under both accountants.
`BPK_SAMPLES` sets the samples of each dataset; `BPK_PART=2/8` takes every eighth pair of all, from the second on.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import pytest

from sandbox.relational.lower import norms
from sandbox.relational.statistics import Norm, Vector
from sandbox.release import noise
from tests.empirical import epsilon_at_least, probability_at_least
from tests.neighbouring_pairs import PURE, ZCDP, Pair, outcomes

SAMPLES = int(os.environ.get("BPK_SAMPLES", "2000"))
PART = os.environ.get("BPK_PART", "")
FEW = [
    PURE["mean"],
    PURE["count of a heavy unit"],
    PURE["distinct of many"],
    PURE["median over groups"],
    PURE["several private keys"],
    ZCDP["sum by levels"],
    ZCDP["mean of a heavy unit"],
    ZCDP["private keys"],
]
TRIES = 3
"""A bound that is over the claim is measured anew: chance, one time in twenty at most, does not repeat, faults do."""


def pairs() -> Sequence[Pair]:
    if not PART:
        return FEW
    part, parts = map(int, PART.split("/"))
    return [*PURE.values(), *ZCDP.values()][part - 1 :: parts]


def measured(pair: Pair, samples: int) -> tuple[float, float]:
    """(lower bound on epsilon, claim)"""
    world = pair.world()
    with world.connection:
        job = pair.job(world)
        epsilon, delta = pair.claim(job)
        return epsilon_at_least(*outcomes(pair, world, job, samples), delta), epsilon


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pair", pairs(), ids=lambda pair: f"{pair.accountant} {pair.name}")
def test_a_release_loses_no_more_than_its_price(pair: Pair) -> None:
    for _ in range(TRIES):
        bound, claim = measured(pair, SAMPLES)
        print(
            f"\n{pair.accountant} {pair.name}: epsilon is at least {bound:.3f}, claimed {claim:.3f}, {SAMPLES} samples"
        )
        if bound <= claim:
            return
    pytest.fail(f"{pair.name} loses more than it says")


AddNoise = Callable[[Sequence[int], Norm, str, int], tuple[int, ...]]
_add_noise: AddNoise = noise.add_noise  # type: ignore[assignment]
_choose_least = noise.choose_least


def _half_the_noise(values: Sequence[int], norm: Norm, accountant: str, share: int) -> tuple[int, ...]:
    return _add_noise(values, norm, accountant, share * (4 if accountant == "zcdp" else 2))


def _sensitivity_of_one_row(values: Sequence[int], norm: Norm, accountant: str, share: int) -> tuple[int, ...]:
    """Three rows of each unit are declared."""
    return _add_noise(values, Norm(norm.squared // 9, norm.total // 3), accountant, share)


def _no_clamp(i: int, vector: Vector, accountant: str) -> list[str]:
    return [f"CAST(r{i}_{j} AS BIGINT) AS r{i}_{j}" for j in range(len(vector.components))]


def _every_key(units: Mapping[tuple[object, ...], int], *_: object) -> dict[tuple[object, ...], int]:
    return dict(units)


def _a_lower_threshold(units: Mapping[Any, int], groups: int, units_min: int, paid: noise.Paid) -> dict[Any, int]:
    """Lonely keys are shown several times as often as delta allows."""
    limit = noise.threshold_for(groups, paid)
    chooser = noise._selection(noise.Threshold(limit.scale, limit.value - math.ceil(2 * limit.scale)), paid.accountant)
    names = {noise._name(key): key for key in units}
    return {names[name]: n for name, n in chooser({name: units[key] for name, key in names.items()}).items()}


def _the_least(scores: Sequence[int], *_: object, monotonic: bool) -> int:
    return min(range(len(scores)), key=scores.__getitem__)


def _weight_of_nothing(scores: Sequence[int], sensitivity: int, *price: object, monotonic: bool) -> int:
    """A choice for a row that weighs 1, where rows weigh 1024 and three are declared."""
    return _choose_least(scores, sensitivity // (3 * 1024), *price, monotonic=monotonic)  # type: ignore[arg-type]


PLANTED = {
    "half the noise, pure": (PURE["count of a heavy unit"], noise, "add_noise", _half_the_noise),
    "half the noise, zcdp": (ZCDP["variance"], noise, "add_noise", _half_the_noise),
    "the sensitivity of one row": (ZCDP["mean of a heavy unit"], noise, "add_noise", _sensitivity_of_one_row),
    "no clamp": (PURE["count of a heavy unit"], norms, "clamped", _no_clamp),
    "a leaked key": (ZCDP["private keys"], noise, "select_keys", _every_key),
    "a lower threshold, pure": (PURE["private keys"], noise, "select_keys", _a_lower_threshold),
    "a lower threshold, zcdp": (ZCDP["private keys"], noise, "select_keys", _a_lower_threshold),
    "a norm chosen without noise": (ZCDP["sum by levels"], noise, "choose_least", _the_least),
    "a cell chosen without weights": (PURE["median over groups"], noise, "choose_least", _weight_of_nothing),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_loses_more_than_the_price(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, module, name, broken = PLANTED[fault]
    monkeypatch.setattr(module, name, broken)
    bound, claim = measured(pair, 2500)
    print(f"\n{fault}: epsilon is at least {bound:.3f}, claimed {claim:.3f}")
    assert bound > claim


def test_the_tester_finds_the_epsilon_of_a_coin() -> None:
    """Answers that are true three times in four lose log 3, and no more is ever found."""
    dice = random.Random(1)
    told = [[("", float((dice.random() < 0.75) == truth)) for _ in range(20_000)] for truth in (True, False)]
    assert 0.95 < epsilon_at_least(*told, delta=0.0) < 1.0986
    assert epsilon_at_least(told[0], told[0], delta=0.0) == 0.0


@pytest.mark.parametrize(("hits", "tries"), [(1, 10), (5, 10), (10, 10), (60, 100), (999, 1000)])
def test_ends_of_probabilities_are_those_of_clopper_and_pearson(hits: int, tries: int) -> None:
    """At the end that is found, so many hits or more have a chance of exactly the error."""
    low = Fraction(probability_at_least(hits, tries, 0.05))
    chance = sum(math.comb(tries, k) * low**k * (1 - low) ** (tries - k) for k in range(hits, tries + 1))
    assert float(chance) == pytest.approx(0.05)


def test_where_nothing_was_seen_any_small_probability_may_be() -> None:
    assert probability_at_least(0, 10, 0.05) == 0.0
