"""Tiny neighbouring datasets for which each mechanism loses about as much as it may: unit 0 is the one that leaves."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from policies.model import Accountant
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for
from policies.types import Value
from sandbox.protocol import Question
from sandbox.relational import price
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Measure, Output, Relation, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.release.make import Job
from sandbox.release.released import Release as Released
from sandbox.release.released import ReleasedStatistic
from tests.builders import World, load, make_world, policy_text
from tests.empirical import Outcome
from tests.noiseless import exact_release
from tests.release_samples import Releases

PEOPLE, VISITS, ITEMS = Scan("people", 0), Scan("visits", 0), Scan("items", 0)
KIND, SEX, DIAGNOSIS, COST, INCOME, WEIGHT, AGE = (
    Column(f"0.{name}") for name in ("kind", "sex", "diagnosis", "cost", "income", "weight", "age")
)
COUNT, HALF = Measure("count_rows"), Decimal("0.5")
EPSILON: Mapping[Accountant, int] = {"pure": EPSILON_UNIT, "zcdp": 8 * EPSILON_UNIT}
"""Of a question. Under zcdp that is a rho of about 0.6, because half of the policy's delta is tiny."""
DELTA = 0.05
"""At which a rho is told as an epsilon."""
KEYS_DELTA = 0.01
"""What private keys may spend, so much that lonely keys are seen."""
Row = tuple[object, ...]


@dataclass(frozen=True)
class Pair:
    name: str
    accountant: Accountant
    source: Relation
    measures: tuple[Measure, ...]
    rows: Mapping[str, list[Row]]
    keys: tuple[Expression, ...] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)

    def world(self) -> World:
        world = make_world(load(policy_text(accountant=self.accountant, **self.policy)), random.Random(1), units=0)
        for table, rows in self.rows.items():
            marks = ", ".join("?" for _ in rows[0])
            world.connection.executemany(f"INSERT INTO {table}_all VALUES ({marks})", rows)
        return world

    def job(self, world: World) -> Job:
        """With a delta for private keys that is large enough to be seen."""
        dp = world.policy.release.dp
        assert dp is not None
        release = Release(self.source, self.keys, self.measures)
        plan = Output(release, tuple((f"m{i}", Column(f"m{i}")) for i in range(len(self.measures))))
        planned = plan_release(release, world.schema)
        budget = price.price(planned, dp, EPSILON[self.accountant])
        if planned.private_keys:
            budget = replace(budget, delta=int(KEYS_DELTA * DELTA_UNIT))
        question = Question("clinic", world.policy.digest, "dp", EPSILON[self.accountant], plan)
        return Job(question, planned, budget, world.schema, dp, 10**6, "5a" * 32)

    def claim(self, job: Job) -> tuple[float, float]:
        """The (epsilon, delta) that the price of `job` promises."""
        if self.accountant == "pure":
            return job.budget.price.epsilon / EPSILON_UNIT, 0.0
        return epsilon_of(job.budget.price.rho), DELTA + job.budget.delta / DELTA_UNIT


def epsilon_of(rho: int) -> float:
    """The least epsilon that rho-zCDP implies at DELTA."""
    low, high = 0, 100 * EPSILON_UNIT
    while high - low > EPSILON_UNIT // 10**6:
        middle = (low + high) // 2
        low, high = (low, middle) if rho_for(middle, int(DELTA * DELTA_UNIT)) >= rho else (middle, high)
    return high / EPSILON_UNIT


def outcomes(pair: Pair, world: World, job: Job, count: int) -> tuple[list[Outcome], list[Outcome]]:
    """What `count` releases show, with unit 0 and without it."""
    exact = [exact_release(job, lambda lowered, gone=gone: world.rows(lowered, gone)) for gone in (None, 0)]
    score = _Score(*exact)
    whole, less = (
        Releases(job, lambda lowered, gone=gone: world.rows(lowered, gone)).draw(count) for gone in (None, 0)
    )
    return [score(release) for release in whole], [score(release) for release in less]


class _Score:
    """Turns a release into an outcome in which the two datasets look as different as they can.

    The word says which groups are there, which norms were chosen, and on which side chosen cells lie; the number is the
    log of the odds of noisy numbers under fixed norms, and grows with it under chosen ones.
    """

    def __init__(self, whole: Released, less: Released) -> None:
        self._exact = [dict(zip(release.groups, _by_group(release), strict=True)) for release in (whole, less)]

    def __call__(self, release: Released) -> Outcome:
        words: list[object] = [release.groups]
        number = cell = 0.0
        for i, statistic in enumerate(release.statistics):
            words.append(statistic.norm)
            for group, noisy in zip(release.groups, statistic.noisy, strict=True):
                for j, value in enumerate(noisy):
                    a, b = (found[group][i][j] if group in found else 0 for found in self._exact)
                    if statistic.mechanism in ("gaussian", "laplace"):
                        number += _odds(statistic, value, a, b)
                    else:
                        words.append((2 * value > a + b) - (2 * value < a + b))
                        cell += value
        return tuple(words), number or cell


def _by_group(release: Released) -> Iterable[list[tuple[int, ...]]]:
    return ([s.noisy[i] for s in release.statistics] for i in range(len(release.groups)))


def _odds(statistic: ReleasedStatistic, value: int, a: int, b: int) -> float:
    """Log of the odds of a noisy number between the exact ones."""
    apart, beyond = (a - b) / statistic.scale, (value - (a + b) / 2) / statistic.scale
    if statistic.mechanism == "gaussian" or statistic.norm is not None:
        return apart * beyond
    return min(max(2 * beyond * ((apart > 0) - (apart < 0)), -abs(apart)), abs(apart))


def _person(unit: int, **given: Value) -> Row:
    found: dict[str, Value] = {
        "unit": unit,
        "sex": "F",
        "age": 50,
        "income": 0,
        "weight": 0.0,
        "diagnosis": "flu",
        "born": None,
        "active": True,
        **given,
    }
    return tuple(found.values())


def _visits(unit: int, *kinds: str, cost: str = "0.00") -> list[Row]:
    return [(unit, 1000 * unit + i, 1, cost, kind, None) for i, kind in enumerate(kinds)]


def _crowd(count: int, **given: Value) -> list[Row]:
    return [_person(unit, **given) for unit in range(1, count + 1)]


def _pairs(accountant: Accountant) -> dict[str, Pair]:
    found = [
        *(_of_people(accountant, *each) for each in _PEOPLE),
        *(_of_visits(accountant, *each) for each in _VISITS),
        _by_levels(accountant),
        _over_groups(accountant),
        _distinct_of_many(accountant),
        *(_PRIVATE_KEYS if accountant == "zcdp" else ()),
    ]
    return {pair.name: pair for pair in found}


Measures = tuple[Measure, ...]


def _of_people(accountant: Accountant, name: str, measures: Measures, rows: list[Row], income_max: int = 1000) -> Pair:
    """One row of each unit."""
    return Pair(name, accountant, PEOPLE, measures, {"people": rows}, policy={"income": (0, income_max)})


_PEOPLE: list[tuple[str, Measures, list[Row]] | tuple[str, Measures, list[Row], int]] = [
    ("sum", (Measure("sum", INCOME),), [_person(0, income=1), *_crowd(2, income=1)], 1),
    ("mean", (Measure("avg", WEIGHT),), [_person(0, weight=250.5), *_crowd(2)]),
    ("variance", (Measure("var_pop", WEIGHT),), [_person(0, weight=-10.0), *_crowd(2, weight=120.0)]),
    ("correlation", (Measure("corr", WEIGHT, AGE),), [_person(0, weight=250.5, age=99), *_crowd(2, age=1)]),
    ("distinct", (Measure("count_distinct", DIAGNOSIS),), [_person(0, diagnosis="gout"), *_crowd(2)]),
    ("median", (Measure("quantile", INCOME, fraction=HALF),), [_person(0, income=1), *_crowd(1)], 1),
    (
        "all together",
        (COUNT, Measure("sum", INCOME), Measure("avg", WEIGHT), Measure("quantile", INCOME, fraction=HALF)),
        [_person(0, income=5, weight=250.5), *_crowd(3)],
        5,
    ),
]


def _by_levels(accountant: Accountant) -> Pair:
    """As many large units as make the largest norm and the smallest about equally good: one more or less decides."""
    rows = [_person(0, income=1000), *_crowd(44 if accountant == "zcdp" else 102, income=1000)]
    return _of_people(accountant, "sum by levels", (Measure("sum", INCOME),), rows)


def _of_visits(
    accountant: Accountant, name: str, measures: Measures, keys: tuple[Expression, ...], rows: list[Row]
) -> Pair:
    """Three rows of each unit are declared, in as many groups."""
    return Pair(name, accountant, VISITS, measures, {"visits": rows}, keys, policy={"visits_max": 3, "groups_max": 3})


_KINDS = ("in", "out", "day")
_HEAVY = [*_visits(0, *(_KINDS * 16), cost="500.00"), *_visits(1, *_KINDS)]
"""Unit 0 has sixteen times the declared rows."""
_VISITS: list[tuple[str, Measures, tuple[Expression, ...], list[Row]]] = [
    ("count", (COUNT,), (), [*_visits(0, *_KINDS), *_visits(1, "in")]),
    ("count of a heavy unit", (COUNT,), (), _HEAVY),
    ("count over groups", (COUNT,), (KIND,), _HEAVY),
    ("units over groups", (Measure("count_units"),), (KIND,), _HEAVY),
    ("mean of a heavy unit", (Measure("avg", COST),), (), _HEAVY),
]


def _over_groups(accountant: Accountant) -> Pair:
    """All of a unit's weight, spread over groups."""
    rows = [_person(0, sex=sex, income=3) for sex in ("F", "M", None) for _ in range(4)]
    rows += [_person(1, sex=sex, income=0) for sex in ("F", "M", None)]
    policy = {"people_max": 3, "groups_max": 3, "income": (0, 3)}
    median = Measure("quantile", INCOME, fraction=HALF)
    return Pair("median over groups", accountant, PEOPLE, (median,), {"people": rows}, (SEX,), policy)


def _distinct_of_many(accountant: Accountant) -> Pair:
    drugs: list[Row] = [(unit, unit, 1.0, 100 * unit + drug) for unit in (0, 1) for drug in range(10)]
    policy = {"items_max": 3, "groups_max": 3}
    measure = Measure("count_distinct", Column("0.drug"))
    return Pair("distinct of many", accountant, ITEMS, (measure,), {"items": drugs}, policy=policy)


_WORDS = ("rare", "odd", "own", "flu")
_PRIVATE_KEYS = [
    Pair(
        "private keys", "zcdp", PEOPLE, (COUNT,), {"people": [_person(0, diagnosis="rare"), *_crowd(8)]}, (DIAGNOSIS,)
    ),
    Pair(
        "several private keys",
        "zcdp",
        PEOPLE,
        (Measure("avg", WEIGHT),),
        {"people": [*(_person(0, diagnosis=word, weight=250.5) for word in _WORDS), *_crowd(8)]},
        (DIAGNOSIS,),
        policy={"people_max": 3, "groups_max": 2},
    ),
]
PURE, ZCDP = _pairs("pure"), _pairs("zcdp")
