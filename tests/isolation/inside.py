"""Attack code that runs inside a confined process, as an attacker would who owns the engine.

    python -I inside.py ROOT CONFIG      CONFIG: JSON with the folders, the victim, the walls to plant as broken

Prints JSON: {"layers": [...], "outcome": {attack: "stopped" | "through" | errno}}. An attack is stopped only when
the kernel refused it by EPERM or EACCES (or as the table below says): a call that failed for bad arguments got in.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

X86 = platform.machine() == "x86_64"
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def raw(x86: int, arm: int, *arguments: Any) -> Callable[[], None]:
    def call() -> None:
        ctypes.set_errno(0)
        words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = _libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
        if result == -1:
            raise OSError(ctypes.get_errno(), "")
        if result == 0 and (x86, arm) == (56, 220):
            os._exit(0)  # the child of a clone that got through

    return call


def kept(make: tuple[int, int], control: tuple[int, int], *arguments: int) -> Callable[[], None]:
    """Makes a System V object and removes it again: it would outlive the process."""

    def call() -> None:
        ctypes.set_errno(0)
        made = _libc.syscall(ctypes.c_long(make[0] if X86 else make[1]), *map(ctypes.c_long, arguments))
        if made == -1:
            raise OSError(ctypes.get_errno(), "")
        remove = (made, 0, 0, 0) if control == (66, 191) else (made, 0, 0)
        _libc.syscall(ctypes.c_long(control[0] if X86 else control[1]), *map(ctypes.c_long, remove))

    return call


def opened(path: str, flags: int = os.O_RDONLY) -> Callable[[], None]:
    return lambda: os.close(os.open(path, flags, 0o600))


def made_and_removed(folder: str) -> None:
    path = f"{folder}/bpk-attack-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.unlink(path)


def made_socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> Callable[[], None]:
    return lambda: socket.socket(family, kind, protocol).close()


def forked() -> None:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)


def spawned() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)


def connected(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        connection.connect(("127.0.0.1", port))


def sent_udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("127.0.0.1", port))


def executable_later() -> None:
    space = mmap.mmap(-1, mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(space))
    if _libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), 5) != 0:
        raise OSError(ctypes.get_errno(), "")


def bigger_file(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, b"x", 1 << 30)
    finally:
        os.close(descriptor)


def below(folder: str) -> None:
    descriptor = os.open(folder, os.O_PATH)
    try:
        os.close(os.open("file", os.O_RDONLY, dir_fd=descriptor))
    finally:
        os.close(descriptor)


def many_files() -> None:
    made: list[int] = []
    try:
        for _ in range(200):
            made.append(os.dup(0))  # noqa: PERF401  # each must be known when the next one fails
    finally:
        for descriptor in made:
            os.close(descriptor)


def thread_bomb() -> None:
    stop = threading.Event()
    started = []
    try:
        for _ in range(2000):
            thread = threading.Thread(target=stop.wait)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise OSError(errno.EPERM, "") from error
    finally:
        stop.set()
        for thread in started:
            thread.join()


def attacks(config: dict[str, Any]) -> dict[str, Callable[[], object]]:
    out, victim, spill = config["outside"], config["victim"], config["spill"]
    name = (out + "/file").encode()
    here = -100  # AT_FDCWD
    buffer = ctypes.create_string_buffer(256)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    found: dict[str, Callable[[], object]] = {
        # files
        "read a file": opened(out + "/file"),
        "read /etc/passwd": opened("/etc/passwd"),
        "read /etc/hostname": opened("/etc/hostname"),
        "read /proc/version": opened("/proc/version"),
        "read own memory map": opened("/proc/self/maps"),
        "read own memory": opened("/proc/self/mem", os.O_RDWR),
        "list a folder": lambda: os.listdir(out),
        "list /": lambda: os.listdir("/"),
        "list own descriptors": lambda: os.listdir("/proc/self/fd"),
        "write a file": opened(out + "/file", os.O_WRONLY),
        "make a file": opened(out + "/new", os.O_WRONLY | os.O_CREAT),
        "make a file in /tmp": lambda: made_and_removed("/tmp"),
        "make a file in /dev/shm": lambda: made_and_removed("/dev/shm"),
        "write the data": opened(config["data"], os.O_WRONLY),
        "read a device": opened("/dev/zero"),
        "open by /proc/self/root": opened("/proc/self/root" + out + "/file"),
        "open below a path-only folder": lambda: below(out),
        "make a folder": lambda: os.mkdir(out + "/folder"),
        "remove a file": lambda: os.unlink(out + "/remove"),
        "remove a folder": lambda: os.rmdir(out + "/empty"),
        "rename": lambda: os.rename(out + "/rename", out + "/renamed"),
        "rename out of spill": lambda: os.rename(spill + "/mine", out + "/stolen"),
        "truncate": lambda: os.truncate(out + "/file", 0),
        "symlink": lambda: os.symlink("/etc/passwd", spill + "/link"),
        "hard link": lambda: os.link(out + "/file", spill + "/hard"),
        "named pipe": lambda: os.mkfifo(spill + "/pipe"),
        "chmod": lambda: os.chmod(out + "/file", 0o600),
        "chmod in spill": lambda: os.chmod(spill + "/mine", 0o4700),
        "chown": lambda: os.chown(out + "/file", os.getuid(), os.getgid()),
        "utime": lambda: os.utime(out + "/file", (1, 1)),
        "set an attribute": lambda: os.setxattr(out + "/file", "user.bpk", b"x"),
        "change root": lambda: os.chroot(spill),
        "change folder": lambda: os.chdir(out),
        "mount": raw(165, 40, b"none", spill.encode(), b"tmpfs", 0, 0),
        "open by handle": raw(304, 265, here, buffer, 0),
        "make a handle": raw(303, 264, here, name, buffer, buffer, 0),
        # sockets, one family each
        "tcp": lambda: connected(config["port"]),
        "udp": lambda: sent_udp(config["port"]),
        "ipv6": made_socket(socket.AF_INET6),
        "unix": made_socket(socket.AF_UNIX),
        "netlink": made_socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": made_socket(17, socket.SOCK_RAW),
        "vsock": made_socket(40),
        "kernel crypto": made_socket(38, socket.SOCK_SEQPACKET),
        "raw ip": made_socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "bluetooth": made_socket(31, socket.SOCK_RAW),
        "socket pair": lambda: [end.close() for end in socket.socketpair()],
        # processes
        "fork": forked,
        "spawn": spawned,
        "clone with namespaces": raw(56, 220, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0),
        "clone3": raw(435, 435, buffer, 88),
        "replace itself": raw(322, 281, here, b"/nonexistent", 0, 0, 0),
        "enter a namespace": raw(308, 268, 0, 0),
        "ptrace": raw(101, 117, 16, victim, 0, 0),
        "read the victim's memory": raw(310, 270, victim, vector, 1, vector, 1, 0),
        "write the victim's memory": raw(311, 271, victim, vector, 1, vector, 1, 0),
        "compare with the victim": raw(312, 272, victim, victim, 0, 0, 0),
        "victim's environment": opened(f"/proc/{victim}/environ"),
        "victim's memory file": opened(f"/proc/{victim}/mem"),
        "victim's descriptors": lambda: os.listdir(f"/proc/{victim}/fd"),
        "signal the victim": lambda: os.kill(victim, 0),
        "signal by thread": raw(234, 131, victim, victim, 0),
        "signal the group": lambda: os.killpg(victim, 0),
        "queue a signal": raw(129, 138, victim, signal.SIGWINCH, buffer),
        "pidfd of the victim": lambda: os.close(os.pidfd_open(victim)),
        "limits of the victim": raw(302, 261, victim, 7, 0, buffer),
        "slow the victim": lambda: os.setpriority(os.PRIO_PROCESS, victim, 1),
        "become another": lambda: os.setuid(os.getuid()),
        "take capabilities": raw(126, 91, struct.pack("=Ii", 0x20080522, 0), buffer),
        "become dumpable": raw(157, 167, 4, 1, 0, 0, 0),
        "live without the parent": raw(157, 167, 1, 0, 0, 0, 0),
        # kernel surface
        "io_uring": raw(425, 425, 1, ctypes.create_string_buffer(256)),
        "bpf": raw(321, 280, 0, buffer, 64),
        "keyctl": raw(250, 219, 0, -3, 0),
        "add a key": raw(248, 217, b"user", b"bpk", b"x", 1, -3),
        "userfaultfd": raw(323, 282, 1),
        "perf events": raw(298, 241, buffer, 0, -1, -1, 0),
        "memory file": raw(319, 279, b"x", 0),
        "fanotify": raw(300, 262, 0, 0),
        "inotify": raw(294, 26, 0),
        "shared memory": kept((29, 194), (31, 195), 0, 4096, 0o1600),
        "message queue": kept((68, 186), (71, 187), 0, 0o1600),
        "semaphore": kept((64, 190), (66, 191), 0, 1, 0o1600),
        # Late: whoever is in a user namespace of his own cannot reach the victim.
        "namespaces": raw(272, 97, 0x10000000),
        "personality": raw(135, 92, 0x0040000),
        "another filter": raw(317, 277, 1, 0, buffer),
        "another ruleset": raw(444, 444, 0, 0, 1),
        "send a file": raw(40, 71, 1, 0, 0, 0),
        "terminal ioctl": raw(16, 29, 0, 0x5412, buffer),
        "signal-driven files": raw(72, 25, 0, 8, victim),
        "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
        "memory made executable": executable_later,
        # limits
        "balloon": lambda: mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
        "balloon on the heap": lambda: bytearray(600 << 20),
        "huge spill file": lambda: bigger_file(spill + "/huge"),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)),
        "many files": many_files,
        "thread bomb": thread_bomb,
    }
    return found


OTHER_REFUSALS = {
    "clone3": {errno.ENOSYS},
    "terminal ioctl": {errno.ENOTTY},
    "balloon": {errno.ENOMEM},
    "huge spill file": {errno.EFBIG},
    "many files": {errno.EMFILE},
}


def outcome(name: str, attack: Callable[[], object]) -> str:
    try:
        attack()
    except MemoryError:
        return "stopped"
    except ValueError:  # Python's word for a limit that may not be raised
        return "stopped" if name == "raise a limit" else "?"
    except OSError as error:
        if error.errno in {errno.EPERM, errno.EACCES} | OTHER_REFUSALS.get(name, set()):
            return "stopped"
        return errno.errorcode.get(error.errno or 0, "?")
    return "through"


def break_walls(names: list[str]) -> None:
    """Plants walls that say they stand and do nothing."""
    from sandbox.lockdown import walls

    walls.WALLS = tuple(
        walls.Wall(wall.name, wall.required, lambda _c, _s: "planted") if wall.name in names else wall
        for wall in walls.WALLS
    )
    if {"seccomp", "no_new_privs"} & set(names):
        walls._still_stand = lambda _layers, _status: None


def forget_to_set(names: list[str]) -> None:
    """Plants a deeper fault: the wall's own code sets nothing, and only its reading back can notice."""
    from sandbox.lockdown import landlock, privileges, rlimits, seccomp

    modules = {"landlock": landlock, "no_new_privs": privileges, "rlimits": rlimits, "seccomp": seccomp}
    for name in names:
        modules[name]._set = lambda *_: None


def lack(names: list[str]) -> None:
    """Plants a machine that does not have these."""
    from sandbox.lockdown import walls
    from sandbox.lockdown.kernel import LayerInactive

    def missing(_confinement: object, _status: object) -> str:
        raise LayerInactive("planted: not on this machine")

    walls.WALLS = tuple(
        walls.Wall(wall.name, wall.required, missing) if wall.name in names else wall for wall in walls.WALLS
    )


def main() -> None:
    sys.path[:0] = [sys.argv[1]]
    from sandbox.lockdown import walls
    from sandbox.lockdown.confinement import Confinement
    from sandbox.lockdown.walls import IsolationMissing, confine

    config = json.loads(sys.argv[2])
    if config.get("uid"):
        os.setgroups([])
        os.setresgid(config["uid"], config["uid"], config["uid"])
        os.setresuid(config["uid"], config["uid"], config["uid"])
    break_walls(config.get("broken", []))
    forget_to_set(config.get("forgotten", []))
    lack(config.get("lacking", []))
    walls.LINUX = config.get("linux", True)
    if config.get("second_thread"):
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    confinement = Confinement(
        read=(Path(config["data"]),),
        write=(Path(config["spill"]),),
        memory_bytes=512 << 20,
        file_bytes=64 << 20,
        cpu_s=30,
        open_files=64,
        own_uid=config.get("own_uid", False),
        allow_degraded=frozenset(config.get("allow_degraded", [])),
    )
    Path(config["spill"], "mine").touch()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    try:
        layers = confine(confinement)
    except IsolationMissing as missing:
        print(json.dumps({"refused": [layer.name for layer in missing.layers if layer.required and not layer.active]}))
        return
    if config.get("only_confine"):
        print(json.dumps({"layers": [layer.name for layer in layers if layer.active]}))
        return
    result = {name: outcome(name, attack) for name, attack in attacks(config).items()}
    with contextlib.suppress(OSError):
        Path(config["data"]).read_bytes()
        result["read the data"] = "through"
    print(json.dumps({"layers": [layer.name for layer in layers if layer.active], "outcome": result}))


if __name__ == "__main__":
    main()
