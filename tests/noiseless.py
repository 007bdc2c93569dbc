"""The release path with every mechanism replaced by the exact function that it makes private: for tests of meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from policies.model import Dp
from policies.types import Value
from sandbox.codec import digest
from sandbox.protocol import Question
from sandbox.relational import price
from sandbox.relational.facts import Schema
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import Output, find_release
from sandbox.relational.plan import ReleasePlan, plan_release
from sandbox.relational.ranges import End
from sandbox.relational.statistics import Vector
from sandbox.release import choices, noise
from sandbox.release.make import Job, make
from sandbox.release.released import Release

EPSILON = 10**12
UNITS_MAX = 10**6


def _as_it_is(values: Sequence[int], *_: object) -> tuple[int, ...]:
    return tuple(values)


def _least(scores: Sequence[int], *_: object, monotonic: bool) -> int:
    return min(range(len(scores)), key=scores.__getitem__)


def _every_key(units: Mapping[tuple[Value, ...], int], *_: object) -> dict[tuple[Value, ...], int]:
    return dict(units)


def _declared(units: Mapping[int, int], vector: Vector, groups: int, accountant: str, share: object) -> int:
    return vector.levels(accountant)  # type: ignore[arg-type]


def _whole(units: Mapping[int, int], end: End, groups: int, accountant: str, share: object) -> int:
    return end.levels


@contextmanager
def noiseless() -> Iterator[None]:
    """Sums and counts as they are, the best of each choice, every private key, every norm and range as declared."""
    with (
        patch.object(noise, "add_noise", _as_it_is),
        patch.object(noise, "choose_least", _least),
        patch.object(noise, "select_keys", _every_key),
        patch.object(choices, "choose_level", _declared),
        patch.object(choices, "choose_end", _whole),
    ):
        yield


def job_of(plan: Output, schema: Schema, dp: Dp, planned: ReleasePlan | None = None) -> Job:
    question = Question("clinic", schema.policy.digest, "dp", EPSILON, plan)
    planned = planned or plan_release(find_release(plan), schema)
    return Job(question, planned, price.price(planned, dp, EPSILON), schema, dp, UNITS_MAX, digest("snapshot"))


def exact_release(job: Job, run: Callable[[Lowered], list[tuple[Value, ...]]]) -> Release:
    """What `job` would release without noise; `run` executes a statement."""
    with noiseless():
        return make(job, lambda lowered, _: run(lowered), b"seed")
