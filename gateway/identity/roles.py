"""Who may do what: the one matrix of roles, and what each route takes.

A role that is not listed here counts for nothing, and a caller without a role sees the catalogue alone. A route that
is not listed here is not served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from gateway.errors import Refusal

Role = Literal["operator", "policy_author", "auditor", "custodian"]
Act = Literal["see the catalogue", "ask", "see budgets", "see spend over time", "read the audit log"]
Route = tuple[str, str]
"""Method and path."""

EVERYBODY: Final[frozenset[Act]] = frozenset({"see the catalogue"})
MATRIX: Final[dict[Role, frozenset[Act]]] = {
    "operator": frozenset({"ask", "see budgets", "see spend over time"}),
    "policy_author": frozenset(),
    "auditor": frozenset({"see spend over time", "read the audit log"}),
    "custodian": frozenset(),
}
SERVICES: Final[frozenset[Role]] = frozenset({"operator", "auditor"})
"""The roles that a program may hold by itself. The others decide what is asked of people, and are for people."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a route takes of its caller. `spends` where it can cost budget."""

    act: Act
    spends: bool = False


ROUTES: Final[dict[Route, Need | None]] = {
    ("POST", "/v1/queries"): Need("ask", spends=True),
    ("GET", "/v1/queries"): Need("ask"),
    ("POST", "/v1/queries/check"): Need("ask"),
    ("GET", "/v1/queries/{query_id}"): Need("ask"),
    ("DELETE", "/v1/queries/{query_id}"): Need("ask"),
    ("GET", "/v1/datasets"): Need("see the catalogue"),
    ("GET", "/v1/datasets/{name}"): Need("see the catalogue"),
    ("GET", "/v1/budgets"): Need("see budgets"),
    ("GET", "/v1/budgets/history"): Need("see spend over time"),
    ("GET", "/v1/audit/records"): Need("read the audit log"),
    ("GET", "/v1/audit/checkpoint"): Need("read the audit log"),
    ("GET", "/v1/audit/report"): Need("read the audit log"),
    ("GET", "/v1/audit/bundle/{query_id}"): Need("read the audit log"),
    ("GET", "/v1/audit/proof/inclusion"): Need("read the audit log"),
    ("GET", "/v1/audit/proof/consistency"): Need("read the audit log"),
    ("GET", "/v1/audit/tlog/{path:path}"): Need("read the audit log"),
    ("GET", "/v1/audit/export"): Need("read the audit log"),
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/docs"): None,
}
"""None: takes no token, and tells nothing that came from data."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds an accepted token. `bound`: it is good only together with a key that the caller has shown."""

    subject: str
    roles: frozenset[Role]
    service: bool = False
    bound: bool = False

    def may(self, act: Act) -> bool:
        return act in EVERYBODY or any(act in MATRIX[role] for role in self.roles)

    def require(self, act: Act) -> None:
        """Raises Refusal(`role_missing`)."""
        if self.may(act):
            return
        roles = " or ".join(f"`{role}`" for role, acts in MATRIX.items() if act in acts)
        raise Refusal("role_missing", f"your token does not let you {act}", hint=f"that takes the role {roles}")


def known_roles(names: tuple[str, ...], *, service: bool = False) -> frozenset[Role]:
    """The roles among `names`; what is no role of ours, or none for a program, is ignored."""
    return frozenset(role for role in MATRIX if role in names and (not service or role in SERVICES))
