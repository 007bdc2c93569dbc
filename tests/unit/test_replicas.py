"""Two gateways on one ledger: it does not matter which of them is asked."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.verify import verify
from gateway.home import Home, open_home
from policies.types import BIGINT
from sandbox.protocol import OutputColumn, Prepared, Price, Question, Released, Ticket
from tests.gateway_world import COUNT, GatewayWorld, ScriptedDomain, gateway_world
from tests.postgres_server import Server, needed
from tests.served_home import make_home
from tests.waiting import eventually

pytestmark = needed
BODY = {"sql": COUNT, "purpose": "research", "wait_s": 20}


@dataclass
class Shared:
    """The one data domain, as both gateways see it."""

    runs: list[Ticket] = field(default_factory=list)
    stored: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)


class SharedDomain(ScriptedDomain):
    shared: Shared

    def prepare(self, question: Question, *, reserve: bool, **_: object) -> Prepared:
        found = self.shared.stored.get(question.plan_digest)
        price, known = Price(question.epsilon, 0, 1_000_000), None if found is None else "ab" * 32
        return Prepared(question.plan_digest, price, (), (), (), (), "0" * 64, found, known, None, (), "this run")

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        self.shared.runs.append(ticket)
        assert self.shared.gate.wait(30)
        self.shared.stored[question.plan_digest] = f"rel_{len(self.shared.runs)}"
        return self.fetch(self.shared.stored[question.plan_digest], question)

    def fetch(self, release: str, question: Question) -> Released:
        columns = (OutputColumn("n", BIGINT, "noisy"),)
        price = Price(question.epsilon, 0, 1_000_000)
        return Released(release, "ab" * 32, price, columns, ((1505,),), ((None,),), (((),),))

    def cancel(self, ticket: str) -> None:
        self.shared.cancelled.append(ticket)
        self.shared.gate.set()


@pytest.fixture
def shared() -> Shared:
    return Shared()


@pytest.fixture
def pair(tmp_path: Path, postgres: Server, shared: Shared) -> Iterator[tuple[GatewayWorld, GatewayWorld]]:
    first = make_home(tmp_path / "a").root
    with (first / "gateway.toml").open("a") as settings:
        settings.write(f'\n[store]\nurl = "{postgres.database()}"\n')
    shutil.copytree(first, tmp_path / "b")

    def domain(home: Home) -> SharedDomain:
        found = SharedDomain(home)
        found.shared = shared
        return found

    with (
        gateway_world(first, home=open_home(first), kind=domain) as one,
        gateway_world(tmp_path / "b", home=open_home(tmp_path / "b"), kind=domain) as other,
    ):
        yield one, other
        shared.gate.set()


def begin(world: GatewayWorld, replies: list[Any], **more: str) -> threading.Thread:
    thread = threading.Thread(target=lambda: replies.append(world.call("POST", "/v1/queries", BODY, **more)))
    thread.start()
    return thread


def test_the_same_key_at_another_gateway_waits_for_the_one_answer(
    pair: tuple[GatewayWorld, GatewayWorld], shared: Shared
) -> None:
    one, other = pair
    replies: list[Any] = []
    first = begin(one, replies, Idempotency_Key="once")
    assert eventually(lambda: len(shared.runs) == 1, 20)
    second = begin(other, replies, Idempotency_Key="once")
    running = other.call("GET", f"/v1/queries/{shared.runs[0].query}").json()
    assert running["status"] == "running"
    shared.gate.set()
    first.join()
    second.join()
    bodies = [reply.json() for reply in replies]
    assert [body["rows"] for body in bodies] == [[[1505]]] * 2
    assert bodies[0]["id"] == bodies[1]["id"]
    assert len(shared.runs) == 1
    assert other.call("GET", f"/v1/queries/{bodies[0]['id']}").json()["rows"] == [[1505]]


def test_a_stored_answer_is_reused_by_the_other_gateway_and_costs_nothing(
    pair: tuple[GatewayWorld, GatewayWorld], shared: Shared
) -> None:
    one, other = pair
    shared.gate.set()
    first = one.call("POST", "/v1/queries", BODY).json()
    again = other.call("POST", "/v1/queries", BODY).json()
    assert (again["reused"], again["rows"]) == (True, first["rows"])
    assert one.call("GET", "/v1/budgets").json() == other.call("GET", "/v1/budgets").json()
    assert len(one.call("GET", "/v1/queries").json()["queries"]) == 2


def test_a_query_is_cancelled_wherever_its_operator_asks_for_it(
    pair: tuple[GatewayWorld, GatewayWorld], shared: Shared
) -> None:
    one, other = pair
    replies: list[Any] = []
    asking = begin(one, replies)
    assert eventually(lambda: len(shared.runs) == 1, 20)
    query = shared.runs[0].query
    assert other.call("DELETE", f"/v1/queries/{query}").json()["status"] == "cancelled"
    assert shared.cancelled == [shared.runs[0].id]
    asking.join()
    assert replies[0].json()["status"] == "cancelled"
    assert one.call("GET", f"/v1/queries/{query}").json()["status"] == "cancelled"


def test_one_log_tells_of_both(pair: tuple[GatewayWorld, GatewayWorld], shared: Shared) -> None:
    one, other = pair
    shared.gate.set()
    for number in range(6):
        world = pair[number % 2]
        world.call("POST", "/v1/queries", {**BODY, "sql": f"{COUNT} WHERE income > {number}"})
    receipts = [world.outcomes.log.receipt(3) for world in pair]
    assert receipts[0]["leaf_hash"] == receipts[1]["leaf_hash"]
    report = verify(one.export(), since=[other.outcomes.log.checkpoint()], receipts=receipts)
    assert report.ok, report.text()
