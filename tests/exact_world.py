"""A clinic whose rows keep every declaration, asked twice: through our own reading of SQL, and by the engine itself.

The policy is so generous that nothing is ever bounded. Numbers are multiples of a quarter, exact in binary and decimal.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb

from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.load import load_text
from policies.model import Policy
from policies.types import Value
from sandbox.protocol import Released
from sandbox.publics import PublicColumn, PublicRows, Publics
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.nodes import Output
from sandbox.relational.normal import normal
from sandbox.release.answer import answer
from sandbox.release.released import Release
from tests.noiseless import exact_release, job_of
from tests.policy_head import head

POLICY = (
    head(epsilon=100, each="1", each_max=50, groups_max=1000)
    + """
[tables.people]
[tables.people.columns]
pid = { type = "integer", role = "unit" }
sex = { type = "text", role = "dimension", values = ["F", "M"], nullable = true }
age = { type = "integer", role = "dimension", range = [18, 27], nullable = true }
income = { type = "bigint", role = "measure", range = [-500, 1000], nullable = true }
weight = { type = "double", role = "measure", range = [0, 256], bins = [0, 50, 100.5, 256], nullable = true }
score = { type = "decimal(8,2)", role = "measure", range = [-64, 64], nullable = true }
diagnosis = { type = "text", role = "dimension", nullable = true }
born = { type = "date", role = "dimension", range = [1998-11-20, 2001-02-10], nullable = true }
joined = { type = "timestamp", role = "dimension", range = [2019-12-25T00:00:00, 2020-03-05T23:59:59], nullable = true }
active = { type = "boolean", role = "dimension", nullable = true }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 30
[tables.visits.columns]
pid = { type = "integer", role = "unit" }
vid = { type = "integer", role = "key" }
hospital = { type = "integer", role = "key", joins = ["hospitals.id", "codes.hospital"], nullable = true }
cost = { type = "decimal(10,2)", role = "measure", range = [0, 512], bins = [0, 50, 100, 512], nullable = true }
kind = { type = "text", role = "dimension", values = ["in", "out", "day"], nullable = true }
seen = { type = "date", role = "dimension", range = [2020-01-01, 2022-12-31], nullable = true }
[tables.items]
link = { column = "vid", to = "visits.vid" }
rows_per_unit_max = 120
[tables.items.columns]
vid = { type = "integer", role = "key" }
price = { type = "double", role = "measure", range = [-32, 96], nullable = true }
drug = { type = "integer", role = "dimension", nullable = true }
[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id = { type = "integer", role = "key" }
level = { type = "text", role = "dimension", nullable = true }
beds = { type = "integer", role = "measure", range = [0, 400] }
[tables.codes]
public = true
key = "id"
fan_out = { hospital = 3 }
[tables.codes.columns]
id = { type = "integer", role = "key" }
hospital = { type = "integer", role = "key" }
code = { type = "text", role = "dimension" }
"""
)

_PEOPLE = (
    "sex VARCHAR, age INTEGER, income BIGINT, weight DOUBLE, score DECIMAL(8,2), diagnosis VARCHAR, born DATE, "
    "joined TIMESTAMP, active BOOLEAN"
)
_VISITS = "vid INTEGER, hospital INTEGER, cost DECIMAL(10,2), kind VARCHAR, seen DATE"
_ITEMS = "vid INTEGER, price DOUBLE, drug INTEGER"
_MACROS = (
    "CREATE MACRO sum_or_0(x) AS coalesce(sum(x), 0)",
    "CREATE MACRO first_year(x) AS year(x) - year(x) % 10",
    "CREATE MACRO bin_cost(x) AS CASE WHEN x >= 100 AND x <= 512 THEN 100 WHEN x >= 50 THEN 50 WHEN x >= 0 THEN 0 END",
    "CREATE MACRO bin_weight(x) AS CASE WHEN x >= 100.5 AND x <= 256 THEN 100.5 WHEN x >= 50 THEN 50 "
    "WHEN x >= 0 THEN 0 END",
)
LIMITS = SqlLimits()
UNITS = 24
_MIDNIGHT = datetime(2019, 12, 25)  # noqa: DTZ001  # timestamps of policies carry no zone


@dataclass(frozen=True, slots=True)
class Exact:
    """Both engines over the same rows: `laid_out` as a snapshot is, `plain` as the operator thinks of the tables."""

    policy: Policy
    schema: Schema
    laid_out: duckdb.DuckDBPyConnection
    plain: duckdb.DuckDBPyConnection

    def close(self) -> None:
        self.laid_out.close()
        self.plain.close()


def make_exact(seed: int) -> Exact:
    dice = random.Random(seed)
    people = [(unit, *_person(dice)) for unit in range(UNITS)]
    visits = [
        (unit, *rest)
        for vid, unit in enumerate(u for u in range(UNITS) for _ in range(dice.choice([0, 0, 1, 2, 3, 6])))
        for rest in [(vid, dice.choice([None, 0, 1, 2, 3, 3]), _quarters(dice, 0, 512), *_visit(dice))]
    ]
    items = [
        (unit, vid, _number(dice, -32, 96), dice.choice([None, 1, 2, 3]))
        for unit, vid, *_ in visits
        for _ in range(dice.choice([0, 1, 1, 3]))
    ]
    hospitals = [(0, "city", 400), (1, "county", 20), (2, None, 35), (3, "city", 0)]
    codes = [(i, (0, 0, 0, 1, 1, 2, 7)[i], "abcab c"[i]) for i in range(7)]
    laid_out, plain = _engine(), _engine()
    for engine, unit in ((laid_out, "__unit"), (plain, "pid")):
        _fill(engine, "people", f"{unit} BIGINT, {_PEOPLE}", people)
        _fill(engine, "visits", f"{unit} BIGINT, {_VISITS}", visits)
        own = engine is laid_out
        _fill(engine, "items", f"{unit + ' BIGINT, ' if own else ''}{_ITEMS}", [r if own else r[1:] for r in items])
        _fill(engine, "hospitals", "id INTEGER, level VARCHAR, beds INTEGER", hospitals)
        _fill(engine, "codes", "id INTEGER, hospital INTEGER, code VARCHAR", codes)
    for macro in _MACROS:
        plain.execute(macro).fetchall()
    keys: dict[str, dict[str, tuple[Value, ...]]] = {
        "hospitals": {"id": (0, 1, 2, 3), "level": ("city", "county", None), "beds": (0, 20, 35, 400)},
        "codes": {"id": tuple(range(7)), "hospital": (0, 1, 2, 7), "code": (" ", "a", "b", "c")},
    }
    policy = load_text(POLICY, "policy.toml")
    return Exact(policy, Schema(policy, keys), laid_out, plain)


def _engine() -> duckdb.DuckDBPyConnection:
    engine = duckdb.connect(":memory:", config={"threads": "1"})
    for setting in ("error_on_division_by_zero", "ieee_floating_point_ops"):  # a division by 0 is null, as ours is
        engine.execute(f"SET {setting} = false").fetchall()
    return engine


def _fill(engine: duckdb.DuckDBPyConnection, name: str, columns: str, rows: list[tuple[object, ...]]) -> None:
    engine.execute(f"CREATE TABLE {name} ({columns})").fetchall()
    if rows:
        marks = ", ".join("?" for _ in rows[0])
        engine.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)


def _person(dice: random.Random) -> tuple[object, ...]:
    return (
        dice.choice(["F", "M", "M", None]),
        dice.choice([None, *range(18, 28)]),
        dice.choice([None, -500, 0, 1000, dice.randint(-500, 1000)]),
        _number(dice, 0, 256),
        _quarters(dice, -64, 64),
        dice.choice(["flu", "gout", "Flu", "", "a_b%", "it's", None]),
        dice.choice([None, date(1998, 11, 20), date(2001, 2, 10), date(1999, 1, 1) + timedelta(dice.randint(0, 730))]),
        dice.choice([None, _MIDNIGHT, _MIDNIGHT + timedelta(days=7, seconds=dice.randint(0, 5 * 10**6))]),
        dice.choice([True, False, None]),
    )


def _visit(dice: random.Random) -> tuple[object, ...]:
    day = date(2020, 1, 1) + timedelta(days=dice.randint(0, 1095))
    return (dice.choice(["in", "out", "out", None]), dice.choice([None, day, day, date(2022, 12, 31)]))


def _quarters(dice: random.Random, low: int, high: int) -> Decimal | None:
    return dice.choice([None, Decimal(low), Decimal(high), Decimal(dice.randint(4 * low, 4 * high)) / 4])


def _number(dice: random.Random, low: int, high: int) -> float | None:
    found = dice.choice([None, 0, low, high, Decimal(dice.randint(4 * low, 4 * high)) / 4])
    return None if found is None else float(found)


def plan_of(world: Exact, sql: str, parameters: Mapping[str, object]) -> Output:
    """In its normal form, as it is sent to the domain."""
    return normal(read(sql, parameters, {"clinic": world.policy}, LIMITS).plan)


def ours(world: Exact, sql: str, parameters: Mapping[str, object]) -> Released:
    """The answer of the whole path but for the noise. Raises Refusal or Refuse."""
    plan = plan_of(world, sql, parameters)
    return answer(exact_release_of(world, plan), "rel", "hash", plan, publics_of(world))


def publics_of(world: Exact) -> Publics:
    """Rows of the public tables, as a snapshot keeps them beside it."""
    found = {}
    for table in world.policy.tables.values():
        if table.public:
            columns = tuple(PublicColumn(c.name, c.type) for c in table.columns.values())
            names = ", ".join(column.name for column in columns)
            rows = world.plain.execute(f"SELECT {names} FROM {table.name} ORDER BY {names}").fetchall()
            found[table.name] = PublicRows(table.name, columns, tuple(rows))
    return found


def exact_release_of(world: Exact, plan: Output) -> Release:
    dp = world.policy.release.dp
    assert dp is not None
    job = job_of(plan, world.schema, dp)
    return exact_release(job, lambda lowered: world.laid_out.execute(lowered.whole).fetchall())


def theirs(world: Exact, sql: str, parameters: Mapping[str, object]) -> list[tuple[object, ...]]:
    """What the engine itself says to the same text; our own functions are macros, and sums of nothing are 0.

    A quantile is a value of a row, where SQL's lies between two.
    """
    text = sql.replace("SUM(", "sum_or_0(").replace("decade(", "first_year(")
    text = re.sub(r"PERCENTILE_CONT\(([\d.]+)\) WITHIN GROUP \(ORDER BY ([\w.]+)\)", r"quantile_disc(\2, \1)", text)
    text = re.sub(r"QUANTILE_CONT\(([\w.]+), ([\d.]+)\)", r"quantile_disc(\1, \2)", text)
    text = re.sub(r"MEDIAN\(([\w.]+)\)", r"quantile_disc(\1, 0.5)", text)
    text = re.sub(r"\bbin\((\w+\.)?(\w+)\)", r"bin_\2(\1\2)", text)
    text = text.replace("clinic.", "")
    for name, value in parameters.items():
        written = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
        text = re.sub(rf"\${name}\b", lambda _, w=written: w, text)
    found: list[tuple[object, ...]] = world.plain.execute(text).fetchall()
    return found


REFUSED = (Refusal, Refuse)
