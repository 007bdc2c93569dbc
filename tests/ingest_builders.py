"""Homes with data files in them, for tests of what takes data in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from policies.load import load_text
from policies.model import Policy
from sandbox.domain import Domain
from sandbox.ingest.ensure import ensure
from sandbox.ingest.snapshot import Snapshot
from tests.policy_head import head

POLICY = (
    head(count_max=1000, count_about=100, each_max=2, groups_max=4)
    + """
[tables.people]
[tables.people.columns]
pid    = { type = "integer", role = "unit" }
name   = { type = "text", role = "hidden" }
sex    = { type = "text", role = "dimension", values = ["F", "M"] }
income = { type = "double", role = "measure", range = [0, 100] }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 2
[tables.visits.columns]
visit    = { type = "integer", role = "key" }
pid      = { type = "integer", role = "unit", nullable = true }
hospital = { type = "integer", role = "key", joins = ["hospitals.id"] }
cost     = { type = "decimal(10,2)", role = "measure", range = [0, 500] }
[tables.drugs]
link = { column = "visit", to = "visits.visit" }
rows_per_unit_max = 9
[tables.drugs.columns]
visit = { type = "integer", role = "key" }
drug  = { type = "text", role = "dimension" }
[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id    = { type = "integer", role = "key" }
level = { type = "text", role = "dimension" }
"""
)
DOMAIN = """
[datasets.clinic]
tables = { people = "people.csv", visits = "visits.csv", drugs = "drugs.csv", hospitals = "hospitals.csv" }
snapshot = "one"
"""
FILES = {
    "people.csv": "pid,name,sex,income\n1,Secretname1,F,10\n2,Secretname2,M,20.5\n3,Secretname3,F,\n",
    "visits.csv": "visit,pid,hospital,cost\n11,1,7,10.00\n12,1,8,20.5\n13,2,7,30\n14,9,7,1\n15,,7,2\n",
    "drugs.csv": "visit,drug\n11,a\n11,b\n14,c\n15,d\n99,e\n",
    "hospitals.csv": "id,level\n7,county\n8,city\n",
}


def policy(text: str = POLICY) -> Policy:
    return load_text(text, "policy.toml")


def write_home(home: Path, domain: str = DOMAIN, **changed: str | bytes) -> Path:
    """A home with the files above. `changed` replaces some: `people=...` is people.csv."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "domain.toml").write_text(domain, encoding="utf-8")
    for name, content in FILES.items():
        new = changed.get(name.removesuffix(".csv"), content)
        (home / name).write_bytes(new if isinstance(new, bytes) else new.encode())
    return home


def take_in(home: Path, text: str = POLICY) -> Snapshot:
    made = policy(text)
    return ensure(Domain.load(home), {made.dataset: made}, made.dataset)


def rows(snapshot: Snapshot, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(snapshot.path), read_only=True) as con:
        return con.execute(sql).fetchall()


def columns(snapshot: Snapshot, table: str) -> dict[str, str]:
    sql = f"SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = '{table}' ORDER BY column_index"
    return {str(name): str(kind) for name, kind in rows(snapshot, sql)}


def write_parquet(file: Path, select: str) -> Path:
    with duckdb.connect() as con:
        con.execute(f"COPY ({select}) TO '{file}' (FORMAT parquet)")
    return file


def one_table(table: str, column_types: Mapping[str, str], roles: Mapping[str, str] | None = None) -> str:
    """A policy of one private table `table` with an integer unit `u` and measure-like columns of the given types."""
    roles = roles or {}
    listed = "\n".join(
        f'{name} = {{ type = "{kind}", role = "{roles.get(name, "dimension")}" }}'
        for name, kind in column_types.items()
    )
    start = head(unit=f"{table}.u", count_max=1000, count_about=100)
    unit = 'u = { type = "integer", role = "unit" }'
    return f"{start}\n[tables.{table}]\nrows_per_unit_max = 9\n[tables.{table}.columns]\n{unit}\n{listed}\n"


def one_table_home(home: Path, table: str, files: Sequence[str]) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    listed = ", ".join(f'"{file}"' for file in files)
    (home / "domain.toml").write_text(f'[datasets.clinic]\ntables = {{ {table} = [{listed}] }}\nsnapshot = "one"\n')
    return home
