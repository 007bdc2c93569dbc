"""Refusals and faults: two trees.

    Exception
    ├── Refusal        the caller's: nothing was read, nothing spent; code, words, position, a way out
    └── Fault          ours: the caller gets an id, the log gets the cause, the charge stays
        ├── NotReady   a start-up or a dependency is not there; 503
        │   └── Unsound   the log is damaged or lacks records: it takes no more, and nothing is granted
        └── Misconfigured   a home, a policy or a setting that cannot be served; says which file and what would do

Each code of a refusal has one HTTP status, here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sandbox.relational.expressions import Position

STATUS: Final[dict[str, int]] = {
    "sql_unreadable": 400,
    "sql_too_large": 400,
    "body_unreadable": 400,
    "body_too_large": 400,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "proof_invalid": 401,
    "proof_nonce": 401,
    "token_unbound": 403,
    "role_missing": 403,
    "statement_not_allowed": 403,
    "construct_not_allowed": 403,
    "function_not_allowed": 403,
    "table_unknown": 403,
    "table_ambiguous": 403,
    "column_unknown": 403,
    "column_ambiguous": 403,
    "column_hidden": 403,
    "column_not_groupable": 403,
    "column_not_filterable": 403,
    "column_not_grouped": 403,
    "keys_not_public": 403,
    "aggregate_not_allowed": 403,
    "aggregate_required": 403,
    "join_not_allowed": 403,
    "bound_missing": 403,
    "type_mismatch": 403,
    "result_too_large": 403,
    "mode_not_offered": 403,
    "purpose_not_licensed": 403,
    "licence_missing": 403,
    "licence_expired": 403,
    "epsilon_too_large": 403,
    "accuracy_unaffordable": 403,
    "accuracy_unknown": 403,
    "policy_changed": 403,
    "retention_floor": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "idempotency_conflict": 409,
    "body_invalid": 422,
    "parameter_missing": 422,
    "parameter_invalid": 422,
    "purpose_missing": 422,
    "epsilon_invalid": 422,
    "blocks_invalid": 422,
    "budget_exhausted": 429,
    "rate_limited": 429,
    "locked_out": 429,
    "caller_gone": 499,
    "internal_error": 500,
    "outcome_unknown": 500,
    "dataset_frozen": 503,
    "dataset_not_ready": 503,
    "not_ready": 503,
    "busy": 503,
}
"""code -> HTTP status. Every code has a page under docs/reference/errors/."""


@dataclass(frozen=True, slots=True)
class Alternative:
    """A query that would pass, and why."""

    sql: str
    why: str


class Refusal(Exception):
    """Nothing was read and nothing spent.

    `message` starts in lower case, has no final stop, puts the caller's words in backticks and never holds data values.
    """

    def __init__(  # noqa: PLR0913  # all that a refusal may say
        self,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        at: Position | None = None,
        alternatives: tuple[Alternative, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        if code not in STATUS:
            raise KeyError(code)
        self.code = code
        self.message = message
        self.hint = hint
        self.at = at
        self.alternatives = alternatives
        self.retry_after_s = retry_after_s
        """For the header `Retry-After`; None where the code alone says it."""
        self.dataset: str | None = None
        """The dataset that it is about, where the question got that far."""

    @property
    def status(self) -> int:
        return STATUS[self.code]


class Fault(Exception):
    """Ours. The text is for the log, never for the caller."""


class NotReady(Fault):
    """Something this process needs is not there (yet)."""


class Unsound(NotReady):
    """The log is damaged, or lacks records that were signed. The text names the place and the way out."""


class Misconfigured(Fault):
    """A file of the home that cannot be served. The text names the file, the place and what would do."""
