"""A statement for the engine: named steps, a last SELECT, and the table that it may read of an earlier one."""

from __future__ import annotations

from dataclasses import dataclass

from policies.types import Type

KEPT = "__kept"
"""The one table that a job may keep between its statements, in the worker's memory."""


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    sql: str
    stored: bool = False
    """Whether its rows are made once and kept until the statement ends: where several steps read them, and making them
    takes longer than keeping them."""

    @property
    def written(self) -> str:
        return f"{self.name} AS {'MATERIALIZED ' if self.stored else ''}({self.sql})"


@dataclass(frozen=True, slots=True)
class Lowered:
    """`shape` is the type of each column that comes back: the keys, then integers.

    Where `keep` is set, it is the SQL of the table `__kept`, made once before the job's first statement that reads it.
    """

    steps: tuple[Step, ...]
    select: str
    shape: tuple[Type, ...]
    keep: str | None = None

    @property
    def sql(self) -> str:
        """What runs where `kept` is there."""
        return _written(self.steps, self.select)

    @property
    def whole(self) -> str:
        """The same meaning in one statement, which makes `kept` itself: for binding on the shadow, and for tests."""
        kept = () if self.keep is None else (Step(KEPT, self.keep),)
        return _written((*kept, *self.steps), self.select)


def _written(steps: tuple[Step, ...], select: str) -> str:
    return f"WITH {', '.join(step.written for step in steps)} {select}" if steps else select
