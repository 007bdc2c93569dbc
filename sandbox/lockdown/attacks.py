"""What an attacker inside a worker would try first. Run behind the walls: each of these must fail.

Nothing here does harm when it succeeds: signal 0, a file that is removed again, a connection that is closed.
"""

from __future__ import annotations

import mmap
import os
import resource
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

LAYER_OF: Final = {
    "existence": "files_hidden",
    "read_file": "landlock",
    "list_root": "landlock",
    "write_outside": "landlock",
    "read_service_environment": "landlock",
    "open_service_memory": "landlock",
    "connect_tcp": "seccomp",
    "udp_socket": "seccomp",
    "unix_socket": "seccomp",
    "fork": "seccomp",
    "exec": "seccomp",
    "executable_memory": "seccomp",
    "signal_service": "seccomp",
    "change_mode": "seccomp",
    "raise_limits": "rlimits",
    "balloon": "rlimits",
    "engine_set": "engine",
    "engine_read_file": "engine",
}
"""attack -> the layer that is reported broken when it gets through."""


def run(service: int, port: int, outside: Path, memory_bytes: int) -> tuple[list[str], list[str]]:
    """The names of the attacks that were tried, and of those that got through.

    `service` is a process to attack, `port` a TCP listener on the loopback, `outside` a folder that may not be written.
    """
    attempts: dict[str, Callable[[], object]] = {
        "existence": lambda: os.stat("/etc"),
        "read_file": lambda: _read("/etc/hostname"),
        "list_root": lambda: os.listdir("/"),
        "write_outside": lambda: _write(outside / ".bpk-self-test"),
        "read_service_environment": lambda: _read(f"/proc/{service}/environ"),
        "open_service_memory": lambda: _read(f"/proc/{service}/mem", 0),
        "connect_tcp": lambda: _connect(port),
        "udp_socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
        "unix_socket": lambda: socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).close(),
        "fork": _fork,
        "exec": lambda: os.posix_spawn("/bin/true", ["/bin/true"], {}),
        "executable_memory": lambda: mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
        "signal_service": lambda: os.kill(service, 0),
        "change_mode": lambda: os.chmod("/", stat.S_IMODE(os.stat("/").st_mode)),  # to what it is
        "raise_limits": _raise_limits,
        "balloon": lambda: mmap.mmap(-1, memory_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
    }
    return list(attempts), [name for name, attempt in attempts.items() if _got_through(attempt)]


def _got_through(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError, MemoryError):
        return False
    return True


def _read(path: str, count: int = 16) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.read(descriptor, count)
    finally:
        os.close(descriptor)


def _write(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    path.unlink()


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect(("127.0.0.1", port))


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _raise_limits() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard + 1))
