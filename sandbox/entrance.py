"""Who gets as far as the domain's door over the network: TLS, at most so many at a time, none that is slow to show.

Whoever has not shown a certificate yet holds one of few places, for seconds at most, and makes room when they are
full: the longest waiting of the address that holds most. So silent strangers keep nobody out but each other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sandbox import logs
from sandbox.connection import RemoteConnection
from sandbox.domain import DomainError, Remote
from sandbox.tls import CertificateError, Renewed, unsaid
from sandbox.tls_words import words

HANDSHAKE_S: Final = 5.0
HANDSHAKES_MAX: Final = 64
CONNECTIONS_MAX: Final = 256
SHUTDOWN_S: Final = 1.0
LINGER_S: Final = 0.3
TELL_S: Final = 10.0
"""Strangers fill no log: one line in so many seconds."""
log = logs.logger("bpk.domain")
Make = Callable[[str, Callable[[RemoteConnection], None]], RemoteConnection]


def _warn(text: str) -> None:
    log.warning("a certificate", reason=text)


class Entrance:
    """Listens where `remote` says. Raises DomainError at its making.

    `serve` runs in uvicorn's loop; `make` gives the protocol of a connection, told who is served and what to call when
    it has ended.
    """

    def __init__(self, remote: Remote) -> None:
        try:
            self._identity = Renewed(remote.files, "domain", _warn)
        except CertificateError as error:
            raise DomainError(str(error)) from error
        self._client = remote.client
        self._listener = _listen(*remote.listen)
        self._shaking: dict[asyncio.Task[None], tuple[str, socket.socket]] = {}
        """Oldest first."""
        self._connected: set[RemoteConnection] = set()
        self._quiet_until = 0.0
        self._untold = 0

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    async def serve(self, make: Make) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptors left, or the peer is gone already
                self._tell("?", error)
                await asyncio.sleep(0.1)
                continue
            if len(self._connected) >= CONNECTIONS_MAX:
                peer.close()
                continue
            self._make_room()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            task = loop.create_task(self._shake(peer, address[0], make))
            self._shaking[task] = address[0], peer
            task.add_done_callback(self._shaken)

    def look(self) -> None:
        """Takes up renewed certificates; connections of before end with their next reply."""
        if self._identity.look():
            for connection in self._connected:
                connection.end_soon()

    def close(self) -> None:
        self._listener.close()
        for _, peer in self._shaking.values():
            _cut(peer)

    async def _shake(self, peer: socket.socket, host: str, make: Make) -> None:
        loop = asyncio.get_running_loop()
        kept: list[bytes] = []
        unsaid.set(kept)
        spare = peer.dup()
        try:
            _, connection = await _accepted(
                loop,
                lambda: make(self._client, self._connected.discard),
                peer,
                ssl=self._identity.context,
                ssl_handshake_timeout=HANDSHAKE_S,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except (OSError, ssl.SSLError) as error:  # whatever a stranger does: it is his connection alone that ends
            self._tell(host, error)
            await _say(spare, b"".join(kept))
        else:
            if not connection.transport.is_closing():
                self._connected.add(connection)
        finally:
            spare.close()

    def _shaken(self, task: asyncio.Task[None]) -> None:
        self._shaking.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed", error=type(error).__name__)

    def _make_room(self) -> None:
        if len(self._shaking) < HANDSHAKES_MAX:
            return
        busiest, _ = Counter(host for host, _ in self._shaking.values()).most_common(1)[0]
        oldest = next(task for task, (host, _) in self._shaking.items() if host == busiest)
        _, peer = self._shaking.pop(oldest)
        _cut(peer)

    def _tell(self, host: str, error: OSError) -> None:
        if time.monotonic() < self._quiet_until:
            self._untold += 1
            return
        log.warning("a peer was turned away", host=host, reason=words(error), untold=self._untold)
        self._quiet_until, self._untold = time.monotonic() + TELL_S, 0


async def _accepted(
    loop: asyncio.AbstractEventLoop, make: Callable[[], RemoteConnection], peer: socket.socket, **tls: Any
) -> tuple[asyncio.Transport, RemoteConnection]:
    return await loop.connect_accepted_socket(make, peer, **tls)


async def _say(peer: socket.socket, alert: bytes) -> None:
    """Leaves the peer a moment to read why, before what it sent on resets the connection."""
    with suppress(OSError):
        peer.send(alert)
        peer.shutdown(socket.SHUT_WR)
        await asyncio.sleep(LINGER_S)


def _cut(peer: socket.socket) -> None:
    with suppress(OSError):
        peer.shutdown(socket.SHUT_RDWR)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's algorithm on
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        raise DomainError(f"{host}:{port} cannot be listened on: {(error.strerror or str(error)).lower()}") from error
    listener.listen(128)
    listener.settimeout(0)
    return listener
