"""Many releases of one question over one dataset, as the domain makes them: only the noise is new each time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from policies.types import Value
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.plan import ReleasePlan
from sandbox.release import make as making
from sandbox.release import noise
from sandbox.release.make import Job, make
from sandbox.release.released import Release

_LOWERINGS = tuple(name for name in vars(making) if name.startswith("lower_"))
Cells = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Drawn:
    """A release, and per statistic its numbers before noise; a choice has none."""

    release: Release
    exact: tuple[Cells | None, ...]


class Releases:
    """Draws releases of `job`; `run` executes a statement.

    Statements are written and run once, for they are the same each time: what a draw costs is its noise.
    """

    def __init__(self, job: Job, run: Callable[[Lowered], list[tuple[Value, ...]]]) -> None:
        self._job, self._run = job, run
        self._written: dict[tuple[object, ...], Lowered] = {}
        self._rows: dict[int, tuple[Lowered, list[tuple[Value, ...]]]] = {}
        self._before: dict[tuple[int, ...], tuple[int, ...]] = {}

    def draw(self, count: int) -> Iterator[Drawn]:
        with self._remembering():
            for _ in range(count):
                self._before.clear()
                release = make(self._job, self._query, b"seed")
                yield Drawn(release, tuple(self._exact(statistic.noisy) for statistic in release.statistics))

    def _exact(self, noisy: Cells) -> Cells | None:
        before = self._before.get(tuple(number for cell in noisy for number in cell))
        if before is None:
            return None
        size = len(noisy[0]) if noisy else 1
        return tuple(before[i : i + size] for i in range(0, len(before), size))

    def _query(self, lowered: Lowered, rows_max: int) -> list[tuple[Value, ...]]:
        if id(lowered) not in self._rows:  # it is kept beside its rows, so that no other takes its id
            self._rows[id(lowered)] = lowered, self._run(lowered)
        return self._rows[id(lowered)][1]

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(
                patch.dict(sys.modules, {"numpy": None})
            )  # else OpenDP looks for it on the disk, always
            for name in _LOWERINGS:
                stack.enter_context(patch.object(making, name, self._once(name, getattr(making, name))))
            stack.enter_context(patch.object(noise, "add_noise", self._noted(noise.add_noise)))
            yield

    def _once(self, name: str, lower: Callable[..., Lowered]) -> Callable[..., Lowered]:
        def remembered(plan: ReleasePlan, *arguments: Any) -> Lowered:
            given = (argument for argument in arguments if argument is not self._job.schema)
            key = (name, plan.statistics, *(tuple(each) if isinstance(each, list) else each for each in given))
            if key not in self._written:
                self._written[key] = lower(plan, *arguments)
            return self._written[key]

        return remembered

    def _noted(self, add: Callable[..., tuple[int, ...]]) -> Callable[..., tuple[int, ...]]:
        def noted(values: Sequence[int], *arguments: Any) -> tuple[int, ...]:
            noisy = add(values, *arguments)
            self._before[noisy] = tuple(values)
            return noisy

        return noted
