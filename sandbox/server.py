"""The domain's door as a server: a Unix socket, the network behind mutual TLS, or both; one loop, one application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from sandbox.connection import LocalConnection, RemoteConnection
from sandbox.entrance import Entrance
from sandbox.peers import PEERS, Peers

KEEP_ALIVE_S: Final = 75
"""Longer than the gateway keeps an idle connection: it must not send on one that is being closed here."""
HEAD_BYTES_MAX: Final = 16_384
GRACE_S: Final = 5
LOOK_TICKS: Final = 10
"""uvicorn ticks ten times a second."""


class Server(uvicorn.Server):
    """`app` is served on the sockets that `run` is given, and through `entrance`, where there is one, to `client`."""

    def __init__(self, app: Any, entrance: Entrance | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=LocalConnection,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=GRACE_S,
                h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            )
        )
        self._entrance = entrance
        self._entering: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[PEERS] = Peers()
        await super().startup(sockets=sockets)
        if self._entrance is not None:
            self._entering = asyncio.get_running_loop().create_task(self._entrance.serve(self._connection))

    def _connection(self, client: str, left: Callable[[RemoteConnection], None]) -> RemoteConnection:
        return RemoteConnection(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            client=client,
            left=left,
        )

    async def on_tick(self, counter: int) -> bool:
        if self._entrance is not None and counter % LOOK_TICKS == 0:
            self._entrance.look()
        if self._entering is not None and self._entering.done():
            self._entering.result()  # it never ends by itself: whoever restarts us has to know
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._entrance is not None and self._entering is not None:
            self._entering.cancel()
            self._entrance.close()
        await super().shutdown(sockets=sockets)
