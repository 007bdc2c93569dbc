"""The API's document against what routes really reply: every status, its headers, its type, for every route."""

from __future__ import annotations

import copy
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from gateway.home import open_home
from gateway.http.describe import document
from gateway.http.everywhere import PATHS
from gateway.http.replies import Problem
from gateway.identity.roles import ROUTES
from gateway.identity.token import Verifier
from gateway.stores.sqlite import SqliteStore
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.served_home import make_home

Seen = dict[tuple[str, str], list[httpx.Response]]
OF_EVERY_REPLY = {
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-resource-policy",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
}
EVERYWHERE = {"401", "403", "429", "500", "503"}
TOKENLESS = {route for route, need in ROUTES.items() if need is None}
ASK = {"sql": COUNT, "purpose": "research", "wait_s": 20}


def documented(route: tuple[str, str], told: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = told["paths"][route[1].replace(":path}", "}")][route[0].lower()]
    return found


def wrong(seen: Seen, told: dict[str, Any]) -> list[str]:
    """What was replied and is not in the document."""
    found = []
    for route, replies in seen.items():
        responses = documented(route, told)["responses"]
        for reply in replies:
            name = f"{' '.join(route)} {reply.status_code}"
            if str(reply.status_code) not in responses:
                found.append(name)
                continue
            response = responses[str(reply.status_code)]
            listed = {header.lower() for header in response.get("headers", {})}
            found += [f"{name} {header}" for header in sorted(set(reply.headers) - OF_EVERY_REPLY - listed)]
            found += [
                f"{name} lacks {header}"
                for header, words in response.get("headers", {}).items()
                if words.get("required") and header not in reply.headers
            ]
            kinds = {kind.partition(";")[0] for kind in response["content"]}
            if reply.headers["content-type"].partition(";")[0] not in kinds:
                found.append(f"{name} {reply.headers['content-type']}")
            elif "application/problem+json" in kinds:
                Problem.model_validate(reply.json())
    return found


class Caller:
    """Calls every route alike, and keeps what it replied."""

    def __init__(self, world: GatewayWorld, seen: Seen) -> None:
        self.world, self.seen = world, seen

    def each(self, query: str = "", body: Any = None, *, auditor: bool = True, **headers: str) -> set[int]:
        """The statuses. Asked as somebody who may do everything, unless said."""
        statuses = set()
        for route in ROUTES:
            path = route[1].replace(":path}", "}").format(**PATHS)
            if "Authorization" not in headers:
                roles = ("operator", "auditor") if auditor else ("operator",)
                headers = {**headers, "Authorization": f"Bearer {self.world.token('op-a', *roles)}"}  # type: ignore[arg-type]
            reply = self.world.call(route[0], path + query, body if route[0] == "POST" else None, **headers)
            self.seen.setdefault(route, []).append(reply)
            if route not in TOKENLESS:
                statuses.add(reply.status_code)
        return statuses


@contextmanager
def broken(name: str, error: Callable[[], Exception], of: type[Any]) -> Iterator[None]:
    def fail(*_: object, **__: object) -> None:
        raise error()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, name, fail)
        yield


def full() -> Exception:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Every route in every state that it can be asked in."""
    found: Seen = {}
    with gateway_world(tmp_path_factory.mktemp("free")) as world:
        caller = Caller(world, found)
        caller.each(body=ASK)
        caller.each("?nonsense=1", ASK)
        caller.each("?format=csv&limit=2", ASK)
        caller.each("?format=ndjson&limit=2", ASK)
        caller.each("?limit=nine&size=-1&old=x&since=then", {**ASK, "sql": 5})
        caller.each(body="no object")
        caller.each(body={**ASK, "sql": "SELECT name FROM people"}, auditor=False)
        caller.each(body={**ASK, "sql": "SELECT 1"}, Idempotency_Key="k")
        caller.each(body=ASK, Idempotency_Key="k")
        assert caller.each(body=ASK, Authorization="") == {401}
        assert caller.each(body=ASK, Authorization="DPoP x", DPoP="y") == {401}
        with broken("accept", RuntimeError, Verifier):
            assert caller.each(body=ASK) == {500}
        with broken("_begin_reading", full, SqliteStore):
            assert caller.each(body=ASK) == {503}
        world.service.rate._window.most = 0
        assert caller.each(body=ASK) == {429}
        world.service.strangers._window.most = 0
        assert caller.each(body=ASK, Authorization="Bearer x") == {429}
    home = make_home(tmp_path_factory.mktemp("bound"))
    file = home.root / "gateway.toml"
    file.write_text(file.read_text("utf-8").replace("[tokens]", '[tokens]\nbound = "always"', 1), "utf-8")
    with gateway_world(home.root, home=open_home(home.root)) as world:
        assert Caller(world, found).each(body=ASK) == {403}
    return found


def test_whatever_a_route_replies_is_in_the_document(seen: Seen) -> None:
    assert sorted(set(wrong(seen, document()))) == []


def test_what_the_document_says_of_every_route_is_what_they_reply(seen: Seen) -> None:
    for route, replies in seen.items():
        statuses = {str(reply.status_code) for reply in replies}
        listed = set(documented(route, document())["responses"])
        if route in TOKENLESS:
            assert not listed & {"401", "403", "429"}, route
        else:
            assert listed & EVERYWHERE == statuses & EVERYWHERE == EVERYWHERE, route
    strict = {route for route, replies in seen.items() if any(reply.status_code == 422 for reply in replies)}
    assert {route for route in seen if "422" in documented(route, document())["responses"]} == strict


def test_who_is_to_come_back_is_told_when_by_the_header_that_is_listed(seen: Seen) -> None:
    limited = [reply for replies in seen.values() for reply in replies if reply.status_code in (429, 503)]
    assert len(limited) > 3 * len(ROUTES) - 4 * len(TOKENLESS)
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply in limited)


@pytest.mark.parametrize("status", ["401", "422", "429", "500", "503"])
def test_planted_a_status_that_is_left_out_is_noticed(seen: Seen, status: str) -> None:
    told = copy.deepcopy(document())
    del told["paths"]["/v1/budgets"]["get"]["responses"][status]
    assert set(wrong(seen, told)) == {f"GET /v1/budgets {status}"}


def test_planted_a_header_that_is_left_out_or_not_sent_is_noticed(seen: Seen) -> None:
    told = copy.deepcopy(document())
    responses = told["paths"]["/v1/budgets"]["get"]["responses"]
    responses["503"] = {**responses["503"], "headers": {}}
    responses["403"] = {**responses["403"], "headers": {"X-Planted": {"required": True}}}
    assert set(wrong(seen, told)) == {"GET /v1/budgets 503 retry-after", "GET /v1/budgets 403 lacks X-Planted"}


def test_every_route_that_takes_a_token_says_how_it_may_be_bound() -> None:
    schemes = document()["components"]["securitySchemes"]
    assert {(scheme["type"], scheme.get("scheme")) for scheme in schemes.values()} == {
        ("http", "bearer"),
        ("http", "DPoP"),
        ("mutualTLS", None),
    }
    for route, need in ROUTES.items():
        wanted = [{"bearer": []}, {"dpop": []}, {"bearer": [], "mutualTLS": []}]
        assert documented(route, document()).get("security") == (None if need is None else wanted)
        named = {name for each in documented(route, document()).get("security", []) for name in each}
        assert named <= set(schemes)
