"""A town that offers `aggregate` answers: some 900 people, their visits, and secrets that no answer may hold."""

from __future__ import annotations

import csv
import datetime as dt
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

from tests.policy_head import head

Row = tuple[object, ...]

LONE, GIANT, DAY_GUEST, HEAVY, NEWCOMER = 7, 11, 13, 17, 2001
"""The only one of 97 in West; has most turnover of East; the only guest of a day; 60 visits; comes with snapshot 2."""
HAMLET: Final = (801, 802, 803)
RARE: Final = (21, 22)
"""The one with kuru, and the one astronaut."""
CLOISTER: Final = tuple(range(900, 920))
"""All have leprosy and a score of 42, and nobody else does."""
LONE_INCOME = Decimal("123457.89")
GIANT_TURNOVER = 90_000_001
GUEST_COST = Decimal("777.77")
NEWCOMER_INCOME = Decimal("222222.22")
HAMLET_INCOMES: Final = (Decimal("31013.01"), Decimal("47017.02"), Decimal("59023.03"))
DEBT = -444_443
"""The turnover of the lone one in West."""
SECRET_NUMBERS: Final = frozenset(
    abs(Decimal(value))
    for value in (
        *(LONE_INCOME, GIANT_TURNOVER, GUEST_COST, NEWCOMER_INCOME, DEBT),
        *HAMLET_INCOMES,
        sum(HAMLET_INCOMES),
    )
)
SECRET_WORDS: Final = ("kuru", "astronaut", "diver", "Person ")
GUEST_DAY: Final = dt.date(2021, 7, 7)

RULES = """
[release.aggregate]
units_min = 10
dominance = {{ units = 2, share = 0.85 }}
p_percent = 10
rounding = {rounding}
difference_units_min = 10
cells_max = 100000
withheld_max = 100000
"""
TABLES = """
[tables.people]
[tables.people.columns]
pid        = { type = "integer", role = "unit" }
name       = { type = "text", role = "hidden" }
sex        = { type = "text", role = "dimension", values = ["F", "M"] }
district   = { type = "text", role = "dimension", values = ["North", "South", "East", "West", "Cloister", "Hamlet"] }
age        = { type = "integer", role = "dimension", range = [0, 99], aggregates = ["count", "sum", "avg"] }
birth_date = { type = "date", role = "dimension", range = [1920-01-01, 2022-12-31], via = ["year", "decade"] }
job        = { type = "text", role = "dimension" }
diagnosis  = { type = "text", role = "dimension", sensitive = true }
income     = { type = "decimal(12,2)", role = "measure", range = [0, 500000] }
turnover   = { type = "bigint", role = "measure", range = [-1000000, 100000000] }
score      = { type = "integer", role = "measure", range = [0, 100], nullable = true, sensitive = true }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 80
[tables.visits.columns]
visit_id   = { type = "integer", role = "key" }
pid        = { type = "integer", role = "unit", nullable = true }
hospital   = { type = "integer", role = "key", joins = ["hospitals.id"] }
kind       = { type = "text", role = "dimension", values = ["in", "out", "day"] }
cost = { type = "decimal(9,2)", role = "measure", range = [0, 20000], bins = [0, 100, 1000, 20000], filter = "range" }
visit_date = { type = "date", role = "dimension", range = [2021-01-01, 2022-12-31] }
[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id         = { type = "integer", role = "key" }
level      = { type = "text", role = "dimension" }
town       = { type = "text", role = "dimension" }
"""
DOMAIN = """
[datasets.town]
engine = "duckdb"
snapshot = "{snapshot}"
ceiling = {{ epsilon = 20 }}
deadlines_s = "off"
[datasets.town.tables]
people = "data/{snapshot}/people.csv"
visits = "data/{snapshot}/visits.csv"
hospitals = "data/{snapshot}/hospitals.csv"
[worker]
threads = 1
wall_s = 20
"""
HEADERS: Final[Mapping[str, Sequence[str]]] = {
    "people": (
        *("pid", "name", "sex", "district", "age", "birth_date", "job", "diagnosis", "income", "turnover", "score"),
    ),
    "visits": ("visit_id", "pid", "hospital", "kind", "cost", "visit_date"),
    "hospitals": ("id", "level", "town"),
}


def policy_text(*, rounding: int = 0) -> str:
    start = head(dataset="town", epsilon=8, each="0.5").replace('modes = ["dp"]', 'modes = ["aggregate", "dp"]')
    return start + RULES.format(rounding=rounding) + TABLES


@dataclass(frozen=True)
class Town:
    """Rows by table, in the order of `HEADERS`."""

    people: tuple[Row, ...]
    visits: tuple[Row, ...]
    hospitals: tuple[Row, ...]

    def tables(self) -> Mapping[str, tuple[Row, ...]]:
        return {"people": self.people, "visits": self.visits, "hospitals": self.hospitals}

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables().items():
            with (folder / f"{name}.csv").open("w", newline="") as out:
                csv.writer(out).writerows([HEADERS[name], *rows])


@cache
def town(seed: int = 5) -> Town:
    """Snapshot 1. The same seed gives the same town."""
    dice = random.Random(seed)
    people = [_person(pid, dice) for pid in (*range(1, 801), *HAMLET, *CLOISTER)]
    people += [_planted_old(pid, dice) for pid in range(960, 972)]
    visits: list[Row] = []
    for person in people:
        pid = person[0]
        count = {DAY_GUEST: 0, HEAVY: 60}.get(int(str(pid)), dice.choice([0, 1, 2, 3, 4, 6]))
        visits += [_visit(len(visits) + i, pid, dice) for i in range(count)]
    visits += [_visit(len(visits) + i, None, dice) for i in range(25)]
    visits.append((len(visits), DAY_GUEST, 1, "out", GUEST_COST, GUEST_DAY))
    visits += [(len(visits) + i, pid, 8, "in", Decimal("410.10"), dt.date(2022, 3, 3)) for i, pid in enumerate(RARE)]
    hospitals: list[Row] = [(i, ("county", "city")[i % 2], f"town {i % 3}") for i in range(1, 9)]
    return Town(tuple(people), tuple(visits), tuple(hospitals))


@cache
def next_town(before: Town) -> Town:
    """Snapshot 2: one person more, and one visit more of the guest of one day."""
    born = dt.date(1982, 2, 2)
    new = (NEWCOMER, f"Person {NEWCOMER}", "F", "West", 40, born, "clerk", "flu", NEWCOMER_INCOME, 5000, 50)
    ids = len(before.visits)
    more = (
        (ids, NEWCOMER, 1, "in", Decimal("99.99"), dt.date(2022, 5, 5)),
        (ids + 1, NEWCOMER, 2, "out", Decimal("55.55"), dt.date(2022, 6, 6)),
        (ids + 2, DAY_GUEST, 1, "in", Decimal("1234.56"), dt.date(2022, 7, 7)),
    )
    return Town((*before.people, new), (*before.visits, *more), before.hospitals)


def twin_town(before: Town) -> Town:
    """The same but for Hamlet, where everybody has seven times as much, and two more live."""
    rest = [row for row in before.people if row[3] != "Hamlet"]
    here = [list(row) for row in before.people if row[3] == "Hamlet"]
    more = [[804 + i, f"Person {804 + i}", *row[2:]] for i, row in enumerate(here[:2])]
    changed = [(*row[:8], Decimal(str(row[8])) * 7, int(str(row[9])) * 7 + 1, 99) for row in (*here, *more)]
    return Town((*rest, *changed), before.visits, before.hospitals)


def _person(pid: int, dice: random.Random) -> Row:
    district = dice.choices(["North", "South", "East", "West"], [33, 30, 23, 14])[0]
    age = dice.randint(0, 90)
    job = dice.choice(["clerk", "smith", "farmer", "teacher", "nurse"])
    diagnosis = dice.choice(["flu", "gout", "asthma", "sound", "sound"])
    income = Decimal(dice.randint(500_000, 9_000_000)) / 100
    turnover = int(dice.lognormvariate(9, 1.2)) * (-1 if dice.random() < 0.06 else 1)
    score = None if dice.random() < 0.3 else dice.randint(0, 100)
    if pid in HAMLET:
        district, income = "Hamlet", HAMLET_INCOMES[HAMLET.index(pid)]
    elif pid in CLOISTER:
        district, diagnosis, score = "Cloister", "leprosy", 42
    elif pid == LONE:
        district, age, income, turnover = "West", 97, LONE_INCOME, DEBT
    elif pid == GIANT:
        district, turnover = "East", GIANT_TURNOVER
    elif pid == RARE[0]:
        district, diagnosis = "South", "kuru"
    elif pid == RARE[1]:
        district, job = "South", "astronaut"
    elif 31 <= pid <= 34:  # four of them: too few for a group
        job = "diver"
    elif 41 <= pid <= 54:  # fourteen: enough for a group, not to be left out of one
        job = "miller"
    born = dt.date(2021 - age, dice.randint(1, 12), dice.randint(1, 28))
    sex = dice.choice("FM")
    return pid, f"Person {pid}", sex, district, age, born, job, diagnosis, income, turnover, score


def _planted_old(pid: int, dice: random.Random) -> Row:
    """Others of 97, in North: the lone one of West is not told by age alone."""
    one = list(_person(pid, dice))
    one[3:6] = ["North", 97, dt.date(1924, 3, 3)]
    return tuple(one)


def _visit(number: int, pid: object, dice: random.Random) -> Row:
    day = dt.date(2021, 1, 1) + dt.timedelta(days=dice.randint(0, 729))
    if day == GUEST_DAY:
        day = dt.date(2021, 7, 8)
    cost = Decimal(dice.choice([dice.randint(500, 10_000), dice.randint(10_000, 90_000)])) / 100
    return number, pid, dice.randint(1, 7), dice.choice(["in", "out", "day"]), cost, day
