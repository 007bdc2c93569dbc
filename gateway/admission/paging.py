"""Pages of open rows: each page is a question of its own, with a place in the order of all rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from gateway.errors import Refusal
from sandbox.codec import digest
from sandbox.protocol import Question
from sandbox.relational.nodes import PAGE_ROWS_MAX, Limit, Output

ROWS: Final = 1_000
"""Of a page, where the caller names no number."""
_MARK_LENGTH: Final = 24
_OFFSET_DIGITS_MAX: Final = 15


@dataclass(frozen=True, slots=True)
class Page:
    """Which rows are asked for. `mark` tells of which question, and over which snapshot, an earlier page was."""

    limit: int = ROWS
    offset: int = 0
    mark: str | None = None

    @classmethod
    def read(cls, limit: int | None, cursor: str | None) -> Page | None:
        """None where neither is given. Raises Refusal(parameter_invalid)."""
        if limit is None and cursor is None:
            return None
        rows = ROWS if limit is None else limit
        if not 1 <= rows <= PAGE_ROWS_MAX:
            raise Refusal("parameter_invalid", f"`limit` is a whole number from 1 to {PAGE_ROWS_MAX}")
        if cursor is None:
            return cls(rows)
        offset, dot, mark = cursor.partition(".")
        whole = offset.isascii() and offset.isdigit() and len(offset) <= _OFFSET_DIGITS_MAX
        if not dot or not whole or len(mark) != _MARK_LENGTH:
            raise Refusal("parameter_invalid", "`cursor` is not one of ours", hint="send the one of the page before")
        return cls(rows, int(offset), mark)

    def of(self, plan: Output) -> Output:
        """`plan` with the rows of this page alone."""
        return replace(plan, source=Limit(plan.source, self.limit, self.offset))

    def require_same(self, question: Question, snapshot: str) -> None:
        """Raises Refusal(parameter_invalid) where the page before was of another question, or of other rows."""
        if self.mark is not None and self.mark != _mark(question, snapshot):
            message = "`cursor` is of another question, or the data has changed since"
            raise Refusal("parameter_invalid", message, hint="ask for the first page again, without `cursor`")


def next_cursor(question: Question, snapshot: str, rows: int) -> str:
    """What asks for the page behind that of `question`, which was answered with so many `rows`."""
    page = question.plan.source
    if not isinstance(page, Limit) or page.count is None:
        raise AssertionError("an open question is of one page")
    return f"{page.offset + rows}.{_mark(question, snapshot)}"


def _mark(question: Question, snapshot: str) -> str:
    page = question.plan.source
    whole = replace(question.plan, source=page.source) if isinstance(page, Limit) else question.plan
    return digest((whole, question.policy_digest, snapshot))[:_MARK_LENGTH]
