"""Raw system calls through ctypes: what the walls need of the kernel and Python does not offer."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Final

LINUX: Final = sys.platform == "linux"
MACHINE: Final = platform.machine()

PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)
if LINUX:
    _libc.syscall.restype = ctypes.c_long

Argument = int | bytes | ctypes.Array[ctypes.c_char] | None


class LayerInactive(Exception):
    """One wall cannot stand here. The text is the reason, for the custodian; it never holds data."""


def syscall(number: int, *arguments: Argument) -> int:
    """The raw system call. Raises OSError with the kernel's errno."""
    ctypes.set_errno(0)
    result = int(_libc.syscall(ctypes.c_long(number), *map(_word, arguments)))
    if result == -1:
        raise _failure()
    return result


def prctl(option: int, *arguments: int) -> int:
    """prctl(2); missing arguments are 0. Raises OSError."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    ctypes.set_errno(0)
    result = int(_libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(value) for value in padded)))
    if result == -1:
        raise _failure()
    return result


def unshare(flags: int) -> None:
    """unshare(2), which Python itself offers only from 3.12 on. Raises OSError."""
    ctypes.set_errno(0)
    if _libc.unshare(ctypes.c_int(flags)) != 0:
        raise _failure()


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """mount(2). Raises OSError."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    ctypes.set_errno(0)
    if _libc.mount(*texts, ctypes.c_ulong(flags), None if data is None else data.encode()) != 0:
        raise _failure()


def umount(target: str, flags: int) -> None:
    """umount2(2). Raises OSError."""
    ctypes.set_errno(0)
    if _libc.umount2(os.fsencode(target), ctypes.c_int(flags)) != 0:
        raise _failure()


def parent_death_signal() -> int:
    """The signal that this process gets when its parent dies; 0 is none."""
    signal = ctypes.c_int(0)
    if _libc.prctl(ctypes.c_int(PR_GET_PDEATHSIG), ctypes.byref(signal), 0, 0, 0) != 0:
        raise _failure()
    return signal.value


class Status:
    """/proc/self/status, opened before the walls stand and readable behind them."""

    def __init__(self) -> None:
        self._descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def field(self, name: str) -> str:
        """The current text of one line. Raises LayerInactive when the kernel has no such line."""
        for line in os.pread(self._descriptor, 65536, 0).decode("ascii", "replace").splitlines():
            key, _, value = line.partition(":")
            if key == name:
                return value.strip()
        raise LayerInactive(f"the kernel does not report {name}")

    def close(self) -> None:
        os.close(self._descriptor)


def _word(argument: Argument) -> object:
    return ctypes.c_long(argument) if isinstance(argument, int) else argument


def _failure() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
