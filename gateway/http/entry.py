"""Who asks, and whether they may: what every route that takes a token goes through first."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from gateway.errors import Fault, Refusal
from gateway.http.service import Service
from gateway.identity.possession import BEARER, DPOP, Presented, require_holder
from gateway.identity.proof import NonceNeeded
from gateway.identity.revoked import require_good
from gateway.identity.roles import ROUTES, Caller, Need
from gateway.identity.token import Accepted, NotAccepted
from gateway.settings import LOOPBACK

_HINT: Final = "send the header `Authorization: Bearer <token>`, once"


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def caller_of(request: Request) -> Caller:
    """Whoever holds the token, in this order: it is good, it is its holder who sends it, it was not called back.

    Raises Refusal(401), Refusal(`rate_limited`) for too many that were not accepted, NotReady.
    """
    service = service_of(request)
    peer = service.ends.of(request)
    try:
        presented = _presented(request, peer.certificate)
        accepted = await _accepted(service, presented.token, waits=not service.strangers.over(peer.address))
        require_holder(accepted, presented, service.proofs)
        await run_in_threadpool(_require_good, service, accepted)
    except Refusal as refusal:
        service.metrics.refused_caller(refusal.code)
        if not isinstance(refusal, NonceNeeded):  # which every caller meets once a minute
            service.strangers.count(peer.address)
        raise
    return accepted.caller


def admit(request: Request, caller: Caller) -> None:
    """Raises Refusal where the caller asks too often, or may not do what this route does."""
    service, need = service_of(request), need_of(request)
    service.rate.count(caller.subject)
    caller.require(need.act)
    bound = service.verifier.settings.bound
    if not caller.bound and (bound == "always" or (bound == "spending" and need.spends)):
        raise Refusal(
            "token_unbound",
            "this takes a token that is bound to a key or a certificate of yours",
            hint="ask your identity provider for one (DPoP, or mutual TLS)",
        )
    if need.spends:
        service.lock_out.require(caller.subject)


def need_of(request: Request) -> Need:
    """What the matrix of roles says of the route. Raises Fault for a route that takes no token."""
    need = ROUTES[request.method, request.scope["route"].path]
    if need is None:
        raise Fault("a route that takes no token asks who calls")
    return need


def _presented(request: Request, certificate: str | None) -> Presented:
    """Raises Refusal(`token_missing`)."""
    given = request.headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    scheme = scheme.lower()
    if scheme not in (BEARER, DPOP) or not token:
        raise Refusal("token_missing", "this address takes a bearer token", hint=_HINT)
    return Presented(
        scheme=scheme,
        token=token,
        proofs=request.headers.getlist("dpop"),
        certificate=certificate,
        method=request.method,
        addresses=_addresses(request),
    )


def _addresses(request: Request) -> tuple[str, ...]:
    """What a proof may call this request: by the settings, or by the socket that it came in at.

    Never by the header `Host`: whoever got a proof for another place could send it here under that place's name.
    """
    path = request.scope.get("raw_path", b"").decode("latin-1") or request.url.path
    url = service_of(request).url
    if url is not None:
        return (url.rstrip("/") + path,)
    host, port = request.scope.get("server") or ("", None)
    names = LOOPBACK if host in LOOPBACK else {host}
    port = "" if port is None else f":{port}"
    return tuple(f"http://{f'[{name}]' if ':' in name else name}{port}{path}" for name in sorted(names))


async def _accepted(service: Service, token: str, *, waits: bool) -> Accepted:
    """A key that is not known yet may be one that the issuer has just published: then the keys are fetched, once."""
    issuer = service.issuer
    try:
        return service.verifier.accept(token)
    except NotAccepted as refusal:
        flight = issuer.ask() if refusal.unknown_key and waits and issuer is not None else None
        if flight is None or issuer is None:
            raise
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(flight)), issuer.fetch_s_max)
    return service.verifier.accept(token)


def _require_good(service: Service, accepted: Accepted) -> None:
    with service.store.reading() as view:
        require_good(view, accepted)
