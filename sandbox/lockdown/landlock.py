"""Layer `landlock`: files outside the given ones, TCP, signals and abstract sockets are out of reach.

The numbers of its three system calls are the same on every architecture. Landlock binds one thread only: the caller
has made sure that there is no other.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from pathlib import Path

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status, syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE = 1 << 14

_FILES_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
"""Access kinds that each ABI can refuse: 2 added linking across folders, 3 truncation, 5 ioctl on devices."""
_TCP_BIND_AND_CONNECT = 3
_ABSTRACT_SOCKETS_AND_SIGNALS = 3

_READ_A_FILE = _READ_FILE
_READ_A_FOLDER = _READ_FILE | _READ_DIR
_WRITE_A_FILE = _READ_FILE | _WRITE_FILE | _TRUNCATE
_WRITE_A_FOLDER = _WRITE_A_FILE | _READ_DIR | _REMOVE_FILE | _REMOVE_DIR | _MAKE_REG | _MAKE_DIR


def raise_wall(confinement: Confinement, _: Status) -> str:
    abi = version()
    _set(confinement, abi)
    _read_back(abi)
    covers = ["files"]
    if abi >= 4:
        covers.append("TCP")
    if abi >= 6:
        covers.append("signals and abstract sockets")
    return f"ABI {abi}: {', '.join(covers)}"


def version() -> int:
    """The kernel's Landlock ABI. Raises LayerInactive when there is none."""
    try:
        return syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError as error:
        reason = {errno.ENOSYS: "the kernel has none", errno.EOPNOTSUPP: "switched off at boot"}
        raise LayerInactive(reason.get(error.errno or 0, "the kernel or a container refuses it")) from error


def _set(confinement: Confinement, abi: int) -> None:
    files = _FILES_BY_ABI[min(abi, max(_FILES_BY_ABI))]
    ruleset = _create(files, abi)
    try:
        for path in (*confinement.read, *filter(Path.exists, confinement.limits)):
            _allow(ruleset, path, files & (_READ_A_FOLDER if path.is_dir() else _READ_A_FILE))
        for path in confinement.write:
            _allow(ruleset, path, files & (_WRITE_A_FOLDER if path.is_dir() else _WRITE_A_FILE))
        syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create(files: int, abi: int) -> int:
    attributes = struct.pack("=Q", files)
    if abi >= 4:
        attributes += struct.pack("=Q", _TCP_BIND_AND_CONNECT)
    if abi >= 6:
        attributes += struct.pack("=Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    return syscall(_CREATE_RULESET, attributes, len(attributes), 0)


def _allow(ruleset: int, path: Path, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", access, descriptor), 0)
    finally:
        os.close(descriptor)


def _read_back(abi: int) -> None:
    """Tries the forbidden acts themselves: there is nothing in /proc that would tell."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except PermissionError:
        pass
    else:
        raise LayerInactive("the root folder could still be read")
    if abi >= 4:
        _connect_is_refused()


def _connect_is_refused() -> None:
    """EACCES is Landlock's answer; a connection refused or a network gone would be somebody else's."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.settimeout(0.2)
            probe.connect(("127.0.0.1", 9))
    except PermissionError:
        return
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EPERM):
            return  # no IPv4 here, or an outer filter refuses sockets already
    raise LayerInactive("a TCP connection was not refused")
