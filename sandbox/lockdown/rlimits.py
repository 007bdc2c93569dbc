"""Layer `rlimits`: memory, file size, open files, processor time, no core dumps."""

from __future__ import annotations

import resource

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status


def raise_wall(confinement: Confinement, _: Status) -> str:
    """RLIMIT_DATA and not RLIMIT_AS: mapped files and reserved addresses do not count, and the engine can say so.

    RLIMIT_NPROC is left alone: it counts all processes of the account.
    """
    wanted = {
        resource.RLIMIT_DATA: confinement.memory_bytes,
        resource.RLIMIT_FSIZE: confinement.file_bytes,
        resource.RLIMIT_NOFILE: confinement.open_files,
        resource.RLIMIT_CPU: confinement.cpu_s,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
    }
    exact = {kind: _within_hard(kind, limit) for kind, limit in wanted.items()}
    _set(exact)
    _read_back(exact)
    return (
        f"memory {confinement.memory_bytes >> 20} MiB, files {confinement.file_bytes >> 20} MiB, "
        f"cpu {confinement.cpu_s} s, open files {confinement.open_files}, no core"
    )


def _within_hard(kind: int, limit: int) -> int:
    """A hard limit that is lower already stays: an ordinary user could not raise it."""
    hard = resource.getrlimit(kind)[1]
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _set(limits: dict[int, int]) -> None:
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))


def _read_back(limits: dict[int, int]) -> None:
    for kind, limit in limits.items():
        if resource.getrlimit(kind) != (limit, limit):
            raise LayerInactive("a limit was set and is not in force")
