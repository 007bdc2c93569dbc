"""What is refused, where in the text, and what is offered instead."""

from __future__ import annotations

import pytest

from gateway.admission.alternatives import Asked, with_alternatives
from gateway.errors import Refusal
from tests.sql_world import BOTH, LIMITS, ONLY_CLINIC, admitted, refusal

# SQL with the refused words between « and », code, a piece of the hint
REFUSED = [
    ("SELECT MAX(«income») FROM people", "aggregate_not_allowed", "QUANTILE_CONT(income, 0.99)"),
    ("SELECT MEDIAN(«age») FROM people", "aggregate_not_allowed", "`income`"),
    ("SELECT CORR(«income», weight) FROM people", "aggregate_not_allowed", None),
    ("SELECT «mode(sex») FROM people", "aggregate_not_allowed", "GROUP BY"),
    ("SELECT «COUNT(DISTINCT pid, kind») FROM visits", "construct_not_allowed", "SELECT DISTINCT"),
    ("SELECT QUANTILE_CONT(income, «1») FROM people", "construct_not_allowed", "0.99"),
    ("SELECT QUANTILE_CONT(income, [«0.1, 0.9»]) FROM people", "construct_not_allowed", "QUANTILE_CONT(x, 0.75)"),
    ("SELECT MEDIAN(«sex») FROM people", "type_mismatch", "GROUP BY"),
    ("SELECT AVG(income) FILTER (WHERE «income» > 5) FROM people", "column_not_filterable", "`age`"),
    ("SELECT «income» FROM people", "aggregate_required", "COUNT(*)"),
    ("SELECT «*» FROM people", "aggregate_required", "AVG(x)"),
    ("SELECT «name» FROM people", "column_hidden", "`sex`"),
    ("SELECT sex,\n COUNT(*), «income»\nFROM people GROUP BY sex", "column_not_grouped", "GROUP BY"),
    ("SELECT AVG(«incme») FROM people", "column_unknown", "`income`"),
    ("SELECT COUNT(*) FROM «peple»", "table_unknown", "`people`"),
    ("SELECT COUNT(*) FROM people WHERE «income» > 5", "column_not_filterable", "`age`"),
    ("SELECT COUNT(*) FROM people WHERE «diagnosis» LIKE 'a%'", "column_not_filterable", "IN"),
    ("SELECT COUNT(*) FROM people WHERE «birth_date» > '2000-01-01'", "column_not_filterable", "`year(birth_date)`"),
    ("SELECT «birth_date», COUNT(*) FROM people GROUP BY 1", "column_not_groupable", "`decade(birth_date)`"),
    ("SELECT weight, COUNT(*) FROM people GROUP BY «weight»", "column_not_groupable", "`bin(weight)`"),
    ("SELECT SUM(«age») FROM people", "aggregate_not_allowed", "`income`"),
    ("SELECT COUNT(*) FROM people p, «visits v»", "join_not_allowed", "`p.pid = v.pid`"),
    (
        "SELECT COUNT(*) FROM visits v JOIN «hospitals h ON v.visit_id = h.id»",
        "join_not_allowed",
        "`v.hospital = h.id`",
    ),
    ("SELECT COUNT(*) FROM hospitals h RIGHT JOIN «visits v ON v.hospital = h.id»", "join_not_allowed", "LEFT JOIN"),
    ("SELECT COUNT(*) FROM people WHERE «age = 'x'»", "type_mismatch", None),
    ("SELECT COUNT(*) FROM people WHERE «sex = 5»", "type_mismatch", "own type"),
    ("SELECT COUNT(*) FROM visits WHERE visit_date = «'soon'»", "type_mismatch", None),
    ("SELECT COUNT(*) FROM people WHERE «sex» = NULL", "construct_not_allowed", "IS NULL"),
    ("«SELECT sex FROM people UNION SELECT sex FROM people»", "construct_not_allowed", "two queries"),
    ("«select distinct  sex FROM people EXCEPT SELECT sex FROM people»", "construct_not_allowed", None),
    (
        "WITH t AS («SELECT sex FROM people\nUNION SELECT sex FROM people») SELECT COUNT(*) FROM t",
        "construct_not_allowed",
        None,
    ),
    ("SELECT «regexp_replace(sex, 'a', 'b'») FROM people", "function_not_allowed", "date_trunc"),
    ("SELECT COUNT(*) FROM people WHERE «log(3, age») = 0", "function_not_allowed", "ln(x)"),
    ("SELECT sex, COUNT(*) FROM people GROUP BY sex QUALIFY «1» = 1", "construct_not_allowed", "HAVING"),
    ("SELECT COUNT(*) FROM people WHERE «COUNT(*») > 5", "construct_not_allowed", "HAVING"),
    ("SELECT COUNT(*) «FROM»", "sql_unreadable", "SELECT"),
    ("SELECT COUNT(*) FROM people; SELECT 1", "statement_not_allowed", "query of its own"),
    ("DROP TABLE people", "statement_not_allowed", "SELECT"),
    ("SELECT COUNT(*) FROM people WHERE age = $a", "parameter_missing", "`parameters`"),
    ("SELECT COUNT(*) FROM people WHERE sex IN (SELECT kind FROM visits)", "construct_not_allowed", "unit IN"),
    (
        "SELECT COUNT(*) FROM people WHERE age > (SELECT «AVG(age») FROM people)",
        "construct_not_allowed",
        "ask for the figure first",
    ),
    ("SELECT «AVG(n») FROM (SELECT kind, COUNT(*) AS n FROM visits GROUP BY kind) x", "construct_not_allowed", "unit"),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT «kind» FROM visits) x", "construct_not_allowed", "COUNT(DISTINCT x)"),
    (
        "SELECT COUNT(*) FROM (SELECT sex FROM people UNION SELECT kind FROM visits) x",
        "construct_not_allowed",
        "UNION ALL",
    ),
    ("SELECT sex, «COUNT(DISTINCT pid») FROM people GROUP BY CUBE (sex)", "construct_not_allowed", "each grouping"),
    ("SELECT DISTINCT ON (sex) sex FROM people", "construct_not_allowed", "ROW_NUMBER()"),
    (
        "SELECT COUNT(*) FROM (SELECT ROW_NUMBER() OVER (ORDER BY visit_date) AS r FROM visits) x WHERE r = 1",
        "construct_not_allowed",
        "PARTITION BY",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT pid, SUM(«cost») AS t FROM visits GROUP BY pid) x WHERE t > 100",
        "column_not_filterable",
        "bin(cost)",
    ),
    (
        "SELECT t, COUNT(*) FROM (SELECT pid, SUM(cost) AS t FROM visits GROUP BY pid) x GROUP BY «t»",
        "column_not_groupable",
        "CASE WHEN",
    ),
    ("SELECT COUNT(*) FROM people WHERE sex NOT IN (SELECT level FROM hospitals)", "construct_not_allowed", "EXISTS"),
    ("SELECT COUNT(*) FROM (SELECT sex FROM people LIMIT «1») x", "construct_not_allowed", "outer"),
    ("SELECT COUNT(*) FROM «hospitals»", "construct_not_allowed", "catalogue"),
]
INEXACT = ("QUALIFY", "IN (SELECT", "sex» = NULL", "RIGHT")


@pytest.mark.parametrize(("marked", "code", "hint"), REFUSED, ids=[sql for sql, _, _ in REFUSED])
def test_a_refusal_has_code_place_and_a_way_out(marked: str, code: str, hint: str | None) -> None:
    refused = refusal(marked.replace("«", "").replace("»", ""))
    assert refused.code == code
    if hint is not None:
        assert hint in (refused.hint or "")
    if "«" in marked and not any(word in marked for word in INEXACT):
        before, rest = marked.split("«")
        words = rest.split("»", 1)[0]
        assert refused.at is not None
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        assert (refused.at.line, refused.at.column, refused.at.length) == (line, column, len(words))


def test_a_name_in_two_datasets_is_ambiguous_and_says_how_to_write_it() -> None:
    refused = refusal("SELECT COUNT(*) FROM people", policies=BOTH)
    assert refused.code == "table_ambiguous"
    assert refused.hint == "write `clinic.people` or `school.people`"


def test_one_query_asks_one_dataset() -> None:
    refused = refusal("SELECT COUNT(*) FROM visits v JOIN pupils p ON v.pid = p.id", policies=BOTH)
    assert refused.code == "join_not_allowed"
    assert "one dataset" in refused.message


def test_a_name_of_two_tables_is_ambiguous_but_not_after_using() -> None:
    both = "SELECT COUNT(pid) FROM people p JOIN visits v ON p.pid = v.pid"
    assert refusal(both).code == "column_ambiguous"
    assert "`p.pid`" in (refusal(both).hint or "")
    assert admitted("SELECT COUNT(pid) FROM people JOIN visits USING (pid)")


def test_a_caller_without_any_dataset_is_told_so() -> None:
    assert refusal("SELECT COUNT(*) FROM people", policies={}).code == "licence_missing"


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "parameter_missing"),
        ({"a": 1, "b": 2}, "parameter_invalid"),
        ({"a": None}, "parameter_invalid"),
        ({"a": [1]}, "parameter_invalid"),
        ({"a": {"x": 1}}, "parameter_invalid"),
        ({"a": float("nan")}, "parameter_invalid"),
        ({"a": float("inf")}, "parameter_invalid"),
        ({"a": 10**40}, "parameter_invalid"),
        ({"a": "old"}, "type_mismatch"),
        ({"a": True}, "type_mismatch"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(parameters: dict[str, object], code: str) -> None:
    assert refusal("SELECT COUNT(*) FROM people WHERE age = $a", parameters).code == code


def test_a_parameter_is_a_value_and_never_sql() -> None:
    hostile = "F' OR 1=1 --"
    plan = admitted("SELECT COUNT(*) FROM people WHERE sex = $s", {"s": hostile}).question.plan
    assert hostile in repr(plan)
    assert "or" not in [getattr(node, "function", "") for node in plan.source.source.conditions]


# SQL -> what is offered instead; each is read and admitted by the test
OFFERED = [
    ("SELECT MAX(income) FROM people", "SELECT QUANTILE_CONT(income, 0.99) FROM people"),
    ("SELECT MAX(income) FROM people", "SELECT AVG(income) FROM people"),
    ("SELECT MIN(cost), COUNT(*) FROM visits", "SELECT QUANTILE_CONT(cost, 0.01), COUNT(*) FROM visits"),
    (
        "SELECT QUANTILE_CONT(income, [0.25, 0.75]), COUNT(*) FROM people",
        "SELECT QUANTILE_CONT(income, 0.25), QUANTILE_CONT(income, 0.75), COUNT(*) FROM people",
    ),
    (
        "SELECT PERCENTILE_DISC(0.9) WITHIN GROUP (ORDER BY income DESC) FROM people",
        "SELECT QUANTILE_CONT(income, 0.1) FROM people",
    ),
    (
        "SELECT sex, MIN(income), MAX(age) FROM people GROUP BY sex",
        "SELECT sex, AVG(income), AVG(age) FROM people GROUP BY sex",
    ),
    ("SELECT income FROM people", "SELECT AVG(income) FROM people"),
    ("SELECT sex, active FROM people", "SELECT sex, active, COUNT(*) FROM people GROUP BY sex, active"),
    ("SELECT * FROM people", "SELECT COUNT(*) FROM people"),
    ("SELECT people FROM people", "SELECT COUNT(*) FROM people"),
    ("SELECT sex, COUNT(*) FROM people", "SELECT sex, COUNT(*) FROM people GROUP BY sex"),
    ("SELECT sex, income FROM people GROUP BY sex", "SELECT sex, AVG(income) FROM people GROUP BY sex"),
    ("SELECT COUNT(*) FROM people, visits", "SELECT COUNT(*) FROM people JOIN visits ON visits.pid = people.pid"),
    (
        "SELECT COUNT(*) FROM people p, visits v WHERE p.pid = v.pid AND v.kind = 'in'",
        "SELECT COUNT(*) FROM people AS p JOIN visits AS v ON p.pid = v.pid WHERE v.kind = 'in'",
    ),
    (
        "SELECT COUNT(*) FROM visits CROSS JOIN hospitals",
        "SELECT COUNT(*) FROM visits JOIN hospitals ON visits.hospital = hospitals.id",
    ),
    (
        "SELECT COUNT(*) FROM hospitals h RIGHT JOIN visits v ON v.hospital = h.id",
        "SELECT COUNT(*) FROM visits AS v LEFT JOIN hospitals AS h ON v.hospital = h.id",
    ),
    ("SELECT COUNT(*) FROM peopel", "SELECT COUNT(*) FROM people"),
    ("SELECT AVG(incom) FROM people", "SELECT AVG(income) FROM people"),
    (
        "SELECT COUNT(*) FROM (SELECT sex FROM people UNION SELECT kind FROM visits) x",
        "SELECT COUNT(*) FROM (SELECT sex FROM people UNION ALL SELECT kind FROM visits) AS x",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT ROW_NUMBER() OVER (ORDER BY visit_date) AS r FROM visits) x WHERE r = 1",
        "SELECT COUNT(*) FROM (SELECT ROW_NUMBER() OVER (PARTITION BY pid ORDER BY visit_date) AS r FROM visits) AS x"
        " WHERE r = 1",
    ),
    (
        "SELECT COUNT(*) FROM (SELECT SUM(cost) OVER (PARTITION BY pid ORDER BY visit_date) AS s FROM visits) x",
        "SELECT COUNT(*) FROM (SELECT SUM(cost) OVER (PARTITION BY pid) AS s FROM visits) AS x",
    ),
    (
        "SELECT COUNT(DISTINCT v.pid, v.kind) FROM people p JOIN visits v ON p.pid = v.pid",
        "SELECT COUNT(*) FROM (SELECT DISTINCT v.pid, v.kind FROM people AS p JOIN visits AS v ON p.pid = v.pid)"
        " AS each_once",
    ),
    (
        "SELECT COUNT(DISTINCT sex, active) FROM people WHERE age > 9",
        "SELECT sex, active, COUNT(*) FROM people WHERE age > 9 GROUP BY sex, active",
    ),
    ("SELECT COUNT(*) FROM (SELECT DISTINCT kind AS k FROM visits) x", "SELECT COUNT(DISTINCT kind) FROM visits"),
    (
        "SELECT k, COUNT(*) FROM (SELECT DISTINCT kind AS k FROM visits) x GROUP BY k",
        "SELECT k, COUNT(*) FROM (SELECT DISTINCT kind AS k, pid FROM visits) AS x GROUP BY k",
    ),
    (
        "SELECT AVG(n) FROM (SELECT kind, COUNT(*) AS n FROM visits GROUP BY kind) x",
        "SELECT kind, COUNT(*) AS n FROM visits GROUP BY kind",
    ),
    ("SELECT COUNT(*) FROM people WHERE age > (SELECT AVG(age) FROM people)", "SELECT AVG(age) FROM people"),
    (
        "SELECT COUNT(*) FROM people WHERE sex NOT IN (SELECT level FROM hospitals h WHERE level <> 'x')",
        "SELECT COUNT(*) FROM people WHERE NOT EXISTS(SELECT 1 FROM hospitals AS h WHERE level <> 'x' AND h.level ="
        " people.sex)",
    ),
    (
        "SELECT sex, active, COUNT(DISTINCT pid) FROM people GROUP BY ROLLUP (sex, active)",
        "SELECT sex, active, COUNT(DISTINCT pid) FROM people GROUP BY sex, active",
    ),
    (
        "SELECT birth_date, COUNT(*) FROM people GROUP BY birth_date",
        "SELECT YEAR(birth_date), COUNT(*) FROM people GROUP BY YEAR(birth_date)",
    ),
    (
        "SELECT weight AS w, COUNT(*) FROM people GROUP BY weight",
        "SELECT BIN(weight) AS w, COUNT(*) FROM people GROUP BY BIN(weight)",
    ),
]


@pytest.mark.parametrize(("sql", "instead"), OFFERED, ids=[sql for sql, _ in OFFERED])
def test_what_is_offered_instead_is_read_and_admitted(sql: str, instead: str) -> None:
    offered = _offered(sql)
    assert instead in [one.sql for one in offered.alternatives]
    for alternative in offered.alternatives:
        assert admitted(alternative.sql)
        assert alternative.why


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT MAX(birth_date) FROM people",
        "SELECT MAX(income) FROM people WHERE name = 'x'",
        "SELECT pid, COUNT(*) FROM people GROUP BY pid",
        "DROP TABLE people",
        "SELECT COUNT(*) FROM nowhere_at_all",
        "SELECT (",
    ],
)
def test_nothing_is_offered_that_would_be_refused_again(sql: str) -> None:
    assert _offered(sql).alternatives == ()


def test_what_is_offered_names_nothing_that_the_caller_may_not_see() -> None:
    assert _offered("SELECT COUNT(*) FROM pupil").alternatives == ()
    assert not any("name" in one.sql for one in _offered("SELECT COUNT(nam) FROM people").alternatives)


def _offered(sql: str) -> Refusal:
    return with_alternatives(refusal(sql), Asked(sql, {}, ONLY_CLINIC, LIMITS))
