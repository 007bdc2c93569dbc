"""Private folders for what workers spill, wiped when the worker is gone; leftovers of a killed service too."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from pathlib import Path


class SpillRoot:
    """One folder per pool under `base`, locked as long as the pool lives; each worker gets one in it, mode 0700."""

    def __init__(self, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True, mode=0o711)
        _wipe_leftovers(base)
        self._folder = base / f"pool-{secrets.token_hex(8)}"
        self._folder.mkdir(mode=0o711)  # may be passed through by a worker's own account, not listed
        self._folder.chmod(0o711)
        self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def make(self) -> Path:
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        folder.chmod(0o700)  # whatever the service's umask is at this moment
        return folder

    @staticmethod
    def wipe(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _wipe_leftovers(base: Path) -> None:
    for folder in base.glob("pool-*"):
        try:
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # being made by another pool at this moment, or not ours
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
