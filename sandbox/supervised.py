"""One worker as the service sees it: asked by frames, watched for time and memory, killed for either."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.types import Type, Value
from sandbox.codec import CodecError, dumps, loads
from sandbox.frames import HEADER_BYTES, FrameError, frame, length_of
from sandbox.jobs import (
    COLUMNS,
    CONTROL_BYTES_MAX,
    FAILED,
    FAILURE_CLASSES,
    READY,
    REPORT,
    ROWS,
    FailureClass,
    IntegerQuery,
    Query,
    Ready,
    Report,
    SelfTest,
)
from sandbox.protocol import Layer
from sandbox.rows import RowsTooBig, RowsWrong, read_rows
from sandbox.spawn import Process

_LOOK_MS: Final = 50
_START_S: Final = 20
_DEATH_S: Final = 5
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
COLUMNS_BYTES_MAX: Final = 512 << 20
"""Of all integer columns of one statement together."""
Integers = NDArray[np.int64]


class WorkerFailed(Exception):
    """The job is over. `kind` is all that is known: what the engine said has stayed in the worker.

    To the outside every kind must look the same.
    """

    def __init__(self, kind: FailureClass) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """`wall_ms` is for all queries of the job together."""

    wall_ms: int
    result_bytes_max: int
    rss_bytes_max: int


class Worker:
    """Serves one job: `query` any number of times, one after the other, then `close`. Not for two threads at once,
    but for `kill`, which may come from any.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # what it is, how to reach it, what it may take
        self,
        dataset: str,
        snapshot: Path,
        job: socket.socket,
        process: Process,
        limits: WorkerLimits,
        retire: Callable[[Worker], None],
    ) -> None:
        self.dataset = dataset
        self.snapshot = snapshot
        self.layers: tuple[Layer, ...] = ()
        self._job = job
        self._process = process
        self._left_s = limits.wall_ms / 1000
        self._limits = limits
        self._retire = retire
        self._over = False
        self._closing = threading.Lock()

    def __repr__(self) -> str:
        return f"<Worker {self.dataset} {self._process.pid}>"

    @property
    def pid(self) -> int:
        return self._process.pid

    def query(
        self, sql: str, shape: tuple[Type, ...], rows_max: int, keep: str | None = None
    ) -> list[tuple[Value, ...]]:
        """The exact rows of one SELECT: never to be shown, logged or sent on as they are.

        `keep` is the SELECT of a table `kept`, which the worker makes before its first statement that names one.
        The wall clock of the job counts over all its queries. Raises WorkerFailed; the worker is then dead.
        """
        limit = self._limits.result_bytes_max + 1
        kind, body = self._ask(ROWS + dumps(Query(sql, shape, rows_max, keep)), limit)
        if kind == FAILED:
            raise self._failed(_class_of(body))
        try:
            if kind != ROWS:
                raise RowsWrong
            return read_rows(body, shape, rows_max)
        except RowsTooBig:
            raise self._failed("too_big") from None
        except RowsWrong:
            raise self._failed("internal") from None

    def columns(self, sql: str, count: int, rows_max: int, keep: str | None = None) -> list[Integers]:
        """The exact columns of one SELECT of `count` BIGINT columns without a null. Raises WorkerFailed."""
        body = COLUMNS + dumps(IntegerQuery(sql, count, rows_max, keep))
        kind, found = self._ask(body, min(rows_max * count * 8, COLUMNS_BYTES_MAX) + 1)
        if kind == FAILED:
            raise self._failed(_class_of(found))
        rows, rest = divmod(len(found), 8 * count)
        if kind != COLUMNS or rest:
            raise self._failed("internal")
        whole = np.frombuffer(found, dtype="<i8").astype(np.int64, copy=False)
        return [whole[i * rows : (i + 1) * rows] for i in range(count)]

    def attack(self, test: SelfTest) -> Report:
        """Lets the worker attack from inside. Raises WorkerFailed."""
        kind, body = self._ask(REPORT + dumps(test), CONTROL_BYTES_MAX)
        try:
            if kind != REPORT:
                raise CodecError("no report")
            return loads(body, Report)
        except CodecError:
            raise self._failed("internal") from None

    def wait_ready(self) -> Ready | None:
        """The worker's first word, or None when it died without one. Its walls are checked from outside as well."""
        try:
            body = self._receive(CONTROL_BYTES_MAX, time.monotonic() + _START_S)
            ready = loads(body[1:], Ready) if body[:1] == READY else None
        except (WorkerFailed, FrameError, CodecError, OSError):
            return None
        if ready is not None:
            self.layers = ready.layers
            if ready.open and not self._walls_seen(ready.layers):
                return None
        return ready

    @property
    def idle(self) -> bool:
        """Whether it still waits: a worker that closed, or that speaks without being asked, is of no use."""
        poll = select.poll()
        try:
            poll.register(self._job, select.POLLIN)
            return not self._over and not poll.poll(0)
        except ValueError:  # closed, by another thread perhaps
            return False

    def kill(self) -> None:
        """Ends it at once, from any thread; a query that is under way raises WorkerFailed."""
        self._process.kill()

    def finish(self) -> None:
        """Kills it and waits until it is gone; its place is still taken."""
        self._process.kill()
        self._process.wait(_DEATH_S)

    def close(self) -> None:
        """Kills it and gives its place back. Safe to call twice, and from any thread."""
        with self._closing:
            first, self._over = not self._over, True
        if first:
            self._process.kill()
            self._retire(self)

    def end(self) -> None:
        """For the pool, after `close`: waits until it is gone, lets go of everything."""
        self.finish()
        self._process.close()
        self._job.close()

    def _ask(self, body: bytes, bytes_max: int) -> tuple[bytes, bytes]:
        if self._over:
            raise WorkerFailed("internal")
        began = time.monotonic()
        try:
            self._job.settimeout(max(0.001, self._left_s))
            self._job.sendall(frame(body))
            answer = self._receive(bytes_max, began + self._left_s)
        except (OSError, FrameError, ValueError):  # ValueError: closed by another thread meanwhile
            raise self._failed("internal") from None
        except WorkerFailed as failure:
            raise self._failed(failure.kind) from None
        finally:
            self._left_s -= time.monotonic() - began
        return answer[:1], answer[1:]

    def _failed(self, kind: FailureClass) -> WorkerFailed:
        self.close()
        return WorkerFailed(kind)

    def _receive(self, bytes_max: int, deadline: float) -> bytes:
        header = self._receive_exactly(HEADER_BYTES, deadline)
        try:
            length = length_of(header, bytes_max)
        except FrameError:
            raise WorkerFailed("too_big") from None
        return self._receive_exactly(length, deadline)

    def _receive_exactly(self, count: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        poll = select.poll()
        poll.register(self._job, select.POLLIN)
        while count:
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0:
                raise WorkerFailed("timeout")
            if not poll.poll(min(left_ms, _LOOK_MS)):
                self._check_memory()
                continue
            part = self._job.recv(min(count, 1 << 20))
            if not part:
                raise FrameError("closed")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _check_memory(self) -> None:
        """Shared maps are outside RLIMIT_DATA. Where there is no /proc there is nothing to look at."""
        pages = self._process.pages()
        if pages is not None and pages * _PAGE > self._limits.rss_bytes_max:
            raise WorkerFailed("resource")

    def _walls_seen(self, layers: tuple[Layer, ...]) -> bool:
        """The kernel's word about the process, read by us and not told by it."""
        expected = {"no_new_privs": ("NoNewPrivs:", "1"), "seccomp": ("Seccomp:", "2")}
        wanted = [expected[layer.name] for layer in layers if layer.active and layer.name in expected]
        if not wanted:
            return True
        try:
            text = Path(f"/proc/{self.pid}/status").read_text()
        except OSError:
            return False
        fields = dict(line.split(None, 1) for line in text.splitlines() if len(line.split(None, 1)) == 2)
        return all(fields.get(name, "").strip() == value for name, value in wanted)


def _class_of(body: bytes) -> FailureClass:
    """A class of ours, whatever the worker wrote."""
    name = body.decode("ascii", "replace")
    return next((known for known in FAILURE_CLASSES if name == known), "internal")
