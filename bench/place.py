"""Where the benchmark keeps things, and what it ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FOLDER: Final = ROOT / ".bench"
"""Ignored by git; deleting it costs a minute of generating data."""


@dataclass(frozen=True, slots=True)
class Machine:
    commit: str
    system: str
    processor: str
    cores: int
    memory_gib: int
    python: str
    duckdb: str
    load: float
    """Of the last minute when the run began: figures of a busy machine are worth less."""

    def words(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib} GiB, {self.system}, Python {self.python}, "
            f"DuckDB {self.duckdb}, load {self.load:.1f}"
        )


def machine() -> Machine:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        commit=_commit(),
        system=f"{platform.system()} {platform.release()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_gib=round(pages / 2**30),
        python=platform.python_version(),
        duckdb=version("duckdb"),
        load=os.getloadavg()[0],
    )


def _commit() -> str:
    """The commit, with a `+` when files were changed since."""
    try:
        name = _git("rev-parse", "--short=12", "HEAD")
        return name + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
