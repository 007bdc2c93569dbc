"""Fresh workers: forked from a zygote that is kept alive, each with a spill folder and a control group of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sandbox.groups import Groups
from sandbox.jobs import Start
from sandbox.pool_settings import PoolSettings
from sandbox.spawn import Zygote, ZygoteGone
from sandbox.spill import SpillRoot
from sandbox.supervised import Worker, WorkerLimits

_SPARE_THREADS: Final = 16
"""Of a worker, beyond those that compute."""


class Starts:
    """Thread-safe. `wake` is called when somebody waits for a zygote, for whoever calls `keep_zygote`."""

    def __init__(self, settings: PoolSettings, spill: SpillRoot, groups: Groups, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._spill = spill
        self._groups = groups
        self._wake = wake
        self._lock = threading.Condition()
        self._zygote: Zygote | None = None
        self._stopped = False
        self._folders: dict[Worker, Path] = {}

    @property
    def possible(self) -> bool:
        """Whether a zygote came up when one was started last."""
        return self._zygote is not None

    def keep_zygote(self) -> None:
        """Starts another when it is gone. By one thread, which outlives it: its parent-death signal follows that."""
        if self._zygote is not None and self._zygote.alive:
            return
        self.close()
        try:
            fresh = Zygote()
        except (ZygoteGone, OSError):
            fresh = None
        with self._lock:
            self._zygote = fresh
            self._lock.notify_all()

    def fork(self, dataset: str, snapshot: Path, retire: Callable[[Worker], None], patience_s: float) -> Worker:
        """A worker that has not said a word yet. Raises ZygoteGone, when there is none in `patience_s`, and OSError."""
        zygote = self._await_zygote(patience_s)
        folder = self._spill.make()
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = zygote.fork(self._message(snapshot, folder), theirs)
        except ZygoteGone:
            ours.close()
            self._wipe(folder)
            raise
        worker = Worker(dataset, snapshot, ours, process, self._limits, retire)
        with self._lock:
            self._folders[worker] = folder
        return worker

    def clear(self, worker: Worker) -> None:
        """Ends a worker and wipes what it spilled, now; of one that was buried there is nothing left."""
        with self._lock:
            folder = self._folders.get(worker)
        worker.finish()
        if folder is not None:
            SpillRoot.wipe(folder)

    def bury(self, worker: Worker) -> None:
        """After `Worker.close`: waits some ms until it is gone, and lets go of all that was its own."""
        with self._lock:
            folder = self._folders.pop(worker)
        worker.end()
        self._wipe(folder)

    def stop(self) -> None:
        """Nothing is forked any more, and nobody waits for a zygote."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def close(self) -> None:
        """Ends the zygote; its workers die with it."""
        if self._zygote is not None:
            self._zygote.close()

    @property
    def _limits(self) -> WorkerLimits:
        settings = self._settings
        return WorkerLimits(settings.wall_ms, settings.result_bytes_max, settings.process_bytes)

    def _message(self, snapshot: Path, folder: Path) -> Start:
        settings = self._settings
        return Start(
            snapshot=str(snapshot.resolve()),
            spill=str(folder.resolve()),
            threads=settings.threads,
            memory_mb=settings.memory_mb,
            spill_mb=settings.spill_mb,
            wall_ms=settings.wall_ms,
            # A backstop behind the wall clock, for a worker whose service was stopped: all threads busy all the time.
            jobs_cpu_s=(settings.threads + 2) * (settings.wall_ms // 1000 + 1) + 2,
            result_bytes_max=settings.result_bytes_max,
            allow_degraded=tuple(sorted(settings.allow_degraded)),
            group=self._groups.make(folder.name, settings.process_bytes, settings.threads + _SPARE_THREADS),
        )

    def _await_zygote(self, patience_s: float) -> Zygote:
        self._wake()
        with self._lock:
            alive = self._lock.wait_for(lambda: self._stopped or self._lives(), patience_s)
            if self._zygote is None or self._stopped or not alive:
                raise ZygoteGone
            return self._zygote

    def _lives(self) -> bool:
        return self._zygote is not None and self._zygote.alive

    def _wipe(self, folder: Path) -> None:
        SpillRoot.wipe(folder)
        self._groups.remove(folder.name)
