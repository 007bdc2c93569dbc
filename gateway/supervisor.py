"""Starts the data domain's service as a process of its own, and again when it dies. It dies with us."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Final

from gateway.domain import Domain
from gateway.errors import Misconfigured, NotReady
from sandbox import logs

START_S: Final = 30.0
STOP_S: Final = 8.0
LOOK_S: Final = 0.05
STEADY_S: Final = 2.0
"""A service that lived so long had come up: its death is an accident, and it is started again at once."""
PAUSES_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
_log = logs.logger("bpk.supervisor")


class Supervisor:
    """`start` returns when the service answers on `socket`; `stop` ends it."""

    def __init__(self, root: Path, socket: Path) -> None:
        serve = (sys.executable, "-m", "sandbox", "serve", "--home", str(root))
        self._command = (*serve, "--socket", str(socket), "--follow", str(os.getpid()))
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self, domain: Domain) -> None:
        """Raises Misconfigured when the service ends or does not answer."""
        self._process = self._spawn()
        give_up = time.monotonic() + START_S
        while not _answers(domain):
            if self._process.poll() is not None:
                raise Misconfigured("the data domain's service ended at its start; what it said stands above")
            if time.monotonic() > give_up:
                self.stop()
                raise Misconfigured(f"the data domain's service did not answer within {START_S:.0f} s")
            time.sleep(LOOK_S)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=2)
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _spawn(self) -> subprocess.Popen[bytes]:
        # A session of its own: the terminal's Ctrl-C ends us first, and we let running questions end.
        return subprocess.Popen(self._command, stdin=subprocess.DEVNULL, start_new_session=True)

    def _watch(self) -> None:
        deaths = 0
        born = time.monotonic()
        while not self._stop.wait(LOOK_S):
            if self._process is None or self._process.poll() is None:
                continue
            deaths = 0 if time.monotonic() - born > STEADY_S else deaths + 1
            _log.error("the data domain's service ended; it is started again", status=self._process.returncode)
            if self._stop.wait(PAUSES_S[min(deaths, len(PAUSES_S) - 1)]):
                return
            self._process, born = self._spawn(), time.monotonic()


def _answers(domain: Domain) -> bool:
    try:
        domain.status()
    except NotReady:
        return False
    return True
