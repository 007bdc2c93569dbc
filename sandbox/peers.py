"""Who is at the other end of a connection to the door, as far as places are held for it.

A gateway that dies between the prices it asked for and its charges leaves places behind that nobody will use. The
system tells at once that its connections are gone, and long before a reservation ends.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sandbox.protocol import RESERVATION_S

PEER: Final = "peer"
"""Where the `state` of a request names its connection's."""


class Peer:
    """Thread-safe. Remembers what is held for a connection, for as long as it can be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: deque[tuple[float, Callable[[], None]]] = deque()
        self._gone = False

    def hold(self, let_go: Callable[[], None]) -> None:
        """`let_go` is called when the peer is gone, or now where it is."""
        now = time.monotonic()
        with self._lock:
            while self._held and self._held[0][0] < now:
                self._held.popleft()
            if not self._gone:
                self._held.append((now + RESERVATION_S, let_go))
                return
        let_go()

    def leave(self) -> None:
        """The peer has closed its connection, or died."""
        with self._lock:
            self._gone = True
            held, self._held = self._held, deque()
        for _, let_go in held:
            let_go()
