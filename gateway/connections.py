"""HTTP/1.1 as far as the data domain's door speaks it: one request, one reply of a length that is told beforehand.

A library that speaks all of it takes longer for an exchange than the data domain does for a stored answer. What the
other side says is read strictly and bounded; whatever else it may be is no reply.
"""

from __future__ import annotations

import re
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sandbox.protocol import RESERVATION_S

IDLE_S: Final = 30.0
"""How long a connection is kept for the next exchange: less than the data domain keeps it."""
IDLE_MAX: Final = 64
"""Of more, those that have been idle longer than a place is held for what came over them: the data domain gives a place
back whose connection has gone, and its question may be being charged."""
HEAD_BYTES_MAX: Final = 16_384
REPLY_BYTES_MAX: Final = 64 * 2**20
_PART: Final = 65_536
_STATUS: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [ -~]*")
_FIELD: Final = re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+):([ -~\t]*)")
"""Each of its bytes can be read in one way only, so that a line takes a time by its length."""
_LENGTH: Final = re.compile(rb"[0-9]{1,12}")
Dial = Callable[[float], socket.socket]
"""Makes a connection by a moment of the monotonic clock. Raises OSError."""


class Broken(Exception):
    """A connection that ended before its reply did, or on which something came that is no reply."""


class TooLong(Exception):
    """A reply that nobody wants to hold."""


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    length: int
    last: bool
    """Whether the other side closes the connection behind it."""


class Connections:
    """Thread-safe. Keeps those that may be used again."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._lock = threading.Lock()
        self._idle: deque[tuple[socket.socket, float]] = deque()
        self._closed = False

    def exchange(self, request: bytes, until: float) -> tuple[int, bytes]:
        """Status and body of the reply, by a moment of the monotonic clock.

        Raises Broken, TooLong, TimeoutError, and OSError where no connection is made.
        """
        peer = self._take() or self._dial(until)
        good = False
        try:
            _send(peer, request, until)
            head, body = _received(peer, until)
            good = not head.last
            return head.status, body
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken from error
        finally:
            self._give_back(peer, good=good)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for peer, _ in idle:
            peer.close()

    def _take(self) -> socket.socket | None:
        """The one that was used last, and is not closed at the other end."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                peer, since = self._idle.pop()
            if time.monotonic() - since < IDLE_S and not _speaks(peer):
                return peer
            peer.close()

    def _give_back(self, peer: socket.socket, *, good: bool) -> None:
        over: list[socket.socket] = []
        now = time.monotonic()
        with self._lock:
            if good and not self._closed:
                self._idle.append((peer, now))
            else:
                over.append(peer)
            while self._idle and now - self._idle[0][1] >= (RESERVATION_S if len(self._idle) > IDLE_MAX else IDLE_S):
                over.append(self._idle.popleft()[0])
        for each in over:
            each.close()


def _speaks(peer: socket.socket) -> bool:
    """Whether something came unasked: as a rule the end."""
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    return bool(poll.poll(0))


def _wait(peer: socket.socket, until: float) -> None:
    """What is done next on the socket ends in time. Raises TimeoutError where it is over."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    peer.settimeout(left)


def _send(peer: socket.socket, request: bytes, until: float) -> None:
    left = memoryview(request)
    while left:
        _wait(peer, until)
        left = left[peer.send(left) :]


def _received(peer: socket.socket, until: float) -> tuple[_Head, bytes]:
    found = bytearray()
    while (end := found.find(b"\r\n\r\n")) < 0 and len(found) <= HEAD_BYTES_MAX:
        found += _part(peer, until)
    if not 0 <= end <= HEAD_BYTES_MAX:  # a part is longer than a head may be
        raise Broken
    head, body = _head(bytes(found[:end])), found[end + 4 :]
    if head.length > REPLY_BYTES_MAX:
        raise TooLong
    while len(body) < head.length:
        body += _part(peer, until)
    if len(body) > head.length:
        raise Broken
    return head, bytes(body)


def _part(peer: socket.socket, until: float) -> bytes:
    _wait(peer, until)
    part = peer.recv(_PART)
    if not part:
        raise Broken
    return part


def _head(text: bytes) -> _Head:
    first, *others = text.split(b"\r\n")
    status = _STATUS.fullmatch(first)
    fields = [_FIELD.fullmatch(each) for each in others]
    if status is None or None in fields:
        raise Broken
    told = [(each[1].lower(), each[2].strip()) for each in fields if each is not None]
    lengths = [value for name, value in told if name == b"content-length"]
    if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]) or any(name == b"transfer-encoding" for name, _ in told):
        raise Broken
    last = any(name == b"connection" and value.lower() != b"keep-alive" for name, value in told)
    return _Head(int(status[1]), int(lengths[0]), last)
