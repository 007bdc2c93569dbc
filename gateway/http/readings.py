"""Who has read the log lately: what is read piece by piece is recorded once for each reader and hour."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock
from typing import Final

HOUR_S: Final = 3600
READERS_MAX: Final = 10_000


class Readings:
    """Of this process: another gateway, or a new start, records once more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._lock = Lock()

    def first(self, subject: str) -> bool:
        """Whether this is the first piece that `subject` reads in an hour."""
        now = self._clock()
        with self._lock:
            begun = self._since.get(subject)
            if begun is not None and now - begun < HOUR_S:
                return False
            if len(self._since) >= READERS_MAX:
                self._since.clear()
            self._since[subject] = now
            return True
