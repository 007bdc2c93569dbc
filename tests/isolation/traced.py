"""A confined process that does honest work while every system call that is refused to it is written down.

    python -I traced.py ROOT CONFIG      CONFIG: JSON with the snapshot, the spill folder, statements and, as a plant,
                                         `forbidden`: names of system calls taken from the allow-list

Prints JSON: {"answers": [...], "denied": {number of a call: [names of errors]}}. The walls' own tries, by which they
are read back, come before the work and are not counted.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_TRACEME, _CONT_TO_CALL, _SETOPTIONS, _GET_CALL = 0, 24, 0x4200, 0x420E
_TELL_CALLS_APART, _FOLLOW_THREADS, _DIE_WITH_TRACER = 1, 8, 1 << 20
_AT_ENTRY, _AT_EXIT = 1, 2
REFUSALS = {errno.EPERM, errno.EACCES}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long


class _Call(ctypes.Structure):
    """The kernel's ptrace_syscall_info; the same on every architecture."""

    _fields_ = (
        ("op", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 3),
        ("arch", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("first", ctypes.c_int64),  # at entry the number, at exit what is returned
        ("second", ctypes.c_uint8),
        ("arguments", ctypes.c_uint64 * 6),
    )


def ptrace(request: int, pid: int, address: int, data: Any) -> int:
    result = int(_libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(address), data))
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def watch(child: int) -> dict[int, set[str]]:
    """Every call of `child` and its threads that was refused, once it has said that its work begins."""
    os.waitpid(child, 0)
    ptrace(_SETOPTIONS, child, 0, ctypes.c_void_p(_TELL_CALLS_APART | _FOLLOW_THREADS | _DIE_WITH_TRACER))
    ptrace(_CONT_TO_CALL, child, 0, None)
    denied: dict[int, set[str]] = {}
    number: dict[int, int] = {}
    call = _Call()
    while True:
        pid, status = os.waitpid(-1, 0x40000000)  # threads too
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if pid == child:
                return denied
            continue
        passed = 0
        if os.WSTOPSIG(status) == signal.SIGTRAP | 0x80:
            ptrace(_GET_CALL, pid, ctypes.sizeof(call), ctypes.byref(call))
            if call.op == _AT_EXIT:
                if -call.first in REFUSALS:
                    denied.setdefault(number.get(pid, -1), set()).add(errno.errorcode[-call.first])
            elif call.op == _AT_ENTRY:
                number[pid] = call.first
        elif os.WSTOPSIG(status) not in (signal.SIGTRAP, signal.SIGSTOP):
            passed = os.WSTOPSIG(status)
        ptrace(_CONT_TO_CALL, pid, 0, ctypes.c_void_p(passed))


def work(config: dict[str, Any], told: int) -> None:
    """Confined as a worker is; traced from the first statement on."""
    from sandbox import worker
    from sandbox.engine.snapshot import open_snapshot
    from sandbox.jobs import Start
    from sandbox.lockdown import syscalls, walls

    for name in config.get("forbidden", ()):
        del syscalls.ALLOWED[name]
    start = Start(config["snapshot"], config["spill"], 2, config["memory_mb"], 4096, 120_000, 300, 1 << 20, ())
    walls.confine(worker.confinement_of(start, os.getppid()))
    signal.raise_signal(signal.SIGSTOP)  # the tracer begins to count here
    spill = Path(start.spill)
    connection = open_snapshot(
        Path(start.snapshot), threads=2, memory_mb=start.memory_mb, wall_ms=start.wall_ms, spill=spill
    )
    answers: list[Any] = []
    for statement in config["statements"]:
        rows = connection.execute(statement).fetchall()
        answers.append([[str(value) for value in row] for row in rows])
    os.write(told, json.dumps(answers).encode())
    os._exit(0)


def main() -> None:
    sys.path[:0] = [sys.argv[1]]
    config = json.loads(sys.argv[2])
    reading, writing = os.pipe()
    import sandbox.worker  # noqa: F401  # behind the walls nothing is imported

    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            ptrace(_TRACEME, 0, 0, None)
            work(config, writing)
        finally:
            os._exit(1)
    os.close(writing)
    denied = watch(child)
    said = b""
    while part := os.read(reading, 1 << 20):
        said += part
    print(json.dumps({"answers": json.loads(said or b"[]"), "denied": {n: sorted(e) for n, e in denied.items()}}))


if __name__ == "__main__":
    main()
