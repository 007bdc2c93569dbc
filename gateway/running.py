"""The queries that run now, each in its turn: a thread for each, and the promise of its outcome."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from threading import Lock
from typing import Any

from gateway.errors import Refusal
from gateway.turns import Turn

Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """A query on its way: the promise of its outcome."""

    outcome: Future[Outcome]


class Running:
    """Thread-safe. At the end: `drain`, then the data domain's own end, then `join`."""

    def __init__(self, running_max: int) -> None:
        self._live: dict[str, Live] = {}
        self._lock = Lock()
        self._closing = False
        self._pool = ThreadPoolExecutor(running_max, thread_name_prefix="query")

    def promise(self, query_id: str, turn: Turn) -> None:
        """Before the charge is durable: whoever sees the charge finds the promise of its outcome.

        The turn is given back with the outcome. Raises Refusal(`not_ready`).
        """
        outcome: Future[Outcome] = Future()
        outcome.set_running_or_notify_cancel()  # somebody who stops waiting does not take it from the others
        with self._lock:
            if self._closing:
                raise Refusal("not_ready", "the gateway is about to stop", hint="nothing was charged; ask again later")
            self._live[query_id] = Live(outcome)

        def end(_: Future[Outcome]) -> None:
            self._live.pop(query_id, None)
            turn.leave()

        outcome.add_done_callback(end)

    def start(self, query_id: str, work: Callable[[], Outcome]) -> Future[Outcome]:
        """Begins what was promised. `work` does not raise."""
        outcome = self._live[query_id].outcome
        self._pool.submit(copy_context().run, _keep, outcome, work)
        return outcome

    def withdraw(self, query_id: str, outcome: Outcome) -> None:
        """Ends a promise that nobody will keep, if there is one: the query was not charged, or not started. Whoever has
        seen the charge meanwhile is told `outcome`."""
        live = self.find(query_id)
        if live is not None:
            live.outcome.set_result(outcome)

    def find(self, query_id: str) -> Live | None:
        return self._live.get(query_id)

    def drain(self, seconds: float) -> None:
        """Takes no more queries, and lets what runs end for so long."""
        with self._lock:
            self._closing = True
        wait([live.outcome for live in list(self._live.values())], timeout=seconds)

    def join(self) -> None:
        """Waits for what still runs; once the data domain has ended, it fails at once and stays charged."""
        self._pool.shutdown(wait=True)


def _keep(outcome: Future[Outcome], work: Callable[[], Outcome]) -> None:
    try:
        outcome.set_result(work())
    except BaseException as error:  # else whoever waits would wait for ever
        outcome.set_exception(error)
