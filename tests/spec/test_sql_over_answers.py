"""What is asked of an answer, over exact numbers, is what the bare engine says to the same text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox.release import above_sql
from tests.exact_world import Exact, make_exact, ours, theirs

BY_LEVEL = "FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY h.level"
# Groups that are declared and empty are answered by us, and are none to the engine.
KINDS = "FROM (SELECT kind, COUNT(*) AS n, SUM(cost) AS total FROM visits GROUP BY kind HAVING COUNT(*) > 0) r"
LEVELS = f"FROM (SELECT h.level, COUNT(*) AS n {BY_LEVEL}) r"
BEDS = "(SELECT beds, COUNT(*) AS n FROM visits v JOIN hospitals h ON v.hospital = h.id GROUP BY beds) r"
QUERIES = [
    f"SELECT kind, SUM(n) OVER (ORDER BY kind) AS running {KINDS} ORDER BY kind",
    f"SELECT kind, n * 1.0 / SUM(n) OVER () AS share, RANK() OVER (ORDER BY n DESC) AS place {KINDS} ORDER BY kind",
    f"SELECT kind, AVG(n) OVER (ORDER BY n DESC) AS mean, MIN(total) OVER () AS least {KINDS} ORDER BY kind",
    f"SELECT kind, total - LAG(total) OVER (ORDER BY kind) AS more {KINDS} ORDER BY kind",
    f"SELECT kind {KINDS} QUALIFY ROW_NUMBER() OVER (ORDER BY n DESC, kind) <= 2 ORDER BY kind",
    f"SELECT DISTINCT n > 13 AS many {KINDS} ORDER BY many",
    "SELECT kind, SUM(COUNT(*)) OVER (ORDER BY kind) AS s FROM visits GROUP BY kind HAVING COUNT(*) > 0 ORDER BY kind",
    f"SELECT r.level, r.n, h.beds {LEVELS} JOIN hospitals h ON r.level = h.level ORDER BY h.beds, r.level",
    f"SELECT r.level, r.n, h.beds {LEVELS} LEFT JOIN hospitals h ON r.level = h.level AND h.beds > 30 ORDER BY 1, 3",
    f"SELECT r.beds, c.code FROM {BEDS} LEFT JOIN codes c ON r.beds = c.id ORDER BY 1, 2",
    f"SELECT h.level, r.n * 1.0 / NULLIF(h.beds, 0) AS each FROM {BEDS} JOIN hospitals h USING (beds) ORDER BY 1, 2",
    f"SELECT h.level, r.n FROM hospitals h JOIN {BEDS} ON h.beds = r.beds WHERE h.level <> 'city' AND n > 0 ORDER BY n",
    f"SELECT c.code, r.n {LEVELS} JOIN hospitals h USING (level) JOIN codes c ON c.hospital = h.id ORDER BY 1, 2",
    f"SELECT r.n, h.beds {LEVELS} JOIN (SELECT level, beds FROM hospitals WHERE beds > 0) h ON r.level = h.level"
    " ORDER BY 2",
    f"SELECT h.beds, COUNT(*) OVER (PARTITION BY r.level) AS m {LEVELS} JOIN hospitals h USING (level) ORDER BY 1",
]


@pytest.fixture(scope="module")
def world() -> Iterator[Exact]:
    found = make_exact(20261126)
    yield found
    found.close()


def differs(world: Exact, sql: str) -> bool:
    mine, others = ours(world, sql, {}).rows, theirs(world, sql, {})
    return len(mine) != len(others) or not all(
        _same(a, b) for one, other in zip(mine, others, strict=True) for a, b in zip(one, other, strict=True)
    )


def _same(mine: object, other: object) -> bool:
    if mine is None or other is None or isinstance(mine, str | bool):
        return mine == other
    return math.isclose(float(str(mine)), float(str(other)), rel_tol=1e-9)


@pytest.mark.parametrize("sql", QUERIES)
def test_an_answer_is_looked_over_and_joined_as_the_engine_does(world: Exact, sql: str) -> None:
    assert ours(world, sql, {}).rows
    assert not differs(world, sql)


def test_planted_a_left_join_that_loses_rows_is_noticed(world: Exact, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = above_sql._join
    monkeypatch.setattr(above_sql, "_join", lambda node, ground: honest(replace(node, kind="inner"), ground))
    assert any(differs(world, sql) for sql in QUERIES if "LEFT JOIN" in sql)
