"""Records what could not be recorded when it happened: else it would run for ever. Where others serve from the same
store it also holds this gateway's seat, and takes over from those that fell silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Event, Thread

from gateway.budget.ledger import Ledger
from gateway.budget.recovery import keep_seat
from gateway.budget.seats import BEAT_S, NOBODY, Watch
from gateway.errors import Fault
from gateway.store import Store
from sandbox import logs

_log = logs.logger("bpk.keeper")


class Keeper:
    """`stop` when nothing runs any more. `settle` tells which queries wait on, and for what; `alone`, whether no other
    gateway can serve from the store: then no seat has to be held, and nothing is written as long as nothing waits."""

    def __init__(self, store: Store, ledger: Ledger, settle: Callable[[], Mapping[str, str]], *, alone: bool) -> None:
        self._store = store
        self._ledger = ledger
        self._settle = settle
        self._alone = alone
        self._failing = False
        self._waiting = 0
        self._watch = Watch()
        self._over = Event()
        self._thread = Thread(target=self._work, name="bpk-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Gives the seat up, so that nobody waits for it."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            with self._store.transaction() as tx:
                self._ledger.rise(tx)
        except Fault as fault:  # others take it when it has been silent for a lease
            _log.warning("the seat was not given up", reason=str(fault))

    def _work(self) -> None:
        while not self._over.wait(BEAT_S):
            self.once()

    def once(self) -> None:
        """One beat."""
        if self._alone or self._hold():
            self._record()

    def _hold(self) -> bool:
        try:
            kept = keep_seat(self._store, self._ledger, self._watch, time.monotonic())
        except Fault as fault:
            if not self._failing:
                _log.error("the seat cannot be held", reason=str(fault))
            self._failing = True
            return False
        self._failing = False
        if kept.lost_own:
            _log.error("this gateway was silent for too long: others took over what it ran; it goes on from here")
        for seat in kept.silent:
            if seat != NOBODY:
                _log.warning("a gateway is silent, and has lost its seat", seat=seat)
        if kept.failed:
            _log.warning("queries have failed with those who ran them", failed=len(kept.failed))
        return True

    def _record(self) -> None:
        waiting = self._settle()
        if len(waiting) > self._waiting:
            _log.error("outcomes wait to be recorded", failed=len(waiting), reason=next(iter(waiting.values())))
        self._waiting = len(waiting)
