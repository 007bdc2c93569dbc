"""How bytes get to the data domain and back: over a Unix socket, or over mutual TLS to another machine.

One exchange has one limit of time, however the other side deals out its bytes, and one limit of size.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpcore

from gateway import clocked
from gateway.errors import Misconfigured
from sandbox import logs
from sandbox.tls import CertificateError, Files, Renewed
from sandbox.tls_words import words

CONNECT_S: Final = 2.0
IDLE_S: Final = 30.0
"""How long a connection is kept for the next exchange: less than the data domain keeps it."""
IDLE_MAX: Final = 64
REPLY_BYTES_MAX: Final = 64 * 2**20
_BROKEN: Final = (httpcore.RemoteProtocolError, httpcore.ReadError, httpcore.WriteError)
_log = logs.logger("bpk.line")


def _warn(text: str) -> None:
    _log.warning("a certificate", reason=text)


@dataclass(frozen=True, slots=True)
class Remote:
    """A data domain on another machine, which has to show a certificate of the authority for just this `server`."""

    host: str
    port: int
    files: Files
    server: str


Place = Path | Remote
"""A Unix socket, or another machine."""


class Cut(Exception):
    """An exchange that came to nothing. The text says why, of the data domain as `it`: no address, no bytes."""


class Line:
    """Thread-safe. Certificates that are renewed on disk are taken up: exchanges that run end on the old ones.

    Raises Misconfigured for certificates that cannot be used.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._identity: Renewed | None = None
        if isinstance(place, Remote):
            try:
                self._identity = Renewed(place.files, "gateway", _warn)
            except CertificateError as error:
                raise Misconfigured(str(error)) from error
        self._lease = self._connect()

    def exchange(self, route: str, content: bytes | None, seconds: float, *, again: bool) -> tuple[int, bytes]:
        """HTTP status and body of the reply. Raises Cut.

        With `again` it is tried twice where the connection broke: a service that was restarted leaves dead ones behind.
        """
        until = time.monotonic() + seconds
        with self._pool() as pool:
            try:
                return self._once(pool, route, content, until)
            except _BROKEN as error:
                if not again:
                    raise Cut(_words(error)) from error
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
                raise Cut(_words(error)) from error
            try:
                return self._once(pool, route, content, until)
            except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
                raise Cut(_words(error)) from error

    def close(self) -> None:
        self._lease.pool.close()

    def _once(
        self, pool: httpcore.ConnectionPool, route: str, content: bytes | None, until: float
    ) -> tuple[int, bytes]:
        left = max(0.001, until - time.monotonic())
        timeout = {"connect": min(CONNECT_S, left), "read": left, "write": left, "pool": left}
        extensions: dict[str, Any] = {"timeout": timeout}
        base = "http://domain"
        if isinstance(self._place, Remote):
            host = f"[{self._place.host}]" if ":" in self._place.host else self._place.host
            base = f"https://{host}:{self._place.port}"
            extensions["sni_hostname"] = self._place.server
        method, headers = ("GET" if content is None else "POST"), [("Content-Type", "application/json")]
        with (
            clocked.within(left),
            pool.stream(method, base + route, headers=headers, content=content, extensions=extensions) as reply,
        ):
            return reply.status, _bounded(reply)

    @contextmanager
    def _pool(self) -> Iterator[httpcore.ConnectionPool]:
        with self._lock:
            if self._identity is not None and self._identity.look():
                self._retire(self._lease)
                self._lease = self._connect()
            lease = self._lease
            lease.users += 1
        try:
            yield lease.pool
        finally:
            with self._lock:
                lease.users -= 1
                if lease is not self._lease and not lease.users:
                    lease.pool.close()

    @staticmethod
    def _retire(lease: _Lease) -> None:
        if not lease.users:
            lease.pool.close()

    def _connect(self) -> _Lease:
        context = None if self._identity is None else self._identity.context
        uds = None if isinstance(self._place, Remote) else str(self._place)
        return _Lease(_pool(context, uds))


@dataclass(slots=True)
class _Lease:
    """Connections made under one certificate, and how many exchanges use them now."""

    pool: httpcore.ConnectionPool
    users: int = 0


def _pool(context: ssl.SSLContext | None, uds: str | None) -> httpcore.ConnectionPool:
    return httpcore.ConnectionPool(
        ssl_context=context,
        max_connections=None,
        max_keepalive_connections=IDLE_MAX,
        keepalive_expiry=IDLE_S,
        uds=uds,
        network_backend=clocked.Backend(),
        socket_options=[(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)],
    )


def _bounded(reply: httpcore.Response) -> bytes:
    body = bytearray()
    for part in reply.iter_stream():
        body += part
        if len(body) > REPLY_BYTES_MAX:
            raise Cut("its reply is too long")
    return bytes(body)


def _words(error: Exception) -> str:
    return "it does not answer in time" if isinstance(error, httpcore.TimeoutException) else words(error)
