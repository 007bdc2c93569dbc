"""What is worth having at once, and not worth waiting for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def soon(work: Callable[[], T], seconds: float) -> T | None:
    """What `work` gives within so long; else None, and it goes on for nobody. Raises what it raises in time."""
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001 RUF100  # whoever waits raises it
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(run,), name="bpk-soon", daemon=True).start()
    return outcome.result() if wait((outcome,), seconds).done else None
