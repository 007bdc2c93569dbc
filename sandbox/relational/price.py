"""What a release costs, fixed before anything runs: a function of epsilon, policy and plan.

Guarantee: the mechanisms of a release spend at most its price. Under zcdp the shares of rho add up to at most rho,
under pure those of epsilon to at most epsilon; private keys spend `delta_per_query` besides.
Source: docs/explanation/guarantees/accounting.md
"""

from __future__ import annotations

from dataclasses import dataclass

from policies import privacy_loss
from policies.model import Dp
from sandbox.protocol import Price
from sandbox.relational.facts import Refuse
from sandbox.relational.plan import ReleasePlan


@dataclass(frozen=True, slots=True)
class Budget:
    """A price and how it is shared, all in 1e-12 of the accountant's own loss (rho or epsilon), delta in 1e-24."""

    price: Price
    keys: int
    """Share of the key stage; 0 where all keys are public."""
    delta: int
    vectors: tuple[int, ...]
    """Share of each vector, in order."""


def price(plan: ReleasePlan, dp: Dp, epsilon: int) -> Budget:
    """The price of `plan` at `epsilon` (1e-12). Raises Refuse.

    A quarter of the loss selects private keys, the rest is shared evenly by the measures.
    """
    if epsilon <= 0 or epsilon > privacy_loss.units_down(dp.epsilon_per_query_max, privacy_loss.EPSILON_UNIT):
        most = privacy_loss.text(
            privacy_loss.units_down(dp.epsilon_per_query_max, privacy_loss.EPSILON_UNIT), privacy_loss.EPSILON_UNIT
        )
        raise Refuse("epsilon_too_large", f"a query of this dataset may cost an epsilon of at most {most}")
    half = privacy_loss.units_down(dp.delta, privacy_loss.DELTA_UNIT) // 2
    rho = privacy_loss.rho_for(epsilon, half) if dp.accountant == "zcdp" else 0
    loss = rho if dp.accountant == "zcdp" else epsilon
    delta = privacy_loss.units_up(dp.delta_per_query, privacy_loss.DELTA_UNIT) if plan.private_keys else 0
    for_keys = (loss // 4 if plan.vectors else loss) if plan.private_keys else 0
    shares = tuple((loss - for_keys) // len(plan.vectors) for _ in plan.vectors)
    if any(share <= 0 for share in shares) or (plan.private_keys and for_keys <= 0):
        raise Refuse("epsilon_invalid", "this epsilon is too small to be shared by the parts of the answer")
    return Budget(Price(epsilon, delta, rho), for_keys, delta, shares)
