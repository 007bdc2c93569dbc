"""Control groups (cgroup v2) for workers, one each, where the service's own was delegated to it (systemd `Delegate=`).

A group with groups below it may hold no process itself, so the service moves aside first:

    <unit>/service                      whatever was in the unit's group
    <unit>/workers-<pid>-<token>/<name> one worker
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from sandbox.lockdown.cgroup import PROCESSES, ROOT, own_group

CONTROLLERS: Final = ("memory", "pids")
_MARKS: Final = ("user.delegate", "trusted.delegate")
"""systemd writes these attributes onto a group that is delegated; the second is for root to read."""
_ROUNDS: Final = 5
"""How often processes are moved: some may fork meanwhile."""


class Groups:
    """Safe to use where nothing was delegated: then it makes no groups, and `reason` says why. Thread-safe."""

    def __init__(self, root: Path = ROOT) -> None:
        self._folder: Path | None = None
        self.reason = ""
        try:
            self._folder = self._prepare(root)
        except _NotDelegated as refused:
            self.reason = str(refused)
        except OSError as error:
            self.reason = f"the delegated control group cannot be used ({error.strerror})"

    def make(self, name: str, memory_bytes: int, processes: int) -> str:
        """A group for one worker, which joins it itself; its path, or nothing where there are no groups."""
        if self._folder is None:
            return ""
        group = self._folder / name
        try:
            _mkdir(group)
            _write(group / "memory.max", str(memory_bytes))
            _write(group / "pids.max", str(processes))
            for file, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                if (group / file).exists():  # not on a kernel without swap
                    _write(group / file, value)
        except OSError:
            self.remove(name)
            return ""
        return str(group)

    def remove(self, name: str) -> None:
        """After the worker's end. What cannot be removed yet goes with the rest."""
        if self._folder is not None:
            with contextlib.suppress(OSError):
                _rmdir(self._folder / name)

    def close(self) -> None:
        if self._folder is not None:
            _clear(self._folder)

    def _prepare(self, root: Path) -> Path:
        unit = _delegated_unit(root)
        given = (unit / "cgroup.controllers").read_text().split()
        missing = [name for name in CONTROLLERS if name not in given]
        if missing:
            raise _NotDelegated(f"the delegated control group lacks the controllers {', '.join(missing)}")
        _move_aside(unit)
        _enable(unit)
        for leftover in unit.glob("workers-*"):  # of services that were killed
            if not Path("/proc", leftover.name.split("-")[1]).exists():
                _clear(leftover)
        folder = unit / f"workers-{os.getpid()}-{secrets.token_hex(4)}"
        _mkdir(folder)
        _enable(folder)
        return folder


class _NotDelegated(Exception):
    pass


def _delegated_unit(root: Path) -> Path:
    """Our own group, or the one above it where systemd has put us into a subgroup (`DelegateSubgroup=`)."""
    own = own_group(root)
    if own is None:
        raise _NotDelegated("there is no cgroup v2 here")
    for group in (own, own.parent):
        if group != root.parent and _delegated(group):
            return group
    raise _NotDelegated("the service's control group was not delegated to it")


def _delegated(group: Path) -> bool:
    for mark in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def _move_aside(unit: Path) -> None:
    service = unit / "service"
    for _ in range(_ROUNDS):
        pids = (unit / PROCESSES).read_text().split()
        if not pids:
            return
        if not service.is_dir():
            _mkdir(service)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                _write(service / PROCESSES, pid)
    raise _NotDelegated("the processes of the delegated control group could not be moved aside")


def _enable(group: Path) -> None:
    _write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in CONTROLLERS))


def _clear(folder: Path) -> None:
    for group in (*filter(Path.is_dir, folder.iterdir()), folder):
        with contextlib.suppress(OSError):
            _rmdir(group)


def _mkdir(group: Path) -> None:
    group.mkdir(mode=0o755)


def _rmdir(group: Path) -> None:
    group.rmdir()


def _write(file: Path, value: str) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
