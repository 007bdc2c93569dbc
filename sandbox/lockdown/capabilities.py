"""Layer `capabilities`: root's powers are given up, those of a fresh user namespace too."""

from __future__ import annotations

import struct

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import (
    MACHINE,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    LayerInactive,
    Status,
    prctl,
    syscall,
)

_CAPSET = {"x86_64": 126, "aarch64": 91}
_VERSION_3 = 0x20080522
_LAST_MAX = 63


def raise_wall(_: Confinement, status: Status) -> str:
    if MACHINE not in _CAPSET:
        raise LayerInactive(f"no system call numbers for {MACHINE}")
    _set()
    for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        if int(status.field(name), 16) != 0:
            raise LayerInactive(f"{name} is not empty")
    bounded = int(status.field("CapBnd"), 16) == 0
    return "none are left" + ("" if bounded else "; the bounding set needs privilege to empty")


def _set() -> None:
    for capability in range(_LAST_MAX + 1):
        try:
            if prctl(PR_CAPBSET_READ, capability):
                prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the kernel's last capability, or an ordinary user: the sets below are what counts
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = struct.pack("=Ii", _VERSION_3, 0)
    syscall(_CAPSET[MACHINE], header, struct.pack("=6I", 0, 0, 0, 0, 0, 0))
