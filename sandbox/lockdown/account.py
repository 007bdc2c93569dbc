"""Layer `own_uid`: as root, a process gives itself an account that owns nothing and that no other process has."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive, Status

_FIRST_UID = 0x70000000
_NOBODY = 65534


def raise_wall(confinement: Confinement, _: Status) -> str:
    if os.geteuid() != 0:
        raise LayerInactive("not started as root: shares the account of the service")
    if not confinement.own_uid:
        raise LayerInactive("not asked for")
    if not all(map(_readable, confinement.read)) or not all(map(_reachable, confinement.write)):
        raise LayerInactive("the folders of data or state are closed to other accounts")
    # A number per process, so that workers cannot signal or inspect each other; small id maps know only nobody's.
    for uid in (_FIRST_UID + os.getpid(), _NOBODY):
        if _become(uid, confinement.write):
            return f"account {uid}"
    raise LayerInactive("the account could not be changed")


def _become(uid: int, folders: tuple[Path, ...]) -> bool:
    try:
        for folder in folders:
            os.chown(folder, uid, uid)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    except OSError:
        if os.getresuid() != (0, 0, 0):
            raise
        return False
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (uid, uid, uid) or os.getgroups():
        raise LayerInactive("the account was changed and is not in force")
    return True


def _reachable(path: Path) -> bool:
    """Whether an account without any rights of its own can come as far as `path`."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def _readable(path: Path) -> bool:
    return _reachable(path) and bool(path.stat().st_mode & stat.S_IROTH)
