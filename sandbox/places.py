"""The book of a pool's places: which workers wait, which are held for a question, which live, which were killed."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sandbox.protocol import RESERVATION_S
from sandbox.supervised import Worker

LAPSE_S = 1.0
"""A gateway that has no connection left may be there all the same, as behind a network that broke, and be charging."""
_LOOK_S: Final = 1.0
_RETRY_S: Final = 1.0
_REFILL_S: Final = 20.0
_HOLD_S: Final = 0.25
"""How long a worker that was taken keeps its successor waiting: to start one takes the processor that it needs."""


@dataclass(frozen=True, slots=True)
class Held:
    worker: Worker
    until: float


class Places:
    """Thread-safe. A place is taken from when it is booked for a start until its worker was killed.

    `count` is of all places, `warm` of the workers that are to wait per dataset. Closes the workers that it has no use
    for, and starts none.
    """

    def __init__(self, count: int, warm: int) -> None:
        self.count = count
        self._wanted = warm
        self._lock = threading.Condition()
        self._files: dict[str, Path] = {}
        self._warm: dict[str, list[Worker]] = {}
        self._held: dict[str, Held] = {}
        self._workers: set[Worker] = set()
        self._dying: list[Worker] = []
        self._starting = 0
        self._refilling = False
        self._warm_from = 0.0
        self._hold_until = 0.0
        self._closed = False

    def serve(self, dataset: str, snapshot_path: Path) -> None:
        """From now on the dataset's workers open this file; those that wait with another are closed."""
        with self._lock:
            self._files[dataset] = snapshot_path
            old = self._warm.pop(dataset, [])
            self._lock.notify_all()
        for worker in old:
            worker.close()

    def look(self, dataset: str) -> tuple[Path | None, Worker | None]:
        """The file that the dataset's workers open, and one that waited, which may be dead by now."""
        with self._lock:
            waiting = self._warm.get(dataset, [])
            worker = waiting.pop() if waiting else None
            if worker is not None:
                self._hold_until = time.monotonic() + _HOLD_S
            self._lock.notify_all()
            return self._files.get(dataset), worker

    def give_back(self, worker: Worker) -> None:
        """A worker that served nothing may wait again."""
        with self._lock:
            waiting = self._warm.setdefault(worker.dataset, [])
            current = self._files.get(worker.dataset) == worker.snapshot and not self._closed
            if current and worker.idle and len(waiting) < self._wanted:
                waiting.append(worker)
                self._lock.notify_all()
                return
        worker.close()

    def book(self) -> bool:
        """Books a place for a start, if need be that of another dataset's waiting worker."""
        with self._lock:
            if self._closed:
                return False
            if self._used < self.count:
                self._starting += 1
                return True
            idle = next((waiting.pop() for waiting in self._warm.values() if waiting), None)
            if idle is None:
                return False
            self._starting += 1  # before the other is gone, or the refill would fill the place again
        idle.close()
        return True

    def unbook(self) -> None:
        """The start came to nothing."""
        with self._lock:
            self._starting -= 1

    def enter(self, worker: Worker) -> None:
        """The place that was booked is the worker's."""
        with self._lock:
            self._workers.add(worker)
            self._starting -= 1

    def retire(self, worker: Worker) -> None:
        """The worker was killed: its place is free. Waiting for its end is left to whoever asks for `dead`: some ms."""
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
                self._dying.append(worker)
            self._hold_until = 0.0
            self._lock.notify_all()

    def dead(self) -> list[Worker]:
        """The workers that retired since this was asked last."""
        with self._lock:
            dying, self._dying = self._dying, []
        return dying

    def await_free(self, deadline: float) -> bool:
        """Waits once, until something changes. False: it is late or closed, or a full house is not what is wrong."""
        with self._lock:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or self._closed or self._used < self.count:
                return False
            self._lock.wait(left_s)
            return True

    def await_refill(self) -> bool:
        """The place of a worker on its way to wait is as good as free, in a moment. False: there is none."""
        with self._lock:
            if not self._refilling:
                return False
            return self._lock.wait_for(lambda: not self._refilling, _REFILL_S)

    def hold(self, worker: Worker) -> str:
        """A token for `claim`, good for 10 s."""
        token = secrets.token_hex(16)
        with self._lock:
            self._held[token] = Held(worker, time.monotonic() + RESERVATION_S)
            self._lock.notify_all()
        return token

    def claim(self, token: str, dataset: str) -> Worker | None:
        """The worker that was held. None: expired, unknown, dead, or of another dataset."""
        with self._lock:
            held = self._held.pop(token, None)
        if held is None:
            return None
        if held.until > time.monotonic() and held.worker.dataset == dataset and held.worker.idle:
            return held.worker
        self.give_back(held.worker)
        return None

    def release(self, token: str) -> None:
        """The place is not needed; nothing happens for a token that is none."""
        with self._lock:
            held = self._held.pop(token, None)
        if held is not None:
            self.give_back(held.worker)
            self.wake()

    def lapse(self, token: str) -> None:
        """The place comes back in `LAPSE_S`, unless it is claimed before."""
        with self._lock:
            held = self._held.get(token)
            if held is not None:
                until = min(held.until, time.monotonic() + LAPSE_S)
                self._held[token] = Held(held.worker, until)
                self._lock.notify_all()

    def expire(self) -> None:
        """Takes back what was held for too long, and lets go of waiting workers that died."""
        now = time.monotonic()
        with self._lock:
            over = [token for token, held in self._held.items() if held.until <= now]
            expired = [self._held.pop(token).worker for token in over]
            dead = [worker for waiting in self._warm.values() for worker in waiting if not worker.idle]
            for worker in dead:
                self._warm[worker.dataset].remove(worker)
        for worker in expired:
            self.give_back(worker)
        for worker in dead:
            worker.close()

    def begin_refill(self) -> tuple[str, Path] | None:
        """Books a place for a worker that is to wait: the dataset that lacks one, and its file."""
        with self._lock:
            dataset = self._missing() if time.monotonic() >= self._refill_from else None
            if dataset is None:
                return None
            self._starting += 1
            self._refilling = True
            return dataset, self._files[dataset]

    def end_refill(self, worker: Worker | None) -> None:
        """With the worker, or after a start that failed: then a pause, so that a broken machine is not kept busy."""
        try:
            if worker is None:
                self._warm_from = time.monotonic() + _RETRY_S
            else:
                self.give_back(worker)
        finally:
            with self._lock:
                self._refilling = False
                self._lock.notify_all()

    def await_work(self, *, may_refill: bool) -> bool:
        """Until a worker died, is missing or is held for too long, or something changes, at most a second.

        False: the book is closed.
        """
        with self._lock:
            if self._closed:
                return False
            self._lock.wait(self._pause(may_refill=may_refill))
            return True

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._lock:
            self._lock.notify_all()

    def living(self) -> list[Worker]:
        with self._lock:
            return list(self._workers)

    def close(self) -> None:
        """No place is given any more."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    @property
    def _used(self) -> int:
        return len(self._workers) + self._starting

    @property
    def _refill_from(self) -> float:
        return max(self._warm_from, self._hold_until)

    def _missing(self) -> str | None:
        """A dataset that has fewer waiting workers than it should, if there is room. Called with the lock held."""
        if self._closed or self._used >= self.count:
            return None
        return next((name for name in self._files if len(self._warm.get(name, [])) < self._wanted), None)

    def _pause(self, *, may_refill: bool) -> float:
        """In seconds. Called with the lock held."""
        now = time.monotonic()
        if self._dying:
            return 0.0
        if may_refill and self._missing() is not None:
            return max(0.0, min(_LOOK_S, self._refill_from - now))
        ends = [held.until - now for held in self._held.values()]
        return max(0.0, min([_LOOK_S, *ends]))
