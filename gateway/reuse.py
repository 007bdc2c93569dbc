"""What is stored, once more: a release of the operator's own that answers a question, and the answer of a query."""

from __future__ import annotations

from typing import Final

from gateway.budget import queries
from gateway.budget.queries import QueryRow, Stored
from gateway.domain import Domain
from gateway.errors import Refusal
from gateway.store import Reading
from sandbox import codec
from sandbox.protocol import Question, Released

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


def released_again(domain: Domain, row: QueryRow) -> Released:
    """What a query was answered with. Raises Refusal(not_found) where nobody can tell any more, Unreachable."""
    if row.release is None:
        raise Refusal("not_found", "the query has no answer")
    if row.release == queries.LOST:
        hint = "ask the question again: what is stored answers it, free"
        raise Refusal("not_found", "the answer is on record, and its place was lost at a restore", hint=hint)
    if not row.question:  # erased, for its age or on demand
        raise Refusal("not_found", "the text of this query was erased, and its answer with it")
    return domain.fetch(row.release, codec.loads(row.question.encode(), Question))
