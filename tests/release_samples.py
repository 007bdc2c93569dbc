"""Many releases of one question over one dataset, as the domain makes them: only the noise is new each time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from policies.types import Value
from sandbox.relational.lower.statement import Lowered
from sandbox.release import make as making
from sandbox.release.make import Job, make
from sandbox.release.released import Release

_LOWERINGS = ("lower_keys", "lower_levels", "lower_values", "lower_distinct", "lower_coarse", "lower_fine")


class Releases:
    """Draws releases of `job`; `run` executes a statement, once each.

    Statements are written and run once, for they are the same each time: what a draw costs is its noise.
    """

    def __init__(self, job: Job, run: Callable[[Lowered], list[tuple[Value, ...]]]) -> None:
        self._job, self._run = job, run
        self._written: dict[tuple[object, ...], Lowered] = {}
        self._rows: dict[int, list[tuple[Value, ...]]] = {}

    def draw(self, count: int) -> Iterator[Release]:
        with self._remembering():
            for _ in range(count):
                yield make(self._job, self._query, b"seed")

    def _query(self, lowered: Lowered, rows_max: int) -> list[tuple[Value, ...]]:
        if id(lowered) not in self._rows:  # every statement is kept in `_written`, so no id is used twice
            self._rows[id(lowered)] = self._run(lowered)
        return self._rows[id(lowered)]

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(
                patch.dict(sys.modules, {"numpy": None})
            )  # else OpenDP looks for it on the disk, always
            for name in _LOWERINGS:
                stack.enter_context(patch.object(making, name, self._once(name, getattr(making, name))))
            yield

    def _once(self, name: str, lower: Callable[..., Lowered]) -> Callable[..., Lowered]:
        def remembered(plan: object, *arguments: Any) -> Lowered:
            key = (name, *(argument for argument in arguments if argument is not self._job.schema))
            if key not in self._written:
                self._written[key] = lower(plan, *arguments)
            return self._written[key]

        return remembered
