"""A gateway whose tokens come from an issuer: who is let in when keys turn, when it is gone, when it is besieged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.cli.doctor import _home_checks
from gateway.home import Home, open_home
from tests.gateway_world import GatewayWorld, gateway_world
from tests.served_home import make_home
from tests.stub_issuer import StubIssuer, stub_issuer


def home_of(root: Path, stub: StubIssuer, more: str = "") -> Home:
    """A home whose only issuer is the stub."""
    home = make_home(root)
    file = home.root / "gateway.toml"
    text = file.read_text(encoding="utf-8").replace(home.settings.tokens.issuer, stub.url)
    begin, end = text.index("\n[[tokens.keys]]\n"), text.index("[limits]")
    file.write_text(f"{text[:begin]}\n[tokens.jwks]\ndiscovery = true\n{more}\n{text[end:]}", encoding="utf-8")
    return open_home(home.root)


@pytest.fixture
def stub() -> Iterator[StubIssuer]:
    with stub_issuer() as found:
        found.publish(one="EdDSA")
        yield found


@pytest.fixture
def world(tmp_path: Path, stub: StubIssuer) -> Iterator[GatewayWorld]:
    home = home_of(tmp_path / "home", stub)
    with gateway_world(home.root, home=home) as found:
        wait_for_keys(found)
        yield found


def wait_for_keys(world: GatewayWorld) -> None:
    assert world.service.issuer is not None
    for _ in range(500):
        if world.service.issuer.look().state == "ready":
            return
        time.sleep(0.02)
    raise AssertionError(world.service.issuer.look())


def status(world: GatewayWorld, token: str) -> int:
    return world.call("GET", "/v1/datasets", Authorization=f"Bearer {token}").status_code


def test_a_token_of_the_issuer_is_let_in_and_one_of_an_unpublished_key_is_not(
    world: GatewayWorld, stub: StubIssuer
) -> None:
    assert status(world, stub.token("one")) == 200
    stub.keys["home-1"] = stub.keys["one"]
    assert status(world, stub.token("home-1")) == 401


def test_a_key_that_was_published_a_moment_ago_is_fetched_for_its_first_token(
    world: GatewayWorld, stub: StubIssuer
) -> None:
    stub.publish(one="EdDSA", two="ES256")
    assert status(world, stub.token("two")) == 200


def test_a_siege_of_unknown_keys_fetches_once_and_keeps_nobody_out(world: GatewayWorld, stub: StubIssuer) -> None:
    """Hundreds of tokens of keys that are nowhere, all at once, beside one that is good."""
    stub.publish(one="EdDSA")
    stub.keys["gone"] = stub.keys["one"]
    before = len(stub.asked)
    forged = [stub.token("gone", jti=str(each)) for each in range(300)]

    async def siege() -> list[int]:
        transport = httpx.ASGITransport(app=world.gateway.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:

            async def one(token: str) -> int:
                reply = await client.get("/v1/datasets", headers={"Authorization": f"Bearer {token}"})
                return reply.status_code

            return list(await asyncio.gather(*map(one, [*forged, stub.token("one")])))

    *refused, good = asyncio.run(siege())
    assert set(refused) == {401}
    assert good == 200
    assert len(stub.asked) - before <= 2


def fetches(world: GatewayWorld, stub: StubIssuer, tokens: int) -> int:
    """By so many tokens of an unknown key, one after the other."""
    stub.keys["gone"] = stub.keys["one"]
    before = stub.asked.count("/keys")
    for each in range(tokens):
        assert status(world, stub.token("gone", jti=str(each))) == 401
    return stub.asked.count("/keys") - before


def test_unknown_keys_one_after_the_other_fetch_once(world: GatewayWorld, stub: StubIssuer) -> None:
    assert fetches(world, stub, 10) <= 1


def test_planted_without_a_pause_every_unknown_key_fetches(
    world: GatewayWorld, stub: StubIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.identity.issuer.ASK_S", 0.0)
    assert fetches(world, stub, 10) >= 5


def test_while_the_issuer_is_gone_its_keys_serve_and_readyz_says_so(world: GatewayWorld, stub: StubIssuer) -> None:
    stub.replies["/keys"] = (503, {}, b"")
    assert world.service.issuer is not None
    world.service.issuer.refresh()
    assert status(world, stub.token("one")) == 200
    told = world.call("GET", "/readyz", Authorization="").json()
    assert told["issuer"]["state"] == "stale"
    assert "503" in told["issuer"]["reason"]
    assert told["ready"] is True
    metrics = world.call("GET", "/metrics", Authorization="").text
    assert "bpk_issuer_keys 1\n" in metrics
    assert "bpk_issuer_keys_age_seconds " in metrics


def test_an_issuer_that_never_answered_lets_nobody_in_and_the_gateway_is_not_ready(
    tmp_path: Path, stub: StubIssuer
) -> None:
    stub.replies["/keys"] = (404, {}, b"")
    home = home_of(tmp_path / "home", stub)
    with gateway_world(home.root, home=home) as world:
        reply = world.call("GET", "/v1/datasets", Authorization=f"Bearer {stub.token('one')}")
        assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
        told = world.call("GET", "/readyz", Authorization="")
        assert (told.status_code, told.json()["issuer"]["state"]) == (503, "none")


def test_doctor_says_whether_the_issuers_keys_can_be_had(tmp_path: Path, stub: StubIssuer) -> None:
    home = home_of(tmp_path / "home", stub)

    def said() -> dict[str, object]:
        checks = _home_checks(home.root, {"ok": True, "detail": "ready"})
        return next(each for each in checks if each["name"] == "issuer")

    assert said() == {"name": "issuer", "ok": True, "detail": "1 keys published"}
    stub.replies["/keys"] = (503, {}, b"")
    assert said()["ok"] is False
    assert "503" in str(said()["detail"])
