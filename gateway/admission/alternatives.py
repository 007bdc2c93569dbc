"""What a refusal offers instead: only queries that pass every step which the refused one failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.admission.roles import require_roles
from gateway.errors import Alternative, Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from gateway.sql.rewrite import rewrites
from policies.model import Policy

_OFFERED_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was put, with the policies that its caller may ask."""

    sql: str
    parameters: Mapping[str, object]
    policies: Mapping[str, Policy]
    limits: SqlLimits


@contextmanager
def offering(asked: Asked) -> Iterator[None]:
    """Refusals of `read` and `admit` inside leave with alternatives, where there are some.

    Reads no data, and knows nothing but what the caller may see: `asked.policies`.
    """
    try:
        yield
    except Refusal as refusal:
        raise with_alternatives(refusal, asked) from None


def with_alternatives(refusal: Refusal, asked: Asked) -> Refusal:
    """`refusal` with up to three queries that would be read and admitted."""
    found: list[Alternative] = []
    for candidate in rewrites(refusal, asked.sql, asked.policies, asked.limits):
        if len(found) < _OFFERED_MAX and candidate not in found and _passes(candidate.sql, asked):
            found.append(candidate)
    if not found:
        return refusal
    offered = Refusal(
        refusal.code,
        refusal.message,
        hint=refusal.hint,
        at=refusal.at,
        alternatives=refusal.alternatives + tuple(found),
    )
    offered.dataset = refusal.dataset
    return offered


def _passes(sql: str, asked: Asked) -> bool:
    """Whether the rewritten query is readable and within the roles. It takes no more parameters than were sent."""
    try:
        query = read(sql, asked.parameters, asked.policies, asked.limits)
        require_roles(query.plan, asked.policies[query.dataset])
    except Refusal:
        return False
    return True
