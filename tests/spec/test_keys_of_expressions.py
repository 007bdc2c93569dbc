"""Public groups of what is computed: every one that the declared domain gives, and none that it does not.

Each question groups by one expression over one column. Its groups are held against the engine's own values of that
expression, over every value that the policy declares for the column.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import duckdb
import pytest

from policies.types import Value
from sandbox.relational import narrow
from sandbox.relational.derive import derive
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.lower.scalars import identifier, scalar
from sandbox.relational.nodes import Filter, find_release
from sandbox.relational.plan import KeyPlan, ReleasePlan, plan_release
from tests.sql_world import ask, clinic

SCHEMA = Schema(clinic(), {})
DOMAINS: dict[str, tuple[Value, ...]] = {
    "birth_date": tuple(
        date(1920, 1, 1) + timedelta(days) for days in range((date(2027, 1, 1) - date(1920, 1, 1)).days)
    ),
    "visit_date": tuple(
        date(2020, 1, 1) + timedelta(days) for days in range((date(2027, 1, 1) - date(2020, 1, 1)).days)
    ),
    "age": tuple(range(100)),
    "kind": ("in", "out"),
}
QUESTIONS = {
    # What is grouped by, over which column and under which condition: how many groups there are.
    ("year(birth_date)", "birth_date", "TRUE"): 107,
    ("year(birth_date) * 1", "birth_date", "TRUE"): 107,
    ("year(birth_date) - 1900", "birth_date", "TRUE"): 107,
    ("year(birth_date) // 25 * 25", "birth_date", "TRUE"): 6,
    ("floor(year(birth_date) / 10)", "birth_date", "TRUE"): 11,
    ("CASE WHEN year(birth_date) < 1960 THEN 'old' ELSE 'young' END", "birth_date", "TRUE"): 2,
    ("year(visit_date) * 100 + month(visit_date)", "visit_date", "TRUE"): 84,
    ("quarter(visit_date) + 4 * year(visit_date)", "visit_date", "TRUE"): 28,
    ("month(visit_date) % 2", "visit_date", "TRUE"): 2,
    ("age * age", "age", "age < 20"): 20,
    ("upper(kind)", "kind", "TRUE"): 2,
    # A condition on what is grouped by.
    ("year(birth_date)", "birth_date", "year(birth_date) IN (1950, 1952)"): 2,
    ("year(birth_date)", "birth_date", "year(birth_date) = 1950 OR year(birth_date) = 1960"): 2,
    ("year(birth_date)", "birth_date", "year(birth_date) > 2030"): 0,
    ("year(birth_date)", "birth_date", "1950 < year(birth_date) AND year(birth_date) <= 1953"): 3,
    ("year(birth_date)", "birth_date", "year(birth_date) <> 1950"): 106,
    ("year(birth_date)", "birth_date", "birth_date >= DATE '2020-07-01' AND year(birth_date) < 2023"): 3,
    ("year(birth_date) - 1900", "birth_date", "year(birth_date) BETWEEN 1990 AND 1992"): 3,
    ("year(visit_date) * 100 + month(visit_date)", "visit_date", "year(visit_date) = 2021"): 12,
    ("date_trunc('month', visit_date)", "visit_date", "date_trunc('month', visit_date) >= DATE '2026-11-01'"): 2,
    ("month(visit_date)", "visit_date", "month(visit_date) IN (1, 2)"): 2,
    ("age // 10", "age", "age // 10 >= 8"): 2,
    ("age % 7", "age", "age % 7 IN (1, 2, 9)"): 2,
    ("upper(kind)", "kind", "upper(kind) = 'IN'"): 1,
    ("age", "age", "age > 95"): 4,
}  # fmt: skip
TABLES = {"birth_date": "people", "age": "people", "visit_date": "visits", "kind": "visits"}


def plan_of(grouped: str, column: str, condition: str) -> ReleasePlan:
    sql = f"SELECT {grouped} AS x, COUNT(*) AS n FROM {TABLES[column]} WHERE {condition} GROUP BY x"
    return plan_release(find_release(ask(sql.replace(" WHERE TRUE", "")).plan), SCHEMA)


@cache
def engine() -> duckdb.DuckDBPyConnection:
    """A table per column, with every value that the policy declares for it."""
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    for column, values in DOMAINS.items():
        kind = {date: "DATE", int: "INTEGER", str: "VARCHAR"}[type(values[0])]
        connection.execute(
            f"CREATE TABLE {column} AS SELECT unnest(?::{kind}[]) AS {identifier(f'0.{column}')}", [values]
        )
    return connection


def values_of(plan: ReleasePlan, column: str) -> list[Value]:
    """What the engine makes of the grouped expression, in the rows of the whole domain where the conditions hold."""
    source, conditions = plan.release.source, []
    while isinstance(source, Filter):
        below = derive(source.source, SCHEMA)
        conditions += [scalar(condition, below) for condition in source.conditions]
        source = source.source
    grouped = scalar(plan.keys[0].expression, plan.facts)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return [row[0] for row in engine().execute(f"SELECT DISTINCT {grouped} FROM {column}{where}").fetchall()]


def key_of(plan: ReleasePlan) -> KeyPlan:
    (key,) = plan.keys
    return key


@pytest.mark.parametrize(("grouped", "column", "condition"), QUESTIONS)
def test_the_public_groups_are_those_of_the_declared_domain(grouped: str, column: str, condition: str) -> None:
    plan = plan_of(grouped, column, condition)
    key = key_of(plan)
    assert key.keys is not None
    assert len(key.keys) == QUESTIONS[grouped, column, condition]
    assert set(key.keys) == set(values_of(plan, column))


def test_a_group_that_a_condition_wrongly_takes_away_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = narrow._keep
    monkeypatch.setattr(narrow, "_keep", lambda column, test: keep(column, lambda key: key != 1952 and test(key)))
    plan = plan_of("year(birth_date)", "birth_date", "year(birth_date) IN (1950, 1952)")
    assert set(key_of(plan).keys or ()) != set(values_of(plan, "birth_date"))


def test_what_a_condition_says_ends_where_its_rows_do() -> None:
    """Below a LEFT join it holds for the partners alone: a row without one has none of its years."""
    sql = (
        "SELECT year(v.visit_date) AS y, COUNT(*) AS n FROM people p LEFT JOIN (SELECT pid, visit_date FROM visits "
        "WHERE year(visit_date) = 2021) v ON p.pid = v.pid GROUP BY y"
    )
    key = key_of(plan_release(find_release(ask(sql).plan), SCHEMA))
    assert None in (key.keys or ())
    assert 2021 in (key.keys or ())


def test_a_condition_on_one_expression_says_nothing_of_another() -> None:
    plan = plan_of("month(visit_date)", "visit_date", "year(visit_date) = 2021")
    assert len(key_of(plan).keys or ()) == 12
    either = plan_of("year(visit_date)", "visit_date", "year(visit_date) = 2021 OR month(visit_date) = 1")
    assert len(key_of(either).keys or ()) == 7


def test_words_that_a_condition_names_are_public() -> None:
    sql = "SELECT lower(diagnosis) AS d, COUNT(*) FROM people WHERE lower(diagnosis) IN ('flu', 'gout') GROUP BY d"
    assert key_of(plan_release(find_release(ask(sql).plan), SCHEMA)).keys == ("flu", "gout")


def of_union(*parts: str) -> ReleasePlan:
    rows = " UNION ALL ".join(f"SELECT {part}" for part in parts)
    sql = f"SELECT bin(x) AS b, COUNT(*) AS n FROM ({rows}) AS u(x) GROUP BY b"
    return plan_release(find_release(ask(sql).plan), SCHEMA)


def test_bins_go_through_a_union_whose_parts_all_have_them() -> None:
    joined = "v.cost FROM visits v JOIN people USING (pid)"
    plan = of_union("cost FROM visits WHERE kind = 'in'", "cost FROM visits", joined)
    assert key_of(plan).keys == (0, 100, 1000)


@pytest.mark.parametrize("other", ["weight FROM people", "income FROM people", "cost + 1 FROM visits", "1 FROM people"])
def test_a_union_of_other_bins_or_of_none_has_none(other: str) -> None:
    with pytest.raises(Refuse) as caught:
        of_union("cost FROM visits", other)
    assert caught.value.refused.code == "column_not_groupable"


def test_too_many_pairs_are_not_put_through_a_function_one_by_one() -> None:
    assert key_of(plan_of("year(birth_date) * 1000 + age", "age", "TRUE")).keys is None


@pytest.mark.parametrize(
    ("sql", "known"),
    [
        ("SELECT DISTINCT sex FROM people", "`people.sex` has `F`, `M`, null"),
        ("SELECT sex FROM people GROUP BY sex", "`people.sex` has `F`, `M`, null"),
        ("SELECT DISTINCT kind FROM visits WHERE kind <> 'in'", "`visits.kind` has `out`"),
        ("SELECT DISTINCT diagnosis FROM people WHERE diagnosis = 'flu'", "`people.diagnosis` has `flu`"),
        ("SELECT DISTINCT age FROM people WHERE age > 200", "`people.age` has none"),
        ("SELECT DISTINCT age FROM people", "`0`, `1`, `2`, `3`, `4`, `5`, `6`, `7`, `8`, `9`, `10`, `11` and 88 more"),
    ],
)
def test_public_groups_alone_are_told_and_not_asked_of_the_data(sql: str, known: str) -> None:
    with pytest.raises(Refuse) as caught:
        plan_release(find_release(ask(sql).plan), SCHEMA)
    refused = caught.value.refused
    assert refused.code == "aggregate_required"
    assert refused.detail.endswith(known)
    assert "COUNT(*)" in (refused.hint or "")


def test_private_groups_alone_are_asked_of_the_data() -> None:
    plan = plan_release(find_release(ask("SELECT DISTINCT diagnosis FROM people").plan), SCHEMA)
    assert plan.private_keys
    assert plan.statistics == ()
