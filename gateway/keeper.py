"""Holds this gateway's seat while others serve from the same store, takes over from those that fell silent, and records
what could not be recorded when it happened: to the others it would run for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread

from gateway.budget.ledger import Ledger
from gateway.budget.recovery import keep_seat
from gateway.budget.seats import BEAT_S, NOBODY, Watch
from gateway.errors import Fault
from gateway.store import Store
from sandbox import logs

_log = logs.logger("bpk.keeper")


class Keeper:
    """`start` where others may serve as well; `stop` in any case, when nothing runs any more."""

    def __init__(self, store: Store, ledger: Ledger, settle: Callable[[], None]) -> None:
        self._store = store
        self._ledger = ledger
        self._settle = settle
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
        failing = False
        while not self._over.wait(BEAT_S):
            try:
                kept = keep_seat(self._store, self._ledger, self._watch, time.monotonic())
                self._settle()
            except Fault as fault:
                if not failing:
                    _log.error("the seat cannot be held", reason=str(fault))
                failing = True
                continue
            failing = False
            if kept.lost_own:
                _log.error("this gateway was silent for too long: others took over what it ran; it goes on from here")
            for seat in kept.silent:
                if seat != NOBODY:
                    _log.warning("a gateway is silent, and has lost its seat", seat=seat)
            if kept.failed:
                _log.warning("queries have failed with those who ran them", failed=len(kept.failed))
