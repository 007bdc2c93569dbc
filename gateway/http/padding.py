"""JSON replies have one of few lengths: whoever sees sealed bytes pass learns no digits of released numbers."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.protocol import padded

_JSON: Final = ("application/json", "application/problem+json")


class Padded:
    """Pure ASGI. Puts white space behind JSON that is sent in one piece; what is streamed, for auditors, stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message | None = None

        async def out(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # waits for its body, whose length it names
                return
            if start is not None:
                headers = MutableHeaders(scope=start)
                if not message.get("more_body", False) and headers.get("content-type") in _JSON:
                    message = {**message, "body": padded(message.get("body", b""))}
                    headers["content-length"] = str(len(message["body"]))
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, out if scope["type"] == "http" else send)
