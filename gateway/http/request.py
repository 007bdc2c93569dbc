"""What routes read from a request: who asks, the body, the key, the parameters. Strict, and bounded."""

from __future__ import annotations

import hashlib
import json
from typing import Final

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.admission.paging import Page
from gateway.ask import Ask
from gateway.errors import Refusal
from gateway.http import wire
from gateway.http.accuracy import accuracy_of
from gateway.http.service import Service
from gateway.identity.roles import Act, Caller

BEARER: Final = "bearer "


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def caller_of(request: Request) -> Caller:
    """Whoever holds the bearer token. Raises Refusal(401)."""
    given = request.headers.getlist("authorization")
    if len(given) != 1 or not given[0].lower().startswith(BEARER):
        hint = "send the header `Authorization: Bearer <token>`, once"
        raise Refusal("token_missing", "this address takes a bearer token", hint=hint)
    return service_of(request).verifier.caller(given[0][len(BEARER) :])


def admit(service: Service, caller: Caller, act: Act) -> None:
    service.rate.count(caller.subject)
    caller.require(act)


async def body_of(request: Request) -> bytes:
    """The body, up to the limit. Raises Refusal(400)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("body_unreadable", "the body is not JSON", hint="send `Content-Type: application/json`")
    most = service_of(request).limits.body_bytes_max
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > most:
                raise Refusal("body_too_large", f"the body is longer than {most} bytes")
    except ClientDisconnect:
        raise Refusal("body_unreadable", "the caller hung up before the end of the body") from None
    return bytes(body)


def key_of(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= 255 or not keys[0].isprintable():
        raise Refusal("parameter_invalid", "`Idempotency-Key` must have 1 to 255 printable characters, and come once")
    return keys[0]


def question_of(caller: Caller, body: wire.AskBody, key: str | None) -> Ask:
    shaping = body.model_dump(exclude={"wait_s"})
    text = json.dumps(shaping, sort_keys=True, default=lambda number: {"decimal": str(number)})
    return Ask(
        caller=caller,
        sql=body.sql,
        purpose=body.purpose,
        mode=body.mode,
        parameters=body.parameters or {},
        epsilon=body.epsilon,
        accuracy=accuracy_of(body.accuracy),
        page=Page.read(body.limit, body.cursor),
        key=key,
        request_hash=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
    )


def parameters(request: Request, *known: str) -> dict[str, str]:
    """The query string, each of `known` at most once. Raises Refusal(`parameter_invalid`)."""
    found = dict(request.query_params)
    for name, text in found.items():
        if name not in known:
            raise Refusal("parameter_invalid", f"`{name[:100]}` is not known here")
        if not text.isprintable():
            raise Refusal("parameter_invalid", f"`{name}` has characters that cannot be written")
    if len(found) != len(request.query_params.multi_items()):
        raise Refusal("parameter_invalid", "a parameter is given twice")
    return found


def limit(wanted: dict[str, str], default: int) -> int:
    text = wanted.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Refusal("parameter_invalid", "`limit` must be a whole number")
    return int(text)
