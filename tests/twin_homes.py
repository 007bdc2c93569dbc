"""Homes that differ in their private data alone."""

from __future__ import annotations

import random

from tests.homes import Files, Licensed, Rows, Table
from tests.sql_world import CLINIC, SCHOOL

SECRETS = ("Geheimfrau", "geheimleiden", "87654321", "7654321.09", "1923-07-19")
"""A name, a diagnosis and values that only private rows hold. None of them is part of a policy."""
_CASES = """
[[case]]
name = "a count"
sql = "SELECT COUNT(*) FROM {table}"
expect = "answer"
[[case]]
name = "no statement but one that asks"
sql = "DROP TABLE people"
expect = "refuse"
"""
_PEOPLE = ("pid", "name", "sex", "age", "收入", "income", "weight", "birth_date", "diagnosis", "active")


def twin(*, poisoned: bool) -> Files:
    """The clinic that the corpus of hostile statements is written for, and a school that nobody is licensed for.

    The poisoned one has a person less, other values, the SECRETS, and rows on which careless casts, divisions and
    date arithmetic would raise.
    """
    dice = random.Random(1 if poisoned else 2)
    count = 300 if poisoned else 301
    people = _people(count, dice)
    if poisoned:
        people[:6] = _poison()
    return Files(
        policies={"clinic": CLINIC, "school": SCHOOL},
        cases={"clinic": _CASES.format(table="people"), "school": _CASES.format(table="pupils")},
        tables={"clinic": _clinic(people, dice), "school": _school(count, dice)},
        licences=(Licensed("op-a", "8"), Licensed("op-b", "8")),
    )


def _people(count: int, dice: random.Random) -> Rows:
    return [
        [
            1000 + i,
            f"Person {i}",
            "FM"[i % 2],
            dice.randrange(100),
            dice.randrange(1001),
            f"{dice.uniform(0, 200_000):.2f}",
            f"{dice.uniform(40, 120):.1f}",
            f"{dice.randrange(1920, 2020)}-0{dice.randrange(1, 10)}-11",
            ["flu", "gout", "asthma"][dice.randrange(3)],
            ["true", "false"][dice.randrange(2)],
        ]
        for i in range(count)
    ]


def _poison() -> Rows:
    name, illness, whole, amount, day = SECRETS
    return [
        [-2147483648, name, "F", 0, whole, amount, "inf", day, illness, "true"],
        [
            2147483647,
            f"{name}'; DROP TABLE people; --",
            "M",
            2147483647,
            "-2147483648",
            "-0.01",
            "nan",
            day,
            "",
            "",
        ],
        [1, f"{name}\n\x1b[31m", "", -2147483648, 0, "9999999999.99", "-inf", "0001-01-01", "1e400", "true"],
        [2, "", "F", 99, 0, "0.00", "1e308", "9999-12-31", "not a number", "false"],
        [3, name, "M", 0, 2147483647, "0.01", "-1e308", "1970-01-01", '{"a": "' + illness + '"}', "true"],
        [4, name, "F", 1, 1, "0", "0", "2000-02-29", illness, "false"],
    ]


def _clinic(people: Rows, dice: random.Random) -> dict[str, Table]:
    count = len(people)
    own = [row[0] for row in people]
    visits: Rows = [
        [
            dice.choice(own),
            i,
            dice.randrange(6),
            ["in", "out"][dice.randrange(2)],
            f"{dice.uniform(0, 20_000):.2f}",
            f"2021-0{dice.randrange(1, 10)}-05",
            f"2021-0{dice.randrange(1, 10)}-05 10:00:00",
        ]
        for i in range(count * 3)
    ]
    items: Rows = [
        [dice.randrange(count * 3), f"{dice.uniform(0, 500):.2f}", dice.randrange(6)] for _ in range(count * 4)
    ]
    hospitals: Rows = [[i, ["county", "city"][i % 2], i % 3] for i in range(5)]
    regions: Rows = [[i, ["north", "south", "west"][i]] for i in range(3)]
    return {
        "people": (_PEOPLE, people),
        "visits": (["pid", "visit_id", "hospital", "kind", "cost", "visit_date", "seen_at"], visits),
        "items": (["visit_id", "price", "hospital"], items),
        "hospitals": (["id", "level", "region"], hospitals),
        "regions": (["code", "title"], regions),
    }


def _school(count: int, dice: random.Random) -> dict[str, Table]:
    pupils: Rows = [[i, 1 + dice.randrange(12)] for i in range(count)]
    people = [[row[0], dice.randrange(100)] for row in pupils]
    return {"pupils": (("id", "grade"), pupils), "people": (("id", "age"), people)}
