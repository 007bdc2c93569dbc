"""One HTTP connection of the domain's door, held to its time, whoever speaks on it.

uvicorn's own protocol waits for ever for a request that begins and does not end, and for a reader that does not read.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Hashable
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from sandbox import logs
from sandbox.peers import PEER, PEERS, Peer
from sandbox.tls import names

log = logs.logger("bpk.domain")
REQUEST_S: Final = 20.0
"""From a connection's start, or a request's first byte, to the request's last one."""
STALL_S: Final = 30.0
"""How long a reply may wait for a peer that reads nothing of it."""
LIFE_S: Final = 600.0
"""After that a connection ends with its next reply, so that its peer has to show a certificate again."""
TURN_AWAY_S: Final = 2.0
_CREDENTIALS: Final = struct.Struct("3i")
_TURNED_AWAY: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def encrypted(transport: asyncio.Transport) -> bool:
    return transport.get_extra_info("ssl_object") is not None


class Connection(H11Protocol):
    """On the Unix socket, whose folder says who may connect."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._request: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._until = float("inf")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._request = self.loop.call_later(REQUEST_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._request is None:
            self._request = self.loop.call_later(REQUEST_S, self.transport.abort)
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._end_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_request()
        self._end_stall()
        super().connection_lost(exc)

    def _end_request(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._request = None

    def _end_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None


class DoorConnection(Connection):
    """Of a gateway, for which places may be held: no longer than it is there, over this connection or another."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._peer: Peer | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._peer is not None:
            self._peer.leave(ended_here=self.loop.time() >= self._until)
        super().connection_lost(exc)

    def _join(self, whose: Hashable) -> None:
        self._peer = self.app_state[PEERS].join(whose)
        self.app_state = {**self.app_state, PEER: self._peer}


class LocalConnection(DoorConnection):
    """On the Unix socket: a gateway is a process."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._join(_process(transport.get_extra_info("socket")))


def _process(peer: socket.socket) -> Hashable:
    """That has connected. Those that the system does not tell apart, as of other containers, are one."""
    if not hasattr(socket, "SO_PEERCRED"):  # on Linux alone: elsewhere each connection is a gateway
        return object()
    return _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))


class RemoteConnection(DoorConnection):
    """Over TLS, from a peer whose certificate the authority has signed. Only the one that is called `client` is served.
    A gateway is an address.

    `left` is told when it has ended.
    """

    def __init__(self, *args: Any, client: str, left: Callable[[RemoteConnection], None], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._client = client
        self._left = left
        self._welcome = False
        served = self.app

        async def ending(scope: Any, receive: Any, send: Any) -> None:
            async def out(message: Any) -> None:
                if message["type"] == "http.response.start" and self.loop.time() > self._until:
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
                await send(message)

            await served(scope, receive, out)

        self.app = ending

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not encrypted(transport):  # never: but nothing is served without TLS
            transport.abort()
            return
        known_as = names(transport.get_extra_info("peercert"))
        self._welcome = self._client in known_as
        self._until = self.loop.time() + LIFE_S
        if self._welcome:
            self._join((self.client or ("?",))[0])
        else:
            shown = ", ".join(f"`{each[:100]}`" for each in known_as[:3]) or "no name"
            reason = f"its certificate is for {shown}, not for `{self._client}`"
            log.warning("a peer was turned away", host=(self.client or ("?",))[0], reason=reason)
            self._end_request()
            self._request = self.loop.call_later(TURN_AWAY_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self._welcome:
            super().data_received(data)
        elif not self.transport.is_closing():
            self.transport.write(_TURNED_AWAY)
            self.transport.close()

    def end_soon(self) -> None:
        """With the next reply: a certificate was renewed."""
        self._until = float("-inf")

    def connection_lost(self, exc: Exception | None) -> None:
        self._left(self)
        super().connection_lost(exc)
