"""A small home, really served: gateway and data domain as processes, asked over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from gateway.cli.tokens import issue_token
from gateway.home import Home
from gateway.identity.roles import Role
from tests.homes import Files, Licensed, Table, make
from tests.policy_head import head
from tests.served_process import serve_command

POLICY = (
    head(count_max=100_000, count_about=400, each="0.1", each_max=2, groups_max=4).replace(
        '["dp"]', '["dp", "aggregate", "open"]'
    )
    + """
[release.aggregate]
units_min = 10
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
EXACT = (
    POLICY[: POLICY.index("[release.dp]")].replace('["dp", "aggregate", "open"]', '["aggregate"]')
    + (POLICY[POLICY.index("[release.aggregate]") :])
)
"""The same, without noise."""
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


def clinic_files(
    people: int = 400, *, policy: str = POLICY, cases: str = CASES, licences: Sequence[Licensed], worker: str = ""
) -> Files:
    """The clinic of POLICY with so many people, none of whom anybody may see."""
    dice = random.Random(7)
    tables: dict[str, Table] = {
        "people": (
            ["pid", "name", "sex", "income"],
            [[i, f"Secretname {i}", "FM"[i % 2], dice.randrange(20000, 90000)] for i in range(people)],
        ),
        "visits": (
            ["pid", "hospital", "cost"],
            [[i % people, dice.randrange(5), f"{dice.uniform(1, 400):.2f}"] for i in range(3 * people)],
        ),
        "hospitals": (["id", "level"], [[i, ["county", "city"][i % 2]] for i in range(5)]),
    }
    return Files({"clinic": policy}, {"clinic": cases}, {"clinic": tables}, licences, worker)


def make_home(root: Path, *, policy: str = POLICY, cases: str = CASES) -> Home:
    """`op-a` may spend 6, `op-b` 6, `poor` almost nothing; the licence of `late` has ended."""
    who = (Licensed("op-a", "6"), Licensed("op-b", "6"), Licensed("poor", "0.05"), Licensed("late", "6", "2020-12-31"))
    return make(root, clinic_files(policy=policy, cases=cases, licences=who))


def small() -> Files:
    """A clinic that starts quickly and takes thousands of cheap questions."""
    cheap = POLICY.replace("epsilon_per_query = 0.1", "epsilon_per_query = 0.005")
    cheap = cheap.replace("[release]\n", "[release]\nconcurrent_max = 4\n")
    worker = "[worker]\nthreads = 1\nwarm = 2\nmax = 4\n"
    return clinic_files(200, policy=cheap, licences=(Licensed("op-a", "8"), Licensed("op-b", "8")), worker=worker)


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
        command = serve_command(home.root)
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
