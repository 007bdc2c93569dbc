"""Layer `namespaces`: an empty network, no shared memory or queues of others. Where the machine allows it."""

from __future__ import annotations

import os

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status, unshare

_NEW_USER, _NEW_NET, _NEW_IPC, _NEW_UTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000


def raise_wall(_: Confinement, __: Status) -> str:
    """Needs a process with one thread. The new user namespace has no mapping: the process is nobody in it."""
    before = _names()
    try:
        unshare(_NEW_USER | _NEW_NET | _NEW_IPC | _NEW_UTS)
    except OSError as error:
        raise LayerInactive("this machine or container does not let ordinary processes make them") from error
    if any(old == new for old, new in zip(before, _names(), strict=True)):
        raise LayerInactive("they were made and are not in force")
    return "own user, network, ipc and uts"


def _names() -> tuple[str, ...]:
    return tuple(os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "net", "ipc", "uts"))
