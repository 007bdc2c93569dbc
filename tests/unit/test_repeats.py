"""The same key again, at the worst moments: it finds the outcome or the promise of it, never a bare `running`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from gateway import pipeline
from gateway.ask import Ask, Begun, NotAnswered
from gateway.charging import require_few_elsewhere
from gateway.errors import Refusal
from gateway.pipeline import Pipeline
from gateway.store import NotWritten
from gateway.turns import Gone
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
    def running(_: Pipeline, ask: Ask, gone: Gone) -> Begun:
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

    for _ in range(world.gateway.turns.limits.running_max + 1):
        monkeypatch.setattr(type(running), "promise", promised_and_lost)
        with pytest.raises(NotAnswered) as refused:
            world.pipeline.ask(world.asking())
        assert refused.value.refusal.code == "not_ready"
    monkeypatch.setattr(type(running), "promise", promise)
    assert end_of(world.pipeline.ask(world.asking()))["status"] == "failed"


def test_what_another_gateway_runs_counts_as_this_operators_question(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its seat is made another one's; turns are each gateway's own, and forget it here."""
    finish, ledger = Held(monkeypatch, "_finish"), world.pipeline.ledger
    first = world.pipeline.ask(world.asking())
    own, ledger.seat = ledger.seat, "gw_another"
    admitted = world.pipeline._admit(world.asking(), pipeline._Trail())
    with world.gateway.store.reading() as view:
        with pytest.raises(Refusal, match="another gateway") as refused:
            require_few_elsewhere(view, admitted, ledger.seat)
        assert refused.value.code == "busy"
        require_few_elsewhere(view, admitted, own)
        require_few_elsewhere(view, replace(admitted, operator="op-b"), ledger.seat)
    ledger.seat = own
    finish.go.set()
    end_of(first)
    with world.gateway.store.reading() as view:
        require_few_elsewhere(view, admitted, "gw_another")
