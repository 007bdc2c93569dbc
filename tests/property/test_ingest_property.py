"""Random small databases against a slow, obvious reading of the same rules in plain Python."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.ingest.build import build
from sandbox.ingest.job import IngestFile, Job, tables_of
from tests.ingest_builders import POLICY, policy

KEYS = st.one_of(st.none(), st.integers(0, 6))


@dataclass(frozen=True)
class World:
    people: list[int | None]
    visits: list[tuple[int, int | None]]
    """(visit, pid); visits are distinct."""
    drugs: list[tuple[int | None, int]]
    """(visit, a number that makes the row known again)."""


@st.composite
def worlds(draw: st.DrawFn) -> World:
    people = draw(st.lists(st.integers(0, 5), unique=True, max_size=5))
    absent = draw(st.integers(0, 2))
    visits = draw(st.lists(st.integers(10, 16), unique=True, max_size=6))
    drugs = draw(st.lists(st.one_of(st.none(), st.integers(10, 18)), max_size=8))
    return World(
        people=[*people, *[None] * absent],
        visits=[(visit, draw(KEYS)) for visit in visits],
        drugs=[(visit, number) for number, visit in enumerate(drugs)],
    )


def csv(header: str, rows: list[tuple[object, ...]]) -> str:
    lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
    return "\n".join([header, *lines]) + "\n"


def run(world: World, folder: Path) -> dict[str, list[tuple[int, int]]]:
    """(unit id, number of the row) of every row that was kept, by table."""
    files = {
        "people": csv("pid,income,sex", [(pid, 10 if pid is None else pid, "F") for pid in world.people]),
        "visits": csv("visit,pid,hospital,cost", [(visit, pid, 1, 1) for visit, pid in world.visits]),
        "drugs": csv("visit,drug", [(visit, f"{number}") for visit, number in world.drugs]),
        "hospitals": "id,level\n1,a\n",
    }
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    given_policy = policy(POLICY)
    tables = tables_of(given_policy, {name: (IngestFile(f"{name}.csv", name),) for name in files})
    before = Path.cwd()
    os.chdir(folder)
    try:
        build(Job(tables, "people", "pid", 1000, str(folder), 1, 256, ()))
    finally:
        os.chdir(before)
    with duckdb.connect(str(folder / "data.duckdb"), read_only=True) as con:
        return {
            "people": con.execute("SELECT __unit, income::INT FROM people").fetchall(),
            "visits": con.execute("SELECT __unit, visit FROM visits").fetchall(),
            "drugs": con.execute("SELECT __unit, drug::INT FROM drugs").fetchall(),
        }


def expected(world: World) -> dict[str, list[tuple[int, int]]]:
    """The same with the unit's own value in place of its id."""
    unit_of = {visit: pid for visit, pid in world.visits if pid is not None}
    return {
        "people": [(pid, pid) for pid in world.people if pid is not None],
        "visits": [(pid, visit) for visit, pid in world.visits if pid is not None],
        "drugs": [(unit_of[visit], number) for visit, number in world.drugs if visit in unit_of],
    }


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_every_row_keeps_its_unit_and_no_other_row_appears(world: World) -> None:
    with TemporaryDirectory() as folder:
        found, wanted = run(world, Path(folder)), expected(world)
    units = sorted({value for rows in wanted.values() for value, _ in rows})
    assert sorted({unit for rows in found.values() for unit, _ in rows}) == list(range(len(units)))
    name = {
        unit: value for table in found for unit, row in found[table] for value, other in wanted[table] if row == other
    }
    assert sorted(name.values()) == units
    for table, rows in found.items():
        assert Counter((name[unit], row) for unit, row in rows) == Counter(wanted[table])
