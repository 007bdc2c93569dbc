"""The queries that run now: a thread and a place for each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from gateway.errors import Refusal

Outcome = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Live:
    """A query on its way: the ticket that the data domain knows it by, and the promise of its outcome."""

    ticket: str
    outcome: Future[Outcome]


class Running:
    """Thread-safe. At the end: `drain`, then the data domain's own end, then `join`."""

    def __init__(self, running_max: int) -> None:
        self._running_max = running_max
        self._live: dict[str, Live] = {}
        self._closing = False
        self._pool = ThreadPoolExecutor(running_max, thread_name_prefix="query")

    def require_place(self) -> None:
        """Raises Refusal(`busy`)."""
        if self._closing or len(self._live) >= self._running_max:
            hint = "nothing was charged; ask again in a moment"
            raise Refusal("busy", "every place to run a question is taken", hint=hint)

    def start(self, query_id: str, ticket: str, work: Callable[[], Outcome]) -> Future[Outcome]:
        outcome = self._pool.submit(work)
        self._live[query_id] = Live(ticket, outcome)
        outcome.add_done_callback(lambda _: self._live.pop(query_id, None))
        return outcome

    def find(self, query_id: str) -> Live | None:
        return self._live.get(query_id)

    def drain(self, seconds: float) -> None:
        """Gives out no more places, and lets what runs end for so long."""
        self._closing = True
        wait([live.outcome for live in list(self._live.values())], timeout=seconds)

    def join(self) -> None:
        """Waits for what still runs; once the data domain has ended, it fails at once and stays charged."""
        self._pool.shutdown(wait=True)
