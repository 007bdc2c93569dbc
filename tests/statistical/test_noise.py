"""The noise has the scale that the price says: at the right scale the test passes, at 30 % more or less it fails."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction

import pytest

from policies.lint_columns import DELTA_TOLD
from policies.model import Accountant
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, RHO_UNIT
from policies.types import DOUBLE
from sandbox.relational.statistics import Norm
from sandbox.release import noise, present
from sandbox.release.present import Cell
from sandbox.release.released import ReleasedGrid, ReleasedMeasure, ReleasedStatistic

DRAWS = 20_000
SIGMAS = 4.5


def norm_of(most: int) -> Norm:
    return Norm(most * most, most)


def drawn(accountant: str, norm: int, share: int, factor: float = 1.0) -> list[int]:
    """Noise on zeros, for a norm that is `factor` of the declared one: a planted wrong scale."""
    return list(noise.add_noise([0] * DRAWS, norm_of(round(norm * factor)), accountant, share))


def fits(values: list[int], variance: float, kurtosis: float) -> bool:
    """Whether mean and variance are within 4.5 standard errors of a symmetric noise with these moments."""
    mean = sum(values) / len(values)
    second = sum(v * v for v in values) / len(values)
    mean_ok = abs(mean) < SIGMAS * math.sqrt(variance / len(values))
    return mean_ok and abs(second - variance) < SIGMAS * variance * math.sqrt((kurtosis - 1) / len(values))


def gaussian_variance(norm: int, share: int) -> float:
    return norm * norm / (2 * share / RHO_UNIT)


def laplace_variance(norm: int, share: int) -> float:
    ratio = math.exp(-(share / EPSILON_UNIT) / norm)
    return 2 * ratio / (1 - ratio) ** 2


@pytest.mark.parametrize(
    ("accountant", "variance", "kurtosis"), [("zcdp", gaussian_variance, 3), ("pure", laplace_variance, 6)]
)
@pytest.mark.parametrize(("norm", "share"), [(1, 3_796_322_965), (50, RHO_UNIT // 10), (10**6, RHO_UNIT // 2)])
def test_noise_has_the_scale_of_its_price(accountant, variance, kurtosis, norm, share) -> None:
    assert fits(drawn(accountant, norm, share), variance(norm, share), kurtosis)


@pytest.mark.parametrize(
    ("accountant", "variance", "kurtosis"), [("zcdp", gaussian_variance, 3), ("pure", laplace_variance, 6)]
)
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_thirty_percent_off_is_noticed(accountant, variance, kurtosis, factor) -> None:
    norm, share = 1000, RHO_UNIT // 10
    assert not fits(drawn(accountant, norm, share, factor), variance(norm, share), kurtosis)


def test_noise_is_never_the_same_twice() -> None:
    assert drawn("zcdp", 1000, RHO_UNIT // 10)[:50] != drawn("zcdp", 1000, RHO_UNIT // 10)[:50]


def test_a_map_that_says_more_than_the_price_releases_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_UP", 0.9)
    with pytest.raises(noise.MapExceedsPrice):
        noise.add_noise([0], norm_of(5), "zcdp", RHO_UNIT // 10)


BOTH = pytest.mark.parametrize("accountant", ["zcdp", "pure"])


def paid(accountant: Accountant, part: int) -> noise.Paid:
    """A share of the key stage, with a delta of 1 / `part`."""
    return noise.Paid(accountant, RHO_UNIT // 10 if accountant == "zcdp" else EPSILON_UNIT // 2, DELTA_UNIT // part)


@BOTH
def test_a_key_of_one_unit_appears_about_as_often_as_delta_allows(accountant: Accountant) -> None:
    runs = 8_000
    shown = sum(bool(noise.select_keys({("rare",): 1}, 1, 1, paid(accountant, 200))) for _ in range(runs))
    assert shown <= 40 + SIGMAS * math.sqrt(40)


def lower(limit: noise.Threshold, steps: int) -> noise.Threshold:
    return noise.Threshold(limit.scale, limit.value - steps)


@BOTH
def test_a_threshold_two_lower_does_not_hold(accountant: Accountant) -> None:
    """One step is for the difference between the discrete noise and the tail that the map takes."""
    given = paid(accountant, 10**9)
    limit = noise.threshold_for(3, given)
    assert noise._holds(3, lower(limit, 1), given)
    assert not noise._holds(3, lower(limit, 2), given)


def shown_alone(limit: noise.Threshold, accountant: Accountant) -> float:
    """The exact probability that a key of one unit is shown: 1 plus discrete noise reaches the threshold."""
    scale, away = limit.scale, limit.value - 1
    if accountant == "pure":
        return math.exp(-away / scale) / (1 + math.exp(-1 / scale))
    reach = int(40 * scale) + 40
    whole = math.fsum(math.exp(-(x * x) / (2 * scale * scale)) for x in range(-reach, reach + 1))
    part = (math.exp(-(x * x) / (2 * scale * scale)) for x in range(away, away + 1 + reach))
    return math.fsum(part) / whole


SHARES: list[tuple[Accountant, int]] = [
    *(("zcdp", share) for share in (RHO_UNIT * 2, RHO_UNIT // 2, 949_000_000, 10**7)),
    *(("pure", share) for share in (EPSILON_UNIT * 5, EPSILON_UNIT, EPSILON_UNIT // 8, EPSILON_UNIT // 1000)),
]


@pytest.mark.parametrize("groups", [1, 3, 8, 50])
@pytest.mark.parametrize(("accountant", "share"), SHARES)
@pytest.mark.parametrize("delta", [10**10, 5 * 10**11, 10**15, 10**18])
def test_keys_of_one_unit_are_shown_within_delta_by_the_exact_tail(
    groups: int, accountant: Accountant, share: int, delta: int
) -> None:
    limit = noise.threshold_for(groups, noise.Paid(accountant, share, delta))
    assert groups * shown_alone(limit, accountant) <= delta / DELTA_UNIT


@BOTH
def test_the_map_alone_would_let_too_much_through(accountant: Accountant) -> None:
    """OpenDP's own word at the step below: within delta by its map, several times over by the exact tail."""
    given = noise.Paid(accountant, {"zcdp": RHO_UNIT // 2, "pure": 2 * EPSILON_UNIT}[accountant], DELTA_UNIT // 10**9)
    below = lower(noise.threshold_for(1, given), 1)
    assert noise._holds(1, below, given)
    told = noise._selection(below, accountant).map(noise._distance(1, accountant))[1]
    assert shown_alone(below, accountant) > 5 * told


@BOTH
def test_a_planted_lower_threshold_shows_lonely_keys_too_often(accountant: Accountant) -> None:
    """The control of the frequency test: five below the threshold, it must fail."""
    runs = 4_000
    planted = noise._selection(lower(noise.threshold_for(1, paid(accountant, 1000)), 5), accountant)
    shown = sum(bool(planted({"rare": 1})) for _ in range(runs))
    assert shown > 4 + SIGMAS * math.sqrt(4)


@BOTH
def test_units_min_moves_the_threshold_and_not_the_count(accountant: Accountant) -> None:
    given = paid(accountant, 10**9)
    kept = [noise.select_keys({("a",): 1000}, 1, 100, given)[("a",)] for _ in range(200)]
    assert abs(sum(kept) / len(kept) - 1000) < 2
    assert noise.select_keys({("a",): 99}, 1, 100, given) == {}


@BOTH
def test_where_no_threshold_is_known_to_hold_there_is_none(accountant: Accountant) -> None:
    """The map says 2^-53 at the least, however high the threshold is."""
    with pytest.raises(noise.NoThreshold):
        noise.threshold_for(1, paid(accountant, 10**18))
    told = math.ceil(DELTA_TOLD * DELTA_UNIT)
    assert noise.threshold_for(1, replace(paid(accountant, 1), delta=told)).value > 1


GRID = ReleasedGrid("0", "100", "1")


def covered(
    function: str, exact: tuple[int, ...], truth: Fraction, scale: float, grid: int, *, arguments: int = 1
) -> float:
    """How often the 95 % interval holds the exact bounded answer."""
    norm, runs = Norm(round(scale**2 * 2), 0), 2_000
    measure = ReleasedMeasure(function, DOUBLE, 0, clamped=False)
    hits = Counter[bool]()
    for _ in range(runs):
        noisy = noise.add_noise(exact, norm, "zcdp", RHO_UNIT)
        statistic = ReleasedStatistic("gaussian", scale, grid, (GRID,) * arguments, None, (noisy,))
        band = present.estimate(measure, (statistic,), (Cell(noisy),)).band
        assert band is not None
        hits[band[0] <= truth <= band[1]] += 1
    return hits[True] / runs


def test_intervals_of_sums_cover_as_often_as_they_say() -> None:
    assert 0.94 <= covered("sum", (5000,), Fraction(5000), 40.0, 1) <= 0.965


def test_intervals_of_means_are_conservative() -> None:
    grid = 2**20
    assert covered("avg", (300 * grid, 30 * grid), Fraction(55), 10.0 * grid, grid) >= 0.95


UNIFORM = 2**20
"""Moments of 3,000 values spread evenly over the range: E[u] = 0, E[u^2] = 1/3, so E[2u^2 - 1] = -1/3."""


@pytest.mark.parametrize(
    ("function", "truth"),
    [("var_pop", Fraction(2500, 3)), ("var_samp", Fraction(2500 * 3000, 3 * 2999)), ("stddev_pop", None)],
)
def test_intervals_of_variances_are_conservative(function: str, truth: Fraction | None) -> None:
    exact = (3000 * UNIFORM, 0, -1000 * UNIFORM)
    expected = truth if truth is not None else Fraction(math.sqrt(2500 / 3))
    assert covered(function, exact, expected, 10.0 * UNIFORM, UNIFORM) >= 0.95


@pytest.mark.parametrize(
    ("function", "truth"),
    [
        ("covar_pop", Fraction(2500, 6)),
        ("corr", Fraction(1, 2)),
        ("regr_slope", Fraction(1, 2)),
        ("regr_intercept", Fraction(25)),
    ],
)
def test_intervals_of_pairs_are_conservative(function: str, truth: Fraction) -> None:
    exact = (3000 * UNIFORM, 0, 0, 500 * UNIFORM, -1000 * UNIFORM, -1000 * UNIFORM)
    assert covered(function, exact, truth, 10.0 * UNIFORM, UNIFORM, arguments=2) >= 0.95


@pytest.mark.parametrize("cells", [2, 7, 40])
@pytest.mark.parametrize("mechanism", ["gaussian", "laplace"])
def test_intervals_of_added_up_cells_cover(mechanism: str, cells: int) -> None:
    """A sum of independent noises: close to 95 % under Gaussian noise, at least that under Laplace."""
    share, runs = RHO_UNIT // 10, 10_000
    accountant = "zcdp" if mechanism == "gaussian" else "pure"
    half = noise.scale_of(norm_of(20), accountant, share).accuracy(0.05, cells)
    hits = sum(abs(sum(noise.add_noise([0] * cells, norm_of(20), accountant, share))) <= half for _ in range(runs))
    assert hits / runs >= 0.94
    assert mechanism == "laplace" or hits / runs <= 0.965
