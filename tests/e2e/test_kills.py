"""kill -9 of every process at random moments under load: nothing is lost, nothing paid twice, nobody left over."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.audit.verify import verify
from gateway.cli.tokens import issue_token
from gateway.domain_door import open_domain
from sandbox import codec
from sandbox.protocol import Question, Ticket
from tests.deployment import Deployment, Process, below, free_port
from tests.homes import make
from tests.served_home import small
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and workers behind walls")

LONG = bool(os.environ.get("BPK_LONG"))
SCHEDULE = {
    ("worker", "worker"): 10,
    ("zygote",): 10,
    ("service",): 6,
    ("gateway",): 6,
    ("gateway", "service"): 4,
}
"""What is killed at the same moment, and how often: 50 kills in a round."""
ROUNDS = 4 if LONG else 1
BACK_S = 5.0
CLIENTS = 3
QUESTION = "SELECT SUM(CASE WHEN sex = 'F' THEN {} ELSE 0 END) AS s FROM people"


@dataclass(frozen=True, slots=True)
class Known:
    """An answer that a client holds in its hands."""

    key: str
    number: int
    id: str
    rows: list[list[Any]]


@dataclass
class Stream:
    """Clients that ask one new question after the other, whatever happens to the service."""

    url: str
    token: str
    known: list[Known] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10**9)))
    lock: threading.Lock = field(default_factory=threading.Lock)
    going: threading.Event = field(default_factory=threading.Event)
    over: bool = False
    asking: int = 0

    def body(self, number: int) -> dict[str, Any]:
        return {"sql": QUESTION.format(number), "purpose": "research", "wait_s": 10}

    def ask(self, client: httpx.Client, number: int, key: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}", "Idempotency-Key": key}
        return client.post("/v1/queries", json=self.body(number), headers=headers)

    def work(self) -> None:
        with httpx.Client(base_url=self.url, timeout=15, trust_env=False) as client:
            while not self.over:
                if not self.going.wait(0.2):
                    continue
                with self.lock:
                    number = next(self.numbers)
                    self.asking += 1
                try:
                    self.note(self.ask(client, number, f"key-{number}"), number)
                except httpx.TransportError:
                    self.said["broken off"] += 1
                    time.sleep(0.1)
                finally:
                    with self.lock:
                        self.asking -= 1
                time.sleep(0.02)

    def note(self, reply: httpx.Response, number: int) -> None:
        body = reply.json()
        self.said[str(body.get("code") or body["status"])] += 1
        if body["status"] == "answered":
            with self.lock:
                self.known.append(Known(f"key-{number}", number, body["id"], body["rows"]))

    def pause(self) -> None:
        self.going.clear()
        assert eventually(lambda: self.asking == 0, 20), "a client waits for ever"


@dataclass
class Watch:
    """Holds the service, after every kill, to what it has promised."""

    deployment: Deployment
    stream: Stream
    auditor: str
    dice: random.Random
    spent: tuple[int, int] = (0, 0)
    checkpoint: tuple[str, ...] = ()
    doors: set[Path] = field(default_factory=set)
    kills: int = 0
    recoveries: dict[str, list[float]] = field(default_factory=dict)

    def kill(self, kinds: tuple[str, ...]) -> None:
        self.wait_for_workers(kinds.count("worker"))
        before = self.deployment.tree()
        victims = []
        for kind in kinds:
            left = [each for each in self.deployment.of(kind) if each not in victims]
            assert left or kind == "worker", f"no {kind} is there"
            victims += [self.dice.choice(left)] if left else []
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):  # a worker may have ended with its job
                os.kill(victim.pid, signal.SIGKILL)
                self.kills += 1
        begin = time.monotonic()
        if "gateway" in kinds:
            assert self.deployment.gateway is not None
            self.deployment.gateway.wait()
            self.deployment.start()
        self.answers_again(" and ".join(sorted(set(kinds))), begin)
        self.stream.pause()
        self.nobody_is_left({process for victim in victims for process in [victim, *below(victim.pid, before)]})

    def wait_for_workers(self, number: int) -> None:
        """A pool that has just given its workers away starts the next ones: without them there is nothing to kill."""
        give_up = time.monotonic() + BACK_S
        while len(self.deployment.of("worker")) < number and time.monotonic() < give_up:
            time.sleep(0.01)

    def answers_again(self, kind: str, begin: float) -> None:
        """A fresh question is answered: the whole way works, not only the door."""
        with httpx.Client(base_url=self.stream.url, timeout=10, trust_env=False) as client:
            while True:
                with self.stream.lock:
                    number = next(self.stream.numbers)
                with contextlib.suppress(httpx.TransportError):
                    reply = self.stream.ask(client, number, f"key-{number}")
                    self.stream.note(reply, number)
                    if reply.json()["status"] == "answered":
                        break
                took = time.monotonic() - begin
                assert took < 4 * BACK_S, (
                    f"after the kill of the {kind} nothing is answered\n{self.deployment.log()[-3000:]}"
                )
                time.sleep(0.05)
        self.recoveries.setdefault(kind, []).append(time.monotonic() - begin)

    def nobody_is_left(self, doomed: set[Process]) -> None:
        """Neither the killed nor what stood below it, nor anybody else who names the home; and nothing is spilled."""
        assert eventually(lambda: not any(each.alive for each in doomed), 5), [e for e in doomed if e.alive]
        assert eventually(lambda: not self.deployment.strays(), 5), self.deployment.strays()
        assert eventually(self.spill_is_clean, 5), self.spill()

    def spill(self) -> list[Path]:
        return list((self.deployment.home.root / "state/domain/spill").glob("pool-*/*"))

    def spill_is_clean(self) -> bool:
        """One pool's folder, and in it no more than a folder for each worker that lives."""
        folders = [path for path in self.spill() if path.is_dir()]
        pools = {path.parent for path in self.spill()}
        return len(pools) <= 1 and len(folders) <= len(self.deployment.of("worker"))

    def holds(self) -> None:
        """Everything that must be true of a service that was killed, with no question under way."""
        self.only_one_door_is_there()
        self.spending_has_not_fallen()
        self.answers_are_the_same()
        self.log_verifies()
        self.replayed_tickets_buy_nothing()

    def only_one_door_is_there(self) -> None:
        """What a killed gateway leaves of its socket, the next one removes."""
        door = Path(json.loads(self.deployment.home.address_file.read_text())["door"])
        self.doors.add(door)
        assert [each for each in self.doors if each.parent.exists()] == [door]

    def spending_has_not_fallen(self) -> None:
        ((domain,),) = self.deployment.rows("domain/domain", "SELECT loss FROM spent")
        ((gateway,),) = self.deployment.rows("gateway/ledger", "SELECT charged_rho FROM scope WHERE operator IS NULL")
        assert (gateway, domain) >= self.spent, "spent fell"
        assert domain >= self.spent[1], "spent fell"
        assert gateway >= domain, "the data domain gave what nobody paid for"
        self.spent = (gateway, domain)

    def answers_are_the_same(self, count: int = 5) -> None:
        with self.stream.lock:
            chosen = self.stream.known[-1:] + self.dice.sample(self.stream.known, min(count, len(self.stream.known)))
        with httpx.Client(base_url=self.stream.url, timeout=10, trust_env=False) as client:
            for known in chosen:
                headers = {"Authorization": f"Bearer {self.stream.token}"}
                by_id = client.get(f"/v1/queries/{known.id}", headers=headers).json()
                by_key = self.stream.ask(client, known.number, known.key).json()
                assert by_id["rows"] == by_key["rows"] == known.rows
                assert by_key["id"] == known.id

    def log_verifies(self) -> None:
        headers = {"Authorization": f"Bearer {self.auditor}"}
        with httpx.Client(base_url=self.stream.url, timeout=30, trust_env=False, headers=headers) as client:
            lines = client.get("/v1/audit/export").content.splitlines(keepends=True)
            checkpoint = client.get("/v1/audit/checkpoint").json()["checkpoint"]
        found = verify(lines, since=self.checkpoint)
        assert found.ok, found.text()
        self.checkpoint = (*self.checkpoint[-3:], checkpoint)

    def replayed_tickets_buy_nothing(self) -> None:
        """Even with the gateway's own key: an old id, freshly signed, is answered as before and booked never again."""
        tickets = self.deployment.rows("domain/domain", "SELECT id, state, release FROM ticket")
        rows = self.deployment.rows("gateway/ledger", "SELECT id, release, question FROM query WHERE NOT reused")
        questions = {release: (query, question) for query, release, question in rows if release is not None}
        other = next(iter(questions.values()))
        door = Path(json.loads(self.deployment.home.address_file.read_text())["door"])
        domain = open_domain(self.deployment.home, door)
        before = self.counts()
        states = set()
        for ticket, state, release in self.dice.sample(tickets, min(4, len(tickets))):
            query, text = questions.get(release, other)
            question = codec.loads(text.encode(), Question)
            prepared = domain.prepare(question, reserve=False)
            now = time.time_ns() // 1_000_000
            forged = Ticket(
                id=ticket,
                query=query,
                dataset=question.dataset,
                plan_digest=prepared.plan_digest,
                policy_digest=question.policy_digest,
                snapshot=prepared.snapshot,
                mode=question.mode,
                price=prepared.price,
                audience=prepared.audience,
                issued=now,
                expires=now + 60_000,
            )
            released = domain.run(forged, question, prepared)
            if release in questions:
                assert released is not None
                assert released.release == release
            else:  # it failed, or its release never reached the gateway: another question gets nothing out of it
                assert released is None
            states.add(state)
        domain.close()
        assert self.counts() == before

    def counts(self) -> list[tuple[Any, ...]]:
        sql = "SELECT (SELECT loss FROM spent), (SELECT count(*) FROM ticket), (SELECT count(*) FROM release)"
        return self.deployment.rows("domain/domain", sql)

    def the_books_balance(self) -> None:
        """At the end: a key was charged at most once, and every answer that a client holds is in the ledger."""
        twice = "SELECT key FROM query WHERE NOT reused GROUP BY operator, key HAVING count(*) > 1"
        assert self.deployment.rows("gateway/ledger", twice) == []
        kept = dict(self.deployment.rows("gateway/ledger", "SELECT id, state FROM query"))
        assert all(kept[known.id] == "answered" for known in self.stream.known)
        assert "running" not in kept.values()


@contextlib.contextmanager
def watched(root: Path, seed: int) -> Iterator[Watch]:
    home = make(root, small())
    deployment = Deployment(home, free_port())
    tokens = [
        issue_token(home, name, (role,), timedelta(hours=2))
        for name, role in (("op-a", "operator"), ("aud", "auditor"))
    ]
    stream = Stream(deployment.url, tokens[0])
    clients = [threading.Thread(target=stream.work, daemon=True) for _ in range(CLIENTS)]
    try:
        deployment.start()
        watch = Watch(deployment, stream, tokens[1], random.Random(seed))
        watch.answers_again("start", time.monotonic())
        for client in clients:
            client.start()
        yield watch
    finally:
        stream.over = True
        for client in clients:
            if client.is_alive():
                client.join(20)
        deployment.stop()


def schedule(dice: random.Random) -> list[tuple[str, ...]]:
    kinds = [together for together, times in SCHEDULE.items() for _ in range(times)]
    dice.shuffle(kinds)
    return kinds


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_whatever_is_killed_nothing_is_lost_and_it_answers_again(tmp_path: Path, seed: int) -> None:
    with watched(tmp_path / "home", seed) as watch:
        for together in schedule(watch.dice):
            watch.stream.going.set()
            time.sleep(watch.dice.uniform(0.0, 0.25))
            watch.kill(together)
            watch.holds()
        watch.the_books_balance()
        slow = {kind: round(max(took), 2) for kind, took in watch.recoveries.items()}
        print(f"{watch.kills} kills; slowest return in seconds: {slow}; said: {dict(watch.stream.said)}")
        assert watch.kills >= 45
        assert max(slow.values()) < max(BACK_S, 2 * slow["start"]), (
            slow
        )  # the second on a machine that is busy otherwise
        assert len(watch.stream.known) > watch.kills


def test_a_gateway_that_is_killed_at_its_start_leaves_nobody_behind(tmp_path: Path) -> None:
    """The service is still loading its own code then, and must look for its parent all the same."""
    deployment = Deployment(make(tmp_path / "home", small()), free_port())
    deployment.start()
    assert deployment.gateway is not None
    assert eventually(lambda: deployment.of("service"), 20)
    os.killpg(deployment.gateway.pid, signal.SIGKILL)
    deployment.gateway.wait()
    assert deployment.strays()
    assert eventually(lambda: not deployment.strays(), 10), deployment.strays()
