"""Layer `files_hidden`: a file tree of the process's own, in which only what it may touch is there at all.

Landlock refuses to open other files; it does not hide that they exist, nor how large they are. Here they do not exist.
The numbers of the newer calls are the same on every architecture.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import MACHINE, LayerInactive, Status, mount, syscall, umount, unshare

_NEW_MOUNTS = 0x00020000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_HERE, _EMPTY_PATH, _RECURSIVE = -100, 0x1000, 0x8000
_CLONE_TREE, _MOVE_WHAT_IS_OPEN = 1, 4
_READ_ONLY, _NO_SUID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8
_PRIVATE, _ALL_BELOW, _DETACH = 1 << 18, 1 << 14, 2
_SCAFFOLD = "/tmp"  # noqa: S108  # where the new tree is put together, seen by nobody else


def raise_wall(confinement: Confinement, _: Status) -> str:
    """After `namespaces`, which gives an ordinary process the right to mount; root may without."""
    if MACHINE not in _PIVOT_ROOT:
        raise LayerInactive(f"no system call numbers for {MACHINE}")
    kept = _kept(confinement)
    before = {path: _identity(path) for path in kept}
    folder = Path.cwd()
    try:
        unshare(_NEW_MOUNTS)
        mount(None, "/", None, _PRIVATE | _ALL_BELOW)
        _set(kept)
    except OSError as error:
        raise LayerInactive(f"this machine or container does not let the process mount ({error.strerror})") from error
    os.chdir(folder if folder.is_dir() else "/")
    _read_back(before)
    return f"of all files and folders {len(kept)} are there"


def _kept(confinement: Confinement) -> dict[Path, bool]:
    """path -> whether it may be written, parents first. What lies in a folder that is kept comes with it."""
    wanted = dict.fromkeys(confinement.read, False) | dict.fromkeys(confinement.write, True)
    if any(not path.is_absolute() or ".." in path.parts or path == path.parent for path in wanted):
        raise LayerInactive("a path that is to be kept is not a plain one")
    kept: dict[Path, bool] = {}
    for path, writable in sorted(wanted.items()):
        above = [kept[parent] for parent in path.parents if parent in kept]
        if not above or (writable and not any(above)):
            kept[path] = writable
    return kept


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _set(kept: Mapping[Path, bool]) -> None:
    with _taken(kept) as trees:
        mount("tmpfs", _SCAFFOLD, "tmpfs", _NO_SUID | _NO_DEVICES | _NO_EXEC, "mode=755,size=16m,nr_inodes=0")
        try:
            for path, tree in trees.items():
                place = Path(_SCAFFOLD, *path.parts[1:])
                _make(place, folder=stat.S_ISDIR(os.fstat(tree).st_mode))
                syscall(_MOVE_MOUNT, tree, b"", _HERE, os.fsencode(place), _MOVE_WHAT_IS_OPEN)
            os.chdir(_SCAFFOLD)
            syscall(_PIVOT_ROOT[MACHINE], b".", b".")
        except OSError:
            os.chdir("/")
            umount(_SCAFFOLD, _DETACH)
            raise
    umount(".", _DETACH)  # the old tree, which lies on top of the new one
    os.chdir("/")
    _restrict(_HERE, b"/", _READ_ONLY, 0)


@contextmanager
def _taken(kept: Mapping[Path, bool]) -> Iterator[dict[Path, int]]:
    """Each path as a mount of its own, not yet anywhere."""
    trees: dict[Path, int] = {}
    try:
        for path, writable in kept.items():
            flags = _CLONE_TREE | os.O_CLOEXEC | _RECURSIVE
            trees[path] = syscall(_OPEN_TREE, _HERE, os.fsencode(path), flags)
            attributes = _NO_SUID | _NO_DEVICES | _NO_EXEC | (0 if writable else _READ_ONLY)
            _restrict(trees[path], b"", attributes, _EMPTY_PATH | _RECURSIVE)
        yield trees
    finally:
        for tree in trees.values():
            os.close(tree)


def _restrict(at: int, path: bytes, attributes: int, flags: int) -> None:
    change = struct.pack("=QQQQ", attributes, 0, 0, 0)
    syscall(_MOUNT_SETATTR, at, path, flags, change, len(change))


def _make(place: Path, *, folder: bool) -> None:
    """What a mount goes on. Where a kept folder is mounted already, it is there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if folder:
        place.mkdir(exist_ok=True)
    else:
        place.touch()


def _read_back(before: Mapping[Path, tuple[int, int]]) -> None:
    """What is kept is the very same; nothing else is there, and nothing lies on top."""
    if any(_identity(path) != identity for path, identity in before.items()):
        raise LayerInactive("a file that is kept has become another")
    root = Path("/")
    if _identity(root / "..") != _identity(root):
        raise LayerInactive("the old file tree is still there")
    _look(root, before, {parent for path in before for parent in path.parents})


def _look(folder: Path, kept: Collection[Path], above: Collection[Path]) -> None:
    for name in os.listdir(folder):
        path = folder / name
        if path in kept:
            continue
        if path not in above:
            raise LayerInactive("more than is kept is there")
        _look(path, kept, above)
