"""Choices are as private as they are paid for, and good: the right level, the right cell."""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import pytest

from policies.privacy_loss import EPSILON_UNIT, RHO_UNIT
from sandbox.relational.expressions import Column
from sandbox.relational.price import Share
from sandbox.relational.statistics import Argument, Component, Norm, Quantiles, Vector
from sandbox.release import choices, noise

DRAWS = 6_000
SIGMAS = 4.5


def odds(
    scores: list[int], neighbour: list[int], epsilon: float, share: int, accountant: str, *, monotonic: bool
) -> int:
    """How many of the places are chosen more than e^epsilon times as often, beyond 4.5 standard errors."""
    first, second = (
        Counter(noise.choose_least(s, 1, accountant, share, monotonic=monotonic) for _ in range(DRAWS))
        for s in (scores, neighbour)
    )
    wrong = 0
    for place in range(len(scores)):
        p, q = first[place] / DRAWS, second[place] / DRAWS
        error = math.sqrt((p + math.exp(2 * epsilon) * q + 1e-6) / DRAWS)
        wrong += p > math.exp(epsilon) * q + SIGMAS * error
    return wrong


WORST = [0, 0], [1, -1]
"""Under two scores that move against each other the loss is the whole of it."""


def test_a_choice_is_as_private_as_its_epsilon() -> None:
    assert odds(*WORST, 1.0, EPSILON_UNIT, "pure", monotonic=False) == 0
    assert odds(*WORST[::-1], 1.0, EPSILON_UNIT, "pure", monotonic=False) == 0


def test_half_the_noise_of_a_choice_is_noticed() -> None:
    assert odds(*WORST, 0.5, EPSILON_UNIT, "pure", monotonic=False) > 0


def test_under_zcdp_a_choice_is_bounded_by_the_epsilon_of_its_noise() -> None:
    """rho = epsilon^2 / 8: the choice's own epsilon is the root of 8 rho."""
    assert odds(*WORST, 1.0, RHO_UNIT // 8, "zcdp", monotonic=False) == 0
    assert odds(*WORST, 0.3, RHO_UNIT // 8, "zcdp", monotonic=False) > 0


def test_scores_that_move_in_one_direction_cost_half() -> None:
    up = [0, 0], [0, 1]
    assert odds(*up, 1.0, EPSILON_UNIT, "pure", monotonic=True) == 0
    assert odds(*up, 0.5, EPSILON_UNIT, "pure", monotonic=True) > 0


def test_a_map_that_says_more_than_the_share_chooses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "_UP", 0.9)
    with pytest.raises(noise.MapExceedsPrice):
        noise.choose_least([0, 1], 1, "pure", EPSILON_UNIT, monotonic=False)


TOTALS = Vector((Component("value", 1, Argument(Column("x"))),), Norm(2**60, 2**30), 1, loose=True)


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_the_level_that_holds_nearly_everybody_is_chosen(accountant: str) -> None:
    """100,000 units at level 20, ten at 50: the norm is near that of the many, and not that of the few."""
    share = Share(RHO_UNIT // 100, RHO_UNIT // 500) if accountant == "zcdp" else Share(EPSILON_UNIT, EPSILON_UNIT // 5)
    found = [choices.choose_level({20: 100_000, 50: 10}, TOTALS, 1, accountant, share) for _ in range(200)]
    assert sum(20 <= level <= 24 for level in found) > 190


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_more_groups_share_the_bias_and_lower_the_norm(accountant: str) -> None:
    """With 10,000 groups the noise of each is saved by a lower norm, at the price of the 500 units above."""
    share = Share(RHO_UNIT // 2, RHO_UNIT // 5) if accountant == "zcdp" else Share(EPSILON_UNIT, EPSILON_UNIT // 2)
    few, many = (
        sum(choices.choose_level({10: 100_000, 30: 500}, TOTALS, groups, accountant, share) for _ in range(100)) / 100
        for groups in (1, 10_000)
    )
    assert many < 12
    assert few > 25


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
def test_too_few_units_leave_the_declared_norm(accountant: str) -> None:
    """Four hundred units at level 30, which a narrow WHERE may leave: a norm far below theirs would tell nonsense."""
    shares = {"zcdp": Share(RHO_UNIT // 100, RHO_UNIT // 500), "pure": Share(EPSILON_UNIT // 2, EPSILON_UNIT // 10)}
    found = {choices.choose_level({30: 400}, TOTALS, 1, accountant, shares[accountant]) for _ in range(200)}
    assert found == {TOTALS.levels(accountant)}


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
@pytest.mark.parametrize("groups", [1, 100, 100_000])
def test_however_many_the_groups_most_units_are_held_whole(accountant: str, groups: int) -> None:
    share = Share(RHO_UNIT // 100, RHO_UNIT // 500) if accountant == "zcdp" else Share(EPSILON_UNIT, EPSILON_UNIT // 5)
    found = [choices.choose_level({30: 100_000}, TOTALS, groups, accountant, share) for _ in range(100)]
    assert min(found) >= 30


def test_a_choice_that_looks_at_any_number_of_units_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "ENOUGH", 0)
    monkeypatch.setattr(choices, "LEANING_AT_MOST", 1e-9)
    share = Share(RHO_UNIT // 100, RHO_UNIT // 500)
    assert min(choices.choose_level({30: 400}, TOTALS, 1, "zcdp", share) for _ in range(50)) < 30


def spread(cells: int, rows: int = 1, grid: int = 1) -> Quantiles:
    argument = Argument(Column("x"), Fraction(0), Fraction(cells - 1))
    return Quantiles(argument, (Fraction(1, 2),), cells, Fraction(1), 1, rows, grid, cells, coarser=False, ranged=False)


@pytest.mark.parametrize("accountant", ["zcdp", "pure"])
@pytest.mark.parametrize(("fraction", "expected"), [(Fraction(1, 2), 50), (Fraction(9, 10), 90), (Fraction(0), 0)])
def test_the_cell_of_a_quantile_is_found(accountant: str, fraction: Fraction, expected: int) -> None:
    counts = dict.fromkeys(range(100), 1000)
    share = RHO_UNIT // 100 if accountant == "zcdp" else EPSILON_UNIT // 10
    found = [choices.choose_cell((0, 0), counts, 100, fraction, spread(100), accountant, share) for _ in range(100)]
    assert all(abs(cell - expected) <= 2 for cell in found)


def test_what_lies_outside_the_cells_counts_for_the_rank() -> None:
    counts = {0: 10, 1: 10, 2: 10}
    below = choices.choose_cell((10_000, 0), counts, 3, Fraction(1, 2), spread(3), "pure", EPSILON_UNIT)
    above = choices.choose_cell((0, 10_000), counts, 3, Fraction(1, 2), spread(3), "pure", EPSILON_UNIT)
    assert (below, above) == (0, 2)


def test_rows_that_weigh_more_ask_for_more_noise() -> None:
    one, many = (
        noise.choice_scale(s.weight, "pure", EPSILON_UNIT, monotonic=False) for s in (spread(3), spread(3, 7, 1024))
    )
    assert many.value == pytest.approx(one.value * 7 * 1024)
