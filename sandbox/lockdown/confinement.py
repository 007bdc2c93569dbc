"""What a confined process may still do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Confinement:
    """All that a process keeps when it is confined; everything else is taken.

    `read` and `write` hold files or folders that exist. A folder in `write` may be read, listed, filled and emptied.
    `limits` may be read only where they cannot be hidden: files of the system by which an engine finds how much memory
    there is, and which must not be there and closed.
    `cpu_s` counts all threads together. `memory_bytes` bounds private writable memory (heap and anonymous maps).
    `renames` lets files be renamed inside one folder of `write`. `own_uid` changes to an account of its own where the
    process is root and everything in `read` can be reached by others; folders in `write` are given to that account.
    `group` is a control group that was made for the process, which it joins.
    `parent` is the process that must still be alive, for the parent-death signal; None takes the parent at hand.
    """

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    memory_bytes: int
    file_bytes: int
    cpu_s: int
    open_files: int
    allow_degraded: frozenset[str] = frozenset()
    renames: bool = False
    own_uid: bool = False
    parent: int | None = None
    limits: tuple[Path, ...] = ()
    group: Path | None = None
