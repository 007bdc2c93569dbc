"""Layer `cgroup`: limits on memory and processes that the kernel keeps for a whole group, cgroup v2.

Where the service was given a group of its own to divide, the process joins one that was made for it. Elsewhere a limit
that whoever runs the service has set (systemd, a container) is reported.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status

ROOT: Final = Path("/sys/fs/cgroup")
PROCESSES: Final = "cgroup.procs"
_OWN: Final = Path("/proc/self/cgroup")


def raise_wall(confinement: Confinement, _: Status) -> str:
    if confinement.group is not None:
        return _join(confinement.group, confinement.memory_bytes)
    folder = own_group(ROOT)
    if folder is None:
        raise LayerInactive("there is no cgroup v2 here")
    while folder != ROOT.parent:
        limit = _limit(folder / "memory.max")
        if limit is not None:
            return f"memory.max {limit >> 20} MiB, with the service"
        folder = folder.parent
    raise LayerInactive("no group was delegated, and no memory.max is set for this process")


def own_group(root: Path) -> Path | None:
    """The process's own group below `root`, None without cgroup v2."""
    try:
        lines = _OWN.read_bytes().splitlines()
    except OSError:
        return None
    own = next((line[3:] for line in lines if line.startswith(b"0::/")), None)
    return None if own is None else root / os.fsdecode(own).lstrip("/")


def _join(group: Path, memory_bytes: int) -> str:
    try:
        _set(group)
    except OSError as error:
        raise LayerInactive(f"the group could not be joined ({error.strerror})") from error
    own = own_group(ROOT)
    if own is None or not group.samefile(own):
        raise LayerInactive("the group was joined and is not in force")
    memory, processes = _limit(group / "memory.max"), _limit(group / "pids.max")
    if memory is None or memory > memory_bytes or processes is None:
        raise LayerInactive("the group's limits are not in force")
    return f"a group of its own: memory {memory >> 20} MiB, {processes} processes"


def _set(group: Path) -> None:
    descriptor = os.open(group / PROCESSES, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")  # the writer itself
    finally:
        os.close(descriptor)


def _limit(file: Path) -> int | None:
    try:
        text = file.read_bytes().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
