"""Questions at random over the town, and answers as a careless service would give them."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal

from tests.disclosure.asked import (
    Asked,
    Condition,
    Key,
    Measured,
    Part,
    Rows,
    among,
    between,
    column,
    days,
    differs,
    either,
    equals,
    never,
)
from tests.disclosure.world import Reply

DISTRICTS = ("North", "South", "East", "West", "Cloister", "Hamlet")
_JOBS = ("clerk", "smith", "farmer", "teacher", "nurse", "miller", "diver")
_YEAR = Key("year(birth_date)", lambda record: record["birth_date"].year)  # type: ignore[attr-defined]


def question(dice: random.Random) -> Asked:
    """Tables, filters, groups and totals as an enemy would vary them."""
    table = dice.choice(["people", "people", "visits"])
    keys = dice.sample(_keys(table), dice.choice([0, 1, 1, 2]))
    where = tuple(_condition(table, dice) for _ in range(dice.choice([0, 1, 1, 2])))
    measures = tuple(dict.fromkeys(_measured(table, dice) for _ in range(dice.choice([1, 2]))))
    sets = dice.choice(["plain", "rollup", "cube"]) if keys else "plain"
    return Asked(table, measures, tuple(keys), where, sets)  # type: ignore[arg-type]  # of two literals each


def _keys(table: str) -> list[Key]:
    people = [column("district"), column("sex"), column("job"), column("age")]
    return people if table == "people" else [*people[:3], column("kind"), column("visit_date")]


def _condition(table: str, dice: random.Random) -> Condition:
    low = dice.randint(0, 97)
    found: list[Callable[[], Condition]] = [
        lambda: equals("district", dice.choice(DISTRICTS)),
        lambda: differs("district", dice.choice(DISTRICTS)),
        lambda: among("district", *dice.sample(DISTRICTS, 2)),
        lambda: between("age", low, dice.choice([low, 97, low + 1, low + 10])),
        lambda: equals("sex", "F"),
        lambda: differs("job", dice.choice(_JOBS)),
        lambda: either(equals("district", "West"), equals("job", dice.choice(_JOBS))),
        lambda: never(between("age", 90, 97)),
    ]
    if table == "visits":
        first = dice.randint(1, 9)
        found += [
            lambda: days("2021-01-01", f"2021-{first + 1:02}-0{first}"),
            lambda: days("2021-07-07", f"2021-07-0{dice.randint(7, 9)}"),
            lambda: differs("kind", "day"),
        ]
    return dice.choice(found)()


def _measured(table: str, dice: random.Random) -> Measured:
    where = (_condition("people", dice),) if dice.random() < 0.2 else ()
    columns = ["income", "turnover", "age", "score"] if table == "people" else ["cost", "cost", "income"]
    what = dice.choice(["rows", "units", *columns])
    return Measured(what, mean=what not in ("rows", "units") and dice.random() < 0.3, where=where)


def careless(asked: Asked, rows: Rows, withheld: Callable[[Part], bool]) -> Reply:
    """What a service would answer that withholds nothing but what `withheld` names."""
    shown = []
    for key, records in asked.groups(rows):
        numbers: list[object] = []
        for measure in asked.measures:
            part = asked.part("", measure, records, None)
            value = Decimal(part.total) / (100 if measure.what in ("income", "cost") else 1)
            value = value / max(1, len(part.values)) if measure.mean else value * asked.times
            numbers.append(None if withheld(part) else value)
        shown.append((*key, *numbers))
    kinds = (*("key" for _ in asked.keys), *("protected" for _ in asked.measures))
    return Reply(asked.sql, None, "", (), kinds, tuple(shown))  # type: ignore[arg-type]  # keys of the town are values
