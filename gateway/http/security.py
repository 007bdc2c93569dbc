"""For every request: headers, counts, and no exception that leaves as anything but problem+json. Pure ASGI."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import spans
from gateway.errors import Fault
from gateway.http import problems
from gateway.http.metrics import Metrics
from sandbox import logs

HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
WRITTEN: Final = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in HEADERS.items()]
METHODS: Final = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
_log = logs.logger("bpk.http")


class Envelope:
    """Around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{token_hex(8)}"
        status: int | None = None

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                given = list(message["headers"])
                names = {name for name, _ in given}
                missing = [header for header in WRITTEN if header[0] not in names]
                message = {**message, "headers": [*given, *missing, (b"x-request-id", request_id.encode("latin-1"))]}
            await send(message)

        begin = time.perf_counter()
        with _span(scope) as trace, logs.bound(request_id=request_id, **trace):
            try:
                await self._app(scope, receive, out)
            except Exception as error:
                # Types and lines, never the text of an exception: a library may have put a caller's words into it. Only
                # a Fault's text is ours, and made for the log.
                reason = {"reason": str(error)} if isinstance(error, Fault) else {}
                _log.error(
                    "a request failed", error=type(error).__name__, at=logs.lines_of(error.__traceback__), **reason
                )
                if status is None:
                    await problems.respond(problems.problem(problems.internal()))(scope, receive, out)
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.request(route, method, status or 500)
            ms = round((time.perf_counter() - begin) * 1000, 1)
            _log.info("request", method=method, route=route, status=status, ms=ms)
            spans.say({"http.request.method": method, "http.route": route, "bpk.request_id": request_id})
            spans.say({"http.response.status_code": status or 500})


@contextmanager
def _span(scope: Scope) -> Iterator[dict[str, str]]:
    """For what callers ask; whoever watches the gateway asks again and again. The field of the log that names it."""
    if not scope["path"].startswith("/v1/"):
        yield {}
        return
    given = Headers(scope=scope).getlist("traceparent")
    with spans.request(given[0] if len(given) == 1 else None) as trace_id:
        yield {} if trace_id is None else {"trace_id": trace_id}
