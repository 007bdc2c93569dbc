"""What a query means: SQL on the left, our model on the right. Read together they are the reference of the language."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.model import Policy
from sandbox.relational.nodes import Release
from tests.sql_shown import named, shown
from tests.sql_world import BOTH, admitted, ask, clinic

PLANS = [
    # counting, adding up, averaging
    ("SELECT COUNT(*) FROM people", "people#0 | release rows | count = [rows]"),
    ("SELECT COUNT(*) AS n FROM people", "people#0 | release rows | n = [rows]"),
    ("SELECT COUNT(1) FROM people", "people#0 | release rows | count = [rows]"),
    ("SELECT COUNT(pid) FROM people", "people#0 | release rows | count_pid = [rows]"),
    ("SELECT COUNT(DISTINCT pid) FROM visits", "visits#0 | release units | count_pid = [units]"),
    ("SELECT COUNT(diagnosis) FROM people", "people#0 | release count(0.diagnosis) | count_diagnosis = [count]"),
    ("SELECT SUM(income) FROM people", "people#0 | release sum(0.income) | sum_income = [sum]"),
    ("SELECT AVG(收入) AS 平均收入 FROM people", "people#0 | release avg(0.收入) | 平均收入 = [avg]"),
    (
        "SELECT SUM(CASE WHEN sex = 'F' THEN income END) AS f FROM people",
        "people#0 | release sum(case when equal(0.sex, 'F') then 0.income else None end) | f = [sum]",
    ),
    (
        "SELECT SUM(IF(sex = 'F', 1, 0)) AS f FROM people",
        "people#0 | release sum(case when equal(0.sex, 'F') then 1 else 0 end) | f = [sum]",
    ),
    (
        "SELECT SUM(CASE sex WHEN 'F' THEN 2 WHEN 'M' THEN 1 ELSE 0 END) AS f FROM people",
        "people#0 | release sum(case when equal(0.sex, 'F') then 2 when equal(0.sex, 'M') then 1 else 0 end)"
        " | f = [sum]",
    ),
    ("SELECT SUM(COALESCE(income, 0)) AS s FROM people", "people#0 | release sum(coalesce(0.income, 0)) | s = [sum]"),
    ("SELECT SUM(least(income, 100)) AS s FROM people", "people#0 | release sum(least(0.income, 100)) | s = [sum]"),
    ("SELECT SUM(round(income, 1)) AS s FROM people", "people#0 | release sum(round(0.income, 1)) | s = [sum]"),
    ("SELECT SUM(-income) AS s FROM people", "people#0 | release sum(negate(0.income)) | s = [sum]"),
    # FILTER, COUNT_IF and CASE
    (
        "SELECT COUNT(*) FILTER (WHERE age > 20) AS n FROM people",
        "people#0 | release count(case when greater(0.age, 20) then 1 else None end) | n = [count]",
    ),
    (
        "SELECT COUNT(diagnosis) FILTER (WHERE active) AS n FROM people",
        "people#0 | release count(case when equal(0.active, True) then 0.diagnosis else None end) | n = [count]",
    ),
    (
        "SELECT AVG(income) FILTER (WHERE sex = 'F') AS a FROM people",
        "people#0 | release avg(case when equal(0.sex, 'F') then 0.income else None end) | a = [avg]",
    ),
    (
        "SELECT COUNT(DISTINCT pid) FILTER (WHERE kind = 'in') AS n FROM visits",
        "visits#0 | release units(equal(0.kind, 'in')) | n = [units]",
    ),
    (
        "SELECT COUNT(DISTINCT CASE WHEN kind = 'in' THEN pid WHEN year(visit_date) = 2024 THEN pid END) AS n"
        " FROM visits",
        "visits#0 | release units(or(equal(0.kind, 'in'), equal(year(0.visit_date), 2024))) | n = [units]",
    ),
    ("SELECT COUNT(CASE WHEN active THEN 1 ELSE 0 END) AS n FROM people", "people#0 | release rows | n = [rows]"),
    (
        "SELECT COUNT(DISTINCT diagnosis) AS n FROM people",
        "people#0 | release distinct(0.diagnosis) | n = [distinct]",
    ),
    # spread and ranks
    (
        "SELECT VAR_POP(income), STDDEV(income) FROM people",
        "people#0 | release stddev_samp(0.income), var_pop(0.income) | var_pop_income = [var_pop],"
        " stddev_income = [stddev_samp]",
    ),
    ("SELECT MEDIAN(income) FROM people", "people#0 | release quantile(0.income, 0.5) | median_income = [quantile]"),
    (
        "SELECT QUANTILE_CONT(income, 0.90) FROM people",
        "people#0 | release quantile(0.income, 0.9) | quantile_income = [quantile]",
    ),
    (
        "SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY income DESC) FILTER (WHERE active) AS q FROM people",
        "people#0 | release quantile(case when equal(0.active, True) then 0.income else None end, 0.75) |"
        " q = [quantile]",
    ),
    # groups
    (
        "SELECT sex, COUNT(*) FROM people GROUP BY sex",
        "people#0 | release rows by 0.sex | sex = k0, count = [rows]",
    ),
    (
        "SELECT sex AS s, COUNT(*) AS n FROM people GROUP BY s",
        "people#0 | release rows by 0.sex | s = k0, n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n, sex FROM people GROUP BY 2",
        "people#0 | release rows by 0.sex | n = [rows], sex = k0",
    ),
    (
        "SELECT year(birth_date) AS y, COUNT(*) AS n FROM people GROUP BY y",
        "people#0 | release rows by year(0.birth_date) | y = k0, n = [rows]",
    ),
    (
        "SELECT date_trunc('month', visit_date) AS d, COUNT(*) AS n FROM visits GROUP BY 1",
        "visits#0 | release rows by trunc_month(0.visit_date) | d = k0, n = [rows]",
    ),
    (
        "SELECT bin(weight), COUNT(*) AS n FROM people GROUP BY bin(weight)",
        "people#0 | release rows by bin(0.weight) | bin_weight = k0, n = [rows]",
    ),
    (
        "SELECT floor(year(birth_date) / 5) * 5 AS y, COUNT(*) AS n FROM people GROUP BY y",
        "people#0 | release rows by multiply(5, floor(divide(year(0.birth_date), 5))) | y = k0, n = [rows]",
    ),
    # conditions
    (
        "SELECT COUNT(*) AS n FROM people WHERE sex = 'F' AND age BETWEEN 20 AND 30",
        "people#0 | where equal(0.sex, 'F') & greater_equal(0.age, 20) & less_equal(0.age, 30) | release rows"
        " | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE age NOT IN (3, 1, 3)",
        "people#0 | where not(in(0.age, 1, 3)) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE sex LIKE 'F%' OR sex IS NULL",
        "people#0 | where or(is_null(0.sex), like(0.sex, 'F%')) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE active",
        "people#0 | where equal(0.active, True) | release rows | n = [rows]",
    ),
    ("SELECT COUNT(*) AS n FROM people WHERE TRUE", "people#0 | release rows | n = [rows]"),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE visit_date >= '2024-01-31'",
        "visits#0 | where greater_equal(0.visit_date, date 2024-01-31) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE seen_at < DATE '2024-01-31'",
        "visits#0 | where less(0.seen_at, timestamp 2024-01-31 00:00:00) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE year(visit_date) = 2024 AND kind <> 'in'",
        "visits#0 | where equal(year(0.visit_date), 2024) & not_equal(0.kind, 'in') | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE weight > 1.50",
        "people#0 | where greater(0.weight, 1.5:decimal(2,1)) | release rows | n = [rows]",
    ),
    # scalar functions
    (
        "SELECT COUNT(*) AS n FROM people WHERE age % 2 = 0 AND age // 10 = 3 AND sign(age) = 1",
        "people#0 | where equal(int_divide(0.age, 10), 3) & equal(modulo(0.age, 2), 0) & equal(sign(0.age),"
        " 1) | release rows | n = [rows]",
    ),
    (
        "SELECT SUM(sqrt(income)) AS a, SUM(income ** 2) AS b, SUM(log2(income)) AS c FROM people",
        "people#0 | release sum(log2(0.income)), sum(power(0.income, 2)), sum(sqrt(0.income)) | a = [sum], b"
        " = [sum], c = [sum]",
    ),
    (
        "SELECT SUM(ln(income) + exp(1)) AS a, SUM(log(income)) AS b, SUM(power(income, 0.5)) AS c FROM people",
        "people#0 | release sum(add(exp(1), ln(0.income))), sum(log10(0.income)), sum(power(0.income,"
        " 0.5:decimal(1,1))) | a = [sum], b = [sum], c = [sum]",
    ),
    (
        "SELECT upper(sex) AS s, COUNT(*) AS n FROM people GROUP BY s",
        "people#0 | release rows by upper(0.sex) | s = k0, n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE trim(lower(sex)) || 'x' || sex = 'fxF' AND len(sex) = 1",
        "people#0 | where equal(concat(trim(lower(0.sex)), 'x', 0.sex), 'fxF') & equal(length(0.sex), 1) |"
        " release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE concat(sex, 'x') = 'Fx' AND sex NOT ILIKE 'm%'",
        "people#0 | where equal(concat(coalesce(0.sex, ''), 'x'), 'Fx') & not(ilike(0.sex, 'm%')) | release"
        " rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE left(sex, 1) = 'F' AND substr(sex, 2, 1) = 'x' AND right(sex, 1) = 'y'",
        "people#0 | where equal(left(0.sex, 1), 'F') & equal(right(0.sex, 1), 'y') & equal(substring(0.sex,"
        " 2, 1), 'x') | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE starts_with(sex, 'F') AND contains(sex, 'x') AND suffix(sex, 'y')",
        "people#0 | where contains(0.sex, 'x') & ends_with(0.sex, 'y') & starts_with(0.sex, 'F') | release"
        " rows | n = [rows]",
    ),
    (
        "SELECT isodow(visit_date) AS d, COUNT(*) AS n FROM visits GROUP BY d",
        "visits#0 | release rows by day_of_week(0.visit_date) | d = k0, n = [rows]",
    ),
    (
        "SELECT EXTRACT(dow FROM visit_date) AS d, COUNT(*) AS n FROM visits GROUP BY d",
        "visits#0 | release rows by modulo(day_of_week(0.visit_date), 7) | d = k0, n = [rows]",
    ),
    (
        "SELECT hour(seen_at) AS h, date_part('minute', seen_at) AS m, COUNT(*) AS n FROM visits GROUP BY ALL",
        "visits#0 | release rows by hour(0.seen_at), minute(0.seen_at) | h = k1, m = k0, n = [rows]",
    ),
    (
        "SELECT date_trunc('hour', seen_at) AS h, COUNT(*) AS n FROM visits GROUP BY h",
        "visits#0 | release rows by trunc_hour(0.seen_at) | h = k0, n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE date_diff('month', visit_date, '2024-05-01') > 3",
        "visits#0 | where greater(date_diff('month', 0.visit_date, date 2024-05-01), 3) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE visit_date - DATE '2024-05-01' > 3",
        "visits#0 | where greater(date_diff('day', date 2024-05-01, 0.visit_date), 3) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE visit_date + INTERVAL '3 days' >= DATE '2024-03-31' - INTERVAL 1 MONTH",
        "visits#0 | where greater_equal(date_add(0.visit_date, 3, 'day'), date 2024-02-29) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE CAST(seen_at AS DATE) = visit_date + 7",
        "visits#0 | where equal(date_add(0.visit_date, 7, 'day'), to_date(0.seen_at)) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE TRY_CAST(sex AS INTEGER) = 1 AND CAST(age AS DOUBLE) > 1.5",
        "people#0 | where equal(to_integer(0.sex), 1) & greater(to_double(0.age), 1.5:decimal(2,1)) |"
        " release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE diagnosis IS DISTINCT FROM 'flu' AND active IS NOT FALSE",
        "people#0 | where not(and(equal(0.active, False), not(is_null(0.active)))) &"
        " not(and(equal(0.diagnosis, 'flu'), not(is_null(0.diagnosis)))) | release rows | n = [rows]",
    ),
    (
        "SELECT AVG(date_diff('day', v.visit_date, w.visit_date)) AS a FROM visits v JOIN visits w USING (pid)",
        "(visits#0) inner join (visits#1) on 0.pid = 1.pid | release avg(date_diff('day', 0.visit_date,"
        " 1.visit_date)) | a = [avg]",
    ),
    # joins
    (
        "SELECT COUNT(*) AS n FROM people p JOIN visits v ON p.pid = v.pid AND v.kind = 'in'",
        "(people#0) inner join (visits#1) on 0.pid = 1.pid | where equal(1.kind, 'in') | release rows | n = [rows]",
    ),
    (
        "SELECT sex, COUNT(*) AS n FROM visits JOIN people USING (pid) GROUP BY sex",
        "(visits#0) inner join (people#1) on 0.pid = 1.pid | release rows by 1.sex | sex = k0, n = [rows]",
    ),
    (
        "SELECT COUNT(cost) AS n FROM people p LEFT JOIN visits v ON v.pid = p.pid AND v.kind = 'in' WHERE age > 9",
        "(people#0) left join (visits#1 | where equal(1.kind, 'in')) on 0.pid = 1.pid | where greater(0.age, 9)"
        " | release count(1.cost) | n = [count]",
    ),
    (
        "SELECT level, SUM(cost) AS s FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY level",
        "(visits#0) inner join (public hospitals#1) on 0.hospital = 1.id | release sum(0.cost) by 1.level"
        " | level = k0, s = [sum]",
    ),
    (
        "SELECT COUNT(*) AS n FROM hospitals h JOIN visits v ON v.hospital = h.id",
        "(visits#0) inner join (public hospitals#1) on 0.hospital = 1.id | release rows | n = [rows]",
    ),
    (
        "SELECT title, COUNT(*) AS n FROM visits v JOIN hospitals h ON v.hospital = h.id JOIN regions r"
        " ON h.region = r.code GROUP BY title",
        "((visits#0) inner join (public hospitals#1) on 0.hospital = 1.id) inner join (public regions#2) on"
        " 1.region = 2.code | release rows by 2.title | title = k0, n = [rows]",
    ),
    (
        "SELECT SUM(price) AS s FROM people p JOIN visits v ON p.pid = v.pid JOIN items i ON i.visit_id = v.visit_id",
        "((people#0) inner join (visits#1) on 0.pid = 1.pid) inner join (items#2) on 1.visit_id = 2.visit_id"
        " | release sum(2.price) | s = [sum]",
    ),
    # subqueries and CTEs
    (
        "WITH f AS (SELECT pid, age FROM people WHERE sex = 'F') SELECT COUNT(*) AS n FROM f JOIN visits v"
        " ON f.pid = v.pid",
        "(people#0) inner join (visits#1) on 0.pid = 1.pid | where equal(0.sex, 'F') | release rows | n = [rows]",
    ),
    (
        "SELECT SUM(x.d) AS s FROM (SELECT income * 2 AS d FROM people) x",
        "people#0 | release sum(multiply(0.income, 2)) | s = [sum]",
    ),
    (
        "SELECT s, n * 2 AS twice FROM (SELECT sex AS s, COUNT(*) AS n FROM people GROUP BY sex) x WHERE n > 5",
        "people#0 | release rows by 0.sex | where greater([rows], 5) | s = k0, twice = multiply(2, [rows])",
    ),
    (
        "SELECT s FROM (SELECT sex AS s, COUNT(*) AS n FROM people GROUP BY sex ORDER BY n DESC LIMIT 1) x ORDER BY s",
        "people#0 | release rows by 0.sex | sort [rows] desc | limit 1 offset 0 | sort k0 | s = k0",
    ),
    # on released rows
    (
        "SELECT sex, AVG(income) AS a FROM people GROUP BY sex HAVING COUNT(*) > 9 ORDER BY a DESC NULLS FIRST"
        " LIMIT 3 OFFSET 1",
        "people#0 | release avg(0.income), rows by 0.sex | where greater([rows], 9) | sort [avg] desc"
        " nulls first | limit 3 offset 1 | sex = k0, a = [avg]",
    ),
    (
        "SELECT SUM(income) / NULLIF(COUNT(*), 0) AS a FROM people",
        "people#0 | release rows, sum(0.income) | a = divide([sum], case when equal([rows], 0) then None else"
        " [rows] end)",
    ),
    (
        "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex HAVING n > 5 ORDER BY 1",
        "people#0 | release rows by 0.sex | where greater([rows], 5) | sort k0 | sex = k0, n = [rows]",
    ),
    (
        "SELECT year(birth_date) + 1 AS y, COUNT(*) AS n FROM people GROUP BY year(birth_date)",
        "people#0 | release rows by year(0.birth_date) | y = add(1, k0), n = [rows]",
    ),
]


@pytest.mark.parametrize(("sql", "expected"), PLANS, ids=[sql for sql, _ in PLANS])
def test_a_query_is_read_as_its_plan(sql: str, expected: str) -> None:
    assert named(admitted(sql).question.plan) == expected


def test_parameters_become_typed_constants() -> None:
    plan = admitted(
        "SELECT COUNT(*) AS n FROM visits WHERE kind = $k AND visit_date >= $d AND cost IS NOT NULL = $yes"
        " OR year(visit_date) > $y",
        {"k": "in", "d": "2024-01-31", "y": 2023.0, "yes": True},
        {"clinic": _clinic_with_filterable_cost()},
    ).question.plan
    text = shown(plan)
    assert "equal(0.kind, 'in')" in text
    assert "greater_equal(0.visit_date, date 2024-01-31)" in text
    assert "greater(year(0.visit_date), 2023)" in text


def _clinic_with_filterable_cost() -> Policy:
    policy = clinic()
    visits = policy.tables["visits"]
    cost = replace(visits.columns["cost"], filter="range")
    return replace(
        policy, tables={**policy.tables, "visits": replace(visits, columns={**visits.columns, "cost": cost})}
    )


def test_a_table_alone_names_the_only_dataset_that_has_it() -> None:
    assert ask("SELECT COUNT(*) FROM visits", policies=BOTH).dataset == "clinic"
    assert ask("SELECT COUNT(*) FROM pupils", policies=BOTH).dataset == "school"
    assert ask("SELECT COUNT(*) FROM School.People", policies=BOTH).dataset == "school"
    assert ask("SELECT COUNT(*) FROM people JOIN visits USING (pid)").tables == ("people", "visits")


def test_every_node_of_a_plan_knows_its_place_in_the_text() -> None:
    sql = "SELECT sex,\n  SUM(income) FROM people\nGROUP BY sex"
    release = ask(sql).plan.source
    assert isinstance(release, Release)
    at = release.measures[0].at
    assert at is not None
    assert (at.line, at.column, at.length) == (2, 3, len("SUM(income"))
