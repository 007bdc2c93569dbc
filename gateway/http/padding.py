"""JSON replies have one of few lengths: whoever sees sealed bytes pass learns no digits of released numbers."""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.protocol import padded

_JSON: Final = (b"application/json", b"application/problem+json")


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
                headers = start["headers"]
                if not message.get("more_body", False) and dict(headers).get(b"content-type") in _JSON:
                    message = {**message, "body": padded(message.get("body", b""))}
                    length = b"%d" % len(message["body"])
                    headers = [(name, length if name == b"content-length" else text) for name, text in headers]
                    start = {**start, "headers": headers}
                await send(start)
                start = None
            await send(message)

        await self._app(scope, receive, out if scope["type"] == "http" else send)
