"""What accuracy is held against is reckoned right: the best fixed clip, R2T, and the sums behind every question."""

from __future__ import annotations

import math
import random
from decimal import Decimal
from typing import get_args

import duckdb
import pytest

from bench import variants
from bench.accuracy import clip, show
from bench.accuracy.bounds import BOUNDS, Bounds, policy
from bench.accuracy.clip import Price, Race
from bench.accuracy.questions import RACED, SUITE, Question, UnitName
from bench.accuracy.show import Line
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies import privacy_loss
from policies.load import load_text
from policies.model import Accountant

EVERY = (*(raced.question for raced in RACED), *SUITE)
TABLES = """
CREATE TABLE customer AS SELECT i AS c_custkey, i % 3 AS c_nationkey, 100 + 7 * i AS c_acctbal,
    ['A', 'B'][1 + i % 2] AS c_mktsegment FROM range(30) t(i);
CREATE TABLE nation AS SELECT i AS n_nationkey, 'N' || i AS n_name FROM range(3) t(i);
CREATE TABLE orders AS SELECT i AS o_orderkey, i % 20 AS o_custkey, ['F', 'O', 'P'][1 + i % 3] AS o_orderstatus,
    (1000 + i * 17 % 400)::DECIMAL(15, 2) AS o_totalprice, DATE '1995-01-01' + i::INT * 30 AS o_orderdate,
    'p' || i % 2 AS o_orderpriority, 'c' || i % 4 AS o_clerk FROM range(60) t(i);
CREATE TABLE supplier AS SELECT i AS s_suppkey, i % 3 AS s_nationkey FROM range(4) t(i);
CREATE TABLE partsupp AS SELECT i // 4 AS ps_partkey, i % 4 AS ps_suppkey, 10 + i AS ps_availqty,
    (1.5 * i)::DECIMAL(15, 2) AS ps_supplycost FROM range(20) t(i);
CREATE TABLE lineitem AS SELECT i % 60 AS l_orderkey, (i % 20) // 4 AS l_partkey, i % 4 AS l_suppkey,
    (1 + i % 9)::DECIMAL(15, 2) AS l_quantity, (10 * i)::DECIMAL(15, 2) AS l_extendedprice,
    (0.05)::DECIMAL(15, 2) AS l_discount, DATE '1994-06-01' + (i * 5)::INT AS l_shipdate FROM range(200) t(i);
"""


@pytest.fixture(scope="module")
def tables() -> clip.Query:
    connection = duckdb.connect()
    connection.execute(TABLES)
    return lambda sql: connection.execute(sql).fetchall()


def named(questions: tuple[Question, ...], kind: str) -> list[object]:
    return [pytest.param(question, id=question.name) for question in questions if question.kind == kind]


@pytest.mark.parametrize("question", named(EVERY, "total"))
def test_what_units_add_sums_up_to_the_exact_answer(question: Question, tables: clip.Query) -> None:
    exact = tables(question.exact)
    by_group = tables(f"SELECT g, SUM(v) FROM ({question.units}) GROUP BY g")

    wanted = {str(row[0] if question.keys else 0): float(row[-1]) for row in exact}
    assert {str(g): float(v) for g, v in by_group} == pytest.approx(wanted)


@pytest.mark.parametrize("question", named(EVERY, "mean"))
def test_the_values_behind_a_mean_have_that_mean(question: Question, tables: clip.Query) -> None:
    exact = tables(question.exact)
    by_group = tables(f"SELECT g, AVG(x) FROM ({question.units}) GROUP BY g")

    wanted = {str(row[0] if question.keys else 0): float(row[-1]) for row in exact}
    assert {str(g): float(v) for g, v in by_group} == pytest.approx(wanted)


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.name)
@pytest.mark.parametrize("bounds", BOUNDS)
def test_every_question_is_read_under_every_policy_or_its_aggregate_is_not_answered(
    question: Question, bounds: Bounds
) -> None:
    loaded = load_text(variants.text(policy(question.unit, bounds, "pure")), "policy")
    try:
        assert read(question.ours, {}, {"tpch": loaded}, SqlLimits()).dataset == "tpch"
    except Refusal as refusal:
        assert refusal.code == "aggregate_not_allowed"  # noqa: PT017  # said in the table


@pytest.mark.parametrize("unit", get_args(UnitName))
@pytest.mark.parametrize("accountant", get_args(Accountant))
def test_looser_policies_never_bound_more(unit: UnitName, accountant: Accountant) -> None:
    found = [load_text(variants.text(policy(unit, bounds, accountant)), bounds) for bounds in BOUNDS]

    for name in found[0].tables:
        rows = [each.tables[name].rows_per_unit_max or 0 for each in found]
        assert rows == sorted(rows)
    assert {each.release.dp.accountant for each in found if each.release.dp} == {accountant}


def test_laplace_noise_has_the_scale_of_norm_over_epsilon() -> None:
    quantile = Price("pure", "0.5", "1e-6").noise(10)

    assert quantile(0.5) == 0
    assert quantile(0.75) == pytest.approx(20 * math.log(2))
    assert quantile(0.25) == pytest.approx(-quantile(0.75))


def test_gaussian_noise_costs_what_the_product_says_an_epsilon_costs() -> None:
    half = privacy_loss.units_down(Decimal("1e-6"), privacy_loss.DELTA_UNIT) // 2
    rho = privacy_loss.rho_for(privacy_loss.EPSILON_UNIT, half) / privacy_loss.RHO_UNIT

    assert Price("zcdp", "1", "1e-6").noise(7)(0.8413447) == pytest.approx(7 / math.sqrt(2 * rho), rel=1e-5)


OUTLIER = "SELECT i AS u, 0 AS g, CASE WHEN i = 0 THEN 1000 ELSE 10 END AS v FROM range(1000) t(i)"


@pytest.mark.parametrize(("epsilon", "expected"), [("0.01", 10.0), ("1000", 1000.0)])
def test_the_best_clip_gives_up_an_outlier_only_where_noise_is_dearer(
    tables: clip.Query, epsilon: str, expected: float
) -> None:
    assert clip.best_total(tables, OUTLIER, Price("pure", epsilon, "1e-6")).clip == expected


def test_the_error_of_a_clip_is_its_bias_where_noise_is_nothing(tables: clip.Query) -> None:
    halves = "SELECT i AS u, 0 AS g, CASE WHEN i < 500 THEN 2 ELSE 4 END AS v FROM range(1000) t(i)"

    found = clip.best_total(tables, halves, Price("pure", "1000000", "1e-6"))

    assert found.clip == 4.0
    assert found.median == pytest.approx(0, abs=1e-6)


def test_a_units_vector_is_scaled_over_all_its_groups_together(tables: clip.Query) -> None:
    spread_out = "SELECT i AS u, h AS g, 1 AS v FROM range(100) t(i), range(9) s(h)"

    assert clip.best_total(tables, spread_out, Price("pure", "1", "1e-6")).clip == 9.0
    assert clip.best_total(tables, spread_out, Price("zcdp", "1", "1e-6")).clip == 3.0


def test_the_best_mean_is_right_where_noise_is_nothing(tables: clip.Query) -> None:
    values = "SELECT i AS u, i % 2 AS g, 100 + i % 2 * 10 + i % 5 AS x FROM range(1000) t(i)"

    assert clip.best_mean(tables, values, Price("pure", "1000000", "1e-6")).median == pytest.approx(0, abs=1e-4)


def test_r2t_is_right_where_noise_is_nothing_and_low_where_it_is_not(tables: clip.Query) -> None:
    dice = random.Random(7)

    exact = clip.raced_again(tables, Race(OUTLIER, 1e9), 20, dice)
    noisy = clip.raced_again(tables, Race(OUTLIER, 1.0), 50, dice)
    in_thousands = clip.raced_again(tables, Race(OUTLIER, 1e9, unit_of_gs=1000), 20, dice)

    assert max(exact) < 1e-6
    assert max(in_thousands) < 1e-3
    assert sorted(noisy)[25] > 0.005


def test_a_middle_mean_leaves_out_a_fifth_at_each_end() -> None:
    assert clip.middle_mean([100, 1, 2, 3, 4, 5, 6, 7, 8, -100]) == pytest.approx(4.5)


def test_every_row_of_a_table_has_every_column_whatever_was_refused() -> None:
    cell = {"error": [0.02, 0.1], "middle": 0.02, "lost": 0, "groups": 1}
    raced = [
        Line(one.question, {"good": cell, "loose": cell, "none": none}, cell, one, cell, [[5]])
        for one, none in zip(RACED[:2], (cell, {"why": "bound_missing"}), strict=True)
    ]
    plain = [
        Line(SUITE[0], {"good": cell, "loose": cell, "none": cell}, {}),
        Line(SUITE[1], dict.fromkeys(BOUNDS, cell), cell),
    ]

    for text in (show.raced(raced, at_scale_1=True), show.suite(plain)):
        assert len({line.count(" | ") for line in text.splitlines()}) == 1
    assert "refused: bound_missing" in show.raced(raced, at_scale_1=True)


def test_a_ratio_to_the_best_clip_is_of_medians() -> None:
    line = Line(SUITE[0], {"good": {"error": [0.03, 9]}, "none": {"why": "x"}}, {"clip": 1, "error": [0.01, 1]})

    assert show.over_best(line, "good") == "×3"
    assert show.over_best(line, "none") == "-"
