"""What an answer of mode `open` keeps, and says again: rows as they are, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from policies.model import Mode
from policies.types import Type, Value
from sandbox.codec import digest
from sandbox.protocol import FREE, OutputColumn, Price, Question, Released
from sandbox.relational.nodes import Output


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
    """`rows` are those of a page, and one more where there is one."""
    return OpenRelease(
        format="bpk-open-1",
        dataset=question.dataset,
        plan=question.plan,
        policy_digest=question.policy_digest,
        snapshot=snapshot,
        mode=question.mode,
        price=FREE,
        types=types,
        rows=tuple(rows[:page]),
        more=len(rows) > page,
    )


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
