"""Layer `cgroup`: a memory limit set from outside, reported only. Whoever runs the service sets it."""

from __future__ import annotations

from pathlib import Path

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status

_ROOT = Path("/sys/fs/cgroup")


def raise_wall(_: Confinement, __: Status) -> str:
    try:
        own = next(line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration) as error:
        raise LayerInactive("there is no cgroup v2 here") from error
    folder = _ROOT / own.lstrip("/")
    while folder != _ROOT.parent:
        limit = _limit(folder)
        if limit is not None:
            return f"memory.max {limit >> 20} MiB"
        folder = folder.parent
    raise LayerInactive("no memory.max is set for this process")


def _limit(folder: Path) -> int | None:
    try:
        text = (folder / "memory.max").read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
