"""The pool: warm workers per dataset, one job each, behind walls that were read back.

Synchronous and thread-safe. One thread of its own starts the zygote, warms workers, lets reservations expire.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from sandbox.engine.snapshot import make_empty
from sandbox.groups import Groups
from sandbox.lockdown.walls import ENGINE
from sandbox.places import Places
from sandbox.pool_settings import PoolSettings
from sandbox.protocol import Layer
from sandbox.selftest import attack_from_inside
from sandbox.spawn import ZygoteGone
from sandbox.spill import SpillRoot
from sandbox.starts import Starts
from sandbox.supervised import Worker, WorkerFailed

__all__ = ["Pool", "PoolSettings", "Worker", "WorkerFailed"]

_ZYGOTE_S = 30.0


class Pool:
    """Give it the datasets' files by `serve`; then `reserve`, `take`, `Worker.query`, `Worker.close`."""

    def __init__(self, settings: PoolSettings) -> None:
        self._settings = settings
        self._spill = SpillRoot(settings.spill)
        self._groups = Groups()
        self._places = Places(settings.places, settings.warm)
        self._starts = Starts(settings, self._spill, self._groups, self._places.wake)
        self._layers: tuple[Layer, ...] = ()
        self._thread = threading.Thread(target=self._supervise, name="bpk-pool", daemon=True)
        self._thread.start()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """What stood around the worker that was started last; empty before the first."""
        return self._layers

    @property
    def places(self) -> int:
        """How many workers may be alive at once."""
        return self._places.count

    def serve(self, dataset: str, snapshot_path: Path) -> None:
        """Declares or replaces the file that the dataset's workers open. Jobs under way keep the old one."""
        self._places.serve(dataset, snapshot_path)

    def reserve(self, dataset: str, wait_s: float = 0.0) -> str | None:
        """Holds a worker for 10 s, gives a token for `take`; None when no place is free or gets free in `wait_s`."""
        deadline = time.monotonic() + wait_s
        while (worker := self._acquire(dataset)) is None:
            if not self._places.await_free(deadline):
                return None
        return self._places.hold(worker)

    def take(self, token: str | None, dataset: str) -> Worker | None:
        """The worker that was reserved, or without a token any that is free. None: expired, unknown, or no place."""
        return self._acquire(dataset) if token is None else self._places.claim(token, dataset)

    def release(self, token: str) -> None:
        """Gives back a place that was reserved and is not needed; nothing happens for a token that is none."""
        self._places.release(token)

    def lapse(self, token: str) -> None:
        """Whoever reserved the place is gone, or seems so: it comes back in a moment, unless it is taken before."""
        self._places.lapse(token)

    def clear(self, worker: Worker) -> None:
        """Ends a worker and wipes what it spilled, now. Its place stays taken until `Worker.close`."""
        self._starts.clear(worker)

    def selftest(self) -> tuple[Layer, ...]:
        """Starts one worker on an empty snapshot and lets it attack from inside.

        A layer whose attack got through is reported inactive, with the attack's name. Needs a free place; about 0.1 s.
        The service must not answer while a required layer is inactive and not in `allow_degraded`.
        """
        folder = self._spill.make()
        folder.chmod(0o711)
        make_empty(snapshot := folder / "empty.duckdb")
        worker = self._start("", snapshot, _ZYGOTE_S) if self._places.book() else None
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
        self._places.close()
        self._starts.stop()
        for worker in self._places.living():
            worker.close()
        self._thread.join()
        for worker in self._places.living():  # started while the pool closed
            worker.close()
        self._bury()
        self._spill.close()
        self._groups.close()

    def _acquire(self, dataset: str) -> Worker | None:
        while True:
            snapshot, worker = self._places.look(dataset)
            if snapshot is None:
                return None
            if worker is not None and worker.idle:
                return worker
            if worker is not None:
                worker.close()
            elif self._places.book():
                return self._start(dataset, snapshot, _ZYGOTE_S)
            elif not self._places.await_refill():
                return None

    def _start(self, dataset: str, snapshot: Path, patience_s: float) -> Worker | None:
        """A fresh worker in a place that was booked; None when it does not come up."""
        try:
            worker = self._starts.fork(dataset, snapshot, self._places.retire, patience_s)
        except (ZygoteGone, OSError):
            self._places.unbook()
            return None
        self._places.enter(worker)
        ready = worker.wait_ready()
        if worker.layers:
            self._layers = worker.layers
        if ready is None or not ready.open:
            worker.close()
            return None
        return worker

    def _supervise(self) -> None:
        """The pool's thread. The zygote is started here: its parent-death signal follows the thread that started it."""
        try:
            while True:
                self._bury()
                self._starts.keep_zygote()
                self._places.expire()
                self._refill()
                if not self._places.await_work(may_refill=self._starts.possible):
                    break
        finally:
            self._starts.close()

    def _bury(self) -> None:
        for worker in self._places.dead():
            self._starts.bury(worker)

    def _refill(self) -> None:
        """One worker per round. It does not wait for a zygote: nobody else would start another."""
        wanted = self._places.begin_refill() if self._starts.possible else None
        if wanted is not None:
            worker = None
            try:
                worker = self._start(*wanted, patience_s=0.0)
            finally:
                self._places.end_refill(worker)
