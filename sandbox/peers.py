"""Who is at the other end of a connection to the door, as far as places are held for it.

A gateway that dies between the prices it asked for and its charges leaves places behind that nobody will use. The
system tells at once that its connections are gone, and long before a reservation ends. One that closes a connection and
has another is there, and may be charging for what it was told over the first.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

from sandbox.protocol import RESERVATION_S

PEER: Final = "peer"
"""Where the `state` of a request names its connection's."""
PEERS: Final = "peers"
"""Where it names those of all connections."""
Held = deque[tuple[float, Callable[[], None]]]
"""Each with when it is over by itself, and how it is let go before."""


@dataclass(slots=True)
class _Gateway:
    """How many connections it has, and what is held for those that it had."""

    connections: int = 0
    held: Held = field(default_factory=deque)


class Peers:
    """Thread-safe. Which connections are of one gateway."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._there: dict[Hashable, _Gateway] = {}

    def join(self, whose: Hashable) -> Peer:
        with self._lock:
            self._there.setdefault(whose, _Gateway()).connections += 1
        return Peer(self, whose)

    def left(self, whose: Hashable, held: Held) -> Held:
        """One connection less: what is to be let go, which is nothing while there are others."""
        with self._lock:
            gateway = self._there[whose]
            gateway.connections -= 1
            gateway.held = _current(deque((*gateway.held, *held)))
            if gateway.connections:
                return deque()
            return self._there.pop(whose).held


class Peer:
    """One connection's. Thread-safe. Remembers what is held for it, for as long as it can be."""

    def __init__(self, peers: Peers, whose: Hashable) -> None:
        self._peers = peers
        self._whose = whose
        self._lock = threading.Lock()
        self._held: Held = deque()
        self._gone = False

    def hold(self, let_go: Callable[[], None]) -> None:
        """`let_go` is called when the peer is gone, or now where the connection is: nobody is told of it then."""
        with self._lock:
            self._held = _current(self._held)
            if not self._gone:
                self._held.append((time.monotonic() + RESERVATION_S, let_go))
                return
        let_go()

    def leave(self, *, ended_here: bool = False) -> None:
        """The peer has closed its connection, or died. Where it was ended here, it goes on over another one."""
        with self._lock:
            self._gone = True
            held, self._held = self._held, deque()
        over = self._peers.left(self._whose, held)
        if not ended_here:
            for _, let_go in over:
                let_go()


def _current(held: Held) -> Held:
    now = time.monotonic()
    return deque(each for each in held if each[0] >= now)
