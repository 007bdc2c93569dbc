"""The same question in other words is the same question: its stored answer is found again, free. Another one is not."""

from __future__ import annotations

import pytest

from tests.sql_world import meaning

SAME = [
    (
        "SELECT sex, COUNT(*) FROM people WHERE age > 20 AND active GROUP BY sex",
        "select COUNT(*) AS n, SEX as s from PEOPLE as p where active and 20 < p.age group by 2",
        "SELECT x.sex, COUNT(1) FROM (SELECT sex, age AS a FROM people WHERE active) x WHERE x.a > 20 GROUP BY x.sex",
        "WITH a AS (SELECT sex, age, active FROM people), b AS (SELECT sex, age FROM a WHERE active = TRUE)"
        " SELECT b.sex, COUNT(*) FROM b WHERE NOT age <= 20 GROUP BY b.sex ORDER BY 2 DESC LIMIT 1",
        'SELECT "sex", COUNT(*) FROM clinic."people" WHERE (active) AND (age > 20.0) GROUP BY "sex"',
        "SELECT sex, COUNT(*) * 100.0 / NULLIF(COUNT(*), 0) FROM people WHERE age > 20 AND active AND TRUE GROUP BY sex"
        " HAVING COUNT(*) > 3",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE age BETWEEN 1 AND 5",
        "SELECT COUNT(*) FROM people WHERE age >= 1 AND age <= 5 AND age >= 1",
        "SELECT COUNT(pid) FROM people WHERE 5 >= age AND 1 <= age",
        "SELECT COUNT(*) FROM people WHERE NOT (age < 1) AND NOT (age > 5)",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE age IN (1, 2, 3)",
        "SELECT COUNT(*) FROM people WHERE age IN (3, 2, 2, 1)",
        "SELECT COUNT(*) FROM people WHERE NOT age NOT IN (1, 2, 3)",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE sex <> 'F'",
        "SELECT COUNT(*) FROM people WHERE sex != 'F'",
        "SELECT COUNT(*) FROM people WHERE NOT sex = 'F'",
        "SELECT COUNT(*) FROM people WHERE NOT sex IN ('F')",
    ),
    (
        "SELECT SUM(income), AVG(income) FROM people",
        "SELECT AVG(income) / 12 AS m, SUM(income) FROM people",
        "SELECT SUM(income) FROM people ORDER BY AVG(income)",
    ),
    (
        "SELECT COUNT(*) FROM visits WHERE visit_date >= '2024-01-01'",
        "SELECT COUNT(*) FROM visits WHERE visit_date >= DATE '2024-01-01'",
        "SELECT COUNT(*) FROM visits WHERE CAST('2024-01-01' AS DATE) <= visit_date",
        "SELECT COUNT(*) FROM visits WHERE visit_date >= '2024-01-01 00:00:00'::TIMESTAMP",
    ),
    (
        "SELECT year(visit_date), COUNT(*) FROM visits GROUP BY 1",
        "SELECT EXTRACT(YEAR FROM visit_date), COUNT(*) FROM visits GROUP BY 1",
        "SELECT date_part('year', visit_date) AS y, COUNT(*) FROM visits GROUP BY y",
    ),
    (
        "SELECT COUNT(*) FROM people p JOIN visits v ON p.pid = v.pid WHERE kind = 'in'",
        "SELECT COUNT(*) FROM people p JOIN visits v ON v.pid = p.pid AND kind = 'in'",
        "SELECT COUNT(*) FROM people JOIN (SELECT pid FROM visits WHERE kind = 'in') v USING (pid)",
        "SELECT COUNT(*) FROM people INNER JOIN visits USING (pid) WHERE visits.kind = 'in' /* same */",
    ),
    (
        "SELECT SUM(CASE WHEN sex = 'F' THEN 1 ELSE 0 END) FROM people",
        "SELECT SUM(CASE sex WHEN 'F' THEN 1 ELSE 0 END) FROM people",
        "SELECT SUM(IF('F' = sex, 1, 0)) FROM people",
    ),
    (
        "SELECT COUNT(*) FILTER (WHERE age > 20 AND active) FROM people",
        "SELECT COUNT(CASE WHEN active AND age > 20 THEN 1 END) FROM people",
        "SELECT COUNT(CASE WHEN age > 20 AND active THEN 'x' ELSE NULL END) FROM people",
        "SELECT COUNT(CASE WHEN active THEN pid END) FILTER (WHERE age > 20) FROM people",
        "SELECT COUNT_IF(20 < age AND active) FROM people",
        "SELECT COUNT(pid) FILTER (active AND age > 20) FROM people",
        "SELECT COUNT(CASE WHEN active THEN CASE WHEN age > 20 THEN 1 END END) FROM people WHERE TRUE",
    ),
    (
        "SELECT SUM(income) FILTER (WHERE sex = 'F') FROM people",
        "SELECT SUM(CASE WHEN sex = 'F' THEN income END) FROM people",
        "SELECT SUM(IF(sex = 'F', income, NULL)) AS s FROM people",
    ),
    (
        "SELECT COUNT(DISTINCT pid) FILTER (WHERE kind = 'in' OR kind = 'out') FROM visits",
        "SELECT COUNT(DISTINCT CASE WHEN kind = 'out' OR kind = 'in' THEN pid END) FROM visits",
        "SELECT COUNT(DISTINCT CASE WHEN kind = 'in' THEN pid WHEN kind = 'out' THEN pid END) FROM visits",
    ),
    (
        "SELECT MEDIAN(income) FROM people",
        "SELECT QUANTILE_CONT(income, 0.5) FROM people",
        "SELECT QUANTILE(income, 0.500) FROM people",
        "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY income) FROM people",
        "SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY income DESC NULLS FIRST) FROM people",
    ),
    ("SELECT VARIANCE(income) FROM people", "SELECT VAR_SAMP(income) FROM people"),
    ("SELECT AVG(income) FROM people", "SELECT MEAN(income) FROM people", "SELECT mean(income) AS AVG FROM people"),
    ("SELECT CORR(income, weight) FROM people", "SELECT CORR(weight, income) FROM people"),
    (
        "SELECT COUNT(*) FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid HAVING COUNT(*) BETWEEN 2 AND 5) x",
        "SELECT COUNT(*) FROM (SELECT COUNT(*) AS m, pid AS p FROM visits v GROUP BY p) y WHERE y.m >= 2 AND 5 >= m",
        "WITH x AS (SELECT pid, COUNT(*) AS n FROM visits GROUP BY 1) SELECT COUNT(*) FROM x WHERE n <= 5 AND n >= 2",
        "WITH x AS (SELECT pid, COUNT(*) FROM visits GROUP BY ALL HAVING COUNT(pid) <= 5) SELECT COUNT(*) FROM"
        " (SELECT x.n FROM x AS x(who, n)) z WHERE n >= 2",
    ),
    (
        "SELECT AVG(a + b) FROM (SELECT pid, COUNT(*) AS a, SUM(cost) AS b FROM visits GROUP BY pid) x",
        "SELECT AVG(t) FROM (SELECT SUM(cost) + COUNT(*) AS t FROM visits GROUP BY pid) x",
        "SELECT AVG(t) FROM (SELECT pid, COUNT(*) + SUM(cost) AS t FROM visits GROUP BY pid) x",
    ),
    (
        "SELECT kind, COUNT(*) FROM (SELECT DISTINCT pid, kind FROM visits) x GROUP BY kind",
        "SELECT k, COUNT(*) FROM (SELECT kind AS k, pid FROM visits GROUP BY pid, kind) x GROUP BY k",
        "SELECT k, COUNT(*) FROM (SELECT DISTINCT kind AS k, pid FROM visits GROUP BY kind, pid) x GROUP BY k",
    ),
    (
        "SELECT COUNT(*) FROM people p WHERE sex = 'F' AND EXISTS (SELECT 1 FROM visits v WHERE v.pid = p.pid)",
        "SELECT COUNT(*) FROM people WHERE people.pid IN (SELECT pid FROM visits) AND sex = 'F'",
        "SELECT COUNT(*) FROM people WHERE pid IN (SELECT DISTINCT pid FROM visits) AND NOT sex <> 'F'",
        "SELECT COUNT(*) FROM people p WHERE EXISTS (SELECT * FROM visits WHERE p.pid = visits.pid) AND 'F' = sex",
        "SELECT COUNT(*) FROM people SEMI JOIN visits USING (pid) WHERE sex = 'F'",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE pid NOT IN (SELECT pid FROM visits WHERE kind = 'in')",
        "SELECT COUNT(*) FROM people WHERE NOT pid IN (SELECT pid FROM visits WHERE 'in' = kind)",
        "SELECT COUNT(*) FROM people p WHERE NOT EXISTS (SELECT 1 FROM visits v WHERE v.pid = p.pid AND v.kind = 'in')",
        "SELECT COUNT(*) FROM people p ANTI JOIN visits v ON p.pid = v.pid AND v.kind = 'in'",
    ),
    (
        "SELECT COUNT(*) FROM people WHERE pid IN (SELECT pid FROM visits) AND pid NOT IN (SELECT pid FROM visits WHERE"
        " kind = 'in')",
        "SELECT COUNT(*) FROM people WHERE pid NOT IN (SELECT pid FROM visits WHERE kind = 'in') AND pid IN (SELECT pid"
        " FROM visits) AND pid IN (SELECT pid FROM visits)",
    ),
    (
        "SELECT COUNT(*) FROM people p WHERE (SELECT COUNT(*) FROM visits v WHERE v.pid = p.pid) > 3 AND (SELECT"
        " COUNT(*) FROM visits v WHERE v.pid = p.pid AND kind = 'in') < 2",
        "SELECT COUNT(*) FROM people p WHERE 2 > (SELECT COUNT(*) FILTER (WHERE TRUE) FROM visits v WHERE kind = 'in'"
        " AND p.pid = v.pid) AND NOT (SELECT COUNT(1) FROM visits w WHERE p.pid = w.pid GROUP BY w.pid) <= 3",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT kind, ROW_NUMBER() OVER (PARTITION BY pid, kind ORDER BY visit_date) AS r FROM"
        " visits) x WHERE r = 1",
        "SELECT COUNT(*) FROM (SELECT kind FROM visits QUALIFY ROW_NUMBER() OVER (PARTITION BY kind, pid ORDER BY"
        " visit_date ASC) = 1) x",
        "SELECT COUNT(*) FROM (SELECT ROW_NUMBER() OVER w FROM visits WINDOW w AS (PARTITION BY kind, pid ORDER BY"
        " visit_date)) x(n) WHERE 1 = n",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT pid, sex FROM people UNION ALL (SELECT pid, kind FROM visits UNION ALL SELECT"
        " pid, kind FROM visits WHERE kind = 'in')) x",
        "WITH a AS (SELECT pid, sex FROM people UNION ALL SELECT pid, kind FROM visits) SELECT COUNT(*) FROM (SELECT"
        " pid, sex FROM people UNION ALL SELECT v.pid, v.kind AS k FROM visits v UNION ALL SELECT pid, kind FROM"
        " visits w WHERE 'in' = w.kind) x",
    ),
    (
        "SELECT sex, active, COUNT(*) FROM people GROUP BY sex, active",
        "SELECT active, sex, COUNT(*) FROM people GROUP BY ALL",
        "SELECT sex, active, COUNT(*) FROM people GROUP BY ROLLUP (active, sex)",
        "SELECT sex, active, COUNT(*), RANK() OVER (ORDER BY COUNT(*)) AS r FROM people GROUP BY 1, 2 QUALIFY r < 3",
        "SELECT DISTINCT COUNT(*) FROM people GROUP BY CUBE (sex, active)",
    ),
    ("SELECT DISTINCT sex FROM people", "SELECT sex FROM people GROUP BY sex"),
    (
        "SELECT COUNT(*) FROM people WHERE age % 2 = 0 AND sex || 'x' || sex = 'FxF' AND sex ILIKE 'f'",
        "SELECT COUNT(*) FROM people WHERE sex ~~* 'f' AND sex || ('x' || sex) = 'FxF' AND mod(age, 2) = 0",
    ),
    (
        "SELECT COUNT(*) FROM visits WHERE visit_date + INTERVAL 7 DAY > DATE '2024-02-29'",
        "SELECT COUNT(*) FROM visits WHERE DATE '2024-01-31' + INTERVAL 1 MONTH < visit_date + 7",
        "SELECT COUNT(*) FROM visits WHERE date_add(visit_date, INTERVAL '7 days') > DATE '2024-03-29' - INTERVAL 1"
        " MONTH",
    ),
    (
        "SELECT dayofweek(visit_date), COUNT(*) FROM visits GROUP BY 1",
        "SELECT EXTRACT(dow FROM visit_date) AS d, COUNT(*) FROM visits GROUP BY d",
        "SELECT isodow(visit_date) % 7 AS d, COUNT(*) FROM visits GROUP BY ALL",
    ),
    (
        "SELECT COUNT(*) FROM visits WHERE CAST(seen_at AS DATE) - visit_date > 3",
        "SELECT COUNT(*) FROM visits WHERE date_diff('day', visit_date, seen_at::DATE) > 3",
        "SELECT COUNT(*) FROM visits WHERE datediff('day', visit_date, TRY_CAST(seen_at AS DATE)) > 3",
    ),
    ("SELECT SUM(income * 2 + 1) FROM people", "SELECT SUM(1 + (2 * income)) FROM people"),
    (
        "SELECT level, COUNT(*), SUM(cost) FROM visits v JOIN hospitals h ON v.hospital = h.id WHERE level <> 'city'"
        " AND kind = 'in' AND visit_date > '2024-01-01' GROUP BY level",
        "SELECT SUM(v.cost), h.level, COUNT(*) FROM hospitals h JOIN visits v ON h.id = v.hospital AND v.kind = 'in'"
        " WHERE v.visit_date > '2024-01-01' AND h.level <> 'city' GROUP BY h.level HAVING COUNT(*) > 1",
        "SELECT x.level, SUM(cost), COUNT(*) FROM (SELECT * FROM hospitals WHERE level <> 'city') x JOIN visits ON"
        " hospital = x.id AND visit_date > '2024-01-01' AND kind = 'in' GROUP BY 1",
    ),
    (
        "SELECT sex, level, COUNT(*) FROM visits v JOIN hospitals h ON v.hospital = h.id JOIN people p ON p.pid ="
        " v.pid WHERE p.pid IN (SELECT pid FROM visits WHERE kind = 'in') AND EXISTS (SELECT 1 FROM visits w WHERE"
        " w.pid = p.pid AND w.kind = 'out') GROUP BY sex, level",
        "SELECT sex, level, COUNT(*) FROM hospitals h JOIN visits v ON v.hospital = h.id JOIN people p ON p.pid = v.pid"
        " WHERE EXISTS (SELECT 1 FROM visits w WHERE w.pid = p.pid AND w.kind = 'out') AND p.pid IN (SELECT pid FROM"
        " visits WHERE kind = 'in') GROUP BY level, sex",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT pid, sex, age FROM people UNION ALL SELECT pid, kind, 1 FROM visits) x WHERE"
        " sex = 'F'",
        "SELECT COUNT(*) FROM (SELECT sex FROM people UNION ALL SELECT kind FROM visits) x WHERE sex = 'F'",
        "SELECT COUNT(pid) FROM (SELECT birth_date, sex AS s, pid FROM people UNION ALL SELECT visit_date, kind, pid"
        " FROM visits) x WHERE s = 'F'",
    ),
    (
        "SELECT s, AVG(a) FROM (SELECT sex AS s, age AS a FROM people UNION ALL SELECT kind, 1 FROM visits) x GROUP BY"
        " s",
        "SELECT s, AVG(a) FROM (SELECT age AS a, pid, sex AS s FROM people UNION ALL SELECT 1, pid, kind FROM visits) x"
        " GROUP BY 1",
    ),
    (
        "SELECT AVG(n) FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) x",
        "SELECT AVG(n) FROM (SELECT pid, SUM(cost) AS c, COUNT(*) AS n, MAX(visit_date) FROM visits GROUP BY pid) x",
        "SELECT AVG(x.n) FROM (SELECT pid, MIN(cost), COUNT(*) AS n, AVG(cost) FROM visits GROUP BY pid) x",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT pid FROM visits GROUP BY pid HAVING COUNT(*) > 2) x",
        "SELECT COUNT(*) FROM (SELECT pid, SUM(cost), AVG(cost) FROM visits GROUP BY pid HAVING COUNT(*) > 2) x",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT pid FROM visits) x",
        "SELECT COUNT(*) FROM (SELECT pid, RANK() OVER (PARTITION BY pid ORDER BY visit_date) AS r FROM visits) x",
    ),
]

DIFFERENT = [
    "SELECT COUNT(*) FROM people",
    "SELECT COUNT(DISTINCT pid) FROM people",
    "SELECT COUNT(*) FROM visits",
    "SELECT COUNT(sex) FROM people",
    "SELECT sex, COUNT(*) FROM people GROUP BY sex",
    "SELECT COUNT(*) FROM people WHERE sex = 'F'",
    "SELECT COUNT(*) FROM people WHERE sex = 'f'",
    "SELECT COUNT(*) FROM people WHERE age > 20",
    "SELECT COUNT(*) FROM people WHERE age >= 20",
    "SELECT COUNT(*) FROM people WHERE age < 20",
    "SELECT COUNT(*) FROM people WHERE NOT (age > 20 AND age < 30)",
    "SELECT COUNT(*) FROM people WHERE age <= 20 AND age >= 30",
    "SELECT COUNT(*) FROM people WHERE age <= 20 OR age >= 31",
    "SELECT COUNT(*) FROM people JOIN visits USING (pid)",
    "SELECT COUNT(*) FROM people LEFT JOIN visits USING (pid)",
    "SELECT COUNT(*) FROM people p LEFT JOIN visits v ON p.pid = v.pid AND kind = 'in'",
    "SELECT COUNT(*) FROM people p LEFT JOIN visits v ON p.pid = v.pid WHERE kind = 'in'",
    "SELECT SUM(income - 1) FROM people",
    "SELECT SUM(1 - income) FROM people",
    "SELECT SUM(income / 2) FROM people",
    "SELECT SUM(2 / income) FROM people",
    "SELECT AVG(income) FROM people",
    "SELECT VAR_POP(income) FROM people",
    "SELECT VAR_SAMP(income) FROM people",
    "SELECT STDDEV_SAMP(income) FROM people",
    "SELECT MEDIAN(income) FROM people",
    "SELECT QUANTILE_CONT(income, 0.25) FROM people",
    "SELECT PERCENTILE_CONT(0.25) WITHIN GROUP (ORDER BY income DESC) FROM people",
    "SELECT COUNT(DISTINCT age) FROM people",
    "SELECT COUNT(*) FILTER (WHERE active) FROM people",
    "SELECT COUNT(DISTINCT pid) FILTER (WHERE active) FROM people",
    "SELECT REGR_SLOPE(income, weight) FROM people",
    "SELECT REGR_SLOPE(weight, income) FROM people",
    "SELECT COVAR_POP(income, weight) FROM people",
    "SELECT COVAR_SAMP(income, weight) FROM people",
    "SELECT COUNT(*) FROM people WHERE pid IN (SELECT pid FROM visits)",
    "SELECT COUNT(*) FROM people WHERE pid NOT IN (SELECT pid FROM visits)",
    "SELECT COUNT(*) FROM people WHERE pid IN (SELECT pid FROM visits WHERE kind = 'in')",
    "SELECT COUNT(*) FROM people p WHERE EXISTS (SELECT 1 FROM visits v WHERE v.pid = p.pid AND v.kind = p.sex)",
    "SELECT COUNT(*) FROM people WHERE pid IN (SELECT pid FROM visits GROUP BY pid HAVING COUNT(*) > 1)",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits GROUP BY pid) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits GROUP BY pid, kind) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits GROUP BY pid HAVING COUNT(*) > 2) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits GROUP BY pid HAVING SUM(cost) > 2) x",
    "SELECT COUNT(*) FROM visits v JOIN hospitals h ON v.hospital = h.id",
    "SELECT COUNT(*) FROM hospitals h JOIN visits v ON v.hospital = h.id JOIN people p ON p.pid = v.pid",
    "SELECT AVG(n) FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) x",
    "SELECT AVG(n) FROM (SELECT pid, COUNT(kind) AS n FROM visits GROUP BY pid) x",
    "SELECT AVG(n) FROM (SELECT pid, COUNT(DISTINCT kind) AS n FROM visits GROUP BY pid) x",
    "SELECT AVG((SELECT COUNT(*) FROM visits v WHERE v.pid = p.pid)) FROM people p",
    "SELECT COUNT(*) FROM visits v JOIN visits w ON v.pid = w.pid",
    "SELECT COUNT(*) FROM (SELECT pid FROM people UNION ALL SELECT pid FROM visits) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits UNION ALL SELECT pid FROM visits) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits QUALIFY ROW_NUMBER() OVER (PARTITION BY pid ORDER BY kind) = 1) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits QUALIFY RANK() OVER (PARTITION BY pid ORDER BY kind) = 1) x",
    "SELECT COUNT(*) FROM (SELECT pid FROM visits QUALIFY RANK() OVER (PARTITION BY pid ORDER BY kind DESC) = 1) x",
]


@pytest.mark.parametrize("variants", SAME, ids=[variants[0] for variants in SAME])
def test_variants_have_one_meaning(variants: tuple[str, ...]) -> None:
    digests = {variant: meaning(variant) for variant in variants}
    assert len(set(digests.values())) == 1, digests


def test_parameters_mean_what_their_constants_mean() -> None:
    assert meaning("SELECT COUNT(*) FROM visits WHERE visit_date > $d", {"d": "2024-01-01"}) == meaning(
        "SELECT COUNT(*) FROM visits WHERE visit_date > DATE '2024-01-01'"
    )


def test_different_questions_stay_different() -> None:
    digests = {meaning(sql): sql for sql in DIFFERENT}
    assert len(digests) == len(DIFFERENT)
