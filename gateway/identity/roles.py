"""Who may do what: the one matrix of roles.

A role that is not listed here counts for nothing, and a caller without a role sees the catalogue alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import Refusal

Role = Literal["operator", "policy_author", "auditor", "custodian"]
Act = Literal["see the catalogue", "ask", "see budgets", "read the audit log"]

EVERYBODY: Final[frozenset[Act]] = frozenset({"see the catalogue"})
MATRIX: Final[dict[Role, frozenset[Act]]] = {
    "operator": frozenset({"ask", "see budgets"}),
    "policy_author": frozenset(),
    "auditor": frozenset({"read the audit log"}),
    "custodian": frozenset(),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds an accepted token."""

    subject: str
    roles: frozenset[Role]

    def may(self, act: Act) -> bool:
        return act in EVERYBODY or any(act in MATRIX[role] for role in self.roles)

    def require(self, act: Act) -> None:
        """Raises Refusal(`role_missing`)."""
        if self.may(act):
            return
        roles = " or ".join(f"`{role}`" for role, acts in MATRIX.items() if act in acts)
        raise Refusal("role_missing", f"your token does not let you {act}", hint=f"that takes the role {roles}")


def known_roles(names: tuple[str, ...]) -> frozenset[Role]:
    """The roles among `names`; what is no role of ours is ignored."""
    return frozenset(role for role in MATRIX if role in names)
