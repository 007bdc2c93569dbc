"""What a release costs, fixed before anything runs: a function of epsilon, policy and plan.

Guarantee: the mechanisms of a release spend at most its price. Under zcdp the shares of rho add up to at most rho,
under pure those of epsilon to at most epsilon; private keys spend `delta_per_query` besides. Shares hang on declared
counts, never on data.
Source: docs/explanation/guarantees/accounting.md
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from policies import privacy_loss
from policies.model import Accountant, Dp
from sandbox.protocol import Price
from sandbox.relational.expectation import relative_noise
from sandbox.relational.facts import Refuse
from sandbox.relational.plan import ReleasePlan
from sandbox.relational.ranges import ends_of
from sandbox.relational.statistics import Quantiles, Statistic, Vector

UNEVEN_MAX = 9
"""Most times that one statistic's share is another's: declared counts are rough, and shall starve nobody."""
LEVELS_SHARE: dict[Accountant, Fraction] = {"zcdp": Fraction(3, 20), "pure": Fraction(1, 5)}
"""What choosing a norm costs, of the share of its vector: measured, see docs/explanation/guarantees/levels.md."""


PARTS = 4
"""Of the price of a choice among levels: one is for the number of units, three for the choice."""
PASSES = 2
"""Of a quantile: a coarse cell, then a cell within it; both cost the same."""
RANGES_SHARE = Fraction(3, 20)
"""What choosing ranges costs, of the share of their statistic; all ends together."""


@dataclass(frozen=True, slots=True)
class Share:
    """The loss of one statistic: its numbers, the choice of its norm, and that of each end of its ranges; 0 where
    these are fixed."""

    values: int
    levels: int = 0
    ends: int = 0

    def of_choice(self, statistic: Quantiles) -> int:
        """What one pass costs for one fraction of a quantile."""
        return self.values // (PASSES * len(statistic.fractions))


@dataclass(frozen=True, slots=True)
class Budget:
    """A price and how it is shared, all in 1e-12 of the accountant's own loss (rho or epsilon), delta in 1e-24."""

    price: Price
    keys: int
    """Share of the key stage; 0 where all keys are public."""
    delta: int
    shares: tuple[Share, ...]
    """Of each statistic, in order."""


def price(plan: ReleasePlan, dp: Dp, epsilon: int) -> Budget:
    """The price of `plan` at `epsilon` (1e-12). Raises Refuse.

    A quarter of the loss selects private keys, the rest is shared by the statistics so that their relative errors are
    expected to be alike.
    """
    if epsilon <= 0 or epsilon > privacy_loss.units_down(dp.epsilon_per_query_max, privacy_loss.EPSILON_UNIT):
        most = privacy_loss.text(
            privacy_loss.units_down(dp.epsilon_per_query_max, privacy_loss.EPSILON_UNIT), privacy_loss.EPSILON_UNIT
        )
        raise Refuse("epsilon_too_large", f"a query of this dataset may cost an epsilon of at most {most}")
    rho = privacy_loss.rho_for(epsilon, half_delta(dp)) if dp.accountant == "zcdp" else 0
    return shared(plan, dp, epsilon, rho)


def half_delta(dp: Dp) -> int:
    """What turns epsilon into rho, in 1e-24; the other half pays for private keys."""
    return privacy_loss.units_down(dp.delta, privacy_loss.DELTA_UNIT) // 2


def shared(plan: ReleasePlan, dp: Dp, epsilon: int, rho: int) -> Budget:
    """How a loss is shared: `rho` under zcdp, `epsilon` under pure. Raises Refuse."""
    loss = rho if dp.accountant == "zcdp" else epsilon
    delta = privacy_loss.units_up(dp.delta_per_query, privacy_loss.DELTA_UNIT) if plan.private_keys else 0
    for_keys = (loss // 4 if plan.statistics else loss) if plan.private_keys else 0
    shares = _shares(plan, loss - for_keys, dp.accountant)
    enough = all(map(_enough, plan.statistics, shares, _ends(plan)))
    if not enough or (plan.private_keys and for_keys <= 0):
        raise Refuse("epsilon_invalid", "this epsilon is too small to be shared by the parts of the answer")
    return Budget(Price(epsilon, delta, rho), for_keys, delta, shares)


def _shares(plan: ReleasePlan, loss: int, accountant: Accountant) -> tuple[Share, ...]:
    """Shares that add up to at most `loss`, each rounded down."""
    weights = [relative_noise(statistic, plan, accountant) for statistic in plan.statistics]
    least = max(weights, default=Fraction(0)) / UNEVEN_MAX
    weights = [max(weight, least) for weight in weights]
    return tuple(
        _share(statistic, int(loss * weight / sum(weights)), accountant, ends)
        for statistic, weight, ends in zip(plan.statistics, weights, _ends(plan), strict=True)
    )


def _ends(plan: ReleasePlan) -> list[int]:
    """How many ends of ranges are chosen for each statistic."""
    found = Counter(end.statistic for end in ends_of(plan))
    return [found[i] for i in range(len(plan.statistics))]


def _enough(statistic: Statistic, share: Share, ends: int) -> bool:
    """Whether every mechanism that runs for the statistic has something to spend."""
    if isinstance(statistic, Quantiles):
        return share.of_choice(statistic) > 0 and (not ends or share.ends >= PARTS)
    loose = isinstance(statistic, Vector) and statistic.loose
    return share.values > 0 and (not loose or share.levels >= PARTS) and (not ends or share.ends >= PARTS)


def _share(statistic: Statistic, whole: int, accountant: Accountant, ends: int) -> Share:
    """`ends` is the number of ends of ranges that are chosen for the statistic."""
    for_ends = int(whole * RANGES_SHARE) if ends else 0
    loose = isinstance(statistic, Vector) and statistic.loose
    levels = int((whole - for_ends) * LEVELS_SHARE[accountant]) if loose else 0
    return Share(whole - for_ends - levels, levels, for_ends // ends if ends else 0)
