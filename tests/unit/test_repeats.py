"""The same key again, at the worst moments: it finds the outcome or the promise of it, never a bare `running`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gateway.ask import Ask, Begun, NotAnswered
from gateway.errors import Refusal
from gateway.pipeline import Pipeline
from gateway.running import Running
from gateway.store import NotWritten
from tests.gateway_world import COUNT, GatewayWorld, gateway_world

BODY = {"sql": COUNT, "purpose": "research"}
WAIT_S = 20


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path / "home") as found:
        yield found


class Held:
    """Holds a step of the pipeline at its beginning until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        self.reached, self.go = Event(), Event()
        real = getattr(Pipeline, step)

        def held(*arguments: Any) -> Any:
            self.reached.set()
            assert self.go.wait(WAIT_S)
            return real(*arguments)

        monkeypatch.setattr(Pipeline, step, held)


def end_of(begun: Begun) -> dict[str, Any]:
    return begun.result.result(WAIT_S) if isinstance(begun.result, Future) else begun.result


def test_a_repeat_between_the_charge_and_the_start_waits_for_the_same_outcome(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Held(monkeypatch, "_start")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(world.pipeline.ask, world.asking(key="once"))
        assert start.reached.wait(WAIT_S)
        again = world.pipeline.ask(world.asking(key="once"))
        assert isinstance(again.result, Future)
        assert not again.result.done()
        start.go.set()
        assert (
            end_of(again)
            == end_of(first.result(WAIT_S))
            == {"id": again.id, "status": "failed", "code": "query_failed"}
        )


def test_a_repeat_that_is_overtaken_by_the_outcome_gives_the_outcome(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, repeat = Held(monkeypatch, "_finish"), Held(monkeypatch, "_repeat")
    first = world.pipeline.ask(world.asking(key="once"))
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(world.pipeline.ask, world.asking(key="once"))
        assert repeat.reached.wait(WAIT_S)  # it has read a row that still runs
        finish.go.set()
        ended = end_of(first)
        world.gateway.running.drain(WAIT_S)
        repeat.go.set()
        assert end_of(again.result(WAIT_S)) == ended


def test_whoever_waits_no_longer_is_told_where_to_look(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Held(monkeypatch, "_finish")
    replies = [world.call("POST", "/v1/queries", {**BODY, "wait_s": 0}, Idempotency_Key="once") for _ in range(2)]
    for reply in replies:
        assert (reply.status_code, reply.json()["status"]) == (202, "running")
        assert reply.headers["location"] == f"/v1/queries/{reply.json()['id']}"
    finish.go.set()
    world.gateway.running.drain(WAIT_S)
    ended = world.call("POST", "/v1/queries", BODY, Idempotency_Key="once")
    assert (ended.status_code, ended.json()["status"]) == (200, "failed")


def test_a_query_that_runs_without_a_promise_is_never_told_as_ended(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def running(_: Pipeline, ask: Ask) -> Begun:
        return Begun("qry_1", {"id": "qry_1", "status": "running"}, "repeated")

    monkeypatch.setattr(Pipeline, "ask", running)
    reply = world.call("POST", "/v1/queries", {**BODY, "wait_s": 0}, Idempotency_Key="once")
    assert (reply.status_code, reply.headers["location"]) == (202, "/v1/queries/qry_1")


def test_a_charge_that_is_not_written_gives_its_place_back(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, promise = world.gateway.running, type(world.gateway.running).promise

    def promised_and_lost(*arguments: Any) -> None:
        promise(*arguments)
        raise NotWritten(world.gateway.store.name, "the disk is full")

    for _ in range(running._running_max + 1):
        monkeypatch.setattr(type(running), "promise", promised_and_lost)
        with pytest.raises(NotAnswered) as refused:
            world.pipeline.ask(world.asking())
        assert refused.value.refusal.code == "not_ready"
    monkeypatch.setattr(type(running), "promise", promise)
    assert end_of(world.pipeline.ask(world.asking()))["status"] == "failed"


def test_no_more_questions_run_than_there_are_places(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, most = Held(monkeypatch, "_finish"), world.gateway.running._running_max
    begun = [world.pipeline.ask(world.asking()) for _ in range(most)]
    with pytest.raises(NotAnswered) as refused:
        world.pipeline.ask(world.asking())
    assert refused.value.refusal.code == "busy"
    finish.go.set()
    assert {end_of(each)["status"] for each in begun} == {"failed"}


def test_open_questions_leave_places_to_others_and_to_each_other() -> None:
    running = Running(running_max=4, open_max=3)
    running.promise("q1", "op-a")
    running.promise("q2", "op-a")
    with pytest.raises(Refusal, match="as many open questions"):
        running.promise("q3", "op-a")
    with pytest.raises(Refusal, match="as many open questions"):
        running.require_room("op-a")
    running.require_room("op-b")
    running.promise("q3", "op-b")
    with pytest.raises(Refusal, match="as many open questions"):
        running.promise("q4", "op-c")
    running.promise("q4")
    with pytest.raises(Refusal, match="every place"):
        running.promise("q5")
    running.start("q2", lambda: {"status": "answered"}).result(10)
    running.promise("q5", "op-a")
    for query in ("q1", "q3", "q4", "q5"):
        running.withdraw(query)
    running.join()


def test_with_one_place_for_open_questions_each_has_its_turn() -> None:
    running = Running(running_max=4, open_max=1)
    running.promise("q1", "op-a")
    with pytest.raises(Refusal, match="as many open questions"):
        running.require_room("op-b")
    running.withdraw("q1")
    running.require_room("op-b")
    running.join()
