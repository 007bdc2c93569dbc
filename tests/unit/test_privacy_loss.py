"""Epsilon, rho and delta in exact integers."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_nothing_left_is_nothing() -> None:
    assert epsilon_left(0, HALF) == epsilon_left(5, 0) == rho_for(0, HALF) == rho_for(5, 0) == 0


def test_an_absurd_epsilon_is_an_error() -> None:
    with pytest.raises(ValueError, match="1000"):
        rho_for(1001 * EPSILON_UNIT, HALF)


@given(st.decimals(0, 1000, places=15))
def test_prices_round_up_and_caps_down(amount: Decimal) -> None:
    down, up = units_down(amount, RHO_UNIT), units_up(amount, RHO_UNIT)
    assert Decimal(down) <= amount * RHO_UNIT <= Decimal(up)
    assert up - down <= 1


@given(st.integers(0, 10**30))
def test_amounts_are_written_exactly(amount: int) -> None:
    assert Fraction(text(amount, DELTA_UNIT)) * DELTA_UNIT == amount
