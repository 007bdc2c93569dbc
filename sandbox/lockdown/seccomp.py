"""Layer `seccomp`: an allow-list of system calls as a raw BPF program, on all threads at once.

What is not on the list fails with EPERM. A call by another architecture's convention kills the process; the x32 numbers
of x86_64 carry a bit of their own, so they match nothing.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import MACHINE, LayerInactive, Status, syscall
from sandbox.lockdown.syscalls import ALLOWED, AUDIT_ARCH, RENAMING, SECCOMP, argued, numbers

_SET_MODE_FILTER, _TSYNC = 1, 1
_LOAD_WORD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_AT_NUMBER, _AT_ARCH, _AT_ARGUMENTS = 0, 4, 16

_PROT_EXEC = 4
_CLONE_A_THREAD = (0x3D0F00, 0x7D0F00)
"""The exact flags by which glibc and musl start a thread: nothing that forks, nothing that makes namespaces."""
_FCNTL_COMMANDS = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)
"""Duplicating, flags and locks; not F_SETOWN, F_SETSIG or leases, by which signals are sent to others."""
_PR_SET_NAME = 15

_Instruction = tuple[int, int, int, int]
_Program = list[_Instruction]


def raise_wall(confinement: Confinement, status: Status) -> str:
    """The last wall: it takes away the means to raise the others."""
    if MACHINE not in AUDIT_ARCH:
        raise LayerInactive(f"no system call numbers for {MACHINE}")
    rules = program(MACHINE, os.getpid(), renames=confinement.renames)
    _set(rules)
    _read_back(status)
    return f"{len(numbers(ALLOWED, MACHINE))} system calls allowed"


def program(machine: str, pid: int, *, renames: bool) -> _Program:
    """The filter: architecture, then one short block per call; whoever matches no block is refused."""
    rules: _Program = [
        (_LOAD_WORD, 0, 0, _AT_ARCH),
        (_JUMP_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _AT_NUMBER),
    ]
    for name, body in _argued_blocks(pid).items():
        rules += [(_JUMP_EQUAL, 0, len(body), argued(name, machine)), *body]
    for number in numbers(ALLOWED, machine) + (numbers(RENAMING, machine) if renames else ()):
        rules += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    rules.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return rules


def _argued_blocks(pid: int) -> dict[str, _Program]:
    return {
        "mmap": _without_bits(2, _PROT_EXEC),
        "mprotect": _without_bits(2, _PROT_EXEC),
        "clone": _one_of(0, _CLONE_A_THREAD),
        # clone3 hides its flags in memory, where no filter can look. ENOSYS makes the C library fall back to clone.
        "clone3": [(_RETURN, 0, 0, _ERRNO | errno.ENOSYS)],
        # Python and the engine ask whether a file is a terminal, and take no for an answer.
        "ioctl": [(_RETURN, 0, 0, _ERRNO | errno.ENOTTY)],
        "fcntl": _one_of(1, _FCNTL_COMMANDS),
        "prctl": _one_of(0, (_PR_SET_NAME,)),
        "prlimit64": _reads_own_limits(),
        "kill": _one_of(0, (pid,)),  # the engine asks whether the owner of its spill folder lives: itself
        "tgkill": _one_of(0, (pid,)),
    }


def _argument(index: int, *, high: bool = False) -> _Instruction:
    """Loads one half of an argument; both architectures are little-endian."""
    return (_LOAD_WORD, 0, 0, _AT_ARGUMENTS + 8 * index + (4 if high else 0))


def _one_of(index: int, values: tuple[int, ...]) -> _Program:
    """All these arguments are 32 bits wide for the kernel, which ignores the upper half."""
    rules: _Program = [_argument(index)]
    for value in values:
        rules += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*rules, (_RETURN, 0, 0, _ERRNO | errno.EPERM)]


def _without_bits(index: int, bits: int) -> _Program:
    return [
        _argument(index),
        (_JUMP_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _reads_own_limits() -> _Program:
    """prlimit64(0, _, NULL, _): the C library asks for the stack's limit when it starts a thread."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    return [
        _argument(0),
        (_JUMP_EQUAL, 1, 0, 0),
        refuse,
        _argument(2),
        (_JUMP_EQUAL, 1, 0, 0),
        refuse,
        _argument(2, high=True),
        (_JUMP_EQUAL, 1, 0, 0),
        refuse,
        (_RETURN, 0, 0, _ALLOW),
    ]


def _set(rules: _Program) -> None:
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *rule) for rule in rules))
    header = struct.pack("@HP", len(rules), ctypes.addressof(code))
    outcome = syscall(SECCOMP[MACHINE], _SET_MODE_FILTER, _TSYNC, header)
    if outcome != 0:
        raise LayerInactive("a thread could not be put under the filter")


def _read_back(status: Status) -> None:
    if status.field("Seccomp") != "2":
        raise LayerInactive("a filter was set and is not in force")
    try:
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close()
    except PermissionError:
        pass
    else:
        raise LayerInactive("a socket could still be made")
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    except PermissionError:
        return
    raise LayerInactive("executable memory could still be made")
