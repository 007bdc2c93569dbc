"""Reference tables that are open to everybody, asked twice: through our own reading of SQL, and by the engine itself.

Numbers are multiples of a quarter, so that their sums are exact in every order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import duckdb

from gateway.admission.admit import admit
from gateway.admission.paging import Page
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.load import load_text
from policies.model import Policy
from policies.types import Value
from sandbox.protocol import Question
from sandbox.relational.facts import Schema
from sandbox.release.opened_sql import lower

LIMITS = SqlLimits()
DAY = date(2026, 11, 26)
POLICY = """
format = 1
dataset = "parks"
version = "1"
title = { en = "Parks" }
owner = "City Gardens"
supply = "open"
purposes = ["any"]
[release]
modes = ["open"]
[tables.parks]
public = true
key = "id"
[tables.parks.columns]
id = { type = "integer", role = "key" }
area = { type = "integer", role = "key", joins = ["areas.id"], nullable = true }
name = { type = "text", role = "dimension", nullable = true }
size = { type = "decimal(8,2)", role = "measure", range = [0, 10], nullable = true }
trees = { type = "bigint", role = "measure", range = [0, 10], nullable = true }
height = { type = "double", role = "measure", bins = [0, 10, 20.5, 64], range = [0, 64], nullable = true }
opened = { type = "date", role = "dimension", nullable = true }
lit = { type = "boolean", role = "dimension", nullable = true }
keeper = { type = "text", role = "hidden" }
[tables.areas]
public = true
key = "id"
[tables.areas.columns]
id = { type = "integer", role = "key" }
title = { type = "text", role = "dimension" }
people = { type = "integer", role = "measure", nullable = true }
[tables.none]
public = true
[tables.none.columns]
id = { type = "integer", role = "key" }
size = { type = "double", role = "measure" }
"""


@dataclass(frozen=True)
class OpenWorld:
    policy: Policy
    schema: Schema
    engine: duckdb.DuckDBPyConnection

    def question(self, sql: str, page: Page | None = None, parameters: Mapping[str, object] | None = None) -> Question:
        """Raises Refusal."""
        policies = {self.policy.dataset: self.policy}
        query = read(sql, parameters or {}, policies, LIMITS, "open")
        return admit(
            query,
            self.policy,
            operator="anybody",
            licences=(),
            purpose=None,
            mode="open",
            epsilon=None,
            page=page,
            day=DAY,
        ).question

    def ours(self, sql: str) -> list[tuple[Value, ...]]:
        """Raises Refusal, Refuse."""
        lowered = lower(self.question(sql).plan, self.schema)
        return self.engine.execute(lowered.whole).fetchall()

    def theirs(self, sql: str) -> list[tuple[Value, ...]]:
        return self.engine.execute(sql).fetchall()


def make_open(seed: int, rows: int = 60) -> OpenWorld:
    dice, engine = random.Random(seed), duckdb.connect(":memory:", config={"threads": "1"})
    for setting in ("error_on_division_by_zero", "ieee_floating_point_ops"):
        engine.execute(f"SET {setting} = false").fetchall()
    engine.execute(
        "CREATE TABLE parks (id INTEGER, area INTEGER, name VARCHAR, size DECIMAL(8,2), trees BIGINT, height DOUBLE, "
        "opened DATE, lit BOOLEAN)"
    ).fetchall()
    engine.execute("CREATE TABLE areas (id INTEGER, title VARCHAR, people INTEGER)").fetchall()
    engine.execute("CREATE TABLE none (id INTEGER, size DOUBLE)").fetchall()
    parks = [(number, *_park(dice)) for number in range(rows)]
    engine.executemany(f"INSERT INTO parks VALUES ({', '.join('?' * 8)})", parks)
    areas = [
        (number, title, dice.choice([None, 0, 120, 4000])) for number, title in enumerate(["north", "east", "south"])
    ]
    engine.executemany("INSERT INTO areas VALUES (?, ?, ?)", areas)
    engine.execute(
        "CREATE MACRO bin(x) AS "
        "CASE WHEN x > 64 THEN NULL WHEN x >= 20.5 THEN 20.5 WHEN x >= 10 THEN 10 WHEN x >= 0 THEN 0 END"
    ).fetchall()
    return OpenWorld(policy := load_text(POLICY, "policy.toml"), Schema(policy, {}), engine)


def _park(dice: random.Random) -> tuple[object, ...]:
    """Values beyond what the policy declares are there too: open rows are shown as they are."""
    return (
        dice.choice([None, 0, 1, 2, 7]),
        dice.choice([None, "Elm", "elm", "", "a_b%", "Oak"]),
        dice.choice([None, Decimal(0), Decimal("10.25"), Decimal(dice.randint(-400, 4000)) / 4]),
        dice.choice([None, 0, 2**40, dice.randint(-50, 50)]),
        dice.choice([None, 0.0, 64.0, dice.randint(-40, 400) / 4]),
        dice.choice([None, date(1899, 12, 31) + timedelta(dice.randint(0, 40_000))]),
        dice.choice([None, True, False]),
    )
