"""What may happen to an account and to a query. Pure: the ledger asks here, then writes.

There is no refund and no reservation, so nothing can leak, be stuck or be swept: a query is charged, then it runs, and
from there it ends exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gateway.budget.loss import Cap, Loss, answers, as_epsilon, cap, counted, left, words
from gateway.errors import Fault
from policies.model import Licence, Mode, Policy
from policies.privacy_loss import EPSILON_UNIT, text
from policies.shortfall import shortfall
from sandbox.protocol import Price

State = Literal["running", "answered", "failed", "cancelled"]
_NEXT: Final[Mapping[State, frozenset[State]]] = {
    "running": frozenset({"answered", "failed", "cancelled"}),
    "answered": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose budget is charged, with the cap in force. `operator` is None for the dataset's own scope."""

    dataset: str
    operator: str | None
    cap: Cap
    purpose: str | None = None
    """Of the operator, where the licence gives this purpose a share of its own."""

    @property
    def id(self) -> str:
        """No two scopes have one id: the dataset is a plain name, and the purpose's own slashes are escaped."""
        if self.operator is None:
            return f"dataset:{self.dataset}"
        if self.purpose is None:
            return f"operator:{self.operator}/{self.dataset}"
        return purpose_id(self.purpose, self.operator, self.dataset)


def purpose_id(purpose: str, operator: str, dataset: str) -> str:
    escaped = purpose.replace("%", "%25").replace("/", "%2F")
    return f"purpose:{escaped}/{operator}/{dataset}"


class Shortfall(Exception):
    """The account does not hold the price. `fits` is the largest epsilon (1e-12) that it still holds."""

    def __init__(self, scope: Scope, fits: int, *, delta_only: bool) -> None:
        super().__init__(scope.id)
        self.scope = scope
        self.fits = fits
        self.delta_only = delta_only


@dataclass(frozen=True, slots=True)
class Account:
    """A scope and what was charged to it."""

    scope: Scope
    spent: Loss
    named: Cap | None = None
    """The cap that the policy or the licence names, where a higher one than that in force waits for approvers."""

    def charge(self, price: Price) -> Loss:
        """What `price` adds to what is spent. Raises Shortfall, and ValueError for a price that is none.

        Guarantee: the result is not negative, and `spent` with it is within the cap.
        """
        each = counted(self.scope.cap.accountant, price)
        if not self.scope.cap.admits(self.spent + each):
            rest = self.left
            only_delta = rest.rho >= each.rho and rest.epsilon >= each.epsilon
            raise Shortfall(self.scope, as_epsilon(self.scope.cap, rest), delta_only=only_delta)
        return each

    @property
    def left(self) -> Loss:
        return left(self.scope.cap, self.spent)


@dataclass(frozen=True, slots=True)
class Budget:
    """A scope as its owner may see it. Integers in the units of Price."""

    scope: Scope
    spent: Loss
    left: Loss
    epsilon_left: int
    """The largest epsilon that one more query may have."""
    answers_left: int | None
    """Further answers at the price asked about; None without one."""
    named: Cap | None = None
    """As of Account."""

    def as_json(self) -> dict[str, Any]:
        """`{scope, dataset, purpose, accountant, cap, cap_waiting, spent, left, epsilon_left, answers_left}`,
        amounts as decimal strings."""
        return {
            "scope": self.scope.id,
            "dataset": self.scope.dataset,
            "purpose": self.scope.purpose,
            "accountant": self.scope.cap.accountant,
            "cap": words(self.scope.cap),
            "cap_waiting": None if self.named is None else words(self.named),
            "spent": self._words(self.spent),
            "left": self._words(self.left),
            "epsilon_left": text(self.epsilon_left, EPSILON_UNIT),
            "answers_left": self.answers_left,
        }

    def _words(self, loss: Loss) -> dict[str, str]:
        """Under `zcdp` the epsilon is what the rho is worth; such epsilons do not add up, the rho does."""
        return {**words(loss), "epsilon": text(as_epsilon(self.scope.cap, loss), EPSILON_UNIT)}


def scopes_for(  # noqa: PLR0913, PLR0917  # who asks, by which right, for what, and what was before
    policy: Policy,
    operator: str,
    licence: Licence | None,
    purpose: str | None,
    opened: Iterable[str],
    mode: Mode = "dp",
) -> tuple[Scope, ...]:
    """The scopes that one query of `operator` is charged to, with the caps that policy and licence name; none where
    nothing is dp.

    A licence that names no share of its own, or no licence (open data), has the dataset's cap. A purpose has a scope
    where the licence gives it a share, or ever gave it one: `opened` are those that have one.
    """
    every = scopes_of(policy, operator, licence, opened, mode)
    return tuple(scope for scope in every if scope.purpose in (None, purpose))


def scopes_of(
    policy: Policy, operator: str, licence: Licence | None, opened: Iterable[str], mode: Mode = "dp"
) -> tuple[Scope, ...]:
    """All scopes that queries of `operator` may be charged to: the dataset's, its own, and those of its purposes."""
    dp = policy.release.dp
    if dp is None or mode != "dp":
        return ()
    share = None if licence is None else licence.budget.get(policy.dataset)
    mine = dp.epsilon if share is None else share.epsilon
    parts = dict.fromkeys(opened, mine) | ({} if share is None else dict(share.purposes))
    purposes = (
        Scope(policy.dataset, operator, cap(dp, min(epsilon, mine)), purpose)
        for purpose, epsilon in sorted(parts.items())
    )
    return (*dataset_scopes(policy), Scope(policy.dataset, operator, cap(dp, mine)), *purposes)


def dataset_scopes(policy: Policy) -> tuple[Scope, ...]:
    """The lifetime scope of all operators together; none where nothing is dp."""
    return () if policy.release.dp is None else (Scope(policy.dataset, None, cap(policy.release.dp)),)


def budget_of(account: Account, price: Price | None) -> Budget:
    limit, rest = account.scope.cap, account.left
    further = None if price is None else answers(limit.accountant, rest, price)
    return Budget(account.scope, account.spent, rest, as_epsilon(limit, rest), further, account.named)


def advance(state: State, to: State) -> State:
    """`to`, if a query may go there. Raises Fault."""
    if to not in _NEXT[state]:
        raise Fault(f"a query that is {state} cannot become {to}")
    return to


def shortfall_words(short: Shortfall) -> tuple[str, str]:
    """Message and hint of the refusal."""
    scope, whose = short.scope, "your licence's budget"
    if scope.operator is None:
        whose = "the dataset's budget"
    elif scope.purpose is not None:
        whose = f"your licence's budget of the purpose `{scope.purpose}`"
    return shortfall(whose, scope.dataset, short.fits, delta_only=short.delta_only)
