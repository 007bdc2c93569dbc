"""What a pool is given: how many workers there may be, and what each of them may take."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.jobs import process_bytes


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """`spill` is a folder for the pool alone. Sizes in MiB; `wall_ms` is what one job's queries may take together.

    `memory_mb` is the engine's; the process is stopped at one and a half times that and 256 MiB. `warm` counts waiting
    workers per dataset, `workers_max` all workers that are alive (0: twice the processors).
    """

    spill: Path
    threads: int = 2
    memory_mb: int = 1024
    spill_mb: int = 4096
    wall_ms: int = 30_000
    warm: int = 1
    workers_max: int = 0
    allow_degraded: frozenset[str] = frozenset()
    result_bytes_max: int = 16 << 20

    @property
    def places(self) -> int:
        return self.workers_max or 2 * (os.cpu_count() or 1)

    @property
    def process_bytes(self) -> int:
        return process_bytes(self.memory_mb)
