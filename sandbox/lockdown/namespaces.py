"""Layer `namespaces`: an empty network, no shared memory or queues of others. Where the machine allows it."""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import PR_GET_DUMPABLE, PR_SET_DUMPABLE, LayerInactive, Status, prctl, unshare

_NEW_USER, _NEW_NET, _NEW_IPC, _NEW_UTS = 0x10000000, 0x40000000, 0x08000000, 0x04000000


def raise_wall(_: Confinement, __: Status) -> str:
    """Needs a process with one thread. In the new user namespace there is nobody but the process's own account."""
    before, uid, gid = _names(), os.geteuid(), os.getegid()
    try:
        unshare(_NEW_USER | _NEW_NET | _NEW_IPC | _NEW_UTS)
    except OSError as error:
        raise LayerInactive("this machine or container does not let ordinary processes make them") from error
    if any(old == new for old, new in zip(before, _names(), strict=True)):
        raise LayerInactive("they were made and are not in force")
    return "own user, network, ipc and uts" + ("" if _map(uid, gid) else "; the account could not be named in it")


def _map(uid: int, gid: int) -> bool:
    """Whether the account is known in the new namespace: who is not can make no file there, which `files_hidden` does.

    A process that is not dumpable may not write its own map. It is so again before it has read anything.
    """
    dumpable = prctl(PR_GET_DUMPABLE)
    prctl(PR_SET_DUMPABLE, 1)
    try:
        for name, text in (
            ("setgroups", b"deny"),
            ("uid_map", b"%d %d 1" % (uid, uid)),
            ("gid_map", b"%d %d 1" % (gid, gid)),
        ):
            Path("/proc/self", name).write_bytes(text)
    except OSError:
        return False
    finally:
        prctl(PR_SET_DUMPABLE, 0 if dumpable != 1 else 1)
    return True


def _names() -> tuple[str, ...]:
    return tuple(os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "net", "ipc", "uts"))
