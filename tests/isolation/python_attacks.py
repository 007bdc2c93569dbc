"""What an attacker tries who owns the engine: code that runs inside a confined process. Standard library alone.

Each attack raises OSError (or MemoryError) when it fails, and returns when it got through. Harmless when it does: what
it makes it removes again, where it signals it sends signal 0.
"""

from __future__ import annotations

import array
import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

X86 = platform.machine() == "x86_64"
CLONE_A_CHILD, CLONE_ANOTHER, FORK = (56, 220), (435, 435), (57, -1)
HERE = -100
"""AT_FDCWD."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

Attack = Callable[[], object]


@dataclass(frozen=True)
class Scene:
    """What there is to attack. `job` is a connected Unix socket that the process holds, as a worker holds its own."""

    outside: str
    """A folder with the files `file`, `remove`, `rename` and the folder `empty`, which is not the process's."""
    spill: str
    data: str
    victim: int
    """A process of the same account, such as the service."""
    sibling: int
    """Another confined process."""
    port: int
    """TCP, on the loopback."""
    job: int = -1


def raw(x86: int, arm: int, *arguments: Any) -> Attack:
    def call() -> None:
        ctypes.set_errno(0)
        words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        result = _libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
        if result == -1:
            raise OSError(ctypes.get_errno(), "")
        if result == 0 and (x86, arm) in (CLONE_A_CHILD, CLONE_ANOTHER, FORK):
            os._exit(0)  # the child of one that got through

    return call


def made(x86: int, arm: int, *arguments: Any) -> Attack:
    """A call that gives a descriptor, which is closed again."""

    def call() -> None:
        ctypes.set_errno(0)
        words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
        descriptor = _libc.syscall(ctypes.c_long(x86 if X86 else arm), *words)
        if descriptor == -1:
            raise OSError(ctypes.get_errno(), "")
        os.close(descriptor)

    return call


def kept(make: tuple[int, int], control: tuple[int, int], *arguments: int) -> Attack:
    """Makes a System V object and removes it again: it would outlive the process."""

    def call() -> None:
        ctypes.set_errno(0)
        made = _libc.syscall(ctypes.c_long(make[0] if X86 else make[1]), *map(ctypes.c_long, arguments))
        if made == -1:
            raise OSError(ctypes.get_errno(), "")
        remove = (made, 0, 0, 0) if control == (66, 191) else (made, 0, 0)
        _libc.syscall(ctypes.c_long(control[0] if X86 else control[1]), *map(ctypes.c_long, remove))

    return call


def opened(path: str, flags: int = os.O_RDONLY) -> Attack:
    return lambda: os.close(os.open(path, flags, 0o600))


def made_and_removed(folder: str) -> None:
    path = f"{folder}/bpk-attack-{os.getpid()}"
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    os.unlink(path)


def made_socket(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> Attack:
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


def listened() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()


def sent_udp(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.sendto(b"x", ("127.0.0.1", port))


def abstract() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0bpk-attack-{os.getpid()}")


def gave_a_descriptor(job: int) -> None:
    held = array.array("i", [0])
    with worn(job) as connection:
        connection.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, held)])


def took_a_descriptor(job: int) -> None:
    with worn(job) as connection:
        connection.recvmsg(1, 64, socket.MSG_DONTWAIT | socket.MSG_PEEK)


def worn(job: int) -> socket.socket:
    """The socket that the process holds, without asking the kernel what it is."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=os.dup(job))


def stole_a_descriptor(victim: int) -> None:
    pidfd = os.pidfd_open(victim)
    try:
        made(438, 438, pidfd, 0, 0)()
    finally:
        os.close(pidfd)


def queued() -> None:
    made(240, 180, b"bpk-attack", os.O_CREAT | os.O_RDWR, 0o600, 0)()
    raw(241, 181, b"bpk-attack")()


def changed_mode(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(descriptor, 0o4700)
    finally:
        os.close(descriptor)


def executable_later(number: int = 10, arm: int = 226, *more: int) -> Attack:
    def change() -> None:
        space = mmap.mmap(-1, mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(space))
        raw(number, arm, address, mmap.PAGESIZE, 5, *more)()

    return change


def executable_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        mmap.mmap(descriptor, 1, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()
    finally:
        os.close(descriptor)


def cached_pages() -> None:
    space = mmap.mmap(-1, mmap.PAGESIZE)
    seen = ctypes.create_string_buffer(1)
    raw(27, 232, ctypes.addressof(ctypes.c_char.from_buffer(space)), mmap.PAGESIZE, seen)()


def bigger_file(path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, b"x", 1 << 30)
    finally:
        os.close(descriptor)


def mounted(folder: str) -> None:
    raw(165, 40, b"none", folder.encode(), b"tmpfs", 0, 0)()
    raw(166, 39, folder.encode(), 2)()


def below(folder: str) -> None:
    descriptor = os.open(folder, os.O_PATH)
    try:
        os.close(os.open("file", os.O_RDONLY, dir_fd=descriptor))
    finally:
        os.close(descriptor)


def written_by_reopening(data: str) -> None:
    """A descriptor that was opened for reading is opened again, by its name in /proc, for writing."""
    descriptor = os.open(data, os.O_RDONLY)
    try:
        os.close(os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY))
    finally:
        os.close(descriptor)


def written_by_the_same_descriptor(data: str) -> None:
    descriptor = os.open(data, os.O_RDONLY)
    try:
        raw(72, 25, descriptor, 4, os.O_WRONLY)()  # F_SETFL, which must not change how it was opened
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def linked_out(spill: str, outside: str) -> None:
    """A link to a secret file, in a folder whose content the process may read."""
    os.symlink(f"{outside}/file", f"{spill}/link")
    os.close(os.open(f"{spill}/link", os.O_RDONLY))


def many_files() -> None:
    held: list[int] = []
    try:
        for _ in range(200):
            held.append(os.dup(0))  # noqa: PERF401  # each must be known when the next one fails
    finally:
        for descriptor in held:
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


def told_apart(folder: str) -> None:
    """Whether a file exists, read from the error that opening it gives."""
    if _error_of(f"{folder}/file") == _error_of(f"{folder}/no such file"):
        raise OSError(errno.EACCES, "")


def _error_of(path: str) -> int | None:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error.errno
    return None


def accessible(path: str) -> None:
    if not os.access(path, os.F_OK):
        raise OSError(errno.ENOENT, "")


def sized(path: str) -> None:
    with_size = os.stat(path).st_size
    if with_size == 0:
        raise OSError(errno.ENODATA, "")


def attacks(scene: Scene) -> dict[str, Attack]:
    """Every attack by its name, in the order in which they are tried."""
    return {
        **_existence(scene),
        **_reading(scene),
        **_writing(scene),
        **_sockets(scene),
        **_descriptors(scene),
        **_others(scene, scene.victim, "the service"),
        **_others(scene, scene.sibling, "a sibling"),
        **_processes(scene),
        **_kernel(scene),
        **_memory(scene),
        **_limits(scene),
    }


def _existence(scene: Scene) -> dict[str, Attack]:
    out = scene.outside
    return {
        "existence of a file": lambda: os.stat(out + "/file"),
        "existence of a link": lambda: os.lstat(out + "/file"),
        "size of a file": lambda: sized(out + "/file"),
        "existence by access": lambda: accessible(out + "/file"),
        "existence by the error of opening": lambda: told_apart(out),
        "existence of a program": lambda: os.stat("/bin/sh"),
        "existence of a process": lambda: os.stat(f"/proc/{scene.victim}"),
        "existence of an account's home": lambda: os.stat("/root"),
        "where a link leads": lambda: os.readlink("/proc/self/exe"),
        "existence of a file system": lambda: os.statvfs("/proc"),
    }


def _reading(scene: Scene) -> dict[str, Attack]:
    out = scene.outside
    return {
        "read a file": opened(out + "/file"),
        "read /etc/passwd": opened("/etc/passwd"),
        "read /proc/version": opened("/proc/version"),
        "read the mounts": opened("/proc/self/mountinfo"),
        "read own memory map": opened("/proc/self/maps"),
        "read own memory": opened("/proc/self/mem", os.O_RDWR),
        "list a folder": lambda: os.listdir(out),
        "list /": lambda: os.listdir("/"),
        "list the processes": lambda: os.listdir("/proc"),
        "list own descriptors": lambda: os.listdir("/proc/self/fd"),
        "read a device": opened("/dev/zero"),
        "open by /proc/self/root": opened("/proc/self/root" + out + "/file"),
        "open by /proc/self/cwd": opened("/proc/self/cwd" + out + "/file"),
        "open below a path-only folder": lambda: below(out),
        "open upwards from spill": opened(scene.spill + "/../outside/file"),
        "change folder": lambda: os.chdir(out),
        "change root": lambda: os.chroot(scene.spill),
        "open by handle": raw(304, 265, HERE, ctypes.create_string_buffer(256), 0),
        "make a handle": raw(303, 264, HERE, (out + "/file").encode(), *(ctypes.create_string_buffer(256),) * 2, 0),
        "open by openat2": made(437, 437, HERE, (out + "/file").encode(), ctypes.create_string_buffer(24), 24),
        "an attribute of a file": lambda: os.listxattr(out + "/file"),
    }


def _writing(scene: Scene) -> dict[str, Attack]:
    out, spill = scene.outside, scene.spill
    return {
        "write a file": opened(out + "/file", os.O_WRONLY),
        "make a file": opened(out + "/new", os.O_WRONLY | os.O_CREAT),
        "make a file in /tmp": lambda: made_and_removed("/tmp"),
        "make a file in /dev/shm": lambda: made_and_removed("/dev/shm"),
        "make a file without a name": opened(out, os.O_TMPFILE | os.O_RDWR),
        "write the data": opened(scene.data, os.O_WRONLY),
        "make a folder": lambda: os.mkdir(out + "/folder"),
        "remove a file": lambda: os.unlink(out + "/remove"),
        "remove a folder": lambda: os.rmdir(out + "/empty"),
        "rename": lambda: os.rename(out + "/rename", out + "/renamed"),
        "rename out of spill": lambda: os.rename(spill + "/mine", out + "/stolen"),
        "truncate": lambda: os.truncate(out + "/file", 0),
        "symlink": lambda: os.symlink("/etc/passwd", spill + "/symlink"),
        "follow a symlink of its own": lambda: linked_out(spill, out),
        "hard link": lambda: os.link(out + "/file", spill + "/hard"),
        "named pipe": lambda: os.mkfifo(spill + "/pipe"),
        "device": raw(259, 33, HERE, (spill + "/device").encode(), 0o020600, os.makedev(1, 3)),
        "chmod": lambda: os.chmod(out + "/file", 0o600),
        "chmod in spill": lambda: os.chmod(spill + "/mine", 0o4700),
        "chmod by descriptor": lambda: changed_mode(spill + "/mine"),
        "chown": lambda: os.chown(out + "/file", os.getuid(), os.getgid()),
        "utime": lambda: os.utime(out + "/file", (1, 1)),
        "set an attribute": lambda: os.setxattr(out + "/file", "user.bpk", b"x"),
        "mount": lambda: mounted(spill),
        "unmount": raw(166, 39, spill.encode(), 0),
        "another root": raw(155, 41, b".", b"."),
        "open a file system": made(430, 430, b"tmpfs", 0),
        "clone a mount": made(428, 428, HERE, spill.encode(), 1),
        "swap": raw(167, 224, (spill + "/mine").encode(), 0),
    }


def _sockets(scene: Scene) -> dict[str, Attack]:
    return {
        "tcp": lambda: connected(scene.port),
        "tcp listener": listened,
        "udp": lambda: sent_udp(scene.port),
        "ipv6": made_socket(socket.AF_INET6),
        "unix": made_socket(socket.AF_UNIX),
        "abstract unix": abstract,
        "netlink": made_socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "packet": made_socket(17, socket.SOCK_RAW),
        "vsock": made_socket(40),
        "kernel crypto": made_socket(38, socket.SOCK_SEQPACKET),
        "raw ip": made_socket(socket.AF_INET, socket.SOCK_RAW, 1),
        "mptcp": made_socket(socket.AF_INET, socket.SOCK_STREAM, 262),
        "bluetooth": made_socket(31, socket.SOCK_RAW),
        "can": made_socket(29, socket.SOCK_RAW, 1),
        "xdp": made_socket(44, socket.SOCK_RAW),
        "socket pair": lambda: [end.close() for end in socket.socketpair()],
    }


def _descriptors(scene: Scene) -> dict[str, Attack]:
    buffer = ctypes.create_string_buffer(256)
    return {
        "give a descriptor away": lambda: gave_a_descriptor(scene.job),
        "take a descriptor": lambda: took_a_descriptor(scene.job),
        "whose socket it is": lambda: worn(scene.job).getsockopt(1, 17, 12),
        "steal the service's descriptor": lambda: stole_a_descriptor(scene.victim),
        "write by reopening": lambda: written_by_reopening(scene.data),
        "write by the same descriptor": lambda: written_by_the_same_descriptor(scene.data),
        "send a file": raw(40, 71, 1, 0, 0, 0),
        "splice": raw(275, 76, 0, 0, 1, 0, 1, 0),
        "pipe": lambda: [os.close(end) for end in os.pipe()],
        "event descriptor": made(290, 19, 0, 0),
        "signal descriptor": made(289, 74, -1, ctypes.create_string_buffer(8), 8, 0),
        "timer": made(283, 85, 1, 0),
        "polling descriptor": made(291, 20, 0),
        "memory file": made(319, 279, b"x", 0),
        "secret memory": made(447, 447, 0),
        "watch files": made(294, 26, 0),
        "watch the file system": made(300, 262, 0, 0),
        "posix queue": queued,
        "signal-driven files": raw(72, 25, 0, 8, scene.victim),
        "lease": raw(72, 25, 0, 1024, 0),
        "terminal ioctl": raw(16, 29, 0, 0x5412, buffer),
    }


def _others(scene: Scene, pid: int, who: str) -> dict[str, Attack]:
    """Against another process."""
    buffer = ctypes.create_string_buffer(256)
    vector = struct.pack("=QQ", ctypes.addressof(buffer), 8)
    return {
        f"environment of {who}": opened(f"/proc/{pid}/environ"),
        f"memory file of {who}": opened(f"/proc/{pid}/mem"),
        f"memory map of {who}": opened(f"/proc/{pid}/maps"),
        f"command line of {who}": opened(f"/proc/{pid}/cmdline"),
        f"descriptors of {who}": lambda: os.listdir(f"/proc/{pid}/fd"),
        f"root of {who}": lambda: os.listdir(f"/proc/{pid}/root"),
        f"ptrace {who}": raw(101, 117, 16, pid, 0, 0),
        f"read the memory of {who}": raw(310, 270, pid, vector, 1, vector, 1, 0),
        f"write the memory of {who}": raw(311, 271, pid, vector, 1, vector, 1, 0),
        f"compare with {who}": raw(312, 272, pid, pid, 0, 0, 0),
        f"signal {who}": lambda: os.kill(pid, 0),
        f"signal a thread of {who}": raw(234, 131, pid, pid, 0),
        f"queue a signal for {who}": raw(129, 138, pid, signal.SIGWINCH, buffer),
        f"pidfd of {who}": lambda: os.close(os.pidfd_open(pid)),
        f"limits of {who}": raw(302, 261, pid, 7, 0, buffer),
        f"slow {who}": lambda: os.setpriority(os.PRIO_PROCESS, pid, 1),
        f"pin {who}": lambda: os.sched_setaffinity(pid, os.sched_getaffinity(0)),
    }


def _processes(scene: Scene) -> dict[str, Attack]:
    buffer = ctypes.create_string_buffer(256)
    found: dict[str, Attack] = {
        "fork": forked,
        "spawn": spawned,
        "clone with namespaces": raw(*CLONE_A_CHILD, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0),
        "clone3": raw(*CLONE_ANOTHER, ctypes.create_string_buffer(88), 88),
        "replace itself": raw(322, 281, -1, b"", 0, 0, 0x1000),
        "enter a namespace": raw(308, 268, 0, 0),
        "signal the group": lambda: os.killpg(os.getpgid(scene.victim), 0),
        "signal everybody": raw(62, 129, -1, 0),
        "environment of the parent": opened(f"/proc/{os.getppid()}/environ"),
        "signal the parent": lambda: os.kill(os.getppid(), 0),
        "own session": os.setsid,
        "become another": lambda: os.setuid(os.getuid()),
        "become another group": lambda: os.setgid(os.getgid()),
        "take capabilities": raw(126, 91, struct.pack("=Ii", 0x20080522, 0), buffer),
        "become dumpable": raw(157, 167, 4, 1, 0, 0, 0),
        "live without the parent": raw(157, 167, 1, 0, 0, 0, 0),
        "let others trace": raw(157, 167, 0x59616D61, scene.victim, 0, 0, 0),
        "change own map": raw(157, 167, 35, 1, 0, 0, 0),
        "slow itself down": lambda: os.nice(1),
    }
    if X86:
        found["fork by its own number"] = raw(*FORK)
    return found


def _kernel(scene: Scene) -> dict[str, Attack]:
    buffer = ctypes.create_string_buffer(256)
    found = {
        "io_uring": made(425, 425, 1, ctypes.create_string_buffer(256)),
        "old asynchronous input": raw(206, 0, 1, ctypes.create_string_buffer(8)),
        "bpf": raw(321, 280, 0, buffer, 64),
        "keyctl": raw(250, 219, 0, -3, 0),
        "add a key": raw(248, 217, b"user", b"bpk", b"x", 1, -3),
        "request a key": raw(249, 218, b"user", b"bpk", 0, -3),
        "userfaultfd": made(323, 282, 1),
        "perf events": raw(298, 241, buffer, 0, -1, -1, 0),
        "shared memory": kept((29, 194), (31, 195), 0, 4096, 0o1600),
        "message queue": kept((68, 186), (71, 187), 0, 0o1600),
        "semaphore": kept((64, 190), (66, 191), 0, 1, 0o1600),
        # Late: whoever is in a user namespace of his own cannot reach the victim.
        "namespaces": raw(272, 97, 0x10000000),
        "personality": raw(135, 92, 0x0040000),
        "another filter": raw(317, 277, 1, 0, buffer),
        "another ruleset": raw(444, 444, 0, 0, 1),
        "kernel's log": raw(103, 116, 10, 0, 0),
        "load a module": raw(175, 105, buffer, 0, b""),
        "load a kernel": raw(246, 104, 0, 17, 0, 0),
        "name the machine": raw(170, 161, b"", -1),
        "set the clock": raw(227, 112, 99, buffer),
        "where pages lie": raw(279, 239, 0, 0, 0, 0, 0, 0),
        "advise another": raw(440, 440, -1, 0, 0, 0, 0),
    }
    if X86:
        found["machine ports"] = raw(173, 0, 0, 1, 0)
        found["segments"] = raw(154, 0, 0, buffer, 0)
        found["segment base"] = raw(158, 0, 0x1003, buffer)
    return found


def _memory(scene: Scene) -> dict[str, Attack]:
    return {
        "executable memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close(),
        "memory made executable": executable_later(),
        "memory made executable by key": executable_later(329, 288, -1),
        "executable file of its own": lambda: executable_file(scene.spill + "/mine"),
        "pages in the cache": cached_pages,
        "pinned memory": raw(151, 230, 1),
    }


def _limits(scene: Scene) -> dict[str, Attack]:
    return {
        "balloon": lambda: mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
        "balloon on the heap": lambda: bytearray(600 << 20),
        "huge spill file": lambda: bigger_file(scene.spill + "/huge"),
        "raise a limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (4096, 4096)),
        "many files": many_files,
        "thread bomb": thread_bomb,
    }


EXISTENCE = tuple(_existence(Scene("", "", "", 0, 0, 0)))
"""What only a file tree of one's own stops."""

OTHER_REFUSALS = {
    "clone3": {errno.ENOSYS},
    "terminal ioctl": {errno.ENOTTY},
    "balloon": {errno.ENOMEM},
    "huge spill file": {errno.EFBIG},
    "many files": {errno.EMFILE},
    "write by the same descriptor": {errno.EBADF},
}
"""An attack is stopped by EPERM or EACCES: a call that failed for bad arguments got in. These end otherwise."""
NOT_THERE = {errno.ENOENT, errno.EROFS}
"""And where files are hidden, what an attack looks for is not there."""


def outcome(name: str, attack: Attack, *, hidden: bool) -> str:
    """`stopped`, `through`, or the name of an error that is no wall's."""
    stops = {errno.EPERM, errno.EACCES} | OTHER_REFUSALS.get(name, set()) | (NOT_THERE if hidden else set())
    try:
        attack()
    except MemoryError:
        return "stopped"
    except ValueError:  # Python's word for a limit that may not be raised
        return "stopped" if name == "raise a limit" else "?"
    except OSError as error:
        return "stopped" if error.errno in stops else errno.errorcode.get(error.errno or 0, "?")
    return "through"
