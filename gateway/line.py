"""How bytes get to the data domain and back: over a Unix socket, or over mutual TLS to another machine.

One exchange has one limit of time, however the other side deals out its bytes, and one limit of size.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.connections import Broken, Connections, Dial, TooLong
from gateway.errors import Misconfigured
from sandbox import logs
from sandbox.protocol import RESERVATION_S
from sandbox.tls import CertificateError, Files, Renewed
from sandbox.tls_words import words

CONNECT_S: Final = 2.0
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

    Connections under the old ones stay for as long as a place may be held for what came over them: the data domain
    gives back those whose connection has gone, and a question is charged between its price and its run.

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
        self._retired: list[_Lease] = []

    def exchange(self, route: str, content: bytes | None, seconds: float, *, again: bool) -> tuple[int, bytes]:
        """HTTP status and body of the reply. Raises Cut.

        With `again` it is tried twice where the connection broke: a service that was restarted leaves dead ones behind.
        """
        until, request = time.monotonic() + seconds, self._request(route, content)
        with self._pool() as pool:
            try:
                try:
                    return pool.exchange(request, until)
                except Broken:
                    if not again:
                        raise
                return pool.exchange(request, until)
            except TooLong as error:
                raise Cut("its reply is too long") from error
            except (Broken, OSError) as error:
                raise Cut(words(error)) from error

    def close(self) -> None:
        for lease in (self._lease, *self._retired):
            lease.pool.close()

    def _request(self, route: str, content: bytes | None) -> bytes:
        method, body = ("GET", b"") if content is None else ("POST", content)
        head = f"{method} {route} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body

    @property
    def _host(self) -> str:
        if not isinstance(self._place, Remote):
            return "domain"
        return f"[{self._place.host}]" if ":" in self._place.host else self._place.host

    @contextmanager
    def _pool(self) -> Iterator[Connections]:
        with self._lock:
            if self._identity is not None and self._identity.look():
                self._retired.append(self._lease)
                self._lease = self._connect()
            self._end_retired()
            lease = self._lease
            lease.users += 1
        try:
            yield lease.pool
        finally:
            with self._lock:
                lease.users -= 1
                lease.used = time.monotonic()

    def _end_retired(self) -> None:
        now = time.monotonic()
        for lease in tuple(self._retired):
            if not lease.users and now - lease.used >= RESERVATION_S:
                lease.pool.close()
                self._retired.remove(lease)

    def _connect(self) -> _Lease:
        return _Lease(Connections(self._near if isinstance(self._place, Path) else self._far(self._place)))

    def _near(self, until: float) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.settimeout(_patience(until))
            peer.connect(str(self._place))
        except BaseException:
            peer.close()
            raise
        return peer

    def _far(self, place: Remote) -> Dial:
        """Under the certificate of now."""
        context = None if self._identity is None else self._identity.context
        if context is None:
            raise AssertionError("another machine is reached with a certificate")

        def dial(until: float) -> socket.socket:
            plain = socket.create_connection((place.host, place.port), _patience(until))
            try:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                plain.settimeout(_patience(until))
                return context.wrap_socket(plain, server_hostname=place.server)
            except BaseException:
                plain.close()
                raise

        return dial


@dataclass(slots=True)
class _Lease:
    """Connections made under one certificate, how many exchanges use them now, and when the last of them ended."""

    pool: Connections
    users: int = 0
    used: float = float("-inf")


def _patience(until: float) -> float:
    """How long to wait for a connection."""
    return max(0.001, min(CONNECT_S, until - time.monotonic()))
