"""What the processes of a served home hold: memory, descriptors, files. And whether it grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Final

GROWTH_MAX: Final = 0.05
DESCRIPTORS_MORE_MAX: Final = 8
"""Connections that are kept between both sides come and go."""
WORKERS_MAX: Final = 6
"""Four that run and two that die."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory in KiB; `seconds` since the beginning."""

    seconds: float
    gateway_kib: int
    domain_kib: int
    zygote_kib: int
    gateway_descriptors: int
    domain_descriptors: int
    zygote_descriptors: int
    workers: int
    state_files: int
    spill_folders: int


@dataclass(frozen=True, slots=True)
class Processes:
    gateway: int
    domain: int
    zygote: int


def processes(gateway: int) -> Processes:
    """Those of a `bpk serve`. Raises LookupError."""
    (domain,) = [child for child in children(gateway) if b"sandbox" in _command(child)]
    zygote = next((child for child in children(domain) if b"zygote" in _command(child)), None)
    if zygote is None:
        raise LookupError("the data domain has no zygote")
    return Processes(gateway, domain, zygote)


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(after[1]) == parent and after[0] not in "ZX":
                found.append(int(entry.name))
    return found


def look(home: Path, pids: Processes, seconds: float) -> Sample:
    """Raises OSError when one of the processes is gone."""
    state = home / "state"
    spill = state / "domain" / "spill"
    return Sample(
        seconds=seconds,
        gateway_kib=_memory_kib(pids.gateway),
        domain_kib=_memory_kib(pids.domain),
        zygote_kib=_memory_kib(pids.zygote),
        gateway_descriptors=_descriptors(pids.gateway),
        domain_descriptors=_descriptors(pids.domain),
        zygote_descriptors=_descriptors(pids.zygote),
        workers=len(children(pids.zygote)),
        state_files=sum(len(files) for folder, _, files in os.walk(state) if not Path(folder).is_relative_to(spill)),
        spill_folders=sum(len(folders) for folder, folders, _ in os.walk(spill) if Path(folder).parent == spill),
    )


def _descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@dataclass(frozen=True, slots=True)
class Growth:
    """The median of the samples just after the warm-up, and of the last."""

    name: str
    first: float
    last: float
    limit: float

    @property
    def ok(self) -> bool:
        return self.last <= self.limit

    @property
    def part(self) -> float:
        return self.last / self.first - 1 if self.first else 0.0


def growth(samples: Sequence[Sample], warm_s: float) -> list[Growth]:
    """Of everything that is looked at. Raises ValueError where there is too little to compare."""
    warm = [each for each in samples if each.seconds >= warm_s]
    part = len(warm) // 4
    if part < 3:
        raise ValueError("too few samples behind the warm-up; let it run for longer")
    found = []
    for each in fields(Sample)[1:]:
        first, last = (median(getattr(sample, each.name) for sample in some) for some in (warm[:part], warm[-part:]))
        found.append(Growth(each.name, first, last, _limit(each.name, first)))
    return found


def _limit(name: str, first: float) -> float:
    if name.endswith("_kib"):
        return first * (1 + GROWTH_MAX)
    if name.endswith("_descriptors"):
        return first + DESCRIPTORS_MORE_MAX
    return max(first, WORKERS_MAX) if name in ("workers", "spill_folders") else first
