"""A data domain's door behind mutual TLS on loopback, with certificates of every kind, good and bad."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sandbox.certificates import make
from sandbox.domain import Remote
from sandbox.entrance import Entrance
from sandbox.protocol import Status
from sandbox.server import Server
from sandbox.service import application
from sandbox.tls import Files, Side

DOMAIN, GATEWAY = "domain.test", "gateway.test"
STATUS = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"


def papers(folder: Path, side: Side) -> Files:
    """What `make` has put there for `side`."""
    own = folder / side
    return Files(own / f"{side}.crt", own / f"{side}.key", own / "authority.crt")


def made(folder: Path, *, domain: str = DOMAIN, gateway: str = GATEWAY, ago: timedelta = timedelta(0)) -> Path:
    """Certificates for a day, made `ago`."""
    make(folder, domain=domain, gateway=gateway, days=1, now=datetime.now(UTC) - ago)
    return folder


@dataclass
class Answering:
    """Stands in for the door: counts what reached it, and may take its time."""

    calls: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    padding: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def status(self) -> Status:
        self.calls += 1
        self.gate.wait(20)
        return Status(ready=True, datasets=(), layers=(), degraded=("x" * self.padding,))

    def never(self, _: object) -> None:
        raise AssertionError("nobody asks that here")

    prepare = run = fetch = cancel = never


@dataclass
class EntranceWorld:
    door: Answering
    entrance: Entrance
    certificates: Path
    server: Server

    @property
    def port(self) -> int:
        return self.entrance.port

    def connect(self, context: ssl.SSLContext | None, timeout: float = 10) -> socket.socket:
        """As a stranger would: with or without TLS. May raise OSError, ssl.SSLError."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        try:
            return plain if context is None else context.wrap_socket(plain, server_hostname=DOMAIN)
        except BaseException:
            plain.close()
            raise

    def ask(self, context: ssl.SSLContext | None, request: bytes = STATUS) -> bytes:
        """What comes back until the other side closes or the reply is whole; empty where nothing does."""
        try:
            with self.connect(context) as peer:
                peer.sendall(request)
                return received(peer)
        except OSError:
            return b""


def received(peer: socket.socket) -> bytes:
    found = bytearray()
    while b"\r\n\r\n" not in found or len(found.split(b"\r\n\r\n", 1)[1]) < _length(found):
        part = peer.recv(65536)
        if not part:
            break
        found += part
    return bytes(found)


def _length(found: bytearray) -> int:
    for line in found.split(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


def client_context(
    files: Files | None,
    *,
    trusts: Path | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """Of somebody who checks nothing unless he `trusts`, and shows what he has."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    found.minimum_version = found.maximum_version = version
    if trusts is None:
        found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
    else:
        found.load_verify_locations(trusts)
    if files is not None:
        found.load_cert_chain(files.certificate, files.key)
    return found


@contextlib.contextmanager
def entrance_world(folder: Path, app: Callable[[Any], Any] = application) -> Iterator[EntranceWorld]:
    """In a thread of this process, on a free port."""
    certificates = made(folder / "certificates")
    entrance = Entrance(Remote(("127.0.0.1", 0), papers(certificates, "domain"), GATEWAY))
    door = Answering()
    server = Server(app(door), entrance)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield EntranceWorld(door, entrance, certificates, server)
    finally:
        door.gate.set()
        server.should_exit = server.force_exit = True
        thread.join(20)
        assert not thread.is_alive()
