"""Small worlds for tests: a policy, tables in memory laid out as by ingest, and a way to leave one unit out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache

import duckdb

from policies.load import load_text
from policies.model import Policy
from policies.types import Value
from sandbox.relational.facts import Schema
from sandbox.relational.lower.statement import Lowered
from tests.policy_head import head

Row = tuple[object, ...]
LEVELS = ("county", "city", None)
CODES = ("a", "b", "c")


def policy_text(
    *,
    accountant: str = "zcdp",
    delta: str = "1e-9",
    visits_max: int = 5,
    items_max: int = 8,
    people_max: int = 1,
    groups_max: int = 3,
    income: tuple[int, int] = (0, 1000),
    total: int | None = None,
    step: str = "1",
) -> str:
    """A clinic: people once (or a few times) each, visits by link, items by a path of two steps, reference tables."""
    total_key = "" if total is None else f", total_per_unit_max = {total}"
    linked = _LINKED.format(visits_max=visits_max, items_max=items_max) if people_max == 1 else ""
    once = "" if people_max == 1 else f"rows_per_unit_max = {people_max}\n"
    start = head(accountant=accountant, delta=delta, epsilon=100, each="1", each_max=50, groups_max=groups_max)
    return f"""{start}
[tables.people]
{once}[tables.people.columns]
pid = {{ type = "integer", role = "unit" }}
sex = {{ type = "text", role = "dimension", values = ["F", "M"], nullable = true }}
age = {{ type = "integer", role = "dimension", range = [0, 99] }}
income = {{ type = "integer", role = "measure", range = [{income[0]}, {income[1]}], step = {step}{total_key} }}
weight = {{ type = "double", role = "measure", range = [-10, 250.5] }}
diagnosis = {{ type = "text", role = "dimension" }}
born = {{ type = "date", role = "dimension", range = [1950-01-01, 2020-12-31] }}
active = {{ type = "boolean", role = "dimension" }}
{linked}[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id = {{ type = "integer", role = "key" }}
level = {{ type = "text", role = "dimension" }}
[tables.codes]
public = true
key = "id"
fan_out = {{ hospital = 3 }}
[tables.codes.columns]
id = {{ type = "integer", role = "key" }}
hospital = {{ type = "integer", role = "key" }}
code = {{ type = "text", role = "dimension" }}
"""


_LINKED = """[tables.visits]
link = {{ column = "pid", to = "people.pid" }}
rows_per_unit_max = {visits_max}
[tables.visits.columns]
pid = {{ type = "integer", role = "unit" }}
vid = {{ type = "integer", role = "key" }}
hospital = {{ type = "integer", role = "key", joins = ["hospitals.id", "codes.hospital"] }}
cost = {{ type = "decimal(10,2)", role = "measure", range = [0, 500], bins = [0, 50, 100, 500] }}
kind = {{ type = "text", role = "dimension", values = ["in", "out", "day"] }}
seen = {{ type = "date", role = "dimension", range = [2020-01-01, 2022-12-31] }}
[tables.items]
link = {{ column = "vid", to = "visits.vid" }}
rows_per_unit_max = {items_max}
[tables.items.columns]
vid = {{ type = "integer", role = "key" }}
price = {{ type = "double", role = "measure", range = [-5, 100] }}
drug = {{ type = "integer", role = "dimension" }}
"""


@dataclass(frozen=True)
class World:
    """Tables of a policy in an in-memory engine, laid out as a snapshot, with one unit left out at will."""

    policy: Policy
    schema: Schema
    connection: duckdb.DuckDBPyConnection
    units: int
    text: str = ""
    """Of the policy, where it is kept."""

    def rows(self, lowered: Lowered, without: int | None = None) -> list[tuple[Value, ...]]:
        """What the worker would return, over all units or all but one."""
        return self.ask(lowered.whole, without)

    def ask(self, sql: str, without: int | None = None) -> list[tuple[Value, ...]]:
        self.connection.execute(f"SET VARIABLE gone = {-1 if without is None else without}").fetchall()
        found: list[tuple[Value, ...]] = self.connection.execute(_parsed(self.connection, sql)).fetchall()
        return found

    def shuffle(self, seed: str) -> None:
        """Stores the rows of every private table in another order."""
        for name, table in self.policy.tables.items():
            if not table.public:
                order = f"md5(concat(CAST(rowid AS VARCHAR), '{seed}'))"
                self.connection.execute(f"CREATE TABLE mixed AS SELECT * FROM {name}_all ORDER BY {order}").fetchall()
                self.connection.execute(f"DELETE FROM {name}_all").fetchall()
                self.connection.execute(f"INSERT INTO {name}_all SELECT * FROM mixed").fetchall()
                self.connection.execute("DROP TABLE mixed").fetchall()


@lru_cache(maxsize=1)
def _parsed(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """One statement is asked of a world without this unit, then without that one; a fifth of its time is its text."""
    (found,) = connection.extract_statements(sql)
    return found


def make_world(policy: Policy, dice: random.Random, units: int = 12) -> World:
    """Random rows: skewed, null, NaN, infinite, extreme; now and then one unit has 200 visits or 10,000 rows."""
    people_max = policy.tables["people"].rows_per_unit_max or 1
    people = [_person(unit, dice) for unit in range(units) for _ in range(1 if people_max == 1 else dice.randint(0, 6))]
    visits, items = [], []
    for unit in range(units):
        for _ in range(_skewed(dice)):
            vid = len(visits)
            visits.append((unit, vid, dice.choice([None, 0, 1, 2, 3]), _money(dice), _kind(dice), _day(dice, 2019, 5)))
            items += [(unit, vid, _number(dice), dice.choice([None, 1, 2, 3])) for _ in range(dice.choice([0, 1, 4]))]
    if dice.random() < HEAVY:
        unit, vid = (visits[0] if visits else (0, 0))[:2]
        items += [(unit, vid, _number(dice), dice.choice([None, 1, 2, 3])) for _ in range(10_000)]
        people += [_person(unit, dice) for _ in range(10_000 if people_max > 1 else 0)]
    return _world(policy, units, people, visits, items)


HEAVY = 0.03
"""Share of worlds in which one unit has 10,000 rows more than others."""


def make_true_world(policy: Policy, dice: random.Random, units: int = 12) -> World:
    """Rows that keep every declaration of the policy, with units that have as many as they may."""
    visits_max = policy.tables["visits"].rows_per_unit_max or 0
    items_max = policy.tables["items"].rows_per_unit_max or 0
    low, high = policy.tables["people"].columns["income"].range or (0, 0)
    people, visits, items = [], [], []
    for unit in range(units):
        sex, age = dice.choice(["F", "M", None]), dice.choice([0, 50, 99])
        income = dice.choice([low, high, dice.randint(int(str(low)), int(str(high)))])
        weight, word = dice.choice([-10, 250.5, dice.uniform(-10, 250)]), dice.choice(["flu", "gout", "", "Rare"])
        born = _day(dice, 1950, 70) or date(2020, 12, 31)
        people.append((unit, sex, age, income, weight, word, born, dice.random() < 0.5))
        own = [len(visits) + i for i in range(dice.choice([0, 1, visits_max, visits_max]))]
        for vid in own:
            cost, seen = dice.choice(["0.00", "500.00", "49.99"]), _day(dice, 2020, 2) or date(2022, 12, 31)
            visits.append((unit, vid, dice.randint(0, 3), cost, dice.choice(["in", "out", "day"]), seen))
        prices = [dice.choice([-5.0, 100.0, dice.uniform(-5, 100)]) for _ in range(dice.choice([0, 1, items_max]))]
        items += [(unit, dice.choice(own), price, dice.randint(1, 3)) for price in prices if own]
    return _world(policy, units, people, visits, items)


def _world(policy: Policy, units: int, people: list[Row], visits: list[Row], items: list[Row]) -> World:
    hospitals: list[Row] = [(i, LEVELS[i % 3]) for i in range(4)]
    codes: list[Row] = [(i, i % 4, CODES[i % 3]) for i in range(9)]
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    layout: dict[str, tuple[str, Sequence[Row]]] = {
        "people": (
            "__unit BIGINT, sex VARCHAR, age INTEGER, income INTEGER, weight DOUBLE, diagnosis VARCHAR, born DATE, "
            "active BOOLEAN",
            people,
        ),
        "visits": (
            "__unit BIGINT, vid INTEGER, hospital INTEGER, cost DECIMAL(10,2), kind VARCHAR, seen DATE",
            visits,
        ),
        "items": ("__unit BIGINT, vid INTEGER, price DOUBLE, drug INTEGER", items),
        "hospitals": ("id INTEGER, level VARCHAR", hospitals),
        "codes": ("id INTEGER, hospital INTEGER, code VARCHAR", codes),
    }
    for name, (columns, rows) in layout.items():
        if name not in policy.tables:
            continue
        private = not policy.tables[name].public
        connection.execute(f"CREATE TABLE {name}_all ({columns})").fetchall()
        if rows:
            types = [column.split()[1] for column in columns.replace("(10,2)", "").split(", ")]
            lists = [[None if v is None else str(v) for v in values] for values in zip(*rows, strict=True)]
            casts = [f"CAST(unnest(?::VARCHAR[]) AS {_cast(kind)})" for kind in types]
            connection.execute(f"INSERT INTO {name}_all SELECT {', '.join(casts)}", lists).fetchall()
        where = " WHERE __unit <> getvariable('gone')" if private else ""
        connection.execute("SET VARIABLE gone = -1").fetchall()
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_all{where}").fetchall()
    keys: dict[str, dict[str, tuple[Value, ...]]] = {
        "hospitals": {"id": (0, 1, 2, 3), "level": ("city", "county", None)},
        "codes": {"id": tuple(range(9)), "hospital": (0, 1, 2, 3), "code": CODES},
    }
    return World(policy, Schema(policy, keys), connection, units)


def _cast(kind: str) -> str:
    return "DECIMAL(10,2)" if kind == "DECIMAL" else kind


def _skewed(dice: random.Random) -> int:
    """Mostly few, now and then very many."""
    return dice.choice([0, 1, 1, 2, 3, 5, 12]) if dice.random() > 0.05 else 200


def _person(unit: int, dice: random.Random) -> Row:
    sex = dice.choice(["F", "M", "X", None])
    income = dice.choice([None, -(2**31), 2**31 - 1, 0, 1, 999, 1000, 1001, dice.randint(0, 1000)])
    diagnosis = dice.choice(["flu", "gout", "rare", "", "x" * 300, None])
    return (
        unit,
        sex,
        dice.choice([None, -1, 0, 50, 99, 100]),
        income,
        _number(dice),
        diagnosis,
        _day(dice, 1940, 90),
        dice.choice([True, False, None]),
    )


def _number(dice: random.Random) -> float | None:
    extremes = [None, float("nan"), float("inf"), float("-inf"), 1e308, -1e308, 5e-324, 0.0, -0.0]
    return dice.choice(extremes) if dice.random() < 0.4 else dice.uniform(-20, 300)


def _money(dice: random.Random) -> str | None:
    return dice.choice(
        [None, "-1.00", "99999999.99", "0.00", "49.99", "50.00", "500.00", f"{dice.uniform(0, 600):.2f}"]
    )


def _kind(dice: random.Random) -> str | None:
    return dice.choice(["in", "out", "day", "other", None])


def _day(dice: random.Random, first: int, years: int) -> date | None:
    if dice.random() < 0.1:
        return None
    return date(first, 1, 1) + timedelta(days=dice.randint(0, 365 * years))


def load(text: str) -> Policy:
    return load_text(text, "policy.toml")
