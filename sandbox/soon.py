"""What is worth having at once, and not worth waiting for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import Final, TypeVar

T = TypeVar("T")
LATE_MAX: Final = 4
"""So many may go on for nobody; while they do, nothing is begun that could be one more."""


class Soon:
    """Thread-safe. What is late is not begun again before it is over, so that whoever asks again adds no work."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._late: dict[Future[object], str] = {}

    def get(self, about: str, work: Callable[[], T], seconds: float) -> T | None:
        """What `work` gives within so long; else None, and it goes on for nobody. Raises what it raises in time."""
        with self._lock:
            if about in self._late.values() or len(self._late) >= LATE_MAX:
                return None
        outcome: Future[T] = Future()

        def run() -> None:
            try:
                outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 RUF100  # whoever waits raises it
                outcome.set_exception(error)

        threading.Thread(target=copy_context().run, args=(run,), name="bpk-soon", daemon=True).start()
        if wait((outcome,), seconds).done:
            return outcome.result()
        self._leave(outcome, about)
        return None

    def _leave(self, outcome: Future[T], about: str) -> None:
        with self._lock:
            self._late[outcome] = about  # type: ignore[index]
        outcome.add_done_callback(self._over)  # at once, where it has ended just now

    def _over(self, outcome: Future[T]) -> None:
        with self._lock:
            del self._late[outcome]  # type: ignore[arg-type]
