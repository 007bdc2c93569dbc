"""The queries that run now: a thread and a place for each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock
from typing import Any

from gateway.errors import Fault, Refusal

Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """A query on its way: the promise of its outcome."""

    outcome: Future[Outcome]
    opened_by: str | None = None
    """Who asks, of an open question."""


class Running:
    """Thread-safe. At the end: `drain`, then the data domain's own end, then `join`."""

    def __init__(self, running_max: int, open_max: int) -> None:
        self._running_max = running_max
        self._open_max = open_max
        self._live: dict[str, Live] = {}
        self._lock = Lock()
        self._closing = False
        self._pool = ThreadPoolExecutor(running_max, thread_name_prefix="query")

    def require_room(self, opened_by: str) -> None:
        """Open questions cost nothing, so they leave places to those that do, and one operator leaves one to others.

        Raises Refusal(`busy`).
        """
        with self._lock:
            self._require_room(opened_by)

    def _require_room(self, opened_by: str) -> None:
        asking = [live.opened_by for live in self._live.values() if live.opened_by is not None]
        if len(asking) >= self._open_max or asking.count(opened_by) >= max(1, self._open_max - 1):
            message = "as many open questions are on their way as are worked on at once"
            raise Refusal("busy", message, hint="ask again in a moment")

    def promise(self, query_id: str, opened_by: str | None = None) -> None:
        """Takes a place before the charge is durable: whoever sees the charge finds the promise of its outcome.

        `opened_by` is who asks an open question. Raises Refusal(`busy`).
        """
        outcome: Future[Outcome] = Future()
        outcome.set_running_or_notify_cancel()  # somebody who stops waiting does not take it from the others
        with self._lock:
            if self._closing or len(self._live) >= self._running_max:
                hint = "nothing was charged; ask again in a moment"
                raise Refusal("busy", "every place to run a question is taken", hint=hint)
            if opened_by is not None:
                self._require_room(opened_by)
            self._live[query_id] = Live(outcome, opened_by)
        outcome.add_done_callback(lambda _: self._live.pop(query_id, None))

    def start(self, query_id: str, work: Callable[[], Outcome]) -> Future[Outcome]:
        """Begins what was promised. `work` does not raise."""
        outcome = self._live[query_id].outcome
        self._pool.submit(_keep, outcome, work)
        return outcome

    def withdraw(self, query_id: str) -> None:
        """Ends a promise that nobody will keep, if there is one: the query was not charged, or not started."""
        live = self.find(query_id)
        if live is not None:
            live.outcome.set_exception(Fault(f"{query_id}: was not started"))

    def find(self, query_id: str) -> Live | None:
        return self._live.get(query_id)

    def drain(self, seconds: float) -> None:
        """Gives out no more places, and lets what runs end for so long."""
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
