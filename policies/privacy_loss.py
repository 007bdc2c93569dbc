"""What an epsilon in a policy, a licence or a query means, in exact integers.

Under `zcdp` an epsilon stands for (epsilon, delta/2)-differential privacy and is turned into rho by the tight
conversion; under `pure` it composes as it is. Both sides of the door need the same integers, so the conversion lives
here and not with a mechanism. Units: rho and epsilon in 1e-12, delta in 1e-24.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, localcontext
from functools import lru_cache
from typing import Final

RHO_UNIT: Final = 10**12
EPSILON_UNIT: Final = 10**12
DELTA_UNIT: Final = 10**24
EPSILON_MAX: Final = 1000 * EPSILON_UNIT
"""Beyond this an epsilon promises nothing, and floats of the search would overflow."""

_EXACT: Final = Context(prec=60)


def units_down(value: Decimal, unit: int) -> int:
    """`value` in `unit` steps, rounded down: for caps."""
    with localcontext(_EXACT):
        return int((value * unit).to_integral_value(ROUND_FLOOR))


def units_up(value: Decimal, unit: int) -> int:
    """`value` in `unit` steps, rounded up: for prices."""
    with localcontext(_EXACT):
        return int((value * unit).to_integral_value(ROUND_CEILING))


def text(amount: int, unit: int) -> str:
    """The exact decimal of `amount` steps of 1/`unit`, shortest form: `0.5`, `0`, `0.000000000001`."""
    with localcontext(_EXACT):
        return format(Decimal(amount) / unit, "f")


def rho_for(epsilon: int, delta: int) -> int:
    """The largest rho such that rho-zCDP implies (epsilon, delta)-differential privacy; 0 where none is.

    Guarantee: whatever is released under the result is (epsilon, delta)-DP. The search is in floats, but its result is
    accepted only if the bound holds in 60-digit arithmetic at one explicit order alpha; any order gives a valid bound,
    so a poor search can only make the result smaller.
    Source: docs/explanation/guarantees/accounting.md (Canonne, Kamath, Steinke 2020, proposition 12).
    """
    if epsilon <= 0 or delta <= 0:
        return 0
    if epsilon > EPSILON_MAX:
        raise ValueError("epsilon is beyond 1000")
    return _rho(epsilon, delta)


def epsilon_left(rho: int, delta: int) -> int:
    """The largest epsilon with `rho_for(epsilon, delta) <= rho`: one query of that size still fits."""
    return 0 if rho <= 0 or delta <= 0 else _left(rho, delta)


def _largest_rho(epsilon: int, delta: int) -> int:
    target, log_delta = epsilon / EPSILON_UNIT, math.log(delta / DELTA_UNIT)
    low, high = 0.0, target  # rho <= epsilon: a rho-zCDP mechanism has expected privacy loss of at least rho
    for _ in range(60):
        middle = (low + high) / 2
        if _log_delta(_best_order(middle, target), middle, target) <= log_delta:
            low = middle
        else:
            high = middle
    rho = math.floor(low * RHO_UNIT) + 2
    while rho > 0 and not _holds(rho, epsilon, delta):
        rho -= max(1, rho >> 48)
    return rho


def _largest_epsilon(rho: int, delta: int) -> int:
    over = rho + 1  # every epsilon at which rho + 1 does not hold costs at most rho
    log_delta = math.log(delta / DELTA_UNIT)
    epsilon = min(EPSILON_MAX, math.floor(_epsilon(over / RHO_UNIT, log_delta) * EPSILON_UNIT) + 2)
    while epsilon > 0 and _holds(over, epsilon, delta):
        epsilon -= max(1, epsilon >> 46)
    return epsilon


_rho = lru_cache(maxsize=4096)(_largest_rho)
"""Prices repeat, and a search takes milliseconds."""
_left = lru_cache(maxsize=4096)(_largest_epsilon)


def _epsilon(rho: float, log_delta: float) -> float:
    """The least epsilon that rho-zCDP gives at delta; a float, for a search's start only."""

    def at(order: float) -> float:
        return order * rho - (log_delta + math.log(order - 1) - order * math.log1p(-1 / order)) / (order - 1)

    return max(0.0, at(_least(at)))


def _log_delta(order: float, rho: float, epsilon: float) -> float:
    """ln of the delta that rho-zCDP gives at `epsilon` by Renyi order `order` > 1."""
    return (order - 1) * (order * rho - epsilon) - math.log(order - 1) + order * math.log1p(-1 / order)


def _best_order(rho: float, epsilon: float) -> float:
    """The order that makes `_log_delta` least."""
    return _least(lambda order: _log_delta(order, rho, epsilon))


def _least(objective: Callable[[float], float]) -> float:
    """The order > 1 that makes a unimodal objective least, by golden search over ln(order - 1)."""
    low, high = math.log(1e-6), math.log(1e15)
    for _ in range(70):
        first, second = low + (high - low) * 0.381966, low + (high - low) * 0.618034
        if objective(1 + math.exp(first)) <= objective(1 + math.exp(second)):
            high = second
        else:
            low = first
    return 1 + math.exp((low + high) / 2)


def _holds(rho: int, epsilon: int, delta: int) -> bool:
    """Whether rho-zCDP implies (epsilon, delta)-DP, checked exactly at one order."""
    order_near = _best_order(rho / RHO_UNIT, epsilon / EPSILON_UNIT)
    with localcontext(_EXACT):
        order = Decimal(order_near)
        exponent = (order - 1) * (order * Decimal(rho) / RHO_UNIT - Decimal(epsilon) / EPSILON_UNIT)
        log_delta = exponent - (order - 1).ln() + order * (1 - 1 / order).ln()
        return log_delta + Decimal("1e-40") <= (Decimal(delta) / DELTA_UNIT).ln()
