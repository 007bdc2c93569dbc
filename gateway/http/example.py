"""What the examples of the API's document are made of: the request and its reply, and the pieces that recur.

Problems are made as the gateway makes them, so that code, status and title cannot differ from its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from gateway.errors import Refusal
from gateway.http import problems
from gateway.identity.roles import MATRIX, Act, Route
from sandbox.relational.expressions import Position

Who = Literal["operator", "auditor", "stranger", "nobody", "forger"]
DIGEST: Final = "3f7a" * 16
QUERY: Final = "qry_0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Example:
    """A request that can be sent, and its reply. `after` names the example whose query id fills `{query_id}`."""

    route: Route
    name: str
    status: int
    reply: Any
    who: Who = "operator"
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    query: str = ""
    after: str | None = None
    sent: bool = True
    """False where only a broken gateway replies so."""


def problem(
    code: str,
    message: str,
    *,
    hint: str | None = None,
    at: Position | None = None,
    places: list[dict[str, str]] | None = None,
) -> dict[str, Any]:
    return problems.problem(Refusal(code, message, hint=hint, at=at), places=places)


def wrong(detail: str, *, hint: str | None = None) -> dict[str, Any]:
    return problem("parameter_invalid", detail, hint=hint)


def no_token(route: Route, *, path: dict[str, str] | None = None, body: Any = None) -> Example:
    hint = "send the header `Authorization: Bearer <token>`, once"
    reply = problem("token_missing", "this address takes a bearer token", hint=hint)
    return Example(route, "no token", 401, reply, who="nobody", path=path or {}, body=body)


def no_role(route: Route, act: Act, *, path: dict[str, str] | None = None, body: Any = None) -> Example:
    """Asked by somebody whose token is good, but for something else."""
    who: Who = "auditor" if act in MATRIX["operator"] else "operator"
    role = "operator" if who == "auditor" else "auditor"
    reply = problem("role_missing", f"your token does not let you {act}", hint=f"that takes the role `{role}`")
    return Example(route, f"not an {role}", 403, reply, who=who, path=path or {}, body=body)


COST: Final = {"epsilon": "0.5", "delta": "0", "rho": "0.003796322965"}
LEFT: Final = {
    "dataset": {"name": "clinic", "epsilon_left": "7.97", "answers_left": 186},
    "operator": {"epsilon_left": "1.92", "answers_left": 13},
}
RECORD: Final = {
    "v": 1,
    "ledger": "baopingkou/3f7a3f7a3f7a",
    "seq": 41,
    "time": "2026-11-23T22:04:36.123Z",
    "kind": "release",
    "actor": "acme-actuaries",
    "query_id": QUERY,
    "dataset": "clinic",
    "policy_digest": DIGEST,
    "snapshot": DIGEST,
    "decision": None,
    "code": None,
    "charges": None,
    "commitments": {"release": DIGEST},
}
RECEIPT: Final = {
    "index": 41,
    "record": RECORD,
    "leaf_hash": DIGEST,
    "proof": [DIGEST],
    "checkpoint": "baopingkou/3f7a3f7a3f7a\n42\nq83v…=\n\n— baopingkou/3f7a3f7a3f7a q83v…=\n",
}
