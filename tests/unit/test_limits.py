"""Limits on callers: each is held up alone, for a bounded time, and nobody can bring it about for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import Refusal
from gateway.http import entry, limits
from gateway.http.limits import NAMES_MAX, REFUSALS_S, LockOut, Rate, Strangers, Window
from tests.gateway_world import COUNT, GatewayWorld, gateway_world


class Clock:
    def __init__(self) -> None:
        self.now = 6_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path / "home") as found:
        yield found


def swap(world: GatewayWorld, **parts: Any) -> None:
    world.gateway.app.state._state["service"] = replace(world.service, **parts)


def code(act: Callable[[], Any]) -> str | None:
    try:
        act()
    except Refusal as refusal:
        bounded = 1 <= (refusal.retry_after_s or 0) <= 3600
        return refusal.code if bounded else "no time to come back"
    return None


def call(world: GatewayWorld, authorization: str, peer: str = "127.0.0.1") -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=world.gateway.app, client=(peer, 5))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get("/v1/budgets", headers={"Authorization": authorization})

    return asyncio.run(send())


def test_a_window_counts_each_name_by_itself_and_begins_anew(clock: Clock) -> None:
    window = Window(2, 60, clock)
    assert [window.add("a") for _ in range(3)] == [False, False, True]
    assert [window.over(name) for name in "ab"] == [True, False]
    assert not window.add("b")
    clock.now += 60
    assert not window.over("a")
    assert not window.add("a")


def test_a_window_is_bounded_and_forgets_whom_it_saw_longest_ago(clock: Clock) -> None:
    window = Window(1, 60, clock)
    window.add("busy")
    for each in range(2 * NAMES_MAX):
        window.add(str(each))
        window.add("busy")
    assert len(window._counts) == NAMES_MAX
    assert window.over("busy")


def test_a_caller_asks_so_often_in_a_minute(clock: Clock) -> None:
    rate = Rate(3, clock)
    assert [code(lambda: rate.count("a")) for _ in range(4)] == [None] * 3 + ["rate_limited"]
    assert code(lambda: rate.count("b")) is None


def test_strangers_of_one_network_are_one_and_of_another_another(clock: Clock) -> None:
    strangers = Strangers(2, clock)
    for address in ("2001:db8::1", "2001:db8::2"):
        strangers.count(ip_address(address))
    assert strangers.over(ip_address("2001:db8::ffff"))
    assert not strangers.over(ip_address("2001:db8:0:1::1"))
    assert code(lambda: strangers.count(ip_address("2001:db8::3"))) == "rate_limited"
    assert code(lambda: strangers.count(ip_address("192.0.2.1"))) is None
    assert code(lambda: strangers.count(None)) is None


def test_a_lock_out_begins_after_so_many_refusals_and_ends(clock: Clock) -> None:
    lock = LockOut(10, 300, clock)
    for _ in range(10):
        lock.refused("a", 403)
    assert code(lambda: lock.require("a")) is None
    lock.refused("a", 422)
    assert code(lambda: lock.require("a")) == "locked_out"
    assert code(lambda: lock.require("b")) is None
    clock.now += 299
    assert code(lambda: lock.require("a")) == "locked_out"
    clock.now += 2
    assert code(lambda: lock.require("a")) is None
    lock.refused("a", 403)  # it is not locked at once again
    assert code(lambda: lock.require("a")) is None


def test_refusals_of_load_and_budget_and_those_of_long_ago_do_not_count(clock: Clock) -> None:
    lock = LockOut(10, 300, clock)
    for status in (429, 503, 404, 401, 500) * 20:
        lock.refused("a", status)
    for _ in range(9):
        lock.refused("a", 403)
    clock.now += REFUSALS_S
    lock.refused("a", 403)
    lock.refused("a", 403)
    assert code(lambda: lock.require("a")) is None


# Over HTTP


def test_whoever_guesses_tokens_is_told_to_wait_and_a_good_token_beside_it_is_let_in(world: GatewayWorld) -> None:
    swap(world, strangers=Strangers(20))
    good = f"Bearer {world.token()}"
    guesses = [call(world, f"Bearer a.b.{each}") for each in range(40)]
    assert [guess.status_code for guess in guesses[:15]] == [401] * 15
    assert guesses[-1].status_code == 429
    assert guesses[-1].json()["code"] == "rate_limited"
    assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60
    assert call(world, good).status_code == 200  # the same address
    assert call(world, "Bearer x", peer="192.0.2.7").status_code == 401  # another one
    assert 'bpk_callers_refused_total{code="token_invalid"}' in world.service.metrics.text()


def test_a_caller_that_is_refused_again_and_again_is_locked_out_alone_and_on_record(world: GatewayWorld) -> None:
    swap(world, lock_out=LockOut(10, 300))
    bad, good = {"sql": "SELECT name FROM people", "purpose": "research"}, {"sql": COUNT, "purpose": "research"}
    for _ in range(11):
        assert world.call("POST", "/v1/queries", bad).status_code == 403
    reply = world.call("POST", "/v1/queries", good)
    assert (reply.status_code, reply.json()["code"]) == (429, "locked_out")
    assert 1 <= int(reply.headers["retry-after"]) <= 300
    assert (world.records()[-1]["decision"], world.records()[-1]["code"]) == ("refused", "locked_out")
    assert world.call("POST", "/v1/queries/check", good).status_code == 200
    assert world.call("GET", "/v1/budgets").status_code == 200
    assert world.call("POST", "/v1/queries", good, subject="op-b").status_code == 200


def test_nobody_is_locked_out_by_tokens_in_its_name_that_are_not_accepted(world: GatewayWorld) -> None:
    swap(world, lock_out=LockOut(10, 300))
    forged = f"Bearer {world.token()[:-8]}AAAAAAAA"
    for _ in range(30):
        assert world.call("POST", "/v1/queries", {"sql": "x"}, Authorization=forged).status_code == 401
    assert world.call("POST", "/v1/queries", {"sql": COUNT, "purpose": "research"}).status_code == 200


def test_planted_a_limit_that_comes_before_the_token_keeps_neighbours_out(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap(world, strangers=Strangers(5))
    honest = entry._presented

    def first(request: Any, certificate: str | None) -> Any:
        if world.service.strangers.over(ip_address("127.0.0.1")):
            raise Refusal("rate_limited", "too many from your address")
        return honest(request, certificate)

    for each in range(10):
        call(world, f"Bearer a.b.{each}")
    assert call(world, f"Bearer {world.token()}").status_code == 200
    monkeypatch.setattr(entry, "_presented", first)
    assert call(world, f"Bearer {world.token()}").status_code == 429


def test_planted_without_the_networks_an_ipv6_guesser_has_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_network", str)
    strangers = Strangers(2, time.monotonic)
    for each in range(1, 50):
        strangers.count(ip_address(f"2001:db8::{each:x}"))
