"""What a question takes of the processor, by process. On a machine that does other things as well it says more than a
clock: so many processors are needed for so many questions a second.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.soak.watch import children, processes

Seconds = Mapping[str, float]
"""Of each process's name."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_OWN, _OF_THE_DEAD = slice(11, 13), slice(13, 15)
"""Fields of /proc/PID/stat behind the name: user and system time, and that of children that were waited for."""


def served_below(parent: int) -> int | None:
    """The gateway that `parent` has started; None where there is no /proc to look in."""
    if not Path("/proc/self/stat").exists():
        return None
    return next((each for each in children(parent) if b"serve" in Path(f"/proc/{each}/cmdline").read_bytes()), None)


def taken(gateway: int) -> Seconds:
    """What its processes have taken so far. Raises LookupError, OSError when one of them is gone."""
    pids = processes(gateway)
    workers = _seconds(pids.zygote, _OWN, _OF_THE_DEAD) + sum(_of_living(each) for each in children(pids.zygote))
    return {"gateway": _seconds(pids.gateway, _OWN), "data domain": _seconds(pids.domain, _OWN), "workers": workers}


def words(before: Seconds, after: Seconds, requests: int) -> str:
    """Milliseconds for each of so many requests."""
    each = {name: 1000 * (after[name] - before[name]) / max(1, requests) for name in after}
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in each.items())
    return f"{sum(each.values()):.1f} ms of processor each ({parts})"


def _of_living(pid: int) -> float:
    try:
        return _seconds(pid, _OWN)
    except OSError:  # it ended meanwhile, and counts among the dead from the next look on
        return 0.0


def _seconds(pid: int, *which: slice) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for each in which for ticks in fields[each]) / _TICKS_PER_S
