"""For every request: headers, counts, and no exception that leaves as anything but problem+json. Pure ASGI."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from secrets import token_hex
from threading import Lock
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import Fault, Refusal
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
CALLERS_MAX: Final = 10_000
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
                headers = MutableHeaders(scope=message)
                for name, text in HEADERS.items():
                    headers.setdefault(name, text)
                headers["X-Request-Id"] = request_id
            await send(message)

        begin = time.perf_counter()
        with logs.bound(request_id=request_id):
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


class Rate:
    """At most so many requests of one caller in a minute, counted in whole minutes."""

    def __init__(self, per_minute_max: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max = per_minute_max
        self._clock = clock
        self._minute = -1
        self._counts: dict[str, int] = {}
        self._lock = Lock()

    def count(self, subject: str) -> None:
        """Raises Refusal(`rate_limited`)."""
        with self._lock:
            now = self._clock()
            minute = int(now // 60)
            if minute != self._minute or len(self._counts) > CALLERS_MAX:
                self._minute, self._counts = minute, {}
            self._counts[subject] = self._counts.get(subject, 0) + 1
            over = self._counts[subject] > self._max
        if over:
            raise Refusal(
                "rate_limited",
                f"more than {self._max} requests in a minute",
                hint="wait a minute; this spent no budget",
                retry_after_s=max(1, math.ceil(60 * (minute + 1) - now)),
            )
