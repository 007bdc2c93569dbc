"""One method at one address. What FastAPI's own routes would do besides, reading parameters, handlers do themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette import routing
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class Route(routing.Route):
    """HEAD is none of GET's: it is a method that is not allowed. `scope["route"]` is the route."""

    def __init__(self, method: str, path: str, handler: Handler) -> None:
        super().__init__(path, handler, methods=[method], include_in_schema=False)
        self.methods = {method}
        self.app = _served(handler)

    def matches(self, scope: Scope) -> tuple[routing.Match, Scope]:
        match, found = super().matches(scope)
        return match, {**found, "route": self}


def _served(handler: Handler) -> ASGIApp:
    """What `handler` raises is left to the application's own handlers of exceptions."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
