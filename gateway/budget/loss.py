"""Composition of privacy loss, in integers. Pure.

A `zcdp` account sums (rho, delta), a `pure` account sums (epsilon, delta); one account never mixes. Caps are fixed
before the questions are chosen and every question is charged before it runs, so a plain sum is a valid privacy filter
for adaptively chosen questions (Whitehouse, Ramdas, Rogers, Wu 2023, for approximate zCDP; Rogers, Roth, Ullman,
Vadhan 2016, for pure).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from policies.model import Accountant, Dp
from policies.privacy_loss import (
    DELTA_UNIT,
    EPSILON_UNIT,
    RHO_UNIT,
    epsilon_left,
    rho_for,
    text,
    units_down,
)
from sandbox.protocol import Price

AMOUNT_MAX: Final = 2**61
"""Two of them still fit into a signed 64-bit column."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What composes: rho and epsilon in 1e-12, delta in 1e-24. One of rho and epsilon is 0."""

    rho: int = 0
    epsilon: int = 0
    delta: int = 0

    def __add__(self, other: Loss) -> Loss:
        return Loss(self.rho + other.rho, self.epsilon + other.epsilon, self.delta + other.delta)


@dataclass(frozen=True, slots=True)
class Cap:
    """The most that may ever be charged. Under `zcdp`, rho and delta bind and epsilon is what they were made from."""

    accountant: Accountant
    rho: int
    epsilon: int
    delta: int

    def admits(self, spent: Loss) -> bool:
        main = spent.rho <= self.rho if self.accountant == "zcdp" else spent.epsilon <= self.epsilon
        return main and spent.delta <= self.delta


def cap(dp: Dp, epsilon: Decimal | None = None) -> Cap:
    """The cap that a policy gives, or a licence's share `epsilon` of it. Rounded down.

    Guarantee: under `zcdp`, everything admitted is (epsilon, delta)-DP together: half of delta turns rho into epsilon,
    the other half pays for private keys. Under `pure` it is (epsilon, delta)-DP with delta for private keys alone.
    """
    share = dp.epsilon if epsilon is None else min(epsilon, dp.epsilon)
    loss = units_down(share, EPSILON_UNIT)
    delta = units_down(dp.delta, DELTA_UNIT)
    if dp.accountant == "zcdp":
        return Cap("zcdp", rho_for(loss, delta // 2), loss, delta // 2)
    return Cap("pure", 0, loss, delta)


def counted(accountant: Accountant, price: Price) -> Loss:
    """What of `price` composes. Raises ValueError for a price that buys nothing, or beyond all bounds."""
    amounts = (price.rho, price.epsilon, price.delta)
    if any(type(amount) is not int or not 0 <= amount <= AMOUNT_MAX for amount in amounts):
        raise ValueError("a price outside its range")
    main = price.rho if accountant == "zcdp" else price.epsilon
    if main == 0:
        raise ValueError("a price of nothing")
    return Loss(rho=main, delta=price.delta) if accountant == "zcdp" else Loss(epsilon=main, delta=price.delta)


def most(losses: Iterable[Loss]) -> Loss:
    """In each amount as much as the one of `losses` that has most of it; nothing where there are none."""
    found = Loss()
    for each in losses:
        found = Loss(max(found.rho, each.rho), max(found.epsilon, each.epsilon), max(found.delta, each.delta))
    return found


def left(limit: Cap, spent: Loss) -> Loss:
    """What may still be charged; nothing where a lowered cap lies below what is spent."""
    if limit.accountant == "zcdp":
        return Loss(rho=max(limit.rho - spent.rho, 0), delta=max(limit.delta - spent.delta, 0))
    return Loss(epsilon=max(limit.epsilon - spent.epsilon, 0), delta=max(limit.delta - spent.delta, 0))


def as_epsilon(limit: Cap, loss: Loss) -> int:
    """`loss` as an epsilon in 1e-12, rounded down: the largest query that costs no more."""
    return epsilon_left(loss.rho, limit.delta) if limit.accountant == "zcdp" else loss.epsilon


def answers(accountant: Accountant, rest: Loss, price: Price) -> int:
    """How many more answers at `price` fit into `rest`."""
    each = counted(accountant, price)
    pairs = ((rest.rho, each.rho), (rest.epsilon, each.epsilon), (rest.delta, each.delta))
    return min(have // cost for have, cost in pairs if cost)


def words(amounts: Loss | Cap | Price) -> dict[str, str]:
    """`{rho, epsilon, delta}` as exact decimal strings."""
    return {
        "rho": text(amounts.rho, RHO_UNIT),
        "epsilon": text(amounts.epsilon, EPSILON_UNIT),
        "delta": text(amounts.delta, DELTA_UNIT),
    }
