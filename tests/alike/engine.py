"""Workers in this process: the worker's own SQL, bytes and checks over an engine of ours. Only walls are missing."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import duckdb

from sandbox import worker as worker_process
from sandbox.jobs import Start
from sandbox.protocol import Layer
from sandbox.relational.lower.statement import KEPT
from sandbox.service import RESULT_BYTES_MAX
from sandbox.supervised import Worker, WorkerLimits

WALLS = (Layer("engine", required=True, active=True, reason="in this process"),)
LIMITS = WorkerLimits(wall_ms=60_000, result_bytes_max=RESULT_BYTES_MAX, rss_bytes_max=2**40)
NO_LIMITS = MappingProxyType(
    {"snapshot": "", "spill": "", "threads": 1, "memory_mb": 1024, "spill_mb": 0, "wall_ms": 60_000, "jobs_cpu_s": 60}
)
_SEED = re.compile(rb"'[0-9a-f]{64}:'")
START = Start(**NO_LIMITS, result_bytes_max=RESULT_BYTES_MAX, allow_degraded=())


class InsideWorker(Worker):
    """Answers as a worker does, by the same code, when it is asked."""

    def __init__(self, dataset: str, snapshot: Path, engine: duckdb.DuckDBPyConnection, asked: list[bytes]) -> None:
        self.dataset = dataset
        self.snapshot = snapshot
        self.layers = WALLS
        self._left_s = LIMITS.wall_ms / 1000
        self._limits = LIMITS
        self._over = False
        self._engine = engine
        self._asked = asked
        self._kept: set[str] = set()

    @property
    def pid(self) -> int:
        return 0

    def _ask(self, body: bytes, bytes_max: int) -> tuple[bytes, bytes]:
        self._asked.append(body)
        answer = worker_process._answer(self._engine, START, body, self._kept)
        return answer[:1], answer[1:]

    def kill(self) -> None:
        self.close()

    def finish(self) -> None:
        self.close()

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._engine.execute(f"DROP TABLE IF EXISTS temp.{KEPT}").fetchall()


@dataclass
class InsidePool:
    """As many workers as are wanted, all over one engine; `asked` holds what each of them was asked, in order."""

    engine: Callable[[], duckdb.DuckDBPyConnection]
    asked: list[bytes] = field(default_factory=list)
    files: dict[str, Path] = field(default_factory=dict)

    @property
    def statements(self) -> list[bytes]:
        """`asked`, without the seed of ranks, which is new with every snapshot."""
        return [_SEED.sub(b"'seed:'", each) for each in self.asked]

    def serve(self, dataset: str, snapshot_path: Path) -> None:
        self.files[dataset] = snapshot_path

    def selftest(self) -> tuple[Layer, ...]:
        return WALLS

    def reserve(self, dataset: str, wait_s: float = 0.0) -> str | None:
        return secrets.token_hex(16)

    def take(self, token: str | None, dataset: str) -> Worker | None:
        return InsideWorker(dataset, self.files[dataset], self.engine(), self.asked)

    def release(self, token: str) -> None:
        """Nothing was taken."""

    def clear(self, worker: Worker) -> None:
        worker.close()

    def close(self) -> None:
        """There is nobody."""
