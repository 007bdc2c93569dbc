"""Layer `no_new_privs`: no gain by exec, no look inside from outside, no life without the parent."""

from __future__ import annotations

import os
import signal

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import (
    PR_GET_DUMPABLE,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    LayerInactive,
    Status,
    parent_death_signal,
    prctl,
)


def raise_wall(confinement: Confinement, status: Status) -> str:
    """Stands after every change of credentials: such a change clears the parent-death signal.

    The signal comes when the *thread* that started this process ends, so that thread must live as long as the process.
    """
    parent = confinement.parent if confinement.parent is not None else os.getppid()
    _set()
    _read_back(status)
    if os.getppid() != parent:
        raise LayerInactive("the parent died before the parent-death signal was set")
    return "no gain by exec; not dumpable; dies with its parent"


def _set() -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _read_back(status: Status) -> None:
    if status.field("NoNewPrivs") != "1":
        raise LayerInactive("no_new_privs was set and is not in force")
    if prctl(PR_GET_DUMPABLE) != 0:
        raise LayerInactive("the process is still dumpable")
    if parent_death_signal() != signal.SIGKILL:
        raise LayerInactive("the parent-death signal is not in force")
