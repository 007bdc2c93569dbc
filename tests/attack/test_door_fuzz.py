"""A hostile gateway at the data domain's door: whatever it sends is a good record, a refusal or HTTP 400.

`BPK_SEED` and `BPK_FUZZ` choose where the cases begin and how many there are.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import random
from collections.abc import Coroutine, Iterator
from decimal import Decimal
from typing import Any

import pytest
from starlette.types import ASGIApp

from policies.types import BIGINT
from sandbox import codec
from sandbox.door import Door
from sandbox.protocol import (
    Accuracy,
    Cancel,
    Cancelled,
    Failed,
    Fetch,
    Prepare,
    Prepared,
    Price,
    Question,
    Refused,
    Released,
    Run,
    Ticket,
)
from sandbox.relational.expressions import Call, Column, Expression, Literal
from sandbox.relational.facts import Refuse, Schema
from sandbox.relational.nodes import Filter, Limit, Measure, Output, Relation, Release, Scan, Sort
from sandbox.service import application
from tests import mangled
from tests.builders import policy_text
from tests.domain_world import DomainWorld, domain_world
from tests.questions import random_release

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")
SEED = int(os.environ.get("BPK_SEED", "1"))
CASES = int(os.environ.get("BPK_FUZZ", "250"))
EXACT = (
    policy_text()
    .replace('modes = ["dp"]', 'modes = ["dp", "aggregate", "open"]')
    .replace("[tables.people]", "[release.aggregate]\nunits_min = 10\n[tables.people]", 1)
)
REPLIES: dict[str, tuple[type, ...]] = {
    "/v1/prepare": (Prepared, Refused),
    "/v1/run": (Released, Failed, Refused),
    "/v1/fetch": (Released, Refused),
    "/v1/cancel": (Cancelled,),
}


class Fuzzed:
    """The door, its store, and how many workers were asked for anything."""

    def __init__(self, world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        self.app = application(world.door)
        self.taken = 0
        real = world.pool.take

        def take(*given: Any) -> Any:
            self.taken += 1
            return real(*given)

        monkeypatch.setattr(world.pool, "take", take)
        served = world.door._datasets.find("clinic")
        assert served is not None
        self.schema: Schema = served.schema
        released = world.run(world.question(keys=(Column("0.sex"),), epsilon="0.1"))
        assert isinstance(released, Released)
        self.release = released.release
        self.taken = 0

    def state(self) -> str:
        """All that is kept, in one number."""
        with self.world.store.reading() as connection:
            names = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
            rows = {name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"'))) for name in names}
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    def question(self, dice: random.Random) -> Question:
        """A good one, or one that an honest gateway might come to ask: as a rule it is refused in words."""
        while True:
            try:
                release = random_release(dice, self.schema)
            except (Refuse, IndexError):
                continue
            plan: Relation = release
            if dice.random() < 0.3:
                plan = Limit(Sort(plan, ((Column("m0"), True, False),)), dice.choice([1, 5, None]), 0)
            if dice.random() < 0.2:
                plan = Filter(plan, ())
            names = [*(f"k{i}" for i in range(len(release.keys))), *(f"m{i}" for i in range(len(release.measures)))]
            output = Output(plan, tuple((name, Column(name)) for name in names))
            mode = dice.choice(["dp", "dp", "dp", "aggregate", "open"])
            epsilon = 0 if mode != "dp" else dice.choice([10**11, 10**12])
            return Question("clinic", self.world.policy.digest, mode, epsilon, output)

    def request(self, dice: random.Random) -> tuple[str, Any]:
        """A good request of a random route."""
        question = self.question(dice)
        kind = dice.randrange(10)
        if kind < 5:
            wanted = Accuracy(None, Decimal("0.5"), Decimal("0.5")) if dice.random() < 0.3 else None
            return "/v1/prepare", Prepare(question, reserve=False, accuracy=wanted)
        if kind < 8:
            price = Price(question.epsilon, 0, dice.choice([0, 10**9]))
            return "/v1/run", self.signed(self.ticket(question, price), question)
        if kind < 9:
            return "/v1/fetch", Fetch(self.release, question)
        return "/v1/cancel", Cancel("tkt_x")

    def ticket(self, question: Question, price: Price) -> Ticket:
        prepared = self.world.prepared(self.world.question(epsilon="0.1"))
        ticket = self.world.ticket(self.world.question(epsilon="0.1"), prepared)
        return dataclasses.replace(ticket, price=price, mode=question.mode, plan_digest=_digest(question))

    def signed(self, ticket: Ticket, question: Question) -> Run:
        return dataclasses.replace(self.world.signed(ticket, question), reservation=None)

    def sign_again(self, route: str, plain: Any) -> Any:
        """A gateway that was taken over has the key: what it spoils it also signs."""
        if route != "/v1/run":
            return plain
        try:
            run = codec.decode(plain, Run)
            ticket = dataclasses.replace(run.ticket, plan_digest=_digest(run.question))
            return codec.encode(dataclasses.replace(self.world.signed(ticket, run.question), reservation=None))
        except (codec.CodecError, RecursionError, UnicodeEncodeError):
            return plain


def _digest(question: Question) -> str:
    try:
        return question.plan_digest
    except (ValueError, RecursionError):
        return "0" * 64


async def _asked(app: ASGIApp, route: str, body: bytes) -> tuple[int, bytes]:
    """Straight through ASGI: no socket, every layer of ours."""
    sent: list[Any] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return given.pop() if given else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": route,
        "raw_path": route.encode(), "query_string": b"", "headers": [], "root_path": "", "scheme": "http",
        "client": None, "server": None, "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent if message["type"] == "http.response.body")
    return sent[0]["status"], body


def run(case: Coroutine[Any, Any, None]) -> None:
    asyncio.run(case)


def judge(route: str, status: int, body: bytes) -> object:
    """The record of a reply, None for a 400. Raises AssertionError for everything else."""
    assert status in (200, 400), status
    if status == 400:
        assert body == b""
        return None
    plain = json.loads(body)
    expected = next(kind for kind in REPLIES[route] if kind.__name__ == plain["@"])
    return codec.decode(plain, expected)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DomainWorld]:
    with domain_world(tmp_path_factory.mktemp("home"), EXACT) as found:
        yield found


@pytest.fixture
def fuzzed(world: DomainWorld, monkeypatch: pytest.MonkeyPatch) -> Fuzzed:
    return Fuzzed(world, monkeypatch)


async def hammer(fuzzed: Fuzzed, cases: Iterator[random.Random]) -> dict[str, int]:
    """Counts of what came back. Every case leaves the store as it was, and asks no worker, unless it was paid for."""
    counts: dict[str, int] = {}
    for dice in cases:
        route, record = fuzzed.request(dice)
        plain = codec.encode(record)
        if dice.random() < 0.15:
            body = mangled.bent(dice, mangled.body_of(plain))
        else:
            body = mangled.body_of(fuzzed.sign_again(route, mangled.spoiled(dice, plain)))
        before, taken = fuzzed.state(), fuzzed.taken
        status, reply = await _asked(fuzzed.app, route, body)
        found = judge(route, status, reply)
        if not isinstance(found, Released | Failed):
            assert (fuzzed.state(), fuzzed.taken) == (before, taken)
        name = type(found).__name__ if found else "400"
        counts[name] = counts.get(name, 0) + 1
    return counts


def test_whatever_a_hostile_gateway_sends_is_refused_and_changes_nothing(fuzzed: Fuzzed) -> None:
    counts: dict[str, int] = {}

    async def all_of_it() -> None:
        counts.update(await hammer(fuzzed, mangled.seeds(SEED, CASES)))

    run(all_of_it())
    assert {"400", "Refused", "Prepared"} <= set(counts), counts


def asked(fuzzed: Fuzzed, route: str, body: bytes) -> object:
    found: list[object] = []

    async def one() -> None:
        found.append(judge(route, *await _asked(fuzzed.app, route, body)))

    run(one())
    return found[0]


def nothing_released(fuzzed: Fuzzed) -> bytes:
    plan = Output(Scan("people", 0), (("x", Column("0.sex")),))
    question = Question("clinic", fuzzed.world.policy.digest, "dp", 10**11, plan)
    return codec.dumps(Prepare(question, reserve=False))


HALF = b'{"@":"Cancel","ticket":"\\ud800"}'


def test_a_plan_that_releases_nothing_and_half_a_character_are_no_requests(fuzzed: Fuzzed) -> None:
    assert asked(fuzzed, "/v1/prepare", nothing_released(fuzzed)) is None
    assert asked(fuzzed, "/v1/cancel", HALF) is None
    assert asked(fuzzed, "/v1/cancel", HALF.replace(b"\\ud800", b"tkt_1")) == Cancelled("tkt_1")


def test_a_door_that_trips_is_noticed(fuzzed: Fuzzed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "_prepare", Door._prepare.__wrapped__)  # type: ignore[attr-defined]
    with pytest.raises(AssertionError):
        asked(fuzzed, "/v1/prepare", nothing_released(fuzzed))
    monkeypatch.setattr(codec, "_encodable", lambda text: True)
    with pytest.raises(AssertionError):
        asked(fuzzed, "/v1/cancel", HALF)


def test_a_chain_that_the_engine_would_write_out_a_million_times_is_refused_before_it_sees_it(fuzzed: Fuzzed) -> None:
    def chained(length: int) -> Question:
        found: Expression = Column("0.income")
        for _ in range(length):
            found = Call("sqrt", (found,))
        condition = Call("less", (found, Literal(1, BIGINT)))
        release = Release(Filter(Scan("people", 0), (condition,)), (), (Measure("count_rows", None),))
        plan = Output(release, (("n", Column("m0")),))
        return Question("clinic", fuzzed.world.policy.digest, "dp", 10**11, plan)

    assert isinstance(fuzzed.world.door.prepare(Prepare(chained(6), reserve=False)), Prepared)
    for length in (20, 140, 300):
        refused = fuzzed.world.door.prepare(Prepare(chained(length), reserve=False))
        assert isinstance(refused, Refused)
        assert refused.code == "sql_too_large"


@pytest.mark.parametrize(
    "body",
    [
        b'{"@":"Cancel","ticket":"a","ticket":"b"}',
        b'{"@":"Cancel","ticket":"a"}'.decode().encode("utf-16"),
        b'{"@":"Cancel","ticket":' + b"9" * 5000 + b"}",
        b'{"@":"Cancel","ticket":NaN}',
        b'{"@":"Cancel","ticket":"' + b"x" * (5 << 20) + b'"}',
    ],
    ids=["a name twice", "another encoding", "no end of digits", "a constant", "too long"],
)
def test_json_that_two_readers_could_read_in_two_ways_is_none(fuzzed: Fuzzed, body: bytes) -> None:
    assert asked(fuzzed, "/v1/cancel", body) is None
