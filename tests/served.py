"""Homes under attack: two that differ in their private data alone, and one whose processes are killed."""

from __future__ import annotations

import contextlib
import csv
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.home import Home, init, open_home
from tests.served_home import POLICY
from tests.sql_world import CLINIC, SCHOOL

SECRETS = ("Geheimfrau", "geheimleiden", "87654321", "7654321.09", "1923-07-19")
"""A name, a diagnosis and values that only private rows hold. None of them is part of a policy."""
OPERATORS = ("op-a", "op-b")
_LICENCE = """
licence = "L-{operator}"
operator = "{operator}"
datasets = ["clinic"]
purposes = ["research"]
valid = {{ from = 2020-01-01, until = 2099-12-31 }}
budget = {{ clinic = {{ epsilon = {epsilon} }} }}
"""
_CASES = """
[[case]]
name = "a count"
sql = "{sql}"
expect = "answer"
[[case]]
name = "no statement but one that asks"
sql = "DROP TABLE people"
expect = "refuse"
"""
_PEOPLE = ("pid", "name", "sex", "age", "收入", "income", "weight", "birth_date", "diagnosis", "active")
Rows = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Files:
    """What a home is made of: policies and CSV tables by dataset."""

    policies: Mapping[str, str]
    tables: Mapping[str, Mapping[str, tuple[Sequence[str], Rows]]]
    cases: Mapping[str, str]
    """dataset -> a statement that it answers; another one that it refuses is made up."""
    epsilon: str = "8"
    worker: str = ""


def make(root: Path, files: Files) -> Home:
    """A home at `root`, ready to be served; every one of OPERATORS may ask its clinic."""
    init(root)
    domain = files.worker
    for dataset, policy in files.policies.items():
        folder = root / "policies" / dataset
        folder.mkdir()
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
        (folder / "cases.toml").write_text(_CASES.format(sql=files.cases[dataset]), encoding="utf-8")
        named = ", ".join(f'{name} = "data/{dataset}-{name}.csv"' for name in files.tables[dataset])
        domain += f'[datasets.{dataset}]\nengine = "duckdb"\nsnapshot = "1"\ntables = {{ {named} }}\n'
        for name, (header, rows) in files.tables[dataset].items():
            with (root / "data" / f"{dataset}-{name}.csv").open("w", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([header, *rows])
    (root / "domain.toml").write_text(domain, encoding="utf-8")
    for operator in OPERATORS:
        text = _LICENCE.format(operator=operator, epsilon=files.epsilon)
        (root / "policies" / "licences" / f"{operator}.toml").write_text(text, encoding="utf-8")
    return open_home(root)


def twin(*, poisoned: bool) -> Files:
    """The clinic that the corpus of hostile statements is written for, and a school that nobody is licensed for.

    The poisoned one has a person less, other values, the SECRETS, and rows on which careless casts, divisions and
    date arithmetic would raise.
    """
    dice = random.Random(1 if poisoned else 2)
    count = 300 if poisoned else 301
    people: Rows = [
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
    if poisoned:
        name, illness, whole, amount, day = SECRETS
        people[:6] = [
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
    pupils: Rows = [[i, 1 + dice.randrange(12)] for i in range(count)]
    tables: dict[str, dict[str, tuple[Sequence[str], Rows]]] = {
        "clinic": {
            "people": (
                ["pid", "name", "sex", "age", "收入", "income", "weight", "birth_date", "diagnosis", "active"],
                people,
            ),
            "visits": (["pid", "visit_id", "hospital", "kind", "cost", "visit_date", "seen_at"], visits),
            "items": (["visit_id", "price", "hospital"], items),
            "hospitals": (["id", "level", "region"], hospitals),
            "regions": (["code", "title"], regions),
        },
        "school": {
            "pupils": (("id", "grade"), pupils),
            "people": (("id", "age"), [[row[0], dice.randrange(100)] for row in pupils]),
        },
    }
    policies = {"clinic": CLINIC, "school": SCHOOL}
    return Files(policies, tables, {"clinic": "SELECT COUNT(*) FROM people", "school": "SELECT COUNT(*) FROM pupils"})


def small(count: int = 200) -> Files:
    """A clinic that starts quickly and takes thousands of cheap questions."""
    policy = POLICY.replace("epsilon_per_query = 0.1", "epsilon_per_query = 0.005")
    people: Rows = [[i, f"{SECRETS[0]} {i}", "FM"[i % 2], 20_000 + i] for i in range(count)]
    visits: Rows = [[i % count, i % 5, "10.00"] for i in range(count)]
    hospitals: Rows = [[i, ["county", "city"][i % 2]] for i in range(5)]
    tables: Mapping[str, tuple[Sequence[str], Rows]] = {
        "people": (("pid", "name", "sex", "income"), people),
        "visits": (("pid", "hospital", "cost"), visits),
        "hospitals": (("id", "level"), hospitals),
    }
    worker = "[worker]\nthreads = 1\nwarm = 2\nmax = 4\n"
    return Files({"clinic": policy}, {"clinic": tables}, {"clinic": "SELECT COUNT(*) FROM people"}, worker=worker)


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc has it; `born` tells it from a later one of the same number."""

    pid: int
    parent: int
    born: int
    command: str

    @property
    def alive(self) -> bool:
        found = _process(self.pid)
        return found is not None and found.born == self.born


def _process(pid: int) -> Process | None:
    """None for one that is gone, or dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), int(fields[19]), command)


def processes() -> list[Process]:
    found = (_process(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [each for each in found if each is not None]


def below(root: int, among: Sequence[Process]) -> list[Process]:
    """Children of `root`, their children and so on."""
    children = [each for each in among if each.parent == root]
    return children + [each for child in children for each in below(child.pid, among)]


def eventually(holds: Callable[[], object], seconds: float) -> bool:
    """Whether something comes true within so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@dataclass
class Deployment:
    """A served home whose processes are known by what they are, and that may be started again and again."""

    home: Home
    port: int
    gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns at once; the port is bound later."""
        command = [sys.executable, "-m", "gateway", "serve", "--home", str(self.home.root), "--port", str(self.port)]
        with (self.home.root / "serve.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )

    def tree(self) -> list[Process]:
        """All processes of the home that stand below the gateway, and the gateway."""
        if self.gateway is None:
            return []
        among = processes()
        return [each for each in among if each.pid == self.gateway.pid] + below(self.gateway.pid, among)

    def of(self, kind: str) -> list[Process]:
        """`gateway`, `service` (of the data domain), `zygote` or `worker`."""
        tree = self.tree()
        zygotes = [each for each in tree if "sandbox.zygote" in each.command]
        workers = [each for each in zygotes if any(each.parent == other.pid for other in zygotes)]
        found = {
            "gateway": [each for each in tree if " gateway serve " in each.command],
            "service": [each for each in tree if " sandbox serve " in each.command],
            "zygote": [each for each in zygotes if each not in workers],
            "worker": workers,
        }
        return found[kind]

    def strays(self) -> list[Process]:
        """Processes that name the home and do not stand below the gateway."""
        own = {each.pid for each in self.tree()}
        return [each for each in processes() if str(self.home.root) in each.command and each.pid not in own]

    def log(self) -> str:
        return (self.home.root / "serve.log").read_text(encoding="utf-8", errors="replace")

    def rows(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """Of `gateway/ledger` or `domain/domain`, read beside the running service."""
        file = self.home.root / "state" / f"{database}.sqlite"
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def stop(self) -> None:
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.send_signal(signal.SIGTERM)
            self.gateway.wait(30)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
