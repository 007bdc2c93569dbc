"""What a refusal offers instead: only queries that pass every step which the refused one failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gateway.admission.modes import mode_for, require_asked
from gateway.errors import Alternative, Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from gateway.sql.rewrite import rewrites
from policies.model import Policy

_OFFERED_MAX: Final = 3
NOISY: Final = "the same with `mode` `dp`, which answers it with noise"


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was put, with the policies that its caller may ask."""

    sql: str
    parameters: Mapping[str, object]
    policies: Mapping[str, Policy]
    limits: SqlLimits
    mode: str | None = None
    """As it was asked for; the policy's first where none was named."""


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
    if refusal.code == "aggregate_not_allowed" and _passes_noisy(asked):
        found.append(Alternative(asked.sql, NOISY))
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
    """Whether the rewritten query is readable and may be asked. It takes no more parameters than were sent."""
    try:
        query = read(sql, asked.parameters, asked.policies, asked.limits, asked.mode)
        policy = asked.policies[query.dataset]
        require_asked(query.plan, policy, mode_for(policy, asked.mode))
    except Refusal:
        return False
    return True


def _passes_noisy(asked: Asked) -> bool:
    """Whether the question as it stands may be asked in mode `dp`, and was asked in another one."""
    try:
        query = read(asked.sql, asked.parameters, asked.policies, asked.limits, "dp")
        policy = asked.policies[query.dataset]
        asked_otherwise = mode_for(policy, asked.mode) != "dp"
        require_asked(query.plan, policy, mode_for(policy, "dp"))
    except Refusal:
        return False
    return asked_otherwise
