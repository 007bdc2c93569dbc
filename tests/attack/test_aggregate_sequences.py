"""Attacks of several questions. After each a linear solver gets everything that was said, and must not get closer than
the policy promises to anything that was not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest

from policies.load import load_text
from tests.disclosure.asked import (
    Asked,
    Condition,
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
from tests.disclosure.auditor import audit
from tests.disclosure.bare import Bare
from tests.disclosure.judge import complaints
from tests.disclosure.made import careless
from tests.disclosure.planted import next_town, policy_text, town
from tests.disclosure.world import TownWorld, town_world

RULES = load_text(policy_text(), "town").release.aggregate
assert RULES is not None
COUNT, UNITS = Measured("rows"), Measured("units")
INCOME, MEAN, TURNOVER, COST = Measured("income"), Measured("income", mean=True), Measured("turnover"), Measured("cost")
WEST, HAMLET, NORTH, EAST = (equals("district", name) for name in ("West", "Hamlet", "North", "East"))
OLD = between("age", 97, 97)
YOUNGER = never(OLD)
FEMALE = equals("sex", "F")


@dataclass(frozen=True)
class Other:
    """A question of the second operator."""

    asked: Asked


Step = Asked | Other | Literal["restart", "next snapshot"]


def people(*where: Condition, measures: Sequence[Measured] = (COUNT, INCOME), text: str | None = None) -> Asked:
    return Asked("people", tuple(measures), where=where, text=text)


def visits(*where: Condition, measures: Sequence[Measured] = (COUNT, COST, UNITS)) -> Asked:
    return Asked("visits", tuple(measures), where=where)


def grouped(table: Literal["people", "visits"], keys: str, sets: Literal["plain", "rollup", "cube"] = "plain") -> Asked:
    measures = (COUNT, INCOME) if table == "people" else (COUNT, COST)
    return Asked(table, measures, tuple(column(name) for name in keys.split()), sets=sets)


def spelt(text: str, *where: Condition, measure: Measured = INCOME, times: int = 1) -> Asked:
    return Asked("people", (measure,), where=where, text=text, times=times)


def visited(fewer: int) -> Condition:
    """Of a person: how many visits there are. Null for those without one."""
    return Condition("", lambda record: 0 < int(str(record["visited"])) < fewer)


def per_unit(fewer: int) -> Asked:
    inner = f"SELECT pid, COUNT(*) AS n FROM visits GROUP BY pid HAVING COUNT(*) < {fewer}"
    text = f"SELECT SUM(p.income) AS m0 FROM people p JOIN ({inner}) t ON p.pid = t.pid"
    return spelt(text, visited(fewer))


def united(*districts: str) -> Asked:
    parts = " UNION ALL ".join(f"SELECT income AS x FROM people WHERE district = '{one}'" for one in districts)
    return spelt(f"SELECT SUM(x) AS m0 FROM ({parts}) t", among("district", *districts))


DISTRICTS = ("North", "South", "East", "West", "Cloister", "Hamlet")
ATTACKS: dict[str, tuple[Step, ...]] = {
    "individual tracker": (people(WEST), people(WEST, YOUNGER)),
    "individual tracker, backwards": (people(WEST, YOUNGER), people(WEST)),
    "general tracker": (
        people(),
        people(FEMALE),
        people(either(equals("district", "Hamlet"), FEMALE)),
        people(either(equals("district", "Hamlet"), never(FEMALE))),
    ),
    "double tracker": (
        people(either(HAMLET, EAST)),
        people(EAST),
        people(either(HAMLET, WEST, EAST)),
        people(either(WEST, EAST)),
        people(never(HAMLET)),
        people(),
    ),
    "time windows": (
        visits(),
        visits(days("2021-01-01", "2021-07-07")),
        visits(days("2021-01-01", "2021-07-06")),
        visits(days("2021-07-07", "2022-12-31")),
        visits(days("2021-07-08", "2022-12-31")),
    ),
    "sliding windows": tuple(
        visits(days(f"2021-{month:02}-{day:02}", f"2021-{month + 1:02}-{day:02}"))
        for month, day in [(6, 5), (6, 6), (6, 7), (6, 8), (7, 6), (7, 7), (7, 8), (7, 9)]
    ),
    "shrinking filters": tuple(people(WEST, between("age", 0, top)) for top in (99, 96, 90, 89, 95, 97, 50, 49, 48)),
    "joins": (
        visits(),
        visits(differs("district", "Hamlet")),
        grouped("visits", "district"),
        Asked("visits", (COUNT, COST), where=(differs("job", "astronaut"),)),
        Asked("visits", (COUNT, COST), where=(differs("job", "diver"),)),
    ),
    "conditions within units": (per_unit(61), per_unit(60), per_unit(7), per_unit(6), per_unit(2)),
    "unions": (
        united("North", "South"),
        united("North", "South", "Hamlet"),
        united("North", "West"),
        people(among("district", "North", "South")),
    ),
    "parts and totals": (*(people(equals("district", name)) for name in DISTRICTS), people(), people(FEMALE)),
    "totals, then parts": (people(), *(people(equals("district", name)) for name in DISTRICTS)),
    "totals of a table, then the town": (grouped("people", "district"), people()),
    "a withheld cell asked for alone": (
        grouped("people", "district", "rollup"),
        *(people(equals("district", name)) for name in DISTRICTS),
        *(people(among("district", one, "Hamlet")) for one in DISTRICTS[:5]),
    ),
    "three unions of two": (
        people(among("district", "Hamlet", "West")),
        people(among("district", "Hamlet", "East")),
        people(among("district", "West", "East")),
    ),
    "unions of three of four": (
        people(among("district", "Hamlet", "West", "East")),
        people(among("district", "Hamlet", "West", "North")),
        people(among("district", "Hamlet", "North", "East")),
        people(among("district", "West", "North", "East")),
    ),
    "one person more": (
        grouped("people", "district"),
        people(),
        "next snapshot",
        grouped("people", "district"),
        people(),
        people(WEST),
        people(WEST, FEMALE),
        grouped("people", "district", "rollup"),
    ),
    "one visit more": (
        grouped("visits", "kind"),
        visits(),
        "next snapshot",
        grouped("visits", "kind"),
        visits(days("2021-01-01", "2022-12-30")),
        visits(),
    ),
    "two operators": (people(WEST), Other(people(WEST, YOUNGER)), Other(people(WEST, measures=(MEAN,)))),
    "a product with a constant": (
        people(OLD, NORTH, measures=(INCOME,)),
        spelt("SELECT SUM(income * 97) AS m0 FROM people WHERE age = 97", OLD, times=97),
    ),
    "scaled and shifted sums": (
        people(WEST, measures=(INCOME,)),
        spelt("SELECT SUM(income * 2) AS m0 FROM people WHERE district = 'West' AND age <> 97", WEST, YOUNGER, times=2),
        spelt(
            "SELECT SUM(income * -3) AS m0 FROM people WHERE district = 'West' AND age < 97", WEST, YOUNGER, times=-3
        ),
        spelt(
            "SELECT SUM(CASE WHEN age = 97 THEN 0 ELSE income END) AS m0 FROM people WHERE district = 'West'",
            WEST,
            YOUNGER,
        ),
        spelt("SELECT SUM(COALESCE(income, 0)) AS m0 FROM people WHERE district = 'West' AND age < 97", WEST, YOUNGER),
    ),
    "mean times count": (
        people(WEST, measures=(COUNT, MEAN)),
        people(WEST, YOUNGER, measures=(COUNT,)),
        people(WEST, YOUNGER, measures=(MEAN,)),
    ),
    "rollup here, cube there": (
        grouped("people", "district sex", "rollup"),
        grouped("people", "sex district", "cube"),
        grouped("people", "sex job", "rollup"),
        grouped("people", "district job", "cube"),
    ),
    "many overlapping ranges": tuple(
        people(WEST, between("age", low, high), measures=(INCOME,))
        for low, high in [
            (0, 97),
            (0, 50),
            (20, 70),
            (40, 97),
            (51, 97),
            (10, 60),
            (30, 90),
            (60, 96),
            (0, 96),
            (60, 97),
        ]
    ),
    "restart in the middle": (people(WEST), "restart", people(WEST, YOUNGER), "restart", people(WEST, OLD), people()),
    "dominated differences": (
        people(measures=(TURNOVER,)),
        people(differs("district", "East"), measures=(TURNOVER,)),
        people(NORTH, measures=(TURNOVER,)),
        Asked("people", (TURNOVER,), (column("district"),), sets="rollup"),
        *(people(EAST, between("age", low, low + 30), measures=(TURNOVER,)) for low in (0, 15, 30, 45, 60)),
    ),
    "units of visits": (
        visits(measures=(UNITS,)),
        visits(differs("visit_date", "2021-07-07"), measures=(UNITS,)),
        visits(differs("district", "Hamlet"), measures=(UNITS,)),
        Asked("visits", (UNITS,), (column("district"),)),
        Asked("visits", (UNITS,), (column("kind"),)),
        people(measures=(COUNT,)),
    ),
}


ROUNDED = (
    tuple(ATTACKS) if "BPK_LONG" in os.environ else ("individual tracker", "rollup here, cube there", "one visit more")
)


def played(world: TownWorld, steps: Sequence[Step]) -> Iterator[Part]:
    """Every number that the attack asks for; no single answer may hold a secret by itself."""
    rows, bare = Rows(world.town), Bare(world.town)
    rules = world.policy.release.aggregate
    assert rules is not None
    for step in steps:
        if step == "restart":
            world.restart()
        elif step == "next snapshot":
            world.move()
            rows, bare = Rows(world.town), Bare(world.town)
        else:
            asked, operator = (step.asked, "op-b") if isinstance(step, Other) else (step, "op-a")
            reply = world.ask(asked.sql, operator)
            assert reply.answered, (asked.sql, reply.code, reply.detail)
            assert not complaints(reply, bare, rules), asked.sql
            yield from asked.parts(reply, rows)


@pytest.fixture(scope="module")
def standing() -> Iterator[TownWorld]:
    with town_world() as made:
        yield made


@contextlib.contextmanager
def unasked(standing: TownWorld, name: str, rounding: int) -> Iterator[TownWorld]:
    """A service that was never asked; one of its own where the attack opens it again."""
    if rounding or any(isinstance(step, str) for step in ATTACKS[name]):
        with town_world(rounding=rounding) as made:
            yield made
    else:
        standing.forget()
        yield standing


@pytest.mark.parametrize(("name", "rounding"), [(name, 0) for name in ATTACKS] + [(name, 5) for name in ROUNDED])
def test_nothing_withheld_is_narrowed_by(standing: TownWorld, name: str, rounding: int) -> None:
    with unasked(standing, name, rounding) as world:
        rules = world.policy.release.aggregate
        assert rules is not None
        parts = list(played(world, ATTACKS[name]))
    assert any(part.shown is not None for part in parts), "an attack on nothing proves nothing"
    assert not [str(one) for one in audit(parts, rules)]


@pytest.mark.parametrize("name", ATTACKS)
def test_a_service_that_remembers_nothing_loses_to(name: str) -> None:
    """Each number by itself is safe, as far as one can tell from it alone: so it takes an attack to find more."""
    rows, later = Rows(town()), Rows(next_town(town()))
    parts: list[Part] = []
    for step in ATTACKS[name]:
        if step == "next snapshot":
            rows = later
        elif not isinstance(step, str):
            asked = step.asked if isinstance(step, Other) else step
            parts += asked.parts(careless(asked, rows, alone_unsafe), rows)
    assert audit(parts, RULES)


def alone_unsafe(part: Part) -> bool:
    sizes = sorted((abs(value) for value in part.by_unit.values()), reverse=True)
    few = len(sizes) < RULES.units_min
    return few or sum(sizes[:2]) >= RULES.dominance_share * sum(sizes)
