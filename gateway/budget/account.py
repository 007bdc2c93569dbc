"""What may happen to an account and to a query. Pure: the ledger asks here, then writes.

There is no refund and no reservation, so nothing can leak, be stuck or be swept: a query is charged, then it runs, and
from there it ends exactly once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from gateway.budget.loss import Cap, Loss, answers, as_epsilon, cap, counted, left, most, words
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
    block: str | None = None
    """Of the dataset's units, where the policy cuts them into blocks: each has the cap for itself."""

    @property
    def id(self) -> str:
        """No two scopes have one id: dataset and block are plain names, and the purpose's own slashes are escaped."""
        if self.operator is None:
            found = f"dataset:{self.dataset}"
        elif self.purpose is None:
            found = f"operator:{self.operator}/{self.dataset}"
        else:
            found = purpose_id(self.purpose, self.operator, self.dataset)
        return found if self.block is None else f"{found}#{self.block}"

    @property
    def base(self) -> Scope:
        """The scope whose cap each of its blocks has."""
        return self if self.block is None else replace(self, block=None)


def split_block(scope: str) -> tuple[str, str | None]:
    """The id of the base, and the block, None where the scope is of none. An operator's own `#` is before a slash."""
    base, mark, block = scope.rpartition("#")
    return (base, block) if mark and "/" not in block else (scope, None)


def in_blocks(scopes: Sequence[Scope], blocks: Sequence[str]) -> tuple[Scope, ...]:
    """What a question of `blocks` is charged to in place of `scopes`: each of them in each block. () leaves them."""
    if not blocks:
        return tuple(scopes)
    return tuple(replace(scope, block=block) for scope in scopes for block in blocks)


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
    blocks: tuple[Budget, ...] = ()
    """Of each block asked about, where the policy has blocks: what stands above is then of the fullest."""

    def as_json(self) -> dict[str, Any]:
        """`{scope, dataset, purpose, accountant, cap, cap_waiting, spent, left, epsilon_left, answers_left}`,
        amounts as decimal strings; and `blocks` where there are some."""
        inside = ("scope", "spent", "left", "epsilon_left", "answers_left")
        parts = [(each.scope.block, each.as_json()) for each in self.blocks]
        blocks = [{"name": block, **{name: told[name] for name in inside}} for block, told in parts]
        return ({"blocks": blocks} if blocks else {}) | {
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


def budget_of(account: Account, price: Price | None, blocks: Sequence[Account] = ()) -> Budget:
    """Where there are `blocks`, `account` is their base, to which nothing is charged: it is told as the fullest."""
    if blocks:
        whole = replace(account, spent=most(each.spent for each in blocks))
        return replace(budget_of(whole, price), blocks=tuple(budget_of(each, price) for each in blocks))
    limit, rest = account.scope.cap, account.left
    further = None if price is None else answers(limit.accountant, rest, price)
    return Budget(account.scope, account.spent, rest, as_epsilon(limit, rest), further, account.named)


def advance(state: State, to: State) -> State:
    """`to`, if a query may go there. Raises Fault."""
    if to not in _NEXT[state]:
        raise Fault(f"a query that is {state} cannot become {to}")
    return to


def shortfall_words(found: Sequence[Shortfall], scopes: Sequence[Scope]) -> tuple[str, str]:
    """Message and hint of the refusal. `found` are those of `scopes` that do not hold the price, at least one."""
    scope, whose = found[0].scope, "your licence's budget"
    if scope.operator is None:
        whose = "the dataset's budget"
    elif scope.purpose is not None:
        whose = f"your licence's budget of the purpose `{scope.purpose}`"
    if scope.block is None:
        return shortfall(whose, scope.dataset, found[0].fits, delta_only=found[0].delta_only)
    short = tuple(each.scope.block or "" for each in found if each.scope.base == scope.base)
    lacking = {each.scope.block for each in found}
    others = tuple(dict.fromkeys(each.block or "" for each in scopes if each.block not in lacking))
    delta_only = all(each.delta_only for each in found)
    fits = min(each.fits for each in found)
    return shortfall(whose, scope.dataset, fits, delta_only=delta_only, blocks=short, others=others)
