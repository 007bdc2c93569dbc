"""Pairs of homes whose data differ in one person, and questions about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb

from gateway.home import Home
from tests.homes import Files, Licensed, make
from tests.policy_head import head

PEOPLE: Final = 20_000
POLICY: Final = (
    head(count_max=1_000_000, count_about=20_000, epsilon=1_000, each="0.1", each_max=2, groups_max=4)
    + """
[tables.people]
[tables.people.columns]
pid  = { type = "integer", role = "unit" }
sex  = { type = "text", role = "dimension", values = ["F", "M"] }
age  = { type = "integer", role = "dimension", range = [0, 99] }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 10
[tables.visits.columns]
pid  = { type = "integer", role = "unit" }
kind = { type = "text", role = "dimension", values = ["in", "out", "day"] }
note = { type = "text", role = "dimension" }
cost = { type = "decimal(10,2)", role = "measure", range = [0, 500], filter = "range" }
"""
)
CASES: Final = '[[case]]\nname = "people"\nsql = "SELECT COUNT(*) FROM people"\nexpect = "answer"\n'


@dataclass(frozen=True, slots=True)
class Pair:
    """The person whom one side lacks: so many visits, each with columns by these SQL expressions over `i`."""

    name: str
    visits: int
    cost: str = "(i % 400) + 0.5"
    kind: str = "['in', 'out', 'day'][1 + i % 3]"
    note: str = "'n' || (i % 50)"
    nobody: bool = False
    """Neither side has the person: what is told apart then is not the data."""


PAIRS: Final = (
    Pair("somebody with three million visits", 3_000_000),
    Pair("somebody like all others", 3),
    Pair("somebody with two million visits of one kind", 2_000_000, kind="'day'"),
    Pair("somebody with visits that cost more than is possible", 300_000, cost="9999999.99"),
    Pair("somebody with visits that cost less than nothing", 300_000, cost="-9999999.99"),
    Pair("somebody with visits of no declared kind", 300_000, kind="'none ' || i"),
    Pair("somebody with very long notes", 2_000, note="repeat(chr(65 + i % 26), 40000)"),
    Pair("somebody with a note for each visit", 500_000, note="'note ' || i"),
    Pair("somebody with nothing but nulls", 500_000, cost="NULL", kind="NULL", note="NULL"),
    Pair("somebody without a visit", 0),
    Pair("nobody: both sides hold the same", 0, nobody=True),
)

PLANS: Final = (
    ("a count", "SELECT COUNT(*) AS n FROM visits WHERE cost >= {x}"),
    ("a sum by kind", "SELECT kind, SUM(cost) AS s FROM visits WHERE cost >= {x} GROUP BY kind"),
    ("people with a dear visit", "SELECT COUNT(DISTINCT pid) AS n FROM visits WHERE cost >= {x}"),
    (
        "a mean by sex",
        "SELECT sex, AVG(cost) AS m FROM people JOIN visits ON people.pid = visits.pid WHERE cost >= {x} GROUP BY sex",
    ),
    ("notes that end alike", "SELECT COUNT(*) AS n FROM visits WHERE lower(note) LIKE '%{x}'"),
)
"""`{x}` is different in every request, so that no answer is reused."""


def home(root: Path, pair: Pair, deadlines: str, *, whole: bool) -> Home:
    """With the person where `whole`, else without. `deadlines` is the value of `deadlines_s` in domain.toml."""
    files = Files({"clinic": POLICY}, {"clinic": CASES}, {"clinic": {}}, (Licensed("op-a", "1000"),))
    made = make(root, files)
    with duckdb.connect() as engine:
        whole = whole and not pair.nobody
        extra = pair.visits if whole else 0
        someone = f"UNION ALL SELECT {PEOPLE}, 'F', 40" if whole else ""
        people = f"SELECT i AS pid, ['F', 'M'][1 + i % 2] AS sex, i % 100 AS age FROM range({PEOPLE}) r(i) {someone}"
        columns = f"{pair.kind} AS kind, {pair.note} AS note, CAST({pair.cost} AS DECIMAL(10, 2)) AS cost"
        visits = (
            f"SELECT i % {PEOPLE} AS pid, ['in', 'out', 'day'][1 + i % 3] AS kind, 'n' || (i % 50) AS note, "
            f"CAST((i % 400) + 0.25 AS DECIMAL(10, 2)) AS cost FROM range({3 * PEOPLE}) r(i) "
            f"UNION ALL SELECT {PEOPLE}, {columns} FROM range({extra}) r(i)"
        )
        for name, select in (("people", people), ("visits", visits)):
            engine.execute(f"COPY ({select}) TO '{root / 'data' / 'clinic' / name}.parquet' (FORMAT parquet)")
    tables = ", ".join(f'{name} = "data/clinic/{name}.parquet"' for name in ("people", "visits"))
    (root / "domain.toml").write_text(
        f'[datasets.clinic]\nsnapshot = "1"\ntables = {{ {tables} }}\ndeadlines_s = {deadlines}\n[worker]\nwarm = 2\n',
        encoding="utf-8",
    )
    return made
