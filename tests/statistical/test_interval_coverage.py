"""95 % intervals of whole answers hold the exact bounded number as often as they say: 2,000 runs of each mechanism.

Bounds that are exact cover in 94 to 96.5 % of the runs. Those that are a box of several noisy numbers, or a bound on a
sum of several noises, are conservative, and cover in 94 % at least. `BPK_RUNS` sets the number of runs.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from policies.model import Accountant
from policies.privacy_loss import EPSILON_UNIT
from sandbox.protocol import Question, Released
from sandbox.relational import price
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Measure, Output, Relation, Release, Rollup, Scan, find_release
from sandbox.relational.plan import plan_release
from sandbox.release import noise
from sandbox.release.answer import answer
from sandbox.release.make import Job
from sandbox.release.released import Release as Stored
from tests.builders import World, load, make_world, policy_text
from tests.release_samples import Drawn, Releases

RUNS = int(os.environ.get("BPK_RUNS", "2000"))
UNITS = 4_000
EXACT, CONSERVATIVE = (0.94, 0.965), (0.94, 1.0)
TRIES = 3
"""Coverage outside is measured anew: at 2,000 runs chance goes outside about once in fifty times, and not thrice."""
PEOPLE = Scan("people", 0)
AGE, WEIGHT, INCOME, SEX = (Column(f"0.{name}") for name in ("age", "weight", "income", "sex"))


@dataclass(frozen=True)
class Asked:
    """One question, and of each of its columns the mechanism and the coverage that is expected."""

    accountant: Accountant
    measures: tuple[tuple[str, Measure, tuple[float, float]], ...]
    income: tuple[int, int] = (0, 1000)
    keys: tuple[Expression, ...] = ()
    sets: tuple[tuple[int, ...], ...] = ()
    epsilon: int = EPSILON_UNIT

    @property
    def plan(self) -> Output:
        release = Release(PEOPLE, self.keys, tuple(measure for _, measure, _ in self.measures))
        rows: Relation = Rollup(release, self.sets) if self.sets else release
        return Output(rows, tuple((f"m{i}", Column(f"m{i}")) for i in range(len(self.measures))))


def answers(asked: Asked, world: World, runs: int) -> Iterator[tuple[Released, Released]]:
    """Each answer beside the one that has the same norms and ranges, and no noise."""
    dp = world.policy.release.dp
    assert dp is not None
    shown = asked.plan
    planned = plan_release(find_release(shown), world.schema)
    question = Question("clinic", world.policy.digest, "dp", asked.epsilon, shown)
    budget = price.price(planned, dp, asked.epsilon)
    truths: dict[tuple[object, ...], Released] = {}
    for drawn in Releases(Job(question, planned, budget, world.schema, dp, 10**6, "5a" * 32), world.rows).draw(runs):
        chosen = tuple((statistic.norm, statistic.arguments) for statistic in drawn.release.statistics)
        if chosen not in truths:
            truths[chosen] = answer(_exact(drawn), "rel", "hash", shown)
        yield answer(drawn.release, "rel", "hash", shown), truths[chosen]


def _exact(drawn: Drawn) -> Stored:
    both = zip(drawn.release.statistics, drawn.exact, strict=True)
    return replace(drawn.release, statistics=tuple(replace(s, noisy=exact) for s, exact in both if exact is not None))


def covered(name: str, runs: int) -> list[float]:
    """How often the interval of each column, over all rows, holds the truth."""
    asked, hits, seen = ASKED[name], Counter[int](), 0
    world = world_of(asked)
    with world.connection:
        for released, truth in answers(asked, world, runs):
            for bands, exact in zip(released.intervals, truth.rows, strict=True):
                seen += 1
                for i, (band, value) in enumerate(zip(bands, exact, strict=True)):
                    assert band is not None
                    hits[i] += band[0] <= value <= band[1]  # type: ignore[operator]
    return [hits[i] / seen for i in range(len(asked.measures))]


def world_of(asked: Asked) -> World:
    """Ages and weights that hang together, incomes of which one in a hundred is large."""
    text = policy_text(accountant=asked.accountant, income=asked.income)
    world = make_world(load(text), random.Random(1), units=0)
    row = (
        "i, CASE i % 3 WHEN 0 THEN 'F' WHEN 1 THEN 'M' END, i % 100, "
        "CASE WHEN i % 100 = 0 THEN 1000 ELSE i % 40 END, i % 100 + i % 77, 'w' || i % 300, DATE '1990-01-01', TRUE"
    )
    world.connection.execute(f"INSERT INTO people_all SELECT {row} FROM range({UNITS}) t(i)").fetchall()
    return world


COUNTS = (
    ("count", Measure("count_rows"), EXACT),
    ("sum, norm fixed", Measure("sum", INCOME), EXACT),
    ("count distinct", Measure("count_distinct", Column("0.diagnosis")), EXACT),
)
LEVELS = (("sum, norm by levels", Measure("sum", INCOME), EXACT),)
MOMENTS = tuple(
    (function, Measure(function, AGE), CONSERVATIVE)  # type: ignore[arg-type]
    for function in ("avg", "var_pop", "stddev_samp")
)
PAIRS = tuple(
    (function, Measure(function, AGE, INCOME), CONSERVATIVE)  # type: ignore[arg-type]
    for function in ("covar_pop", "corr", "regr_slope")
)
RANGES = (("avg, range chosen", Measure("avg", WEIGHT), CONSERVATIVE),)
SMALL = (0, 3)
"""An income range whose norm is too small to be worth choosing."""


def _rolled(expected: tuple[float, float]) -> tuple[tuple[str, Measure, tuple[float, float]], ...]:
    """Counts and sums of three groups added up."""
    return tuple((f"{name}, added up", measure, expected) for name, measure, _ in COUNTS[:2])


ASKED: Mapping[str, Asked] = {
    "counts, zcdp": Asked("zcdp", COUNTS, SMALL),
    "counts, pure": Asked("pure", COUNTS, SMALL, epsilon=EPSILON_UNIT // 4),
    "levels, zcdp": Asked("zcdp", LEVELS),
    "levels, pure": Asked("pure", LEVELS),
    "ranges, zcdp": Asked("zcdp", RANGES),
    "mean alone, zcdp": Asked("zcdp", MOMENTS[:1]),
    "moments, zcdp": Asked("zcdp", MOMENTS),
    "moments, pure": Asked("pure", MOMENTS),
    "pairs, zcdp": Asked("zcdp", PAIRS, SMALL),
    "roll-up, zcdp": Asked("zcdp", _rolled(EXACT), SMALL, (SEX,), ((),)),
    "roll-up, pure": Asked("pure", _rolled(CONSERVATIVE), SMALL, (SEX,), ((),), epsilon=EPSILON_UNIT // 4),
}


class Line(NamedTuple):
    question: str
    mechanism: str
    share: float
    expected: tuple[float, float]

    @property
    def holds(self) -> bool:
        return self.expected[0] <= self.share <= self.expected[1]

    def __str__(self) -> str:
        word = "exact" if self.expected == EXACT else "conservative"
        return f"{self.question:20} {self.mechanism:32} {100 * self.share:6.2f} % {word}"


def lines(name: str, runs: int) -> list[Line]:
    measures = ASKED[name].measures
    return [
        Line(name, mechanism, share, expected)
        for (mechanism, _, expected), share in zip(measures, covered(name, runs), strict=True)
    ]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ASKED)
def test_intervals_cover_as_often_as_they_say(name: str) -> None:
    for _ in range(TRIES):
        found = lines(name, RUNS)
        print(f"\n95 % intervals over {RUNS} runs", *found, sep="\n")
        if all(line.holds for line in found):
            return
    pytest.fail(f"{name}: the last of {TRIES} coverages is outside too")


@pytest.mark.parametrize("name", ["counts, zcdp", "counts, pure", "levels, zcdp", "roll-up, zcdp"])
def test_noise_a_third_larger_than_said_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = noise.add_noise

    def larger(values: Sequence[int], norm: object, accountant: str, share: int) -> tuple[int, ...]:
        return honest(values, norm, accountant, share * 9 // 16 if accountant == "zcdp" else share * 3 // 4)  # type: ignore[arg-type]

    monkeypatch.setattr(noise, "add_noise", larger)
    assert not any(line.holds for line in lines(name, 500))


@pytest.mark.parametrize("name", ["mean alone, zcdp", "moments, pure", "pairs, zcdp", "roll-up, pure"])
def test_intervals_an_eighth_as_wide_are_noticed_even_where_they_are_conservative(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = noise.Scale.accuracy
    monkeypatch.setattr(noise.Scale, "accuracy", lambda *given: honest(*given) // 8)
    assert not any(line.holds for line in lines(name, 300))
