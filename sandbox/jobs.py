"""What the service, the zygote and the workers say to each other: frozen records, and rows of plain values.

Frames are four bytes of length (big-endian) and a body. A worker is held to be hostile once it has opened data: what it
says is one byte of kind and either rows, one JSON list a line, or columns of 64-bit integers (little-endian), or the
name of a failure's class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from policies.types import Type
from sandbox.protocol import Layer

FailureClass = Literal["data", "resource", "timeout", "denied", "internal", "too_big"]
FAILURE_CLASSES: Final[tuple[FailureClass, ...]] = get_args(FailureClass)

ROWS, COLUMNS, FAILED, READY, REPORT = b"R", b"C", b"E", b"Y", b"S"
CONTROL_BYTES_MAX: Final = 8 << 20
"""Of every frame but a worker's rows, SQL included."""


@dataclass(frozen=True, slots=True)
class Start:
    """To the zygote, with one socket beside it: fork a worker. Sizes in MiB."""

    snapshot: str
    spill: str
    threads: int
    memory_mb: int
    spill_mb: int
    wall_ms: int
    jobs_cpu_s: int
    result_bytes_max: int
    allow_degraded: tuple[str, ...]
    group: str = ""
    """Path of the control group to join, if there is one."""


def process_bytes(memory_mb: int) -> int:
    """The process's limit over the engine's own: the engine's memory_limit does not bound strings and lists."""
    return (memory_mb * 3 // 2 + 256) << 20


@dataclass(frozen=True, slots=True)
class Kill:
    """To the zygote, where the system has no pidfd. A process that it has reaped is left alone."""

    pid: int


@dataclass(frozen=True, slots=True)
class Forked:
    """From the zygote; on Linux a pidfd comes beside it. `pid` 0 means that it could not."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker's first word, said before any statement of a job has run. With `open` False it ends."""

    open: bool
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """`keep`, where it is set, is the SELECT of a table `__kept` that `sql` reads: made once in a worker's life."""

    sql: str
    shape: tuple[Type, ...]
    rows_max: int
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class IntegerQuery:
    """A SELECT of `count` BIGINT columns without a null, which come back column by column, as bytes."""

    sql: str
    count: int
    rows_max: int
    keep: str | None = None


@dataclass(frozen=True, slots=True)
class SelfTest:
    """To a worker: attack. `service` is the process to attack, `port` a listener of its on the loopback."""

    service: int
    port: int
    outside: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """The attacks that were tried, and those that got through, by name."""

    tried: tuple[str, ...]
    through: tuple[str, ...]
