"""What routes read from a request: the body, the key, the parameters. Strict, and bounded."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from gateway.admission.paging import Page
from gateway.ask import Ask
from gateway.errors import Refusal
from gateway.http import wire
from gateway.http.accuracy import accuracy_of
from gateway.http.entry import service_of
from gateway.identity.roles import Caller
from gateway.turns import Gone


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


@asynccontextmanager
async def listening(request: Request) -> AsyncIterator[Gone]:
    """Whether the caller hangs up while the block lasts. The body has been read."""
    gone = Gone()

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        gone.hang_up()

    listener = asyncio.create_task(listen())
    try:
        yield gone
    finally:
        listener.cancel()


def key_of(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= 255 or not keys[0].isprintable():
        raise Refusal("parameter_invalid", "`Idempotency-Key` must have 1 to 255 printable characters, and come once")
    return keys[0]


def question_of(caller: Caller, body: wire.AskBody, key: str | None) -> Ask:
    unsaid = {"blocks"} if body.blocks is None else set[str]()  # a key from before there were blocks holds its request
    shaping = body.model_dump(exclude={"wait_s", "deadline_s"} | unsaid)
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
        blocks=None if body.blocks is None else tuple(body.blocks),
        key=key,
        request_hash=hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest(),
        deadline_ms=None if body.deadline_s is None else int(body.deadline_s * 1000),
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


def number(wanted: dict[str, str], name: str) -> int:
    """A whole number of at most 18 digits. Raises Refusal(`parameter_missing`, `parameter_invalid`)."""
    text = wanted.get(name)
    if text is None:
        raise Refusal("parameter_missing", f"`{name}` is missing")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Refusal("parameter_invalid", f"`{name}` must be a whole number")
    return int(text)


def limit(wanted: dict[str, str], default: int) -> int:
    text = wanted.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 6:
        raise Refusal("parameter_invalid", "`limit` must be a whole number")
    return int(text)
