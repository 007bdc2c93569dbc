"""Who asks, and whether they may: what every route that takes a token goes through first."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from fastapi import Request

from gateway.errors import Fault, Refusal
from gateway.http.service import Service
from gateway.identity.roles import ROUTES, Caller, Need
from gateway.identity.token import Accepted, NotAccepted

BEARER: Final = "bearer "


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request) -> Caller:
    """Whoever holds the bearer token. Raises Refusal(401), NotReady."""
    given = request.headers.getlist("authorization")
    if len(given) != 1 or not given[0].lower().startswith(BEARER):
        hint = "send the header `Authorization: Bearer <token>`, once"
        raise Refusal("token_missing", "this address takes a bearer token", hint=hint)
    accepted = await _accepted(service_of(request), given[0][len(BEARER) :])
    return accepted.caller


def admit(request: Request, caller: Caller) -> None:
    """Raises Refusal where the caller asks too often, or may not do what this route does."""
    service_of(request).rate.count(caller.subject)
    caller.require(need_of(request).act)


def need_of(request: Request) -> Need:
    """What the matrix of roles says of the route. Raises Fault for a route that takes no token."""
    need = ROUTES[request.method, request.scope["route"].path]
    if need is None:
        raise Fault("a route that takes no token asks who calls")
    return need


async def _accepted(service: Service, token: str) -> Accepted:
    """A key that is not known yet may be one that the issuer has just published: then the keys are fetched, once."""
    issuer = service.issuer
    try:
        return service.verifier.accept(token)
    except NotAccepted as refusal:
        flight = issuer.ask() if refusal.unknown_key and issuer is not None else None
        if flight is None or issuer is None:
            raise
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(flight)), issuer.fetch_s_max)
    return service.verifier.accept(token)
