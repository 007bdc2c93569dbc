"""Epsilon, rho and delta in exact integers."""

from __future__ import annotations

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import privacy_loss
from policies.privacy_loss import (
    DELTA_UNIT,
    EPSILON_UNIT,
    RHO_UNIT,
    epsilon_left,
    rho_for,
    text,
    units_down,
    units_up,
)

HALF = DELTA_UNIT // (2 * 10**9)
EPSILONS = st.integers(10**8, 50 * EPSILON_UNIT)
DELTAS = st.sampled_from([HALF, DELTA_UNIT // 10**6, DELTA_UNIT // 10**12])


def test_the_worked_example_of_the_contract() -> None:
    query, cap, licence = (rho_for(units_down(Decimal(e), EPSILON_UNIT), HALF) for e in ("0.5", "8", "2"))
    assert text(query, RHO_UNIT).startswith("0.0037963")
    assert text(cap, RHO_UNIT).startswith("0.711")
    assert (cap // query, licence // query) == (187, 14)


@given(EPSILONS, DELTAS)
def test_rho_implies_no_more_than_its_epsilon_by_opendps_own_profile(epsilon: int, delta: int) -> None:
    dp.enable_features("contrib")
    rho = rho_for(epsilon, delta)
    if rho < 10**4:  # beyond what doubles of the profile resolve
        return
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l2_distance(T=float)
    scale = 1 / math.sqrt(2 * rho / RHO_UNIT)
    profile = dp.c.make_zCDP_to_approxDP(dp.m.make_gaussian(*space, scale=scale)).map(1.0)
    assert profile.epsilon(delta / DELTA_UNIT) <= epsilon / EPSILON_UNIT * (1 + 1e-6)
    assert profile.epsilon(delta / DELTA_UNIT) >= epsilon / EPSILON_UNIT * (1 - 1e-3)


@given(EPSILONS, EPSILONS, DELTAS)
def test_more_epsilon_is_never_less_rho(one: int, other: int, delta: int) -> None:
    low, high = sorted((one, other))
    assert rho_for(low, delta) <= rho_for(high, delta)


@given(st.integers(1, 40 * RHO_UNIT), DELTAS)
def test_what_is_left_still_buys_one_query_of_that_size(rho: int, delta: int) -> None:
    left = epsilon_left(rho, delta)
    assert rho_for(left, delta) <= rho
    assert rho_for(left + max(10**6, left // 10**5), delta) >= rho


@given(EPSILONS, DELTAS)
def test_what_is_granted_holds_and_no_more_would(epsilon: int, delta: int) -> None:
    """The exact check says both, so that a search that stops early or starts wrong shows."""
    rho = rho_for(epsilon, delta)
    assert rho == 0 or privacy_loss._holds(rho, epsilon, delta)
    assert not privacy_loss._holds(rho + 3 + (rho >> 40), epsilon, delta)


@given(st.integers(1, 40 * RHO_UNIT), DELTAS)
def test_an_epsilon_that_is_left_is_the_largest_that_costs_no_more(rho: int, delta: int) -> None:
    left = epsilon_left(rho, delta)
    assert not privacy_loss._holds(rho + 1, left, delta) or left == 0
    assert privacy_loss._holds(rho + 1, left + 3 + (left >> 36), delta)


@pytest.mark.parametrize("delta", [1, HALF, DELTA_UNIT // 10**6])
@pytest.mark.parametrize("rho", [1, 2, 3, 5, 7, 10**3, 10**6 + 1, 123_456_789_012, RHO_UNIT])
def test_both_ways_end_at_the_very_last_step(rho: int, delta: int) -> None:
    left = epsilon_left(rho, delta)
    assert left == 0 or not privacy_loss._holds(rho + 1, left, delta)
    assert privacy_loss._holds(rho + 1, left + 1, delta)
    bought = rho_for(left + 1, delta)
    assert privacy_loss._holds(bought, left + 1, delta)
    assert not privacy_loss._holds(bought + 1, left + 1, delta)


def test_a_loss_so_small_that_delta_alone_pays_for_it_is_worth_no_epsilon() -> None:
    assert privacy_loss._holds(6, 0, DELTA_UNIT // 2)
    assert epsilon_left(5, DELTA_UNIT // 2) == 0


@given(st.floats(1e-6, 30), st.floats(1e-6, 40), st.sampled_from([1e-6, 1e-9, 1e-12]))
def test_the_bound_is_that_of_the_paper_and_its_order_the_best_of_many(
    rho: float, epsilon: float, delta: float
) -> None:
    """Proposition 12 of Canonne, Kamath, Steinke 2020, written in another way, over a grid of orders."""

    def bound(order: float) -> float:
        return (order - 1) * (order * rho - epsilon) + (order - 1) * math.log1p(-1 / order) - math.log(order)

    near = privacy_loss._best_order(rho, epsilon)
    assert math.isclose(privacy_loss._log_delta(near, rho, epsilon), bound(near), rel_tol=1e-6, abs_tol=1e-6)
    best = min(bound(1 + 10 ** (power / 20)) for power in range(-100, 240))
    assert privacy_loss._log_delta(near, rho, epsilon) <= best + 1e-6 + 1e-6 * abs(best)
    least = privacy_loss._epsilon(rho, math.log(delta))
    orders = [1 + 10 ** (power / 200) for power in range(-1000, 2400)]
    found = min(rho * order + (math.log(1 / delta) + _tail(order)) / (order - 1) for order in orders)
    assert math.isclose(least, max(0.0, found), rel_tol=1e-3, abs_tol=1e-6)
    assert least <= max(0.0, found) * (1 + 1e-9) + 1e-12


def _tail(order: float) -> float:
    return (order - 1) * math.log1p(-1 / order) - math.log(order)


@pytest.mark.parametrize(("epsilon", "delta"), [("0.5", HALF), ("1", HALF), ("1", DELTA_UNIT // 10**6)])
def test_there_and_back_is_the_same_epsilon(epsilon: str, delta: int) -> None:
    units = units_down(Decimal(epsilon), EPSILON_UNIT)
    found = rho_for(units, delta)
    assert units <= epsilon_left(found, delta) <= units + 100
    assert epsilon_left(found - 1, delta) < units


def test_the_largest_epsilon_is_still_one() -> None:
    assert rho_for(privacy_loss.EPSILON_MAX, HALF) > rho_for(privacy_loss.EPSILON_MAX - EPSILON_UNIT, HALF) > 0
    assert epsilon_left(10**6 * RHO_UNIT, HALF) == privacy_loss.EPSILON_MAX == 1000 * EPSILON_UNIT
    assert rho_for(1, HALF) == 0
    assert rho_for(10 * EPSILON_UNIT, 1) > 0
    assert rho_for(1, DELTA_UNIT) > 0, "a delta of one promises nothing, and costs nothing"
    assert epsilon_left(1, HALF) > 0


@given(st.decimals(0, 1000, places=15))
def test_rounding_is_by_one_step_at_most_and_exact_where_it_can_be(amount: Decimal) -> None:
    down, up = units_down(amount, RHO_UNIT), units_up(amount, RHO_UNIT)
    assert down == math.floor(Fraction(amount) * RHO_UNIT)
    assert up == math.ceil(Fraction(amount) * RHO_UNIT)


def test_amounts_are_written_as_short_as_can_be() -> None:
    assert [text(n, EPSILON_UNIT) for n in (0, 1, 5 * 10**11, 10 * EPSILON_UNIT)] == [
        "0",
        "0.000000000001",
        "0.5",
        "10",
    ]


def test_nothing_left_is_nothing() -> None:
    assert epsilon_left(0, HALF) == epsilon_left(5, 0) == rho_for(0, HALF) == rho_for(5, 0) == 0
    assert rho_for(0, DELTA_UNIT // 2) == 0


def test_an_absurd_epsilon_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^epsilon is beyond 1000$"):
        rho_for(1001 * EPSILON_UNIT, HALF)


@given(st.decimals(0, 1000, places=15))
def test_prices_round_up_and_caps_down(amount: Decimal) -> None:
    down, up = units_down(amount, RHO_UNIT), units_up(amount, RHO_UNIT)
    assert Decimal(down) <= amount * RHO_UNIT <= Decimal(up)
    assert up - down <= 1


@given(st.integers(0, 10**30))
def test_amounts_are_written_exactly(amount: int) -> None:
    assert Fraction(text(amount, DELTA_UNIT)) * DELTA_UNIT == amount


def test_a_caller_s_own_precision_changes_nothing() -> None:
    epsilon, delta = units_down(Decimal("0.123456789012"), EPSILON_UNIT), HALF
    rho = privacy_loss._largest_rho(epsilon, delta)
    with localcontext(Context(prec=4)):
        assert units_down(Decimal("0.123456789012"), EPSILON_UNIT) == epsilon
        assert units_up(Decimal("0.123456789012"), EPSILON_UNIT) == epsilon
        assert text(epsilon, EPSILON_UNIT) == "0.123456789012"
        assert privacy_loss._holds(rho, epsilon, delta)
        assert not privacy_loss._holds(rho + 3 + (rho >> 40), epsilon, delta)
        assert privacy_loss._largest_rho(epsilon, delta) == rho
