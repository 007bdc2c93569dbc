"""Whether a question tells too much of one unit, or anything for nothing: for tests of planted faults."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Measure, Output, Relation, Release
from sandbox.relational.plan import plan_release
from sandbox.release.make import Job
from tests.builders import World
from tests.noiseless import job_of
from tests.release_samples import Releases
from tests.sensitivity import looks

SEED = 20261125


def one_unit_moves_too_much(
    world: World, source: Relation, *measures: Measure, keys: Sequence[Expression] = ()
) -> bool:
    planned = plan_release(Release(source, tuple(keys), measures), world.schema)
    return any(looks(random.Random(SEED), world, planned, range(world.units)))


def constant_numbers(job: Job, world: World) -> int:
    """How many numbers of a release are the same in thirty draws of it."""
    drawn = [
        [number for statistic in drawn.release.statistics for noisy in statistic.noisy for number in noisy]
        for drawn in Releases(job, world.rows).draw(30)
    ]
    return sum(len(set(numbers)) == 1 for numbers in zip(*drawn, strict=True))


def job_for(world: World, source: Relation, *measures: Measure, keys: Sequence[Expression] = ()) -> Job:
    dp = world.policy.release.dp
    assert dp is not None
    shown = tuple((f"m{i}", Column(f"m{i}")) for i in range(len(measures)))
    return job_of(Output(Release(source, tuple(keys), measures), shown), world.schema, dp)
