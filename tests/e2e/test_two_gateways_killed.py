"""kill -9 of whole services: two gateways, their data domain, its workers and the database they share.

While several clients ask at both gateways, always at the edge of some operator's budget, and ask again under the same
key whenever a reply was lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.audit.verify import verify
from gateway.cli.tokens import issue_token
from tests import postgres_server
from tests.figures import Record, told
from tests.homes import Files, Licensed
from tests.second_verifier import sound
from tests.served_home import POLICY, clinic_files
from tests.two_gateways import GATEWAYS, TwoGateways, two_gateways, wait_until_ready
from tests.waiting import eventually

pytestmark = postgres_server.needed

KILLS = int(os.environ.get("BPK_SERVICE_KILLS", "20"))
SEED = os.environ.get("BPK_SEED", "7")
KINDS = (
    *[("worker",)] * 5,
    *[("postgres",)] * 5,
    *[("a",)] * 2,
    *[("b",)] * 2,
    *[("domain",)] * 2,
    ("a", "b"),
    ("a", "postgres"),
    ("b", "domain", "worker"),
    ("a", "b", "domain", "postgres"),
)
"""What is killed at the same moment: 20 of them, of which every kill is one."""
CLIENTS = 4
EACH_ROUND = 12
"""New questions between two kills, at most."""
OPERATORS_PER_ROUND = 2
ANSWERS = 9
"""What an operator's budget holds: epsilon three times that of a question."""
READY_S = 60.0
SETTLED_S = 60.0
QUESTION = "SELECT SUM(CASE WHEN sex = 'F' THEN {} ELSE 0 END) AS s FROM people"
AGAIN = ("broken off", "not_ready", "dataset_not_ready", "busy", "internal_error", "outcome_unknown")
"""What a client hears of a service that was killed, and asks again under the same key."""
WATCH = "watch"
"""The operator who looks whether questions are answered again."""


def clinic(rounds: int) -> Files:
    policy = POLICY.replace("epsilon_per_query = 0.1", "epsilon_per_query = 0.005")
    policy = policy.replace("[release]\n", "[release]\nconcurrent_max = 8\n")
    who = [Licensed(f"op-{number}", "0.015") for number in range(OPERATORS_PER_ROUND * rounds + CLIENTS)]
    worker = "[worker]\nthreads = 1\nwarm = 2\nmax = 4\n"
    return clinic_files(200, policy=policy, licences=(Licensed(WATCH, "8"), *who), worker=worker)


@dataclass(frozen=True, slots=True)
class Asked:
    operator: str
    number: int

    @property
    def key(self) -> str:
        return f"key-{self.number}"

    @property
    def body(self) -> dict[str, Any]:
        return {"sql": QUESTION.format(self.number), "purpose": "research", "wait_s": 3}


def lasting(body: dict[str, Any]) -> bytes:
    """All of an answer that is the same for ever: but for what is left now, and the newest checkpoint of the proof."""
    kept = {name: value for name, value in body.items() if name != "budget"}
    kept["receipt"] = {name: value for name, value in body["receipt"].items() if name not in ("proof", "checkpoint")}
    return json.dumps(kept, ensure_ascii=False).encode()


@dataclass
class Clients:
    """They go from one operator to the next one as its budget comes to its end."""

    deployment: TwoGateways
    dice: random.Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    tokens: dict[str, str] = field(default_factory=dict)
    answered: dict[Asked, bytes] = field(default_factory=dict)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[Asked, str] = field(default_factory=dict)
    """Of every query that somebody was told of after its charge."""
    open: set[Asked] = field(default_factory=set)
    """Whose end nobody knows yet."""
    said: Counter[str] = field(default_factory=Counter)
    exhausted: set[str] = field(default_factory=set)
    took: float = 0.1
    """Seconds, of the latest answer."""
    number: int = 0
    operator: int = 0
    allowed: int = 0
    asking: int = 0
    over: bool = False

    def token(self, operator: str, role: Any = "operator") -> str:
        with self.lock:
            if operator not in self.tokens:
                self.tokens[operator] = issue_token(self.deployment.home, operator, (role,), timedelta(hours=8))
            return self.tokens[operator]

    def post(self, client: httpx.Client, gateway: str, asked: Asked) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token(asked.operator)}", "Idempotency-Key": asked.key}
        return client.post(f"{self.deployment.address(gateway)}/v1/queries", json=asked.body, headers=headers)

    def new(self, operator: str | None = None) -> Asked | None:
        """A question that nobody has asked before, of the operator whose turn it is."""
        with self.lock:
            if operator is None:
                if self.allowed <= 0:
                    return None
                self.allowed -= 1
                self.asking += 1
            self.number += 1
            return Asked(operator or f"op-{self.operator}", self.number)

    def work(self) -> None:
        with httpx.Client(timeout=15, trust_env=False) as client:
            while not self.over:
                asked = self.new()
                if asked is None:
                    time.sleep(0.02)
                    continue
                try:
                    self.until_told(client, asked)
                finally:
                    with self.lock:
                        self.asking -= 1

    def until_told(self, client: httpx.Client, asked: Asked, tries: int = 300) -> None:
        """Under one key at either gateway, until there is an end; a query that still runs is left for later."""
        for _ in range(tries):
            with self.lock:
                gateway = self.dice.choice(GATEWAYS)
            begin = time.monotonic()
            try:
                word = self.note(asked, self.post(client, gateway, asked))
            except httpx.TransportError:
                word = "broken off"
            if word == "answered":
                self.took = time.monotonic() - begin
            self.said[word] += 1
            if word not in AGAIN or self.over:
                return
            time.sleep(0.15)
        raise AssertionError(f"{asked} came to no end\n{self.deployment.log()}")

    def note(self, asked: Asked, reply: httpx.Response) -> str:
        """What the reply says in a word; what it tells for ever is kept, and held against what was told before."""
        body = reply.json()
        word = str(body.get("status") if "id" in body and "rows" in body else body.get("code") or body["status"])
        with self.lock:
            if word == "budget_exhausted":
                self.exhausted.add(asked.operator)
                if asked.operator == f"op-{self.operator}":
                    self.operator += 1
            if word in ("answered", "query_failed", "running"):
                known = self.ids.setdefault(asked, body["id"])
                assert known == body["id"], "one key, two queries"
                self.open.add(asked)
            if word in ("answered", "query_failed"):
                self.open.discard(asked)
            if word == "answered":
                if asked not in self.answered:
                    self.receipts.append(body["receipt"])
                assert self.answered.setdefault(asked, lasting(body)) == lasting(body), "an answer has changed"
        return word


@dataclass
class Watch:
    deployment: TwoGateways
    clients: Clients
    dice: random.Random
    checkpoints: list[str] = field(default_factory=list)
    client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=60, trust_env=False))
    charged: int = 0
    slowest: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Seconds from a kill until both were ready, and until both had answered a new question; and what was killed."""

    def round(self, parts: Sequence[str]) -> None:
        clients = self.clients
        clients.allowed = EACH_ROUND
        wanted = clients.said.total() + self.dice.randrange(EACH_ROUND // 2)
        assert eventually(lambda: clients.said.total() >= wanted and clients.asking, 60), "nobody asks"
        time.sleep(self.dice.uniform(0.0, clients.took))  # wherever a question is just then, on any machine
        begin = time.monotonic()
        self.deployment.kill(parts, self.dice.choice)
        for part in sorted(parts, key=("postgres", "domain", "a", "b", "worker").index):
            self.deployment.start(part)
        wait_until_ready(self.deployment, self.client, READY_S)
        self.took("ready", begin, parts)
        self.answers_again()
        self.took("answers", begin, parts)
        assert eventually(lambda: clients.asking == 0, 60), "a client waits for ever"
        self.holds()

    def took(self, what: str, begin: float, parts: Sequence[str]) -> None:
        found = time.monotonic() - begin, " + ".join(parts)
        self.slowest[what] = max(self.slowest.get(what, (0.0, "")), found)

    def answers_again(self) -> None:
        """Both gateways answer a question that is new."""
        for gateway in GATEWAYS:
            for _ in range(200):
                asked = self.clients.new(WATCH)
                assert asked is not None
                word = self.clients.note(asked, self.clients.post(self.client, gateway, asked))
                if word == "answered":
                    break
                time.sleep(0.05)
            else:
                raise AssertionError(f"nothing is answered at {gateway}\n{self.deployment.log()}")

    def holds(self) -> None:
        """Everything that must be true of services that were killed."""
        self.nothing_is_overspent()
        self.nothing_that_was_told_is_gone()
        known = sorted(self.clients.answered, key=lambda each: each.number)
        self.answers_are_repeated(self.dice.sample(known, min(3, len(known))), len(GATEWAYS))
        lines, checkpoint = self.export()
        report = verify(lines, since=self.checkpoints[-3:], receipts=self.clients.receipts[-8:])
        assert report.ok, report.text()
        self.checkpoints.append(checkpoint)

    def nothing_is_overspent(self) -> None:
        scopes = self.deployment.rows(
            "SELECT s.id, s.cap_rho, s.charged_rho, coalesce((SELECT sum(rho) FROM charge WHERE scope = s.id), 0)"
            " FROM scope s"
        )
        assert all(charged <= cap and charged == booked for _, cap, charged, booked in scopes), scopes
        ((charged,),) = self.deployment.rows("SELECT sum(charged_rho) FROM scope WHERE operator IS NULL")
        assert charged >= self.charged, "spent fell"
        self.charged = charged
        ((spent,),) = domain_rows(self.deployment, "SELECT loss FROM spent")
        assert charged >= spent, "the data domain gave what nobody paid for"

    def nothing_that_was_told_is_gone(self) -> None:
        with self.clients.lock:  # before the database is asked
            ids, answered = dict(self.clients.ids), set(self.clients.answered)
            told_at = {receipt["index"] for receipt in self.clients.receipts}
        paid = {row[0] for row in self.deployment.rows("SELECT query FROM charge")}
        states = dict(self.deployment.rows("SELECT id, state FROM query"))
        kept = {row[0] for row in self.deployment.rows("SELECT seq FROM record WHERE kind = 'release'")}
        assert {query for query in ids.values() if query not in paid} == set(), "a charge that was told of is gone"
        lost = {query for asked, query in ids.items() if asked in answered and states[query] != "answered"}
        assert lost == set(), "an answer that was told of is gone"
        assert told_at <= kept, "a record that was told of is gone"

    def answers_are_repeated(self, chosen: Sequence[Asked], gateways: int = 1) -> None:
        """By their key, whichever gateway is asked, byte for byte."""
        for asked in chosen:
            for gateway in self.dice.sample(GATEWAYS, gateways):
                assert self.clients.note(asked, self.clients.post(self.client, gateway, asked)) == "answered"

    def export(self) -> tuple[list[bytes], str]:
        headers = {"Authorization": f"Bearer {self.clients.token('aud', 'auditor')}"}
        address = self.deployment.address(self.dice.choice(GATEWAYS))
        lines = self.client.get(f"{address}/v1/audit/export", headers=headers).content.splitlines(keepends=True)
        return lines, self.client.get(f"{address}/v1/audit/checkpoint", headers=headers).json()["checkpoint"]

    def the_books_balance(self) -> None:
        """At the end: every question has come to one, all answers are there, and caps were reached and not passed."""
        running = "SELECT id FROM query WHERE state = 'running'"
        assert eventually(lambda: not self.deployment.rows(running), SETTLED_S), "a query has no end"
        for asked in sorted(self.clients.open, key=lambda each: each.number):
            self.clients.until_told(self.client, asked)
        assert not self.clients.open
        self.answers_are_repeated(list(self.clients.answered))
        twice = "SELECT key FROM query WHERE reused = 0 GROUP BY operator, key HAVING count(*) > 1"
        assert self.deployment.rows(twice) == []
        self.every_cap_was_reached()
        receipts = self.dice.sample(self.clients.receipts, min(40, len(self.clients.receipts)))
        lines, _ = self.export()
        report = verify(lines, since=self.checkpoints, receipts=receipts)
        assert report.ok, report.text()
        assert sound(lines, since=self.checkpoints[-20:], receipts=receipts)

    def every_cap_was_reached(self) -> None:
        ((each,),) = self.deployment.rows("SELECT DISTINCT rho FROM charge")
        left = dict(
            self.deployment.rows("SELECT operator, cap_rho - charged_rho FROM scope WHERE operator IS NOT NULL")
        )
        assert self.clients.exhausted, "nobody came to the end of a budget"
        assert all(0 <= left[operator] < each for operator in self.clients.exhausted), "refused too early"


def domain_rows(deployment: TwoGateways, sql: str) -> list[tuple[Any, ...]]:
    import sqlite3

    file = deployment.folder / "domain" / "state" / "domain" / "domain.sqlite"
    with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
        return connection.execute(sql).fetchall()


@contextlib.contextmanager
def watched(folder: Path, rounds: int, seed: str, program: Sequence[str] = ("gateway",)) -> Iterator[Watch]:
    dice = random.Random(seed)
    with two_gateways(folder, clinic(rounds), program) as deployment:
        clients = Clients(deployment, random.Random(f"{seed} of the clients"))
        threads = [threading.Thread(target=clients.work, daemon=True) for _ in range(CLIENTS)]
        for part in ("domain", *GATEWAYS):
            deployment.start(part)
        watch = Watch(deployment, clients, dice)
        wait_until_ready(deployment, watch.client, READY_S)
        watch.answers_again()
        for thread in threads:
            thread.start()
        try:
            yield watch
        finally:
            clients.over = True
            for thread in threads:
                thread.join(30)
            watch.client.close()


def schedule(dice: random.Random, count: int) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    while len(found) < count:
        found += dice.sample(KINDS, len(KINDS))
    return found[:count]


@pytest.mark.timeout(3600)
def test_two_gateways_that_are_killed_with_all_they_need_lose_nothing(tmp_path: Path, record_property: Record) -> None:
    with watched(tmp_path, KILLS, SEED) as watch:
        for number, parts in enumerate(schedule(watch.dice, KILLS)):
            try:
                watch.round(parts)
            except BaseException as error:
                error.add_note(f"schedule {number} of seed {SEED}: {parts}")
                raise
        watch.the_books_balance()
    clients, slowest = watch.clients, f"{watch.slowest['answers'][0]:.1f} s"
    print(f"{len(clients.answered)} answers, said {dict(clients.said)}, slowest {watch.slowest}")
    wrong = {"overspent": 0, "lost": 0, "without an end": 0}
    told(record_property, f"kill -9 of two whole gateways, answers again within {slowest}", KILLS, wrong, SEED)


def lose_the_database(watch: Watch) -> None:
    """Kills it while charges are told of, until one of them is gone."""
    for _ in range(5):
        known = len(watch.clients.ids)
        watch.clients.allowed = EACH_ROUND
        assert eventually(lambda known=known: len(watch.clients.ids) >= known + 4, 30), "nobody is charged"
        watch.deployment.kill(("postgres",), watch.dice.choice)
        watch.deployment.start("postgres")
        watch.nothing_that_was_told_is_gone()


def test_gateways_that_tell_of_commits_that_may_still_be_lost_are_noticed(tmp_path: Path) -> None:
    with watched(tmp_path, KILLS, "planted", ("tests.planted_gateway",)) as watch:
        watch.deployment.database.set("wal_writer_delay", "10s")  # as long as they may be lost
        with pytest.raises(AssertionError, match="is gone"):
            lose_the_database(watch)
