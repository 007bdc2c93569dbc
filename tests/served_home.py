"""A small home, really served: gateway and data domain as processes, asked over HTTP."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from gateway.cli.tokens import issue_token
from gateway.home import Home, init, open_home
from gateway.identity.roles import Role
from tests.policy_head import head

PEOPLE = 400
POLICY = (
    head(count_max=100_000, count_about=400, each="0.1", each_max=2, groups_max=4)
    + """
[tables.people]
[tables.people.columns]
pid    = { type = "integer", role = "unit" }
name   = { type = "text", role = "hidden" }
sex    = { type = "text", role = "dimension", values = ["F", "M", "X"] }
income = { type = "integer", role = "measure", range = [0, 100000] }
[tables.visits]
link = { column = "pid", to = "people.pid" }
rows_per_unit_max = 10
[tables.visits.columns]
pid      = { type = "integer", role = "unit" }
hospital = { type = "integer", role = "key", joins = ["hospitals.id"] }
cost     = { type = "decimal(10,2)", role = "measure", range = [0, 500], bins = [0, 50, 100, 500], filter = "range" }
[tables.hospitals]
public = true
key = "id"
[tables.hospitals.columns]
id    = { type = "integer", role = "key" }
level = { type = "text", role = "dimension" }
"""
)
CASES = """
[[case]]
name = "people by sex"
sql = "SELECT sex, COUNT(*) FROM people GROUP BY sex"
expect = "answer"
[[case]]
name = "no names"
sql = "SELECT name FROM people"
expect = "refuse"
code = "column_hidden"
"""
DOMAIN = """
[datasets.clinic]
engine = "duckdb"
tables = { people = "data/people.csv", visits = "data/visits.csv", hospitals = "data/hospitals.csv" }
snapshot = "1"
"""
LICENCE = """
licence = "L-{operator}"
operator = "{operator}"
datasets = ["clinic"]
purposes = ["research"]
valid = {{ from = 2020-01-01, until = {until} }}
budget = {{ clinic = {{ epsilon = {epsilon} }} }}
"""


def make_home(root: Path, *, policy: str = POLICY, cases: str = CASES) -> Home:
    """`op-a` may spend 6, `op-b` 6, `poor` almost nothing; the licence of `late` has ended."""
    home = init(root)
    folder = root / "policies" / "clinic"
    folder.mkdir()
    (folder / "policy.toml").write_text(policy, encoding="utf-8")
    (folder / "cases.toml").write_text(cases, encoding="utf-8")
    (root / "domain.toml").write_text(DOMAIN, encoding="utf-8")
    who = {"op-a": ("6", "2099-12-31"), "op-b": ("6", "2099-12-31"), "poor": ("0.05", "2099-12-31")}
    for operator, (epsilon, until) in {**who, "late": ("6", "2020-12-31")}.items():
        text = LICENCE.format(operator=operator, epsilon=epsilon, until=until)
        (root / "policies" / "licences" / f"{operator}.toml").write_text(text, encoding="utf-8")
    _write_data(root / "data")
    return open_home(home.root)


def _write_data(folder: Path) -> None:
    dice = random.Random(7)
    people = [[i, f"Secretname {i}", "FM"[i % 2], dice.randrange(20000, 90000)] for i in range(PEOPLE)]
    visits = [[i % PEOPLE, dice.randrange(5), f"{dice.uniform(1, 400):.2f}"] for i in range(3 * PEOPLE)]
    tables: dict[str, tuple[list[str], list[list[Any]]]] = {
        "people": (["pid", "name", "sex", "income"], people),
        "visits": (["pid", "hospital", "cost"], visits),
        "hospitals": (["id", "level"], [[i, ["county", "city"][i % 2]] for i in range(5)]),
    }
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as out:
            csv.writer(out).writerows([header, *rows])


@dataclass
class Served:
    """A running `bpk serve`."""

    home: Home
    process: subprocess.Popen[bytes]
    url: str
    client: httpx.Client
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)

    def token(self, subject: str, role: Role = "operator") -> str:
        key = (subject, role)
        if key not in self.tokens:
            self.tokens[key] = issue_token(self.home, subject, (role,), timedelta(hours=1))
        return self.tokens[key]

    def call(  # as a request has it
        self,
        method: str,
        route: str,
        body: Any = None,
        subject: str | None = "op-a",
        role: Role = "operator",
        **headers: str,
    ) -> httpx.Response:
        """`body` as bytes is sent as it is. Names of headers with `_` for `-`."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if subject is not None:
            given.setdefault("Authorization", f"Bearer {self.token(subject, role)}")
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.request(method, route, content=content, headers=given)

    def ask(self, sql: str, subject: str = "op-a", **more: Any) -> httpx.Response:
        return self.call("POST", "/v1/queries", {"sql": sql, "purpose": "research", **more}, subject)

    def records(self, **wanted: str) -> list[dict[str, Any]]:
        query = "&".join(f"{name}={value}" for name, value in {"limit": "1000", **wanted}.items())
        found: list[dict[str, Any]] = self.call("GET", f"/v1/audit/records?{query}", None, "aud", "auditor").json()[
            "records"
        ]
        return found

    def wait_until_ready(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.client.get("/readyz").status_code == 200:
                return
            time.sleep(0.05)
        raise AssertionError(self.client.get("/readyz").text + self.log())

    def log(self) -> str:
        return (self.home.root / "serve.log").read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def serving(home: Home, *, ready: bool = True) -> Iterator[Served]:
    """`home`, served on a free port for as long as the block lasts."""
    with (home.root / "serve.log").open("ab") as log:
        command = [sys.executable, "-m", "gateway", "serve", "--home", str(home.root), "--port", "0"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode().split()
        if len(line) < 2:
            raise AssertionError((home.root / "serve.log").read_text(encoding="utf-8"))
        with httpx.Client(base_url=line[1], timeout=60, trust_env=False) as client:
            served = Served(home, process, line[1], client)
            if ready:
                served.wait_until_ready()
            yield served
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
