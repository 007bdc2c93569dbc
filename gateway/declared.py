"""What a data domain may say to a question: shown is what was declared beforehand, in its shape, and nothing else."""

from __future__ import annotations

import re
from typing import Final

from sandbox.protocol import Prepared, Question, Refused, Released

AMOUNT_MAX: Final = 2**63 - 1
TEXT_MAX: Final = 4_000
PLACES_MAX: Final = 1_000_000
OURS: Final = frozenset(
    {"body_invalid", "body_too_large", "body_unreadable", "idempotency_conflict", "internal_error", "licence_expired"}
    | {"licence_missing", "method_not_allowed", "purpose_missing", "purpose_not_licensed", "rate_limited"}
    | {"role_missing", "token_expired", "token_invalid", "token_missing"}
)
"""Codes that this gateway alone gives."""
_RELEASE: Final = re.compile(r"rel_[0-9a-f]{32}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


def wrong_price(prepared: Prepared) -> bool:
    """Whether it holds an amount that no ledger could take."""
    price = prepared.price
    amounts = (price.epsilon, price.rho, price.delta, prepared.cells or 0, prepared.deadline_ms or 0)
    named = prepared.release is None or (
        _RELEASE.fullmatch(prepared.release) and _HASH.fullmatch(prepared.release_hash or "")
    )
    short = all(len(text) <= TEXT_MAX for text in (prepared.audience, prepared.snapshot, *prepared.steps))
    return not (named and short and all(0 <= amount <= AMOUNT_MAX for amount in amounts))


def undeclared(released: Released, question: Question) -> bool:
    """Whether an answer has other columns than the question, or cells beside them."""
    width = len(question.plan.columns)
    names = tuple(name for name, _ in question.plan.columns)
    lines = (*released.rows, *released.intervals, *released.notes)
    parallel = len(released.rows) == len(released.intervals) == len(released.notes)
    whole = parallel and all(len(line) == width for line in lines)
    named = _RELEASE.fullmatch(released.release) and _HASH.fullmatch(released.release_hash)
    counted = all(0 <= count <= AMOUNT_MAX for count in (released.cells_released, released.cells_withheld))
    same = tuple(column.name for column in released.columns) == names and released.confidence == (
        "0.95" if question.mode == "dp" else "1"
    )
    return not (whole and same and named and counted)


def untold(prepared: Prepared, question: Question, *, asked: bool) -> bool:
    """Whether a stored answer comes along that is not the one that is named, or that nobody asked for."""
    released = prepared.released
    if released is None:
        return False
    same = (released.release, released.release_hash) == (prepared.release, prepared.release_hash)
    return not (asked and same) or undeclared(released, question)


def strange(refused: Refused) -> bool:
    """Whether a refusal is none that a data domain gives."""
    at = refused.at
    placed = at is None or all(0 <= number <= PLACES_MAX for number in (at.line, at.column, at.length))
    return refused.code in OURS or len(refused.detail) + len(refused.hint or "") > TEXT_MAX or not placed
