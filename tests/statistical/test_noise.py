"""The noise has the scale that the price says: at the right scale the test passes, at 30 % more or less it fails."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest

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


def test_a_key_of_one_unit_appears_about_as_often_as_delta_allows() -> None:
    delta, share, runs = DELTA_UNIT // 200, RHO_UNIT // 10, 8_000
    shown = sum(bool(noise.select_keys({("rare",): 1}, 1, 1, share, delta)) for _ in range(runs))
    assert shown <= 40 + SIGMAS * math.sqrt(40)


def test_a_threshold_two_lower_does_not_hold() -> None:
    """One step is for the difference between the discrete noise and the continuous tail of the map."""
    groups, share, delta = 3, RHO_UNIT // 10, DELTA_UNIT // 10**9
    limit = noise.threshold_for(groups, share, delta)
    assert noise._holds(groups, limit.scale, limit.value - 1, share, delta)
    assert not noise._holds(groups, limit.scale, limit.value - 2, share, delta)


def shown_alone(scale: float, threshold: int) -> float:
    """The exact probability that a key of one unit is shown: 1 plus discrete Gaussian noise reaches the threshold."""
    reach = int(40 * scale) + 40
    whole = math.fsum(math.exp(-(x * x) / (2 * scale * scale)) for x in range(-reach, reach + 1))
    part = (math.exp(-(x * x) / (2 * scale * scale)) for x in range(threshold - 1, threshold + reach))
    return math.fsum(part) / whole


@pytest.mark.parametrize("groups", [1, 3, 8, 50])
@pytest.mark.parametrize("share", [RHO_UNIT * 2, RHO_UNIT // 2, 949_000_000, 10**7])
@pytest.mark.parametrize("delta", [10**10, 5 * 10**11, 10**15, 10**18])
def test_keys_of_one_unit_are_shown_within_delta_by_the_exact_tail(groups: int, share: int, delta: int) -> None:
    limit = noise.threshold_for(groups, share, delta)
    assert groups * shown_alone(limit.scale, limit.value) <= delta / DELTA_UNIT


def test_the_map_alone_would_let_too_much_through() -> None:
    """OpenDP's own word at the step below: within delta by its map, six times over by the exact tail."""
    limit = noise.threshold_for(1, RHO_UNIT // 2, DELTA_UNIT // 10**9)
    assert noise._holds(1, limit.scale, limit.value - 1, RHO_UNIT // 2, DELTA_UNIT // 10**9)
    assert shown_alone(limit.scale, limit.value - 1) > 6e-9


def test_a_planted_lower_threshold_shows_lonely_keys_too_often() -> None:
    """The control of the frequency test: ten below the threshold, it must fail."""
    delta, share, runs = DELTA_UNIT // 1000, RHO_UNIT // 10, 4_000
    limit = noise.threshold_for(1, share, delta)
    planted = noise._selection(limit.scale, limit.value - 5)
    shown = sum(bool(planted({"rare": 1})) for _ in range(runs))
    assert shown > 4 + SIGMAS * math.sqrt(4)


def test_units_min_moves_the_threshold_and_not_the_count() -> None:
    share, delta = RHO_UNIT // 10, DELTA_UNIT // 10**9
    kept = [noise.select_keys({("a",): 1000}, 1, 100, share, delta)[("a",)] for _ in range(200)]
    assert abs(sum(kept) / len(kept) - 1000) < 2
    assert noise.select_keys({("a",): 99}, 1, 100, share, delta) == {}


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
    share, runs = RHO_UNIT // 10, 3_000
    accountant = "zcdp" if mechanism == "gaussian" else "pure"
    half = noise.scale_of(norm_of(20), accountant, share).accuracy(0.05, cells)
    hits = sum(abs(sum(noise.add_noise([0] * cells, norm_of(20), accountant, share))) <= half for _ in range(runs))
    assert hits / runs >= 0.94
    assert mechanism == "laplace" or hits / runs <= 0.965
