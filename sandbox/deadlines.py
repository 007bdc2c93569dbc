"""Answer deadlines: when a charged question is answered, fixed beforehand and by public things alone.

A question is answered at its deadline, however soon its worker was done, and fails at the same moment where it was not.
Which of a dataset's deadlines it has is a function of the plan, the policy and what the custodian says of the size of
tables. So the clock tells an operator nothing that `check` has not told before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from policies.model import Policy
from sandbox import logs
from sandbox.relational.nodes import Join, Public, Relation, Scan, UnionAll, UnitAggregate, Window, walk

log = logs.logger("bpk.domain")
DEADLINES_MS: Final = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000)
"""Where domain.toml names none."""
LAYER: Final = "answer_deadlines"
"""The name under which it is shown that a dataset's answers leave when they are ready."""
DECIDED: Final = 0.9
"""The part of a deadline after which a question that has no release yet has failed. The rest is for recording that,
which takes some milliseconds and must not be seen either."""
_ROWS_PER_S: Final = 10_000_000
_FIXED_S: Final = 0.15
_NUMBER_S: Final = 300e-6
"""Cautious figures for two processors that have other work: what a quiet machine does in a third of the time and less
(`python -m bench.deadlines`)."""
_JOIN, _PUBLIC_JOIN, _UNIT, _WINDOW = 0.5, 0.1, 3.0, 8.0
"""What a node adds to the one look at every row that a scan is."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """How much a question is to do: looks at all its rows, and numbers that it makes."""

    looks: int
    numbers: int


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Of one dataset. `choices_ms` ascend; none means that answers leave when they are ready."""

    choices_ms: tuple[int, ...]
    rows_about: Mapping[str, int]
    """table -> public order of magnitude of its rows, in the custodian's word."""

    def of(self, relation: Relation, work: Work, policy: Policy, least_ms: int = 0) -> int | None:
        """The deadline in ms of a question over `relation`: the first that leaves it time enough, and is not before
        `least_ms`, which whoever asks may choose; else the last.

        A function of plan, policy, the custodian's word and the question alone.
        """
        if not self.choices_ms:
            return None
        about_ms = 1000 * self._seconds(relation, work, policy)
        enough = (each for each in self.choices_ms if each >= least_ms and about_ms <= each * DECIDED)
        return next(enough, self.choices_ms[-1])

    def _seconds(self, relation: Relation, work: Work, policy: Policy) -> float:
        nodes = list(walk(relation))
        rows = sum(self._rows(node.table, policy) for node in nodes if isinstance(node, Scan))
        weight = 1 + sum(_weight(node) for node in nodes)
        return _FIXED_S + work.looks * weight * rows / _ROWS_PER_S + work.numbers * _NUMBER_S

    def _rows(self, name: str, policy: Policy) -> int:
        if name in self.rows_about:
            return self.rows_about[name]
        units = 0 if policy.unit is None else policy.unit.count_about
        return units * (policy.tables[name].rows_per_unit_max or 1)


def _weight(node: Relation) -> float:
    if isinstance(node, Join):
        return _PUBLIC_JOIN if isinstance(node.right, Public) else _JOIN
    if isinstance(node, UnionAll):
        return _JOIN
    if isinstance(node, UnitAggregate):
        return _UNIT
    return _WINDOW if isinstance(node, Window) else 0.0


NO_DEADLINES: Final = Deadlines((), {})


@dataclass(frozen=True, slots=True)
class Due(Generic[T]):
    """A job with a deadline: what it does, how it is stopped, and what is left of it."""

    work: Callable[[], T]
    stop: Callable[[], None]
    """Ends what it waits for."""
    give_up: Callable[[], bool]
    """Whether what it still does will count for nothing. It counts where the release is kept already: then all that
    follows depends on released numbers alone, and may take its time."""
    free: Callable[[], None]
    """Gives its place to others: not before the deadline, for that would be seen too."""
    late: T
    """What is answered where it was given up."""

    def answer(self, began: float, deadline_ms: int) -> T:
        """What `work` gives, `deadline_ms` after `began` (of time.monotonic) and not before; or `late`, likewise.

        Guarantee: the moment of the return, and that of `free`, say nothing of how long `work` took, but for whether
        it took too long.
        Source: docs/explanation/guarantees/time.md
        """
        found: list[T] = []
        done = threading.Event()
        due = began + deadline_ms / 1000

        def run() -> None:
            try:
                found.append(self.work())
            except BaseException as error:  # noqa: BLE001 RUF100  # a thread's own last words would be a trace with texts in it
                log.error("a job ended", error=type(error).__name__)
            finally:
                done.set()
                _sleep_until(due)
                self.free()

        threading.Thread(target=copy_context().run, args=(run,), name="bpk-job", daemon=True).start()
        given_up = False
        if not done.wait(began + deadline_ms * DECIDED / 1000 - time.monotonic()):
            self.stop()
            given_up = self.give_up()
            if not given_up:
                done.wait()
        _sleep_until(due)
        return self.late if given_up or not found else found[0]


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
