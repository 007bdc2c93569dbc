"""Starting `bpk serve` so that it ends with us, however we end: an orphan would keep its port, its data and a core."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final

_DIES_WITH_US: Final = """
import os, signal, sys
from sandbox.lockdown.kernel import LINUX, PR_SET_PDEATHSIG, prctl
if LINUX:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""
"""The order survives exec. Who became an orphan before it was given would wait for it in vain."""


def serve_command(root: Path, port: int = 0) -> list[str]:
    """The command line of `bpk serve` for the home at `root`."""
    command = ["-m", "gateway", "serve", "--home", str(root), "--port", str(port)]
    return dying_with_us(command)


def dying_with_us(arguments: list[str]) -> list[str]:
    """The command line of Python with these arguments."""
    if threading.current_thread() is not threading.main_thread():
        return [sys.executable, *arguments]  # the system means the end of the thread that started it
    return [sys.executable, "-c", _DIES_WITH_US, str(os.getpid()), *arguments]
