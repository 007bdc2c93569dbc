"""Mode `open`: what is asked of public tables is what the engine itself says to the same SQL, row by row."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import duckdb
import pytest

from gateway.admission.paging import Page, next_cursor
from gateway.errors import Refusal
from policies.load import load_text
from policies.problems import PolicyError
from sandbox.engine.shadow import Shadow
from sandbox.relational.expressions import Column
from sandbox.relational.facts import Facts, Refuse, Schema
from sandbox.relational.nodes import PAGE_ROWS_MAX, Limit, Output, Public, Scan
from sandbox.release import opened_sql
from sandbox.release.opened_sql import lower
from tests.open_world import POLICY, OpenWorld, make_open

ASKED = (
    "SELECT * FROM parks ORDER BY id",
    "SELECT id, name FROM parks WHERE size > 3 ORDER BY name NULLS LAST, id LIMIT 5 OFFSET 2",
    "SELECT name, COUNT(*) AS n, SUM(size) AS s, AVG(height) AS h FROM parks GROUP BY name ORDER BY name",
    "SELECT SUM(trees), SUM(size), SUM(height), SUM(trees + 1) FROM parks",
    "SELECT DISTINCT area, lit FROM parks ORDER BY area, lit",
    "SELECT a.title, COUNT(*) AS n FROM parks p JOIN areas a ON p.area = a.id GROUP BY a.title ORDER BY 1",
    "SELECT p.id, a.title FROM parks p LEFT JOIN areas a ON p.area = a.id AND a.people > 10 ORDER BY p.id",
    "SELECT p.id FROM parks p SEMI JOIN areas a ON p.area = a.id AND a.people > 10 ORDER BY p.id",
    "SELECT p.id FROM parks p ANTI JOIN areas a ON p.area = a.id ORDER BY p.id",
    "SELECT p.id, q.id FROM parks p JOIN parks q ON p.name = q.name AND p.id < q.id ORDER BY p.id, q.id",
    "SELECT id FROM parks WHERE area IN (SELECT id FROM areas WHERE people > 10) ORDER BY id",
    "SELECT id FROM parks p WHERE NOT EXISTS (SELECT * FROM areas a WHERE a.id = p.area) ORDER BY id",
    "SELECT id, (SELECT title FROM areas a WHERE a.id = p.area) AS t FROM parks p ORDER BY id",
    "SELECT x.name, x.n, y.m FROM (SELECT name, COUNT(*) AS n FROM parks GROUP BY name) x "
    "JOIN (SELECT name, MAX(trees) AS m FROM parks GROUP BY name) y ON x.name = y.name ORDER BY 1",
    "SELECT AVG(n) FROM (SELECT name, COUNT(*) AS n FROM parks GROUP BY name)",
    "SELECT n, COUNT(*) AS times FROM (SELECT area, COUNT(*) AS n FROM parks GROUP BY area) GROUP BY n ORDER BY n",
    "SELECT area, lit, COUNT(*) AS n, GROUPING(area) AS g FROM parks GROUP BY ROLLUP (area, lit) "
    "ORDER BY g, area, lit, n",
    "SELECT bin(height) AS b, COUNT(*) FROM parks GROUP BY bin(height) ORDER BY 1",
    "SELECT id, row_number() OVER (PARTITION BY area ORDER BY trees, id) AS r FROM parks ORDER BY id",
    "SELECT id, trees FROM parks QUALIFY rank() OVER (ORDER BY trees DESC) <= 3 ORDER BY trees DESC, id",
    "SELECT id, SUM(trees) OVER (PARTITION BY area) AS s FROM parks ORDER BY id",
    "WITH big AS (SELECT * FROM parks WHERE trees > 5) SELECT COUNT(*), COUNT(DISTINCT area), MEDIAN(height), "
    "STDDEV(height), VAR_POP(trees), CORR(height, trees), REGR_SLOPE(height, trees) FROM big",
    "SELECT * FROM (SELECT name AS x, id FROM parks WHERE lit UNION ALL SELECT title, 1 FROM areas) ORDER BY x, id",
    "SELECT * FROM (SELECT size AS x FROM parks UNION ALL SELECT trees FROM parks UNION ALL SELECT NULL FROM areas) "
    "ORDER BY x",
    "SELECT MIN(opened), MAX(opened), MIN(height), MAX(size), QUANTILE_CONT(height, 0.9) FROM parks",
    "SELECT SUM(size), COUNT(*), AVG(size), MIN(size) FROM none",
    "SELECT id, COUNT(*) FROM none GROUP BY id",
    "SELECT year(opened) AS y, COUNT(*) FROM parks GROUP BY ALL HAVING COUNT(*) > 1 ORDER BY y",
    "SELECT id, CASE WHEN lit THEN 'yes' ELSE 'no' END AS l, size * 2 + trees AS z, upper(name) FROM parks ORDER BY id",
    "SELECT COUNT(*) FILTER (WHERE lit) AS n, COUNT(name), COUNT(DISTINCT name) FROM parks",
    "SELECT id, trees / 0 FROM parks WHERE name LIKE '%l%' OR opened BETWEEN DATE '1950-01-01' AND DATE '2000-12-31' "
    "ORDER BY id",
    "SELECT s.area, s.n FROM (SELECT area, COUNT(*) AS n FROM parks GROUP BY area ORDER BY n DESC, area LIMIT 2) s "
    "ORDER BY s.n, s.area",
    "SELECT name, MIN(c) OVER () AS m FROM (SELECT DISTINCT name, 2.5 AS c FROM parks) ORDER BY name",
    "SELECT id, lead(day(opened)) OVER (ORDER BY id) AS d FROM parks ORDER BY id",
)
REFUSED = (
    ("SELECT keeper FROM parks", "column_hidden"),
    ("SELECT id FROM parks WHERE keeper = 'x'", "column_hidden"),
    ("SELECT * FROM parks, areas", "join_not_allowed"),
    ("SELECT * FROM parks p JOIN areas a ON p.area < a.id", "join_not_allowed"),
    ("SELECT * FROM nowhere", "table_unknown"),
    ("SELECT id, COUNT(*) FROM parks", "column_not_grouped"),
    ("SELECT id FROM parks WHERE trees > (SELECT AVG(trees) FROM parks)", "construct_not_allowed"),
    ("SELECT id FROM parks p WHERE id = (SELECT id FROM areas a WHERE a.title = p.name)", "construct_not_allowed"),
    ("SELECT read_text('/etc/passwd') FROM parks", "function_not_allowed"),
    ("SELECT a.id FROM parks a JOIN areas a ON a.area = a.id", "table_ambiguous"),
    ("SELECT id FROM parks TABLESAMPLE 10%", "construct_not_allowed"),
)


WITH_KEEPERS = (
    POLICY.replace(
        'purposes = ["any"]',
        'purposes = ["any"]\n[unit]\nname = "keeper"\ncolumn = "keepers.kid"\ncount_max = 100\ncount_about = 50',
    )
    + """
[tables.keepers]
[tables.keepers.columns]
kid = { type = "integer", role = "unit" }
wage = { type = "integer", role = "measure", range = [0, 10] }
"""
)


GHOSTS = """
[tables.ghosts]
public = true
[tables.ghosts.columns]
name = { type = "text", role = "hidden" }
"""


@pytest.fixture(scope="module")
def world() -> OpenWorld:
    return make_open(3)


def same(world: OpenWorld, sql: str) -> None:
    ours, theirs = world.ours(sql), world.theirs(sql)
    assert len(ours) == len(theirs), sql
    for one, other in zip(ours, theirs, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a == b or (isinstance(b, float) and a == pytest.approx(b, rel=1e-12)), (sql, one, other)


@pytest.mark.parametrize("sql", ASKED)
@pytest.mark.parametrize("seed", [3, 4])
def test_it_says_what_the_engine_says(sql: str, seed: int) -> None:
    same(make_open(seed), sql)


@pytest.mark.parametrize(("sql", "code"), REFUSED)
def test_what_is_not_read_is_refused_with_its_place(world: OpenWorld, sql: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        world.question(sql)
    assert refused.value.code == code
    assert refused.value.at is not None


def test_random_questions_say_what_the_engine_says(world: OpenWorld) -> None:
    dice = random.Random(20)
    for _ in range(int(os.environ.get("BPK_TEXTS", "300"))):
        same(world, _made(dice))


_CONDITIONS = (
    "size > 2",
    "trees IS NOT NULL",
    "name IN ('Elm', 'Oak')",
    "lit",
    "NOT lit",
    "height BETWEEN -3 AND 30",
    "opened < DATE '1960-06-01'",
    "coalesce(area, 9) <> 2",
)
_KEYS = ("area", "name", "lit", "year(opened)", "coalesce(name, '-')", "trees % 3")
_FIGURES = (
    "COUNT(*)",
    "COUNT(name)",
    "COUNT(DISTINCT area)",
    "SUM(size)",
    "SUM(trees)",
    "AVG(height)",
    "MIN(trees)",
    "MAX(opened)",
    "SUM(height) FILTER (WHERE lit)",
    "MEDIAN(height)",
)
_COLUMNS = ("id", "name", "area", "size", "trees * 2", "upper(name)", "height - 1", "opened", "lit")


def _made(dice: random.Random) -> str:
    where = " AND ".join(dice.sample(_CONDITIONS, dice.randint(0, 2)))
    source = dice.choice(["parks", f"(SELECT * FROM parks WHERE {dice.choice(_CONDITIONS)})"])
    tail = f" FROM {source}" + (f" WHERE {where}" if where else "")
    if dice.random() < 0.5:
        keys = dice.sample(_KEYS, dice.randint(0, 2))
        shown = [*(f"{key} AS k{i}" for i, key in enumerate(keys)), *dice.sample(_FIGURES, dice.randint(1, 3))]
        order = ", ".join(str(i + 1) for i in range(len(keys)))
        grouped = f" GROUP BY {', '.join(keys)} ORDER BY {order}" if keys else ""
        having = dice.choice(["", " HAVING COUNT(*) > 2"]) if keys else ""
        return f"SELECT {', '.join(shown)}{tail}{grouped.replace(' ORDER', having + ' ORDER')}"
    columns = dice.sample(_COLUMNS, dice.randint(1, 4))
    limit = dice.choice(["", f" LIMIT {dice.randint(0, 20)}", f" LIMIT 5 OFFSET {dice.randint(0, 40)}"])
    direction = dice.choice(["", " DESC"])
    return f"SELECT {', '.join(columns)}{tail} ORDER BY trees{direction} NULLS LAST, id{limit}"


@pytest.mark.parametrize(
    "inner",
    [
        "SELECT REGR_SLOPE(height, 2) AS x FROM parks",
        "SELECT exp(height) * exp(709) AS x FROM parks WHERE height > 5",
        "SELECT AVG(exp(height) * exp(700)) OVER () AS x FROM parks WHERE height > 5",
    ],
)
def test_a_number_that_is_shown_as_null_is_null_in_a_query_around_it(world: OpenWorld, inner: str) -> None:
    assert {row[0] for row in world.ours(inner)} == {None}
    assert world.ours(f"SELECT COUNT(*), COUNT(x), MAX(x) FROM ({inner})")[0][1:] == (0, None)
    assert not world.ours(f"SELECT x FROM ({inner}) WHERE x IS NOT NULL")


def test_pages_one_after_the_other_are_the_whole(world: OpenWorld) -> None:
    sql = "SELECT id, name FROM parks ORDER BY name"
    whole, found, page = world.ours(sql), list[tuple[object, ...]](), Page(7)
    for _ in range(20):
        rows = _page(world, sql, page)
        found += rows[:7]
        if len(rows) <= 7:
            break
        question = world.question(sql, page)
        assert isinstance(question.plan.source, Limit)
        following = Page.read(7, next_cursor(question, "snap", 7))
        assert following is not None
        following.require_same(world.question(sql, following), "snap")
        page = following
    assert found == whole


def _page(world: OpenWorld, sql: str, page: Page) -> list[tuple[object, ...]]:
    plan = world.question(sql, page).plan
    whole = plan.source
    assert isinstance(whole, Limit)
    one_more = type(plan)(Limit(whole.source, page.limit + 1, page.offset), plan.columns)
    return world.engine.execute(lower(one_more, world.schema).whole).fetchall()


def test_a_cursor_is_of_one_question_and_one_snapshot(world: OpenWorld) -> None:
    question = world.question("SELECT id FROM parks", Page(5))
    after = Page.read(5, next_cursor(question, "one", 5))
    assert after is not None
    after.require_same(question, "one")
    for other, snapshot in ((question, "two"), (world.question("SELECT area FROM parks", Page(5)), "one")):
        with pytest.raises(Refusal, match="of another question"):
            after.require_same(other, snapshot)


@pytest.mark.parametrize("cursor", ["", "x", "5", "5.", "-1." + "a" * 24, "1." + "a" * 23, "9" * 16 + "." + "a" * 24])
def test_a_cursor_that_is_none_of_ours_is_refused(cursor: str) -> None:
    with pytest.raises(Refusal, match="not one of ours"):
        Page.read(None, cursor)


@pytest.mark.parametrize("limit", [0, -1, PAGE_ROWS_MAX + 1])
def test_a_page_has_a_size(limit: int) -> None:
    with pytest.raises(Refusal, match="from 1 to"):
        Page.read(limit, None)


def test_private_tables_are_not_open_by_any_way() -> None:
    world = make_open(1)
    guarded = OpenWorld(load_text(WITH_KEEPERS, "policy.toml"), world.schema, world.engine)
    for sql in (
        "SELECT wage FROM keepers",
        "SELECT COUNT(*) FROM keepers",
        "SELECT * FROM parks p JOIN keepers k ON p.id = k.kid",
        "SELECT id FROM parks WHERE id IN (SELECT kid FROM keepers)",
        "SELECT id FROM parks UNION ALL SELECT kid FROM keepers",
        "WITH k AS (SELECT * FROM keepers) SELECT COUNT(*) FROM k",
    ):
        with pytest.raises(Refusal) as refused:
            guarded.question(sql)
        assert refused.value.code in ("mode_not_offered", "construct_not_allowed"), sql
    part = guarded.policy.open_part
    assert part is not None
    assert set(part.tables) == {"parks", "areas", "none"}
    assert part.unit is None


def read_as_open(world: OpenWorld, node: Public | Scan, column: str) -> str | None:
    """The code of the data domain's refusal of `SELECT column` from `node`, sent by a gateway gone wrong."""
    try:
        lower(Output(Limit(node, 5, 0), (("x", Column(f"0.{column}")),)), world.schema)
    except Refuse as refuse:
        return refuse.refused.code
    return None


def test_the_data_domain_reads_public_tables_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_open(1)
    guarded = OpenWorld(policy := load_text(WITH_KEEPERS, "policy.toml"), Schema(policy, {}), world.engine)
    assert read_as_open(guarded, Public("parks", 0), "name") is None
    assert read_as_open(guarded, Scan("keepers", 0), "wage") == "mode_not_offered"
    assert read_as_open(guarded, Public("keepers", 0), "wage") == "table_unknown"
    assert read_as_open(guarded, Public("parks", 0), "keeper") == "column_unknown"
    real = opened_sql.tables.public

    def planted(node: Public, schema: Schema) -> Facts:
        """A domain that takes the gateway's word for what is public."""
        table = replace(schema.policy.tables[node.table], public=True)
        return real(node, Schema(replace(schema.policy, tables={node.table: table}), {}))

    monkeypatch.setattr(opened_sql.tables, "public", planted)
    assert read_as_open(guarded, Public("keepers", 0), "wage") is None


def test_a_public_table_whose_columns_are_all_hidden_has_rows_that_can_be_counted() -> None:
    policy = load_text(POLICY + GHOSTS, "policy.toml")
    world = OpenWorld(policy, Schema(policy, {}), make_open(1).engine)
    lowered = lower(world.question("SELECT COUNT(*) FROM ghosts").plan, world.schema)
    Shadow(policy).bind(lowered.whole, lowered.shape)


def test_a_column_of_the_name_of_the_engines_row_numbers_would_hide_them() -> None:
    """Why a policy may not list one: pages would lose their order, and exact answers what tells rows apart."""
    with pytest.raises(PolicyError, match="number of a row"):
        load_text(POLICY.replace("opened =", "ROWID ="), "policy.toml")
    with duckdb.connect(":memory:") as engine:
        engine.execute("CREATE TABLE t AS SELECT 7 AS ROWID FROM range(2)").fetchall()
        assert engine.execute("SELECT rowid FROM t").fetchall() == [(7,), (7,)]
