"""What mode `aggregate` says of a small clinic: exact numbers or none, through everything that SQL can say."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.types import Value
from sandbox.protocol import Prepare, Question, Refused, Released
from tests.builders import policy_text
from tests.domain_world import DomainWorld, domain_world

RULES = """[release.aggregate]
units_min = 10
rounding = 0
difference_units_min = 10
"""


def text() -> str:
    policy = policy_text(visits_max=50).replace('modes = ["dp"]', 'modes = ["aggregate", "dp"]')
    return policy.replace("[tables.people]\n", RULES + "[tables.people]\n", 1)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    with domain_world(tmp_path_factory.mktemp("protected"), text()) as made:
        yield made


def asked(world: DomainWorld, sql: str) -> Released | Refused:
    query = read(sql, {}, {"clinic": world.policy}, SqlLimits())
    question = Question("clinic", world.policy.digest, "aggregate", 0, query.plan)
    prepared = world.door.prepare(Prepare(question, reserve=False))
    if isinstance(prepared, Refused):
        return prepared
    found = world.run(question)
    assert isinstance(found, Released), found
    return found


def rows(world: DomainWorld, sql: str) -> list[tuple[Value, ...]]:
    found = asked(world, sql)
    assert isinstance(found, Released), found
    return list(found.rows)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT COUNT(*) FROM people", [(400,)]),
        ("SELECT COUNT(DISTINCT pid) FROM visits", [(400,)]),
        ("SELECT sex, COUNT(*) FROM people GROUP BY sex", [("F", 200), ("M", 200), (None, None)]),
        ("SELECT kind, COUNT(*) FROM visits GROUP BY kind", [("in", 300), ("out", 300), ("day", 300)]),
        ("SELECT COUNT(*) FILTER (WHERE kind = 'in') FROM visits", [(300,)]),
        ("SELECT diagnosis, COUNT(*) FROM people GROUP BY diagnosis", [("flu", 200), ("gout", 200)]),
        ("SELECT level, COUNT(*) FROM visits JOIN hospitals ON hospital = id GROUP BY level ORDER BY level",
         [("city", 450), ("county", 450)]),
        ("WITH t AS (SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid) SELECT COUNT(*) FROM t WHERE n > 2", [(100,)]),
        ("SELECT COUNT(*) FROM people WHERE age < 3", [(15,)]),
        ("SELECT COUNT(*) FROM people WHERE age = 3", [(None,)]),
        ("SELECT COUNT(*) FROM people WHERE age = 3 AND age = 4", [(None,)]),
        ("SELECT sex, COUNT(*) AS n FROM people GROUP BY sex HAVING COUNT(*) > 300", []),
        ("SELECT SUM(CASE WHEN kind = 'in' THEN 2 WHEN kind = 'out' THEN 1 END) FROM visits", [(900,)]),
    ],
)  # fmt: skip
def test_numbers_are_exact_or_null(world: DomainWorld, sql: str, expected: list[tuple[Value, ...]]) -> None:
    assert rows(world, sql) == expected


def test_sums_of_decimals_are_exact(world: DomainWorld) -> None:
    (alone,) = rows(world, "SELECT SUM(cost), COUNT(cost) FROM visits")
    (mixed,) = rows(world, "SELECT SUM(cost * 2 - 1), AVG(cost) FROM visits")
    total, count = alone
    assert isinstance(total, Decimal)
    assert mixed == (float(2 * total - 900), float(total / Decimal(str(count))))


def test_totals_of_a_rollup_are_those_of_its_groups(world: DomainWorld) -> None:
    found = rows(world, "SELECT kind, COUNT(*), SUM(cost) FROM visits GROUP BY ROLLUP(kind)")
    whole = next(row for row in found if row[0] is None)
    assert whole[1] == sum(row[1] for row in found if row[0] is not None)  # type: ignore[misc]
    assert whole[2] == sum(row[2] for row in found if row[0] is not None)  # type: ignore[misc]


def test_what_is_withheld_says_so_and_nothing_else(world: DomainWorld) -> None:
    found = asked(world, "SELECT age, COUNT(*) AS n FROM people GROUP BY age")
    assert isinstance(found, Released)
    assert {row[1] for row in found.rows} == {None}
    assert {note[1] for note in found.notes} == {("withheld",)}
    assert (found.cells_released, found.cells_withheld) == (0, 100)


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELECT COUNT(DISTINCT kind) FROM visits", "aggregate_not_allowed"),
        ("SELECT STDDEV(income) FROM people", "aggregate_not_allowed"),
        ("SELECT MEDIAN(income) FROM people", "aggregate_not_allowed"),
        ("SELECT SUM(ROUND(weight)) FROM people", "aggregate_not_allowed"),
        ("SELECT SUM(income * income * income) FROM people", "aggregate_not_allowed"),
        ("SELECT SUM(SQRT(income)) FROM people", "aggregate_not_allowed"),
    ],
)
def test_what_has_no_known_contributors_is_refused(world: DomainWorld, sql: str, code: str) -> None:
    found = asked(world, sql)
    assert isinstance(found, Refused)
    assert found.code == code
    assert found.at is not None
    assert found.hint


def test_the_same_question_is_the_same_answer_and_runs_once(world: DomainWorld) -> None:
    query = read("SELECT sex, AVG(income) FROM people GROUP BY sex", {}, {"clinic": world.policy}, SqlLimits())
    question = Question("clinic", world.policy.digest, "aggregate", 0, query.plan)
    first = world.run(question)
    assert isinstance(first, Released)
    assert world.prepared(question).release == first.release


def test_a_small_group_costs_one_more_where_the_total_is_shown(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ages 80 to 89 have four people each, all others five: no group may be shown, but sex has three, one empty."""
    with domain_world(tmp_path_factory.mktemp("complementary"), text()) as world:
        found = rows(world, "SELECT kind, COUNT(*) FROM visits WHERE seen = DATE '2021-05-05' GROUP BY ROLLUP(kind)")
        assert [row[1] for row in found] == [900, 300, 300, 300]
        found = rows(world, "SELECT sex, age < 2 AS young, COUNT(*) FROM people GROUP BY CUBE(1, 2)")
        withheld = [row for row in found if row[2] is None and row[0] is not None and row[1] is not None]
        shown = [row for row in found if row[2] is not None]
        assert len(withheld) >= 4  # five young men and five young women, and two more that would tell
        assert shown
