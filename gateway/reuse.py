"""Which stored release answers a question at no cost, where a policy keeps answers with their operator."""

from __future__ import annotations

from typing import Final

from gateway.budget import queries
from gateway.budget.queries import Stored
from gateway.store import Reading
from sandbox import codec
from sandbox.protocol import Question

LOOKED_AT_MAX: Final = queries.HISTORY_MAX
"""So many of the operator's newest queries are looked at; an older answer is asked, and charged, again."""


def own_release(view: Reading, operator: str, question: Question, snapshot: str) -> Stored | None:
    """The newest release that this operator was given for the same question, at no less than its epsilon."""
    wanted = (question.dataset, question.mode, question.policy_digest, snapshot)
    for row in queries.history(view, operator, limit=LOOKED_AT_MAX).rows:
        if row.release in (None, queries.LOST) or row.release_hash is None or not row.question:
            continue
        if (row.dataset, row.mode, row.policy_digest, row.snapshot) != wanted:
            continue
        earlier = codec.loads(row.question.encode(), Question)
        if earlier.plan_digest == question.plan_digest and earlier.epsilon >= question.epsilon:
            return Stored(row.release, row.release_hash)
    return None
