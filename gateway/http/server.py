"""The gateway as a server: so many connections, each held to its time, and an end that is told beforehand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

import uvicorn

from sandbox.connection import Connection

HEAD_BYTES_MAX: Final = 32_768
KEEP_ALIVE_S: Final = 30


class Held(Connection):
    """A caller's connection. A request that begins and does not end is cut off after a time, and so is a reply that
    nobody reads. Where there are `connections_max`, the one that has been idle, or sending, for longest makes room.
    """

    def __init__(self, *args: Any, connections_max: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections_max = connections_max
        self._since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._since = self.loop.time()
        if len(self.connections) >= self._connections_max:
            self._make_room()
        super().connection_made(transport)
        if len(self.connections) > self._connections_max:  # every one of them is being answered
            transport.abort()

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    @property
    def answering(self) -> bool:
        """Whether a whole request was read whose reply is not through yet."""
        return self.cycle is not None and not self.cycle.response_complete and self._request is None

    def _make_room(self) -> None:
        waiting = [each for each in self.connections if isinstance(each, Held) and not each.answering]
        if waiting:
            oldest = min(waiting, key=lambda each: each._since)  # noqa: SLF001  # of its own kind
            oldest.transport.abort()
            self.connections.discard(oldest)


class Server(uvicorn.Server):
    """`leaving` is called at the order to stop; the server takes requests for `notice_s` more, then ends in order.

    `ending` is called when it takes no more, before it lets those that it has taken come to their end.
    """

    def __init__(  # noqa: PLR0913  # what it serves, its limits, whom it tells
        self,
        app: Any,
        *,
        drain_s: float,
        notice_s: float,
        connections_max: int,
        leaving: Callable[[], None],
        ending: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=partial(Held, connections_max=connections_max),  # type: ignore[arg-type]  # it makes protocols
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # else a header of the caller's would be taken for its address
                server_header=False,
                timeout_graceful_shutdown=int(drain_s),
                timeout_keep_alive=KEEP_ALIVE_S,
                h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            )
        )
        self._notice_s = notice_s
        self._leaving = leaving
        self._ending = ending
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first order is a notice; the second one is the end."""
        first = self._until is None
        super().handle_exit(sig, frame)
        self._leaving()
        if first and self._notice_s > 0:
            self.should_exit = False
            self._until = asyncio.get_running_loop().time() + self._notice_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)

    async def on_tick(self, counter: int) -> bool:
        if self._until is not None and asyncio.get_running_loop().time() >= self._until:
            self.should_exit = True
        return await super().on_tick(counter)
