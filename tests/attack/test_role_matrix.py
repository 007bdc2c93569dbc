"""Every route against every role: what the matrix says is what happens, and a route without a place is not served."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import pytest

from gateway.errors import Fault
from gateway.http import routes
from gateway.http.security import METHODS
from gateway.identity.roles import ROUTES, Caller, Role, Route
from tests.gateway_world import GatewayWorld, gateway_world

ROLES: tuple[Role | None, ...] = (None, *typing.get_args(Role))
TAKE_A_TOKEN = [route for route, need in ROUTES.items() if need is not None]
OPEN = [route for route, need in ROUTES.items() if need is None]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayWorld]:
    with gateway_world(tmp_path_factory.mktemp("roles") / "home") as found:
        yield found


def address(route: Route) -> str:
    return route[1].replace(":path", "").format(query_id=f"qry_{'0' * 32}", name="clinic", path="checkpoint")


def code(world: GatewayWorld, route: Route, role: Role | None) -> str:
    """What the route says to somebody of this role: the code of its refusal, or its status."""
    token = world.token("somebody", *([role] if role else ["none"]))  # type: ignore[list-item]  # a role that is none
    body = {"sql": "SELECT COUNT(*) FROM people"} if route[0] == "POST" else None
    reply = world.call(route[0], address(route), body, Authorization=f"Bearer {token}")
    kind = reply.headers["content-type"]
    return str(reply.json()["code"]) if kind == "application/problem+json" else str(reply.status_code)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", TAKE_A_TOKEN, ids=" ".join)
def test_a_route_is_open_to_the_roles_of_the_matrix_and_to_no_other(
    world: GatewayWorld, route: Route, role: Role | None
) -> None:
    need = ROUTES[route]
    assert need is not None
    caller = Caller("somebody", frozenset({role} if role else ()))
    assert (code(world, route, role) != "role_missing") is caller.may(need.act)


@pytest.mark.parametrize("route", TAKE_A_TOKEN, ids=" ".join)
def test_a_route_of_the_matrix_takes_a_token(world: GatewayWorld, route: Route) -> None:
    for authorization in ("", "Bearer nonsense", "Basic eDp5"):
        reply = world.call(route[0], address(route), Authorization=authorization)
        assert reply.status_code == 401, reply.text


@pytest.mark.parametrize("route", OPEN, ids=" ".join)
def test_a_route_without_a_need_takes_none(world: GatewayWorld, route: Route) -> None:
    assert world.call(route[0], route[1], Authorization="").status_code == 200


def test_what_is_served_is_what_the_matrix_lists(world: GatewayWorld) -> None:
    served = {
        (method, route.path)  # type: ignore[attr-defined]
        for route in world.gateway.app.routes
        for method in route.methods  # type: ignore[attr-defined]
    }
    assert served == set(ROUTES)


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", sorted({path for _, path in ROUTES}))
def test_no_other_method_is_answered_and_it_is_counted_for_its_route(
    world: GatewayWorld, method: str, path: str
) -> None:
    reply = world.call(method, address((method, path)), Authorization="")
    assert reply.status_code == 405
    assert method == "HEAD" or reply.json()["code"] == "method_not_allowed"
    counted = f'route="{path}",method="{method if method in METHODS else "other"}",status="405"'
    assert counted in world.service.metrics.text()


@pytest.mark.parametrize("route", [("GET", "/v1/budgets"), ("GET", "/healthz")], ids=" ".join)
def test_a_route_without_its_place_in_the_matrix_is_not_served(
    world: GatewayWorld, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(ROUTES, route)
    with pytest.raises(Fault, match="matrix"):
        routes.create(world.service)


def test_planted_a_matrix_that_lets_everybody_read_the_log_is_noticed(
    world: GatewayWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = ("GET", "/v1/audit/checkpoint")
    assert code(world, route, "operator") == "role_missing"
    monkeypatch.setattr("gateway.identity.roles.EVERYBODY", frozenset({"read the audit log"}))
    assert code(world, route, "operator") == "200"


def test_only_asking_spends() -> None:
    assert [route for route, need in ROUTES.items() if need is not None and need.spends] == [("POST", "/v1/queries")]
