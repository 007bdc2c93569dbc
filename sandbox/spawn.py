"""The service's end of the zygote: starts it, asks it for workers, notices when it is gone."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time

from sandbox.codec import CodecError, dumps, loads
from sandbox.frames import HEADER_BYTES, FrameError, frame, length_of
from sandbox.jobs import CONTROL_BYTES_MAX, Forked, Kill, Start
from sandbox.lockdown.child import command, environment

_START_S = 30
_FORK_S = 10
_CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class ZygoteGone(Exception):
    """There is no zygote at the moment; the pool starts another."""


class Process:
    """A worker's process, by pidfd where the system has it: a number alone could be somebody else's by now."""

    def __init__(self, zygote: Zygote, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self._zygote = zygote
        self._pidfd = pidfd
        self._memory: int | None = None
        self._closed = False
        self._lock = threading.Lock()

    def kill(self) -> None:
        """From any thread. After `close` it does nothing: the descriptor's number may mean something else by then."""
        with self._lock:
            if self._closed:
                return
            if self._pidfd is None:
                self._zygote.kill(self.pid)
                return
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            except ProcessLookupError:
                return

    def wait(self, timeout_s: float) -> None:
        """Until it is gone, or the time is over. Without a pidfd there is nothing to wait on."""
        if self._pidfd is None:
            return
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        poll.poll(timeout_s * 1000)

    def pages(self) -> int | None:
        """How many pages of memory it holds; None where that cannot be seen. From any thread.

        The kernel's file is opened once: it is looked at every few milliseconds, and is this very process's for good.
        """
        with self._lock:
            if self._closed:
                return None
            try:
                if self._memory is None:
                    self._memory = os.open(f"/proc/{self.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
                return int(os.pread(self._memory, 256, 0).split()[1])
            except (OSError, IndexError, ValueError):
                return None

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                for descriptor in (self._pidfd, self._memory):
                    if descriptor is not None:
                        os.close(descriptor)
            self._closed = True


class Zygote:
    """A running zygote. The thread that makes this object must live as long as the zygote is to live.

    Raises ZygoteGone when it does not come up.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._socket = ours
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                command("sandbox.zygote", str(theirs.fileno()), str(os.getpid())),
                pass_fds=(theirs.fileno(),),
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt from the terminal is for the service to handle
            )
        self._receive(_START_S)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, start: Start, job: socket.socket) -> Process:
        """A worker at the other end of `job`. Raises ZygoteGone."""
        with self._lock:
            try:
                self._socket.settimeout(_FORK_S)
                socket.send_fds(self._socket, [frame(dumps(start))], [job.fileno()])
            except OSError as error:
                raise ZygoteGone from error
            forked, pidfd = self._receive(_FORK_S)
        if forked.pid == 0:
            raise ZygoteGone
        return Process(self, forked.pid, pidfd)

    def kill(self, pid: int) -> None:
        with self._lock:
            try:
                self._socket.sendall(frame(dumps(Kill(pid))))
            except OSError:
                return  # a zygote that is gone has taken its workers along

    def close(self) -> None:
        """Ends it; its workers die with it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def _receive(self, timeout_s: float) -> tuple[Forked, int | None]:
        try:
            return self._receive_frame(time.monotonic() + timeout_s)
        except (OSError, FrameError, CodecError) as error:
            self.close()
            raise ZygoteGone from error

    def _receive_frame(self, deadline: float) -> tuple[Forked, int | None]:
        data = b""
        descriptors: list[int] = []
        wanted = HEADER_BYTES
        while len(data) < wanted:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            part, received, _, _ = socket.recv_fds(self._socket, wanted - len(data), 1, _CLOSE_ON_EXEC)
            descriptors += received
            if not part:
                raise FrameError("closed")
            data += part
            if wanted == HEADER_BYTES == len(data):
                wanted += length_of(data, CONTROL_BYTES_MAX)
        return loads(data[HEADER_BYTES:], Forked), descriptors[0] if descriptors else None
