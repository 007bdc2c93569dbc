"""Which cap is in force where a policy or a licence names another one. Pure.

Lowering takes effect by the policy alone. Once there are approvers, nothing above the cap in force counts until they
have signed for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.budget.loss import Cap, Loss


@dataclass(frozen=True, slots=True)
class Waiting:
    """A scope whose policy or licence names a higher cap than the one in force."""

    scope: str
    dataset: str
    in_force: Cap
    named: Cap
    spent: Loss


def meet(in_force: Cap, named: Cap) -> Cap:
    """What both allow.

    Guarantee: whatever the result admits, both admit.
    """
    rho, epsilon = min(in_force.rho, named.rho), min(in_force.epsilon, named.epsilon)
    return Cap(in_force.accountant, rho, epsilon, min(in_force.delta, named.delta))
