"""Tiny neighbouring datasets for which each mechanism loses about as much as it may: unit 0 is the one that leaves."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

from policies.model import Accountant
from policies.privacy_loss import DELTA_UNIT, EPSILON_UNIT, rho_for
from policies.types import Value
from sandbox.protocol import Question
from sandbox.relational import price
from sandbox.relational.expressions import Column, Expression
from sandbox.relational.nodes import Measure, Output, Relation, Release, Scan
from sandbox.relational.plan import plan_release
from sandbox.release.make import Job
from sandbox.release.released import ReleasedStatistic
from tests.builders import World, load, make_world, policy_text
from tests.empirical import Outcome
from tests.release_samples import Cells, Drawn, Releases

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
            marks = ", ".join(f"({', '.join('?' for _ in row)})" for row in rows)
            values = [value for row in rows for value in row]
            world.connection.execute(f"INSERT INTO {table}_all VALUES {marks}", values).fetchall()
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
        for_keys = job.budget.delta / DELTA_UNIT
        if self.accountant == "pure":
            return job.budget.price.epsilon / EPSILON_UNIT, for_keys
        return epsilon_of(job.budget.price.rho), DELTA + for_keys


def epsilon_of(rho: int) -> float:
    """The least epsilon that rho-zCDP implies at DELTA."""
    low, high = 0, 100 * EPSILON_UNIT
    while high - low > EPSILON_UNIT // 10**6:
        middle = (low + high) // 2
        low, high = (low, middle) if rho_for(middle, int(DELTA * DELTA_UNIT)) >= rho else (middle, high)
    return high / EPSILON_UNIT


def outcomes(pair: Pair, world: World, job: Job, count: int) -> tuple[list[Outcome], list[Outcome]]:
    """What `count` releases show, with unit 0 and without it."""
    whole, less = (_Side(job, world, gone, count) for gone in (None, 0))
    return whole.beside(less, 1), less.beside(whole, -1)


class _Side:
    """Samples of one dataset, turned into outcomes in which it looks as different from the other as it can.

    The word says which groups are there, which norms and ranges were chosen, and which cells; the number is the log of
    the odds of the noisy numbers under what the two datasets add up to then.
    """

    def __init__(self, job: Job, world: World, gone: int | None, count: int) -> None:
        self.exact: dict[Hashable, list[Numbers]] = {}
        self._noisy: list[tuple[Hashable, list[Numbers]]] = []
        for drawn in Releases(job, lambda lowered: world.rows(lowered, gone)).draw(count):
            word = _word(drawn)
            self.exact.setdefault(word, [_of(s, exact) for s, exact in zip(*_noised(drawn), strict=True)])
            self._noisy.append((word, [_of(s, s.noisy) for s in _noised(drawn)[0]]))

    def beside(self, other: _Side, sign: int) -> list[Outcome]:
        return [(word, sign * self._odds(word, noisy, other)) for word, noisy in self._noisy]

    def _odds(self, word: Hashable, noisy: list[Numbers], other: _Side) -> float:
        """Of this side to the other; 0 where the word alone tells them apart."""
        if word not in other.exact:
            return 0.0
        return sum(
            _odds(mine.mechanism, (value - a) / mine.scale, (value - b) / mine.scale)
            for mine, its, seen in zip(self.exact[word], other.exact[word], noisy, strict=True)
            for value, a, b in zip(seen.values, mine.values, its.values, strict=True)
        )


class Numbers(NamedTuple):
    mechanism: str
    scale: float
    values: tuple[int, ...]


def _noised(drawn: Drawn) -> tuple[list[ReleasedStatistic], list[Cells]]:
    both = [(s, exact) for s, exact in zip(drawn.release.statistics, drawn.exact, strict=True) if exact is not None]
    return [statistic for statistic, _ in both], [exact for _, exact in both]


def _of(statistic: ReleasedStatistic, cells: Cells) -> Numbers:
    return Numbers(statistic.mechanism, statistic.scale, tuple(number for cell in cells for number in cell))


def _word(drawn: Drawn) -> Hashable:
    statistics = drawn.release.statistics
    chosen = tuple(s.noisy for s, exact in zip(statistics, drawn.exact, strict=True) if exact is None)
    return drawn.release.groups, chosen, tuple((s.norm, s.arguments) for s in statistics)


def _odds(mechanism: str, from_first: float, from_second: float) -> float:
    if mechanism == "gaussian":
        return (from_second**2 - from_first**2) / 2
    return abs(from_second) - abs(from_first)


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


def _crowd(last: int, after: int = 0, **given: Value) -> list[Row]:
    return [_person(unit, **given) for unit in range(after + 1, last + 1)]


def _pairs(accountant: Accountant) -> dict[str, Pair]:
    found = [
        *(_of_people(accountant, *each) for each in _PEOPLE),
        *(_of_visits(accountant, *each) for each in _VISITS),
        _by_levels(accountant),
        _heavy_mean(accountant),
        _over_groups(accountant),
        _distinct_of_many(accountant),
        *_with_private_keys(accountant),
    ]
    return {pair.name: pair for pair in found}


Measures = tuple[Measure, ...]


def _of_people(accountant: Accountant, name: str, measures: Measures, rows: list[Row], income_max: int = 1000) -> Pair:
    """One row of each unit."""
    return Pair(name, accountant, PEOPLE, measures, {"people": rows}, policy={"income": (0, income_max)})


_PEOPLE: list[tuple[str, Measures, list[Row]] | tuple[str, Measures, list[Row], int]] = [
    ("sum", (Measure("sum", INCOME),), [_person(0, income=1), *_crowd(2, income=1)], 1),
    ("mean", (Measure("avg", AGE),), [_person(0, age=99), *_crowd(2, age=50)]),
    ("mean in a chosen range", (Measure("avg", WEIGHT),), [_person(0, weight=250.5), *_crowd(2500, weight=5.0)]),
    ("variance", (Measure("var_pop", AGE),), [_person(0, age=0), *_crowd(2, age=50)]),
    ("correlation", (Measure("corr", AGE, INCOME),), [_person(0, age=99, income=9), *_crowd(2, age=1)], 9),
    ("distinct", (Measure("count_distinct", DIAGNOSIS),), [_person(0, diagnosis="gout"), *_crowd(2)]),
    ("median", (Measure("quantile", INCOME, fraction=HALF),), [_person(0, income=1), *_crowd(1)], 1),
    (
        "all together",
        (COUNT, Measure("sum", INCOME), Measure("avg", AGE), Measure("quantile", INCOME, fraction=HALF)),
        [_person(0, income=5, age=99), *_crowd(3)],
        5,
    ),
]


def _by_levels(accountant: Accountant) -> Pair:
    """As many large units as make the largest norm and the smallest about equally good: one more or less decides.

    There are enough others for a norm to be chosen at all.
    """
    many, large = (600, 51) if accountant == "zcdp" else (2000, 135)
    rows = [_person(0, income=1000), *_crowd(large, income=1000), *_crowd(many, large)]
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
]


def _heavy_mean(accountant: Accountant) -> Pair:
    rows = [*(_person(0, age=99) for _ in range(48)), _person(1, age=50)]
    policy = {"people_max": 3, "groups_max": 3}
    return Pair("mean of a heavy unit", accountant, PEOPLE, (Measure("avg", AGE),), {"people": rows}, policy=policy)


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


def _with_private_keys(accountant: Accountant) -> Iterator[Pair]:
    rows = [_person(0, diagnosis="rare"), *_crowd(8)]
    yield Pair("private keys", accountant, PEOPLE, (COUNT,), {"people": rows}, (DIAGNOSIS,))
    rows = [*(_person(0, diagnosis=word, age=99) for word in _WORDS), *_crowd(8)]
    policy = {"people_max": 3, "groups_max": 2}
    mean = (Measure("avg", AGE),)
    yield Pair("several private keys", accountant, PEOPLE, mean, {"people": rows}, (DIAGNOSIS,), policy)


PURE, ZCDP = _pairs("pure"), _pairs("zcdp")
