"""What a query means where it looks at units one by one, puts tables together, or looks over released rows."""

from __future__ import annotations

import pytest

from tests.sql_shown import named, shown
from tests.sql_world import admitted, ask

PLANS = [
    # self-joins
    (
        "SELECT COUNT(*) AS n FROM visits v JOIN visits w ON v.pid = w.pid AND v.visit_date < w.visit_date",
        "(visits#0) inner join (visits#1) on 0.pid = 1.pid | where greater(1.visit_date, 0.visit_date)"
        " | release rows | n = [rows]",
    ),
    (
        "SELECT SUM(i.price * j.price) AS s FROM items i JOIN items j USING (visit_id)",
        "(items#0) inner join (items#1) on 0.visit_id = 1.visit_id | release sum(multiply(0.price, 1.price)) |"
        " s = [sum]",
    ),
    # one row for each unit
    (
        "SELECT AVG(n) AS a FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) x",
        "visits#0 | each unit rows#1 | release avg(1.m0) | a = [avg]",
    ),
    (
        "SELECT n, COUNT(*) AS people FROM (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) x GROUP BY n",
        "visits#0 | each unit rows#1 | release rows by 1.m0 | n = k0, people = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM (SELECT pid FROM visits WHERE kind = 'in' GROUP BY pid HAVING COUNT(*) > 3) x",
        "visits#0 | where equal(0.kind, 'in') | each unit rows#1 | where greater(1.m0, 3) | release rows | n = [rows]",
    ),
    (
        "SELECT AVG(t) AS a FROM (SELECT pid AS p, kind, SUM(cost) / COUNT(*) AS t FROM visits GROUP BY pid, kind) x"
        " WHERE kind = 'in'",
        "visits#0 | each unit by 0.kind rows, sum(0.cost)#1 | where equal(1.k0, 'in') |"
        " release avg(divide(1.m1, 1.m0)) | a = [avg]",
    ),
    (
        "SELECT AVG(x.n) AS a, AVG(x.i) AS b FROM (SELECT pid, COUNT(DISTINCT kind) AS n, COUNT_IF(kind = 'in') AS i"
        " FROM visits GROUP BY pid) x",
        "visits#0 | each unit count(case when equal(0.kind, 'in') then 1 else None end), distinct(0.kind)#1 |"
        " release avg(1.m0), avg(1.m1) | a = [avg], b = [avg]",
    ),
    (
        "SELECT year(x.first) AS y, COUNT(*) AS n FROM (SELECT pid, MIN(visit_date) AS first FROM visits GROUP BY pid)"
        " x GROUP BY 1",
        "visits#0 | each unit min(0.visit_date)#1 | release rows by year(1.m0) | y = k0, n = [rows]",
    ),
    (
        "SELECT sex, AVG(COALESCE(x.n, 0)) AS a FROM people p LEFT JOIN (SELECT pid, COUNT(*) AS n FROM visits GROUP BY"
        " pid) x ON x.pid = p.pid GROUP BY sex",
        "(people#0) left join (visits#1 | each unit rows#2) on 0.pid = 2.unit | release avg(coalesce(2.m0, 0))"
        " by 0.sex | sex = k0, a = [avg]",
    ),
    (
        "SELECT sex, AVG(x.m) AS a FROM people p LEFT JOIN (SELECT pid, SUM(cost) / COUNT(*) AS m FROM visits GROUP BY"
        " pid) x USING (pid) GROUP BY sex",
        "(people#0) left join (visits#1 | each unit sum(1.cost), rows#2 | project divide(2.m0, 2.m1), 2.unit) on 0.pid"
        " = 3.1 | release avg(3.0) by 0.sex | sex = k0, a = [avg]",
    ),
    (
        "WITH a AS (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid), b AS (SELECT pid, SUM(price) AS s FROM items"
        " JOIN visits USING (visit_id) GROUP BY pid) SELECT AVG(s / n) AS m FROM a JOIN b USING (pid)",
        "(visits#0 | each unit rows#1) inner join ((items#2) inner join (visits#3) on 2.visit_id ="
        " 3.visit_id | each unit sum(2.price)#4) on 1.unit = 4.unit | release avg(divide(4.m0, 1.m0)) | m ="
        " [avg]",
    ),
    (
        "SELECT AVG(n) AS a FROM (SELECT visit_id, COUNT(*) AS n FROM items GROUP BY visit_id) x",
        "items#0 | each unit by 0.visit_id rows#1 | release avg(1.m0) | a = [avg]",
    ),
    (
        "SELECT AVG(m) AS a FROM (SELECT pid, MAX(n) AS m FROM (SELECT pid, kind, COUNT(*) AS n FROM visits GROUP BY"
        " pid, kind) x GROUP BY pid) y",
        "visits#0 | each unit by 0.kind rows#1 | each unit max(1.m0)#2 | release avg(2.m0) | a = [avg]",
    ),
    # DISTINCT
    (
        "SELECT kind, COUNT(*) AS n FROM (SELECT DISTINCT pid, kind FROM visits) x GROUP BY kind",
        "visits#0 | each unit by 0.kind#1 | release rows by 1.k0 | kind = k0, n = [rows]",
    ),
    ("SELECT DISTINCT sex FROM people", "people#0 | release  by 0.sex | sex = k0"),
    (
        "SELECT DISTINCT COUNT(*) AS n FROM people GROUP BY sex",
        "people#0 | release rows by 0.sex | distinct [rows] | n = [rows]",
    ),
    # IN and EXISTS
    (
        "SELECT COUNT(*) AS n FROM people WHERE pid IN (SELECT DISTINCT pid FROM visits WHERE kind = 'in')",
        "(people#0) semi join (visits#1 | where equal(1.kind, 'in')) on 0.pid = 1.pid | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE NOT (pid IN (SELECT pid FROM visits))",
        "(people#0) anti join (visits#1) on 0.pid = 1.pid | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE pid IN (SELECT pid FROM visits GROUP BY pid HAVING COUNT(*) > 3)",
        "(people#0) semi join (visits#1 | each unit rows#2 | where greater(2.m0, 3)) on 0.pid = 2.unit | release rows"
        " | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people p WHERE sex = 'F' AND NOT EXISTS (SELECT * FROM visits v WHERE p.pid = v.pid"
        " AND v.kind = p.sex LIMIT 1)",
        "(people#0) anti join (visits#1) on 0.pid = 1.pid & 0.sex = 1.kind | where equal(0.sex, 'F') | release rows"
        " | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM items i WHERE EXISTS (SELECT 1 FROM visits v WHERE v.visit_id = i.visit_id)",
        "(items#0) semi join (visits#1) on 0.visit_id = 1.visit_id | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits WHERE hospital IN (SELECT id FROM hospitals WHERE level = 'A')",
        "(visits#0) semi join (public hospitals#1 | where equal(1.level, 'A')) on 0.hospital = 1.id | release rows"
        " | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people WHERE diagnosis IN (SELECT title FROM regions)",
        "(people#0) semi join (public regions#1) on 0.diagnosis = 1.title | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people p WHERE age > 70 OR EXISTS (SELECT 1 FROM visits v WHERE v.pid = p.pid)",
        "(people#0) left join (visits#1 | each unit rows#2) on 0.pid = 2.unit |"
        " where or(greater(0.age, 70), greater(coalesce(2.m0, 0), 0)) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM people ANTI JOIN visits v ON people.pid = v.pid AND kind = 'in'",
        "(people#0) anti join (visits#1 | where equal(1.kind, 'in')) on 0.pid = 1.pid | release rows | n = [rows]",
    ),
    # scalar subqueries
    (
        "SELECT AVG((SELECT COUNT(*) FROM visits v WHERE v.pid = p.pid)) AS a FROM people p",
        "(people#0) left join (visits#1 | each unit rows#2) on 0.pid = 2.unit | release avg(coalesce(2.m0, 0))"
        " | a = [avg]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits v WHERE v.visit_date = (SELECT MAX(w.visit_date) FROM visits w WHERE w.pid ="
        " v.pid AND w.kind = v.kind)",
        "(visits#0) left join (visits#1 | each unit by 1.kind max(1.visit_date)#2) on 0.kind = 2.k0 & 0.pid = 2.unit |"
        " where equal(2.m0, 0.visit_date) | release rows | n = [rows]",
    ),
    (
        "SELECT COUNT(*) AS n FROM visits v WHERE (SELECT level FROM hospitals h WHERE h.id = v.hospital) = 'A'",
        "(visits#0) left join (public hospitals#1) on 0.hospital = 1.id | where equal(1.level, 'A') | release rows"
        " | n = [rows]",
    ),
    # unions
    (
        "SELECT k, COUNT(*) AS n FROM (SELECT pid, sex AS k FROM people WHERE age > 9 UNION ALL SELECT pid, kind FROM"
        " visits UNION ALL SELECT pid, 'x' FROM visits) u GROUP BY k",
        "(people#0 | where greater(0.age, 9) | 0.sex) union all (visits#1 | 1.kind) union all (visits#2 | 'x')#3"
        " | release rows by 3.0 | k = k0, n = [rows]",
    ),
    (
        "WITH u AS (SELECT pid FROM people UNION ALL (SELECT pid FROM visits)) SELECT COUNT(DISTINCT pid) AS n FROM u",
        "(people#0 | ) union all (visits#1 | )#2 | release units | n = [units]",
    ),
    (
        "SELECT AVG(n) AS a FROM (SELECT pid, kind, COUNT(*) AS n, SUM(cost) AS s FROM visits GROUP BY pid, kind) x",
        "visits#0 | each unit by 0.kind rows#1 | release avg(1.m0) | a = [avg]",
    ),
    # windows within a unit
    (
        "SELECT kind, COUNT(*) AS n FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY pid ORDER BY visit_date DESC) AS r"
        " FROM visits WHERE kind <> 'x') v WHERE r = 1 GROUP BY kind",
        "visits#0 | where not_equal(0.kind, 'x') | window row_number() over (by 0.pid order 0.visit_date desc)#1 |"
        " where equal(1.w0, 1) | release rows by 0.kind | kind = k0, n = [rows]",
    ),
    (
        "SELECT AVG(x.d) AS a FROM (SELECT v.cost - LAG(v.cost, 2) OVER w AS d FROM visits v QUALIFY COUNT(*) OVER"
        " (PARTITION BY v.pid) > 3 WINDOW w AS (PARTITION BY v.pid ORDER BY v.visit_date NULLS FIRST)) x",
        "visits#0 | window count_rows() over (by 0.pid), lag(0.cost, 2) over (by 0.pid order 0.visit_date"
        " nulls first)#1 | where greater(1.w0, 3) | release avg(subtract(0.cost, 1.w1)) | a = [avg]",
    ),
    # above a release
    (
        "SELECT kind, COUNT(*) AS n, RANK() OVER (ORDER BY SUM(cost) DESC) AS r FROM visits GROUP BY kind QUALIFY r < 3"
        " ORDER BY r",
        "visits#0 | release rows, sum(0.cost) by 0.kind | window rank() over (order [sum] desc)#1 | where less(1.w0, 3)"
        " | sort 1.w0 | kind = k0, n = [rows], r = 1.w0",
    ),
    (
        "SELECT *, n / SUM(n) OVER () AS share FROM (SELECT sex, COUNT(*) AS n FROM people GROUP BY sex) x",
        "people#0 | release rows by 0.sex | window sum([rows]) over ()#1 | sex = k0, n = [rows],"
        " share = divide([rows], 1.w0)",
    ),
    (
        "SELECT year(visit_date) AS y, COUNT(*) - LAG(COUNT(*)) OVER (PARTITION BY kind ORDER BY year(visit_date)) AS d"
        " FROM visits GROUP BY y, kind",
        "visits#0 | release rows by 0.kind, year(0.visit_date) | window lag([rows], 1) over (by k1 order"
        " k0)#1 | y = k0, d = subtract([rows], 1.w0)",
    ),
    (
        "SELECT sex, COUNT(*) AS n, GROUPING(sex) AS g FROM people GROUP BY ROLLUP (sex) HAVING COUNT(*) > 9",
        "people#0 | release rows by 0.sex | rollup (), (k0) | where greater([rows], 9) | sex = k0, n = [rows], g = g0",
    ),
    (
        "SELECT sex, COUNT(*) AS n FROM people GROUP BY GROUPING SETS ((sex))",
        "people#0 | release rows by 0.sex | sex = k0, n = [rows]",
    ),
    (
        "SELECT CASE WHEN age < 18 THEN 'minor' WHEN sex IS NULL THEN sex ELSE 'adult' END AS a, COUNT(*) AS n FROM"
        " people GROUP BY ALL",
        "people#0 | release rows by case when less(0.age, 18) then 'minor' when is_null(0.sex) then 0.sex"
        " else 'adult' end | a = k0, n = [rows]",
    ),
]


@pytest.mark.parametrize(("sql", "expected"), PLANS, ids=[sql for sql, _ in PLANS])
def test_a_query_is_read_as_its_plan(sql: str, expected: str | None) -> None:
    assert named(admitted(sql).question.plan) == expected


@pytest.mark.parametrize(
    ("grouping", "sets"),
    [
        ("ROLLUP (sex, active)", [("active", "sex"), ("sex",), ()]),
        ("CUBE (sex, active)", [("active", "sex"), ("sex",), ("active",), ()]),
        ("GROUPING SETS (sex, (active), (active, sex))", [("sex",), ("active",), ("active", "sex")]),
        ("sex, ROLLUP (active)", [("active", "sex"), ("sex",)]),
        ("ROLLUP ((sex, active), age)", [("active", "age", "sex"), ("active", "sex"), ()]),
        ("GROUPING SETS (ROLLUP (1), (2))", [("sex",), (), ("active",)]),
        ("ROLLUP (sex), ROLLUP (active)", [("active", "sex"), ("sex",), ("active",), ()]),
    ],
)
def test_grouping_sets_are_the_keys_that_each_keeps(grouping: str, sets: list[tuple[str, ...]]) -> None:
    text = shown(admitted(f"SELECT sex, active, COUNT(*) FROM people GROUP BY {grouping}").question.plan)
    keys = text.split(" by ")[1].split(" | ")[0].split(", ")
    assert len(keys) == len({name for one in sets for name in one})
    assert sorted(map(len, sets)) == sorted(kept.count("k") for kept in text.split(" | ")[2].split("), "))


def test_a_star_stands_for_what_may_be_named() -> None:
    of_star = ask("SELECT COUNT(*) FROM (SELECT * FROM people UNION ALL SELECT p.* FROM people p) x").plan
    union = shown(of_star).split(" | ")[1]
    assert union.startswith("0.pid, 0.sex, 0.age, 0.收入, ")
    assert "name" not in union
