"""Every known bug of other libraries, planted here once: in each case a test of ours notices, or the shape is refused.

They are those of Qrlew, OpenDP, SmartNoise, Google's libraries, CWI's extension and Tumult, as their own trackers and
our runs of them tell. What goes wrong around the numbers stands in `test_bugs_of_others_in_accounts.py`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from gateway.errors import Refusal
from policies.privacy_loss import EPSILON_UNIT, RHO_UNIT
from policies.types import BIGINT
from sandbox.relational import expressions, nodes, plan, price, statistics
from sandbox.relational.derive import derive
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.lower import cells, distinct, norms
from sandbox.relational.lower.relations import relation
from sandbox.relational.lower.statement import Lowered
from sandbox.relational.nodes import (
    Filter,
    Limit,
    Measure,
    Output,
    Project,
    Relation,
    Release,
    Scan,
    Window,
    WindowColumn,
)
from sandbox.relational.plan import plan_release
from sandbox.relational.price import Share
from sandbox.relational.rules import projections
from sandbox.relational.statistics import Norm
from sandbox.release import moments, noise
from sandbox.release.make import Job, _Stages, make
from tests.builders import World, load, make_world, policy_text
from tests.empirical import epsilon_at_least
from tests.exact_world import Exact, make_exact, ours, theirs
from tests.neighbouring_pairs import PURE, ZCDP, Pair
from tests.noiseless import job_of
from tests.property.test_neighbours import noticed
from tests.release_samples import Releases
from tests.sensitivity import looks
from tests.statistical.test_empirical_epsilon import measured

SEED = 20261125
VISITS = Scan("visits", 0)
COUNT = Measure("count_rows")


@pytest.fixture(scope="module")
def exact() -> Iterator[Exact]:
    world = make_exact(7)
    yield world
    world.close()


@pytest.fixture
def clinic() -> Iterator[World]:
    world = make_world(load(policy_text(groups_max=3, visits_max=3)), random.Random(5))
    with world.connection:
        yield world


def means_the_same(world: Exact, sql: str) -> bool:
    (mine,), (other,) = ours(world, sql, {}).rows, theirs(world, sql, {})
    return list(mine) == [pytest.approx(value) for value in other]


def one_unit_moves_too_much(
    world: World, source: Relation, *measures: Measure, keys: Sequence[Expression] = ()
) -> bool:
    planned = plan_release(Release(source, tuple(keys), measures), world.schema)
    return any(looks(random.Random(SEED), world, planned, range(world.units)))


# Qrlew


VARIANCE = "SELECT VAR_POP(weight) AS v, STDDEV_SAMP(income) AS s FROM people"


def test_a_variance_less_the_mean_in_place_of_its_square_is_noticed(
    exact: Exact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Qrlew 0.9.27: 2,700 where 302 is true."""
    assert means_the_same(exact, VARIANCE)
    monkeypatch.setattr(moments, "_squared", lambda mean: mean)
    assert not means_the_same(exact, VARIANCE)


def test_a_distinct_that_is_dropped_is_noticed(exact: Exact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qrlew 0.9.27: 60,000 values where there are four."""
    sql = "SELECT COUNT(DISTINCT diagnosis) AS n FROM people"
    honest = distinct.lower_distinct

    def dropped(*given: Any) -> Lowered:
        lowered = honest(*given)
        return dataclasses.replace(lowered, select=lowered.select.replace("DISTINCT ", ""))

    assert means_the_same(exact, sql)
    monkeypatch.setattr("sandbox.release.make.lower_distinct", dropped)
    assert not means_the_same(exact, sql)


CUT = [
    "SELECT SUM(income) AS s FROM (SELECT income FROM people ORDER BY income LIMIT 10) AS t",
    "WITH t AS (SELECT income FROM people LIMIT 10) SELECT SUM(income) AS s FROM t",
    "SELECT SUM(income) AS s FROM (SELECT income FROM people OFFSET 3) AS t",
    "SELECT SUM(income) AS s FROM (SELECT DISTINCT ON (sex) income FROM people) AS t",
    "SELECT SUM(income) AS s FROM (SELECT DISTINCT income FROM people) AS t",
    "SELECT SUM(income) AS s FROM people TABLESAMPLE 10%",
    "SELECT COUNT(*) AS n FROM (SELECT ROW_NUMBER() OVER (ORDER BY income) AS r FROM people) AS t WHERE r <= 3",
]


@pytest.mark.parametrize("sql", CUT)
def test_what_cuts_rows_across_units_below_an_aggregate_is_refused(exact: Exact, sql: str) -> None:
    with pytest.raises(Refusal) as caught:
        ours(exact, sql, {})
    assert caught.value.code == "construct_not_allowed"


def test_a_limit_below_a_release_has_no_facts_and_no_sql(clinic: World) -> None:
    """Whoever gets past the reader of SQL is refused twice more."""
    for step in (derive, relation):
        with pytest.raises(Refuse):
            step(Limit(VISITS, 3, 0), clinic.schema)


def test_a_limit_below_an_aggregate_is_noticed(clinic: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Qrlew 0.9.27: the row that moves up is another unit's, 11 times what the noise was for."""

    def passing(step: Callable[[Relation, Schema], Any]) -> Callable[[Relation, Schema], Any]:
        return lambda node, schema: step(node.source if isinstance(node, Limit) else node, schema)

    def cut(node: Relation, schema: Schema) -> str:
        assert isinstance(node, Limit)
        return f"SELECT * FROM ({relation(node.source, schema)}) ORDER BY ALL LIMIT {node.count}"

    cost = Column("0.cost")
    assert not one_unit_moves_too_much(clinic, VISITS, Measure("sum", cost))
    monkeypatch.setattr(plan, "derive", passing(derive))
    monkeypatch.setattr(cells, "relation", cut)
    assert one_unit_moves_too_much(clinic, Limit(VISITS, 2, 0), COUNT, Measure("avg", cost))


# OpenDP


CHOICE = noise.choose_least


def loss_of_a_choice(accountant: str, share: int) -> float:
    """The epsilon that choosing between two scores that move against each other is found to lose."""
    told = [
        [("", float(noise.choose_least(scores, 1, accountant, share, monotonic=False))) for _ in range(1500)]  # type: ignore[arg-type]
        for scores in ([0, 0], [1, -1])
    ]
    return epsilon_at_least(*told, delta=0.0)


def test_a_noisy_maximum_that_costs_four_times_its_rho_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenDP #2911. The map of the library is asked first; where the map itself errs, counting shows it."""
    share, claim = RHO_UNIT // 8, 1.0  # rho = epsilon^2 / 8
    assert loss_of_a_choice("zcdp", share) <= claim
    honest = noise.choice_scale

    def half(*given: Any, monotonic: bool) -> noise.Scale:
        found = honest(*given, monotonic=monotonic)
        return noise.Scale(found.mechanism, found.value / 2)

    with monkeypatch.context() as planted:
        planted.setattr(noise, "choice_scale", half)
        with pytest.raises(noise.MapExceedsPrice):
            noise.choose_least([0, 0], 1, "zcdp", share, monotonic=False)
    assert loss_of_a_choice("zcdp", 4 * share) > claim


def test_a_limit_of_rows_that_is_off_by_two_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenDP #2945: twice the rows that the noise is for, so four times the rho."""
    honest = norms.norm
    monkeypatch.setattr(norms, "norm", lambda vector, accountant: 2 * honest(vector, accountant))
    assert noticed(1500, SEED)


FIRST_OF_NOTHING = Filter(
    Project(
        Window(VISITS, (WindowColumn("row_number", None, (), ()),), 7),
        8,
        (Call("modulo", (Column("7.w0"), Literal(1, BIGINT))), Column("0.kind")),
    ),
    (Call("equal", (Column("8.0"), Literal(0, BIGINT))),),
)
"""A row number, and then a column made of it that is 0 in every row: nothing is cut to the first row any more."""


def test_a_truncation_that_is_remembered_after_its_column_is_made_anew_is_noticed(
    clinic: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenDP #2949."""
    assert derive(FIRST_OF_NOTHING, clinic.schema).multiplicity == derive(VISITS, clinic.schema).multiplicity
    assert not one_unit_moves_too_much(clinic, FIRST_OF_NOTHING, COUNT, keys=[Column("8.1")])
    honest = projections.project

    def remembering(node: Project, below: Facts) -> Facts:
        made = {
            f"{node.number}.{i}": found
            for i, expression in enumerate(node.columns)
            for name, found in below.numbered.items()
            if name in {column.name for column in expressions.columns(expression)}
        }
        return dataclasses.replace(honest(node, below), numbered=made)

    monkeypatch.setattr(projections, "project", remembering)
    one = Filter(FIRST_OF_NOTHING.source, (Call("less_equal", (Column("8.0"), Literal(1, BIGINT))),))
    assert derive(one, clinic.schema).unit_once
    assert one_unit_moves_too_much(clinic, one, COUNT, keys=[Column("8.1")])


NULLS = [
    Call("to_integer", (Column("0.cost"),)),
    Call("modulo", (Column("0.hospital"), Literal(0, BIGINT))),
    Call("divide", (Column("0.cost"), Literal(0, BIGINT))),
    Call("bin", (Column("0.cost"),)),
]
"""What may make a null of a value: how many there are must not be told for nothing."""


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


@pytest.mark.parametrize("made", NULLS, ids=lambda made: made.function)
def test_no_count_is_told_for_nothing_where_a_function_makes_nulls(
    clinic: World, made: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenDP #2938, #2939, #2940: casts, bins and remainders that make nulls, beside counts taken for invariant."""
    source = Project(VISITS, 7, (made, Column("0.kind")))
    job = job_for(clinic, source, COUNT, Measure("count", Column("7.0")), keys=[Column("7.1")])
    assert constant_numbers(job, clinic) == 0
    assert not one_unit_moves_too_much(clinic, source, COUNT, Measure("count", Column("7.0")), keys=[Column("7.1")])
    honest = _Stages._noised

    def invariant(stages: _Stages, vector: Any, declared: Any, exact_cells: Any, share: Share) -> Any:
        found = honest(stages, vector, declared, exact_cells, share)
        counts = vector.components[0].part == "rows"
        return dataclasses.replace(found, noisy=exact_cells) if counts else found

    monkeypatch.setattr(_Stages, "_noised", invariant)
    assert constant_numbers(job, clinic) > 0


# SmartNoise


@contextmanager
def counting() -> Iterator[list[int]]:
    """What every mechanism is given to spend, in 1e-12 of the accountant's loss, and what is spent of delta."""
    spent = [0, 0]
    add, least, keys = noise.add_noise, noise.choose_least, noise.select_keys

    def added(values: Sequence[int], norm: Norm, accountant: Any, share: int) -> tuple[int, ...]:
        spent[0] += share
        return add(values, norm, accountant, share)

    def chosen(scores: Sequence[int], sensitivity: int, accountant: Any, share: int, *, monotonic: bool) -> int:
        spent[0] += share
        return least(scores, sensitivity, accountant, share, monotonic=monotonic)

    def selected(units: Mapping[Any, int], groups: int, units_min: int, share: int, delta: int) -> dict[Any, int]:
        spent[0], spent[1] = spent[0] + share, spent[1] + delta
        return keys(units, groups, units_min, share, delta)

    with (
        patch.object(noise, "add_noise", added),
        patch.object(noise, "choose_least", chosen),
        patch.object(noise, "select_keys", selected),
    ):
        yield spent


def overspent(pair: Pair) -> bool:
    """Whether the mechanisms of a release spend more than its price, whatever that counts in."""
    world = pair.world()
    with world.connection, counting() as spent:
        job = pair.job(world)
        make(job, lambda lowered, _: world.rows(lowered), b"seed")
    paid = job.budget.price.rho if pair.accountant == "zcdp" else job.budget.price.epsilon
    return spent[0] > paid or spent[1] > job.budget.delta


CHARGED = [pair for pairs in (PURE, ZCDP) for pair in pairs.values() if not pair.keys or "private" in pair.name]
"""Without public groups, in which choices are made side by side at one price."""


@pytest.mark.parametrize("pair", CHARGED, ids=lambda pair: f"{pair.accountant} {pair.name}")
def test_mechanisms_spend_no_more_than_the_price(pair: Pair) -> None:
    assert not overspent(pair)


def test_a_selection_of_keys_that_is_not_charged_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmartNoise's `use_dpsu`: a set union at an epsilon of its own, which no odometer hears of."""
    honest = price._shares
    monkeypatch.setattr(price, "_shares", lambda planned, loss, accountant: honest(planned, loss * 4 // 3, accountant))
    assert overspent(ZCDP["several private keys"])


def test_a_choice_of_norm_that_is_not_charged_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = price._share

    def free(statistic: Any, whole: int, accountant: Any, ends: int) -> Share:
        return dataclasses.replace(honest(statistic, whole, accountant, ends), values=whole)

    monkeypatch.setattr(price, "_share", free)
    assert overspent(PURE["sum by levels"])


def unbounded_job(world: World) -> Job:
    bare = dict(world.policy.tables["people"].columns)
    bare["income"] = dataclasses.replace(bare["income"], range=None, step=None)
    people = dataclasses.replace(world.policy.tables["people"], columns=bare)
    policy = dataclasses.replace(world.policy, tables={**world.policy.tables, "people": people})
    wide = World(policy, Schema(policy, world.schema.public_keys), world.connection, world.units)
    return job_for(wide, Scan("people", 0), Measure("sum", Column("0.income")))


def test_a_sum_without_a_declared_range_has_noise(clinic: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """SmartNoise #317: no bound, and so no noise. Here the norm is what rows are cut to, so without one nothing is."""
    job = unbounded_job(clinic)
    assert constant_numbers(job, clinic) == 0
    planned = job.plan
    assert not any(looks(random.Random(SEED), clinic, planned, range(clinic.units)))
    monkeypatch.setattr(noise, "scale_of", lambda *_: noise.Scale("gaussian", 0.0))
    with pytest.raises(noise.MapExceedsPrice):
        noise.add_noise([5], Norm(2**104, 2**52), "zcdp", RHO_UNIT)


def test_the_sensitivity_of_one_moment_for_three_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """SmartNoise #203: a variance releases three sums, and its noise was for one."""
    honest = noise.add_noise

    def for_one(values: Sequence[int], norm: Norm, accountant: Any, share: int) -> tuple[int, ...]:
        return honest(values, Norm(norm.squared // 3, norm.total // 3), accountant, share)

    monkeypatch.setattr(noise, "add_noise", for_one)
    bound, claim = measured(PURE["variance"], 1500)
    assert bound > claim


def test_a_norm_of_a_variance_that_is_planned_too_small_costs_accuracy_and_no_privacy(clinic: World) -> None:
    """The same mistake in the plan: rows are cut to the norm that noise is for, whichever it is."""
    planned = plan_release(Release(VISITS, (), (Measure("var_pop", Column("0.cost")),)), clinic.schema)
    (vector,) = planned.vectors
    cut = dataclasses.replace(vector, norm=Norm(vector.norm.squared // 3, vector.norm.total // 3))
    small = dataclasses.replace(planned, statistics=(cut,))
    assert not any(looks(random.Random(SEED), clinic, small, range(clinic.units)))


# Google


def test_a_threshold_cut_to_a_whole_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """PR #101 of their library: truncated where it had to be rounded up, so lonely keys were shown too often."""
    honest = noise.threshold_for

    def cut(groups: int, share: int, delta: int) -> noise.Threshold:
        found = honest(groups, share, delta)
        return noise.Threshold(found.scale, found.value - 1)

    units = {("flu",): 1000}
    assert noise.select_keys(units, 1, 1, RHO_UNIT // 10, 10**15)
    monkeypatch.setattr(noise, "threshold_for", cut)
    with pytest.raises(noise.MapExceedsPrice):
        noise.select_keys(units, 1, 1, RHO_UNIT // 10, 10**15)


# CWI


EQUAL = 40


def equal_cells_have_equal_noise() -> bool:
    noisy = noise.add_noise([1234] * EQUAL, Norm(100**2, 100), "pure", EPSILON_UNIT)
    return len(set(noisy)) < EQUAL // 2


def test_noise_that_is_seeded_by_its_value_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """CWI's extension: cells that are equal got the same noise, so that they showed that they are."""
    assert not equal_cells_have_equal_noise()

    def seeded(values: Sequence[int], norm: Norm, accountant: str, share: int) -> tuple[int, ...]:
        return tuple(value + round(random.Random(value).gauss(0, norm.total)) for value in values)

    monkeypatch.setattr(noise, "add_noise", seeded)
    assert equal_cells_have_equal_noise()


# Tumult


def records() -> Iterator[type]:
    for module in (nodes, expressions, statistics, plan, price):
        yield from (kind for kind in vars(module).values() if dataclasses.is_dataclass(kind))  # type: ignore[misc]


def can_be_changed(kind: type) -> bool:
    return not kind.__dataclass_params__.frozen or not hasattr(kind, "__slots__")  # type: ignore[attr-defined]


def test_no_part_of_a_question_can_be_changed_once_it_is_made() -> None:
    """Tumult's builders were shared: a second question grew out of the first and changed it."""
    assert [kind.__name__ for kind in records() if can_be_changed(kind)] == []

    @dataclasses.dataclass
    class Builder:
        filters: list[str]

    assert can_be_changed(Builder)


def test_questions_made_of_one_relation_do_not_touch_each_other(clinic: World) -> None:
    alone = plan_release(Release(VISITS, (), (COUNT,)), clinic.schema)
    filtered = Filter(
        VISITS,
        (
            Call(
                "equal",
                (Column("0.kind"), Literal("in", clinic.policy.tables["visits"].columns["kind"].type)),
            ),
        ),
    )
    plan_release(Release(filtered, (Column("0.kind"),), (COUNT, Measure("sum", Column("0.cost")))), clinic.schema)
    again = plan_release(Release(VISITS, (), (COUNT,)), clinic.schema)
    assert (alone.statistics, alone.facts, alone.shape) == (again.statistics, again.facts, again.shape)
