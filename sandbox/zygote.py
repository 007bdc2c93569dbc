"""The zygote: has started the engine on nothing, opens no data, and forks a worker whenever it is asked.

A program of its own, so that nothing of the service (keys, released values, threads) is in a worker's memory. It has
one thread, the engine none: threads do not survive a fork, and a second one would stand outside the walls. Each worker
has a copy of an engine that has seen no path and no row, so none can find in it what another one left.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from sandbox import worker
from sandbox.codec import CodecError, dumps, loads
from sandbox.engine.snapshot import Engine, started
from sandbox.frames import FrameError, frame, length_of
from sandbox.jobs import CONTROL_BYTES_MAX, Forked, Kill, Start
from sandbox.lockdown.kernel import (
    LINUX,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    prctl,
)

_LOOK_MS = 1000


def main(descriptor: str, service: str) -> NoReturn:
    """Serves the socket `descriptor` until it closes or the process `service` is gone."""
    control = socket.socket(fileno=int(descriptor))
    _die_with(int(service))
    engine = started()
    _require_one_thread()
    gc.collect()
    gc.freeze()  # so that a worker's collector does not touch, and thereby copy, the pages it shares
    control.sendall(frame(dumps(Forked(os.getpid()))))
    try:
        _serve(control, int(service), engine)
    except (OSError, FrameError, CodecError):
        os._exit(1)  # whoever speaks otherwise is not our service; workers die with us
    os._exit(0)


def _die_with(service: int) -> None:
    if LINUX:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_DUMPABLE, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != service:
        sys.exit(1)


def _require_one_thread() -> None:
    """A fork of an engine with threads would wait for ever for those that it does not have."""
    if LINUX and len(os.listdir("/proc/self/task")) != 1:
        sys.exit(1)


def _serve(control: socket.socket, service: int, engine: Engine) -> None:
    children: set[int] = set()
    wake = _wake_on_child()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake, select.POLLIN)
    while os.getppid() == service:
        ready = {descriptor for descriptor, _ in poll.poll(_LOOK_MS)}
        if wake in ready:
            os.read(wake, 4096)
        _reap(children)
        if control.fileno() in ready:
            received = _receive(control)
            if received is None:
                return
            _obey(control, *received, children, engine)


def _wake_on_child() -> int:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reading


def _reap(children: set[int]) -> None:
    """A process is in `children` until it was reaped, so a number in there cannot be somebody else's."""
    for pid in tuple(children):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            children.discard(pid)


def _receive(control: socket.socket) -> tuple[bytes, list[int]] | None:
    """One request: a header with at most one descriptor beside it, and the body."""
    header, descriptors, _, _ = socket.recv_fds(control, 4, 1)
    if not header:
        return None
    while len(header) < 4:
        header += _some(control, 4 - len(header))
    body = b""
    rest = length_of(header, CONTROL_BYTES_MAX)
    while len(body) < rest:
        body += _some(control, rest - len(body))
    return body, descriptors


def _some(control: socket.socket, count: int) -> bytes:
    part = control.recv(count)
    if not part:
        raise FrameError("closed inside a frame")
    return part


def _obey(
    control: socket.socket,
    body: bytes,
    descriptors: list[int],
    children: set[int],
    engine: Engine,
) -> None:
    if not descriptors:
        kill = loads(body, Kill)
        if kill.pid in children:
            os.kill(kill.pid, signal.SIGKILL)
        return
    start = worker.start_from(body)
    pid = _fork(control, start, descriptors[0], engine)
    os.close(descriptors[0])
    if pid:
        children.add(pid)
    _tell(control, pid)


def _fork(control: socket.socket, start: Start, job: int, engine: Engine) -> int:
    """The child's number; 0 when the system has no room for another process."""
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        return 0
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.detach()
        worker.live(job, start, parent, engine)
    return pid


def _tell(control: socket.socket, pid: int) -> None:
    """With a pidfd where there is one: it means this very process for ever, a number may be given to another."""
    answer = frame(dumps(Forked(pid)))
    if not LINUX or pid == 0:
        control.sendall(answer)
        return
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        control.sendall(answer)
        return
    socket.send_fds(control, [answer], [pidfd])
    os.close(pidfd)
