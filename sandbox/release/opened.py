"""What an answer of mode `open` keeps, and says again: rows as they are, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from policies.model import Mode
from policies.types import Type, Value
from sandbox.codec import digest, dumps
from sandbox.protocol import FREE, OutputColumn, Price, Question, Released
from sandbox.relational.nodes import Output

PAGE_BYTES_MAX: Final = 8 << 20
"""Of the rows of one page as they are stored; a page of long rows has fewer of them than were asked for."""


@dataclass(frozen=True, slots=True)
class OpenRelease:
    """As it is stored. `more` says that there are rows behind this page."""

    format: Literal["bpk-open-1"]
    dataset: str
    plan: Output
    policy_digest: str
    snapshot: str
    mode: Mode
    price: Price
    types: tuple[Type, ...]
    rows: tuple[tuple[Value, ...], ...]
    more: bool

    @property
    def plan_digest(self) -> str:
        return digest(self.plan)

    @property
    def source_digest(self) -> str:
        return self.plan_digest


def open_release(
    question: Question, snapshot: str, types: tuple[Type, ...], rows: list[tuple[Value, ...]], page: int
) -> OpenRelease:
    """`rows` are those of a page, and one more where there is one. Of too long a page the first ones are kept."""
    kept = _short(rows[:page])
    return OpenRelease(
        format="bpk-open-1",
        dataset=question.dataset,
        plan=question.plan,
        policy_digest=question.policy_digest,
        snapshot=snapshot,
        mode=question.mode,
        price=FREE,
        types=types,
        rows=kept,
        more=len(rows) > len(kept),
    )


def _short(rows: list[tuple[Value, ...]]) -> tuple[tuple[Value, ...], ...]:
    """The first of `rows`, which has room by itself, and those after it as long as there is room."""
    left = PAGE_BYTES_MAX
    for place, row in enumerate(rows):
        left -= len(dumps(row))
        if left < 0 and place:
            return tuple(rows[:place])
    return tuple(rows)


def open_columns(plan: Output, types: tuple[Type, ...]) -> tuple[OutputColumn, ...]:
    return tuple(OutputColumn(name, type_, "exact") for (name, _), type_ in zip(plan.columns, types, strict=True))


def answer_open(release: OpenRelease, release_id: str, release_hash: str, plan: Output) -> Released:
    nothing = tuple(None for _ in release.types)
    return Released(
        release=release_id,
        release_hash=release_hash,
        price=FREE,
        columns=open_columns(plan, release.types),
        rows=release.rows,
        intervals=tuple(nothing for _ in release.rows),
        notes=tuple(nothing for _ in release.rows),
        confidence="1",
        more=release.more,
    )
