"""The pool: warm workers per dataset, one job each, behind walls that were read back.

Synchronous and thread-safe. One thread of its own starts the zygote, warms workers, lets reservations expire.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from sandbox.engine.snapshot import make_empty
from sandbox.groups import Groups
from sandbox.jobs import Start, process_bytes
from sandbox.lockdown.walls import ENGINE
from sandbox.protocol import RESERVATION_S, Layer
from sandbox.selftest import attack_from_inside
from sandbox.spawn import Zygote, ZygoteGone
from sandbox.spill import SpillRoot
from sandbox.supervised import Worker, WorkerFailed, WorkerLimits

__all__ = ["Pool", "PoolSettings", "Worker", "WorkerFailed"]

LAPSE_S = 1.0
"""A gateway that has no connection left may be there all the same, as behind a network that broke, and be charging."""
_LOOK_S = 1.0
_RETRY_S = 1.0
_ZYGOTE_S = 30.0
_REFILL_S = 20.0
_SPARE_THREADS = 16
"""Of a worker, beyond those that compute."""
_HOLD_S = 0.25
"""How long a worker that was taken keeps its successor waiting: to start one takes the processor that it needs."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`spill` is a folder for the pool alone. Sizes in MiB; `wall_ms` is what one job's queries may take together.

    `memory_mb` is the engine's; the process is stopped at one and a half times that and 256 MiB. `warm` counts waiting
    workers per dataset, `workers_max` all workers that are alive (0: twice the processors).
    """

    spill: Path
    threads: int = 2
    memory_mb: int = 1024
    spill_mb: int = 4096
    wall_ms: int = 30_000
    warm: int = 1
    workers_max: int = 0
    allow_degraded: frozenset[str] = frozenset()
    result_bytes_max: int = 16 << 20

    @property
    def places(self) -> int:
        return self.workers_max or 2 * (os.cpu_count() or 1)

    @property
    def process_bytes(self) -> int:
        return process_bytes(self.memory_mb)


@dataclass(frozen=True, slots=True)
class _Held:
    worker: Worker
    until: float


class Pool:
    """Give it the datasets' files by `serve`; then `reserve`, `take`, `Worker.query`, `Worker.close`."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._spill = SpillRoot(settings.spill)
        self._groups = Groups()
        self._lock = threading.Condition()
        self._files: dict[str, Path] = {}
        self._warm: dict[str, list[Worker]] = {}
        self._held: dict[str, _Held] = {}
        self._workers: dict[Worker, Path] = {}
        self._dying: list[tuple[Worker, Path]] = []
        self._starting = 0
        self._refilling = False
        self._warm_from = 0.0
        self._hold_until = 0.0
        self._layers: tuple[Layer, ...] = ()
        self._zygote: Zygote | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._supervise, name="bpk-pool", daemon=True)
        self._thread.start()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What stood around the worker that was started last; empty before the first."""
        with self._lock:
            return self._layers

    @property
    def places(self) -> int:
        """How many workers may be alive at once."""
        return self._settings.places

    def serve(self, dataset: str, snapshot_path: Path) -> None:
        """Declares or replaces the file that the dataset's workers open. Jobs under way keep the old one."""
        with self._lock:
            self._files[dataset] = snapshot_path
            old = self._warm.pop(dataset, [])
            self._lock.notify_all()
        for worker in old:
            worker.close()

    def reserve(self, dataset: str, wait_s: float = 0.0) -> str | None:
        """Holds a worker for 10 s, gives a token for `take`; None when no place is free or gets free in `wait_s`."""
        deadline = time.monotonic() + wait_s
        while (worker := self._acquire(dataset)) is None:
            with self._lock:
                left_s = deadline - time.monotonic()
                full = self._used >= self._settings.places
                if left_s <= 0 or self._closed or not full:
                    return None
                self._lock.wait(left_s)
        token = secrets.token_hex(16)
        with self._lock:
            self._held[token] = _Held(worker, time.monotonic() + RESERVATION_S)
            self._lock.notify_all()
        return token

    def take(self, token: str | None, dataset: str) -> Worker | None:
        """The worker that was reserved, or without a token any that is free. None: expired, unknown, or no place."""
        if token is None:
            return self._acquire(dataset)
        with self._lock:
            held = self._held.pop(token, None)
        if held is None:
            return None
        if held.until > time.monotonic() and held.worker.dataset == dataset and held.worker.idle:
            return held.worker
        self._give_back(held.worker)
        return None

    def release(self, token: str) -> None:
        """Gives back a place that was reserved and is not needed; nothing happens for a token that is none."""
        with self._lock:
            held = self._held.pop(token, None)
        if held is not None:
            self._give_back(held.worker)
            with self._lock:
                self._lock.notify_all()

    def lapse(self, token: str) -> None:
        """Whoever reserved the place is gone, or seems so: it comes back in a moment, unless it is taken before."""
        with self._lock:
            held = self._held.get(token)
            if held is not None:
                until = min(held.until, time.monotonic() + LAPSE_S)
                self._held[token] = _Held(held.worker, until)
                self._lock.notify_all()

    def clear(self, worker: Worker) -> None:
        """Ends a worker and wipes what it spilled, now. Its place stays taken until `Worker.close`."""
        with self._lock:
            spill = self._workers.get(worker)
        worker.finish()
        if spill is not None:
            SpillRoot.wipe(spill)

    def selftest(self) -> tuple[Layer, ...]:
        """Starts one worker on an empty snapshot and lets it attack from inside.

        A layer whose attack got through is reported inactive, with the attack's name. Needs a free place; about 0.1 s.
        The service must not answer while a required layer is inactive and not in `allow_degraded`.
        """
        folder = self._spill.make()
        folder.chmod(0o711)
        make_empty(snapshot := folder / "empty.duckdb")
        worker = self._start("", snapshot) if self._book() else None
        try:
            if worker is None:
                return self.layers or (Layer(ENGINE, required=True, active=False, reason="no worker could be started"),)
            return attack_from_inside(worker, self._settings.process_bytes)
        finally:
            if worker is not None:
                worker.close()
            SpillRoot.wipe(folder)

    def close(self) -> None:
        """Ends all workers and the zygote, and wipes the spill folders. Safe to call twice."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for worker in list(self._workers):
            worker.close()
        self._thread.join()
        for worker in list(self._workers):  # started while the pool closed
            worker.close()
        self._bury()
        self._spill.close()
        self._groups.close()

    def _acquire(self, dataset: str) -> Worker | None:
        while True:
            with self._lock:
                snapshot = self._files.get(dataset)
                waiting = self._warm.get(dataset, [])
                worker = waiting.pop() if waiting else None
                if worker is not None:
                    self._hold_until = time.monotonic() + _HOLD_S
                self._lock.notify_all()
            if snapshot is None:
                return None
            if worker is not None and worker.idle:
                return worker
            if worker is not None:
                worker.close()
            elif self._book():
                return self._start(dataset, snapshot)
            elif not self._await_refill():
                return None

    def _await_refill(self) -> bool:
        """The place of a worker on its way to wait is as good as free, in a moment. False: there is none."""
        with self._lock:
            if not self._refilling:
                return False
            return self._lock.wait_for(lambda: not self._refilling, _REFILL_S)

    def _book(self) -> bool:
        """Books a place for a start, if need be that of another dataset's waiting worker."""
        with self._lock:
            if self._closed:
                return False
            if self._used < self._settings.places:
                self._starting += 1
                return True
            idle = next((waiting.pop() for waiting in self._warm.values() if waiting), None)
            if idle is None:
                return False
            self._starting += 1  # before the other is gone, or the pool's own thread would fill the place again
        idle.close()
        return True

    @property
    def _used(self) -> int:
        return len(self._workers) + self._starting

    def _start(self, dataset: str, snapshot: Path) -> Worker | None:
        """A fresh worker in a place that was booked; None when it does not come up."""
        worker: Worker | None = None
        try:
            worker = self._fork(dataset, snapshot)
            ready = worker.wait_ready()
        except (ZygoteGone, OSError):
            ready = None
        with self._lock:
            if worker is None:
                self._starting -= 1  # else the place became the worker's when it was listed
            elif worker.layers:
                self._layers = worker.layers
        if worker is not None and (ready is None or not ready.open):
            worker.close()
            return None
        return worker

    def _fork(self, dataset: str, snapshot: Path) -> Worker:
        zygote = self._await_zygote()
        settings = self._settings
        spill = self._spill.make()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = zygote.fork(self._start_message(snapshot, spill), theirs)
        except ZygoteGone:
            ours.close()
            SpillRoot.wipe(spill)
            self._groups.remove(spill.name)
            raise
        worker = Worker(
            dataset,
            snapshot,
            ours,
            process,
            WorkerLimits(settings.wall_ms, settings.result_bytes_max, settings.process_bytes),
            self._retire,
        )
        with self._lock:
            self._workers[worker] = spill
            self._starting -= 1
        return worker

    def _start_message(self, snapshot: Path, spill: Path) -> Start:
        settings = self._settings
        return Start(
            snapshot=str(snapshot.resolve()),
            spill=str(spill.resolve()),
            threads=settings.threads,
            memory_mb=settings.memory_mb,
            spill_mb=settings.spill_mb,
            wall_ms=settings.wall_ms,
            # A backstop behind the wall clock, for a worker whose service was stopped: all threads busy all the time.
            jobs_cpu_s=(settings.threads + 2) * (settings.wall_ms // 1000 + 1) + 2,
            result_bytes_max=settings.result_bytes_max,
            allow_degraded=tuple(sorted(settings.allow_degraded)),
            group=self._groups.make(spill.name, settings.process_bytes, settings.threads + _SPARE_THREADS),
        )

    def _await_zygote(self) -> Zygote:
        """The zygote, when it lives. The pool's own thread does not wait: nobody else would start another."""
        patience_s = 0.0 if threading.current_thread() is self._thread else _ZYGOTE_S
        with self._lock:
            self._lock.notify_all()
            alive = self._lock.wait_for(lambda: self._closed or self._zygote_lives(), patience_s)
            if self._zygote is None or self._closed or not alive:
                raise ZygoteGone
            return self._zygote

    def _zygote_lives(self) -> bool:
        return self._zygote is not None and self._zygote.alive

    def _retire(self, worker: Worker) -> None:
        """The worker was killed: its place is free. Waiting for its end is left to the pool's thread: some ms."""
        with self._lock:
            spill = self._workers.pop(worker, None)
            if spill is not None:
                self._dying.append((worker, spill))
            self._hold_until = 0.0
            self._lock.notify_all()

    def _bury(self) -> None:
        with self._lock:
            dying, self._dying = self._dying, []
        for worker, spill in dying:
            worker.end()
            SpillRoot.wipe(spill)
            self._groups.remove(spill.name)

    def _give_back(self, worker: Worker) -> None:
        """A worker that served nothing may wait again."""
        with self._lock:
            waiting = self._warm.setdefault(worker.dataset, [])
            current = self._files.get(worker.dataset) == worker.snapshot and not self._closed
            if current and worker.idle and len(waiting) < self._settings.warm:
                waiting.append(worker)
                self._lock.notify_all()
                return
        worker.close()

    def _supervise(self) -> None:
        """The pool's thread. The zygote is started here: its parent-death signal follows the thread that started it."""
        try:
            while True:
                self._bury()
                self._keep_zygote()
                self._expire()
                self._refill()
                with self._lock:
                    if self._closed:
                        break
                    self._lock.wait(self._pause())
        finally:
            if self._zygote is not None:
                self._zygote.close()

    def _keep_zygote(self) -> None:
        if self._zygote is not None and self._zygote.alive:
            return
        if self._zygote is not None:
            self._zygote.close()
        try:
            fresh = Zygote()
        except (ZygoteGone, OSError):
            fresh = None
        with self._lock:
            self._zygote = fresh
            self._lock.notify_all()

    def _pause(self) -> float:
        """Until the next reservation expires, or a second. Called with the lock held."""
        now = time.monotonic()
        if self._dying:
            return 0.0
        if self._missing() is not None and self._zygote is not None:
            return max(0.0, min(_LOOK_S, self._refill_from - now))
        ends = [held.until - now for held in self._held.values()]
        return max(0.0, min([_LOOK_S, *ends]))

    def _expire(self) -> None:
        now = time.monotonic()
        with self._lock:
            over = [token for token, held in self._held.items() if held.until <= now]
            expired = [self._held.pop(token).worker for token in over]
            dead = [worker for waiting in self._warm.values() for worker in waiting if not worker.idle]
            for worker in dead:
                self._warm[worker.dataset].remove(worker)
        for worker in expired:
            self._give_back(worker)
        for worker in dead:
            worker.close()

    @property
    def _refill_from(self) -> float:
        return max(self._warm_from, self._hold_until)

    def _missing(self) -> str | None:
        """A dataset that has fewer waiting workers than it should, if there is room. Called with the lock held."""
        if self._closed or self._used >= self._settings.places:
            return None
        return next((name for name in self._files if len(self._warm.get(name, [])) < self._settings.warm), None)

    def _refill(self) -> None:
        """One worker per round; a pause after a start that failed, so that a broken machine is not kept busy."""
        with self._lock:
            dataset = self._missing() if time.monotonic() >= self._refill_from else None
            if dataset is None or self._zygote is None:
                return
            self._starting += 1
            self._refilling = True
            snapshot = self._files[dataset]
        try:
            worker = self._start(dataset, snapshot)
            if worker is None:
                self._warm_from = time.monotonic() + _RETRY_S
            else:
                self._give_back(worker)
        finally:
            with self._lock:
                self._refilling = False
                self._lock.notify_all()
