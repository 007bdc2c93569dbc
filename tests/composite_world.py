"""Shops whose links and keys are of several columns: an order's number is unique within its shop alone."""

from __future__ import annotations

import random
from functools import cache

import duckdb

from policies.load import load_text
from policies.model import Policy
from policies.types import Value
from sandbox.relational.facts import Schema
from tests.builders import World
from tests.policy_head import head

_TABLES = """
[tables.buyers]
[tables.buyers.columns]
bid = { type = "integer", role = "unit" }
age = { type = "integer", role = "dimension", range = [0, 99] }
[tables.orders]
link = { column = "bid", to = "buyers.bid" }
rows_per_unit_max = ORDERS
[tables.orders.columns]
bid  = { type = "integer", role = "unit" }
shop = { type = "integer", role = "key" }
nr   = { type = "integer", role = "key" }
paid = { type = "integer", role = "measure", range = [0, 100], filter = "range" }
[tables.lines]
link = { columns = ["shop", "order_nr"], to = ["orders.shop", "orders.nr"] }
rows_per_unit_max = LINES
[tables.lines.columns]
shop     = { type = "integer", role = "key" }
order_nr = { type = "bigint", role = "key" }
part     = { type = "integer", role = "key", joins = ["offers.part"] }
maker    = { type = "integer", role = "key", joins = ["offers.maker"] }
pieces   = { type = "integer", role = "measure", range = [0, 9], filter = "range" }
[tables.offers]
public = true
key = ["part", "maker"]
fan_out = { maker = 3 }
[tables.offers.columns]
part  = { type = "integer", role = "key" }
maker = { type = "integer", role = "key" }
grade = { type = "text", role = "dimension" }
"""


def shops_text(*, accountant: str = "zcdp", orders_max: int = 4, lines_max: int = 6, groups_max: int = 3) -> str:
    start = head(
        "shops", unit="buyers.bid", accountant=accountant, epsilon=100, each="1", each_max=50, groups_max=groups_max
    )
    return start + _TABLES.replace("ORDERS", str(orders_max)).replace("LINES", str(lines_max))


HEAVY = 0.01
"""Share of orders with 200 lines."""


@cache
def shops() -> Policy:
    return load_text(shops_text(), "policy.toml")


def make_shops(dice: random.Random, units: int = 8, policy: Policy | None = None) -> World:
    """Rows laid out as a snapshot is: every declared key is unique, and a part of it stands on many rows."""
    policy = policy or shops()
    orders = [
        (dice.randrange(units), shop, nr, dice.choice([None, 0, 7, 100, 101]))
        for shop in range(4)
        for nr in dice.sample(range(5), dice.randint(1, 5))
    ]
    orders += [(dice.randrange(units), dice.choice([None, 0]), None, 5) for _ in range(3)]
    lines = [
        (unit, shop, nr, dice.randrange(3), dice.choice([None, 0, 1]), dice.choice([None, -1, 5, 9]))
        for unit, shop, nr, _ in orders
        if shop is not None and nr is not None
        for _ in range(dice.choice([0, 1, 2, 4]) if dice.random() > HEAVY else 200)
    ]
    offers = [(part, maker, "ab"[(part + maker) % 2]) for part in range(3) for maker in range(2)]
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    for name, declared, rows in (
        ("buyers", "__unit BIGINT, age INTEGER", [(unit, dice.randint(0, 99)) for unit in range(units)]),
        ("orders", "__unit BIGINT, shop INTEGER, nr INTEGER, paid INTEGER", orders),
        ("lines", "__unit BIGINT, shop INTEGER, order_nr BIGINT, part INTEGER, maker INTEGER, pieces INTEGER", lines),
    ):
        connection.execute(f"CREATE TABLE {name}_all ({declared})").fetchall()
        connection.executemany(f"INSERT INTO {name}_all VALUES ({', '.join('?' for _ in rows[0])})", rows)
        connection.execute("SET VARIABLE gone = -1").fetchall()
        where = "__unit <> getvariable('gone')"
        connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_all WHERE {where}").fetchall()
    connection.execute("CREATE TABLE offers_all (part INTEGER, maker INTEGER, grade VARCHAR)").fetchall()
    connection.executemany("INSERT INTO offers_all VALUES (?, ?, ?)", offers)
    connection.execute("CREATE VIEW offers AS SELECT * FROM offers_all").fetchall()
    keys: dict[str, dict[str, tuple[Value, ...]]] = {
        "offers": {"part": (0, 1, 2), "maker": (0, 1), "grade": ("a", "b")}
    }
    return World(policy, Schema(policy, keys), connection, units)
