"""What SQLite does to its files, call by call, and failed on purpose: for disks that lose power or fill up.

The library's own file methods stay as they are; those that write, cut and sync are called through ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SECTOR = 512
FULL, IO_ERROR_OF_SYNC = 13, 1034
_Pointer, _Int, _Int64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_Write = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Int, _Int64)
_Truncate = ctypes.CFUNCTYPE(_Int, _Pointer, _Int64)
_Sync = ctypes.CFUNCTYPE(_Int, _Pointer, _Int)
_Open = ctypes.CFUNCTYPE(_Int, _Pointer, _Pointer, _Pointer, _Int, _Pointer)
METHODS = ("xClose", "xRead", "xWrite", "xTruncate", "xSync", *(f"m{number}" for number in range(13)))


_kept: list[object] = []
"""A connection that is closed after the block still calls through what was made in it."""


class _Methods(ctypes.Structure):
    _fields_ = (("iVersion", _Int), *((name, _Pointer) for name in METHODS))


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("iVersion", _Int),
        ("szOsFile", _Int),
        ("mxPathname", _Int),
        ("pNext", _Pointer),
        ("zName", ctypes.c_char_p),
        ("pAppData", _Pointer),
        ("xOpen", _Pointer),
        *((f"x{number}", _Pointer) for number in range(15)),
    )


def library() -> Any:
    """The SQLite that Python uses; None where it is built into Python."""
    import sqlite3

    assert sqlite3.sqlite_version
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            if "libsqlite3.so" in line:
                return ctypes.CDLL(line.split(maxsplit=5)[5])
    return None


@dataclass
class Recorded:
    """`calls` are (`write` | `truncate` | `sync` | anything that the test adds, file's name, arguments...)."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fail_at: int | None = None
    """The number of the call that fails, and with what."""
    error: int = FULL
    for_good: bool = False
    """Whether every call after it fails too."""

    at_last_step: bool = False
    """Whether the next sync of a file that was just cut fails: the last step of a commit."""
    failed: int = 0

    def take(self, *call: Any) -> int:
        """0, or an error in place of the call."""
        if self.at_last_step and call[0] == "sync" and self.calls and self.calls[-1][:2] == ("truncate", call[1]):
            self.at_last_step, self.fail_at = False, len(self.calls)
        if self.fail_at is not None and len(self.calls) == self.fail_at:
            if not self.for_good:
                self.fail_at = None
            self.failed += 1
            return self.error
        self.calls.append(call)
        return 0


@contextlib.contextmanager
def recording() -> Iterator[Recorded]:
    """Every file that SQLite opens within the block."""
    lib = library()
    recorded = Recorded()
    lib.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
    own = lib.sqlite3_vfs_find(None).contents
    real_open = _Open(own.xOpen)
    names: dict[int, str] = {}
    kept: list[Any] = []
    wrapped: dict[int, _Methods] = {}

    def methods_of(address: int) -> _Methods:
        """The same methods for every file that has the same ones."""
        if address not in wrapped:
            found = _Methods.from_buffer_copy(_Methods.from_address(address))
            write, cut, sync = _Write(found.xWrite), _Truncate(found.xTruncate), _Sync(found.xSync)

            def on_write(file: int, data: int, size: int, offset: int) -> int:
                failed = recorded.take("write", names[file], offset, ctypes.string_at(data, size))
                return failed or write(file, data, size, offset)

            def on_cut(file: int, size: int) -> int:
                return recorded.take("truncate", names[file], size) or cut(file, size)

            def on_sync(file: int, flags: int) -> int:
                return recorded.take("sync", names[file]) or sync(file, flags)

            ours = (_Write(on_write), _Truncate(on_cut), _Sync(on_sync))
            kept.extend(ours)
            for name, each in zip(("xWrite", "xTruncate", "xSync"), ours, strict=True):
                setattr(found, name, ctypes.cast(each, _Pointer).value)
            wrapped[address] = found
        return wrapped[address]

    def on_open(_: int, name: int | None, file: int, flags: int, out: int) -> int:
        done = real_open(ctypes.addressof(own), name, file, flags, out)
        if done == 0 and name is not None:
            slot = ctypes.c_void_p.from_address(file)
            names[file] = Path(ctypes.string_at(name).decode()).name
            slot.value = ctypes.addressof(methods_of(slot.value or 0))
        return int(done)

    vfs = _Vfs.from_buffer_copy(own)
    opened = _Open(on_open)
    _kept.extend((kept, wrapped, vfs, opened))
    vfs.zName, vfs.pNext, vfs.xOpen = b"recording", None, ctypes.cast(opened, _Pointer).value
    assert lib.sqlite3_vfs_register(ctypes.byref(vfs), 1) == 0
    try:
        yield recorded
    finally:
        lib.sqlite3_vfs_unregister(ctypes.byref(vfs))
        lib.sqlite3_vfs_register(ctypes.byref(own), 1)


@dataclass
class Disk:
    """Files as they lie on a disk that loses power: what was synced stays, the rest may be there in any part."""

    durable: dict[str, bytearray] = field(default_factory=dict)
    pending: list[tuple[Any, ...]] = field(default_factory=list)

    def take(self, call: tuple[Any, ...]) -> None:
        if call[0] == "sync":
            for each in self.pending:
                if each[1] == call[1]:
                    _apply(self.durable, each)
            self.pending = [each for each in self.pending if each[1] != call[1]]
        elif call[0] in ("write", "truncate"):
            self.pending.append(call)

    def after_power_loss(self, dice: random.Random) -> dict[str, bytes]:
        image = {name: bytearray(content) for name, content in self.durable.items()}
        for call in self.pending:
            fate = dice.random()
            if fate < 0.4:
                _apply(image, call)
            elif fate < 0.6 and call[0] == "write":
                _tear(image, call, lambda: dice.random() < 0.5)
        return {name: bytes(content) for name, content in image.items()}


def _apply(files: dict[str, bytearray], call: tuple[Any, ...]) -> None:
    content = files.setdefault(call[1], bytearray())
    if call[0] == "truncate":
        del content[call[2] :]
        return
    _, _, offset, data = call
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _tear(files: dict[str, bytearray], call: tuple[Any, ...], stays: Callable[[], bool]) -> None:
    """Some of its sectors were written."""
    _, name, offset, data = call
    for start in range(0, len(data), SECTOR):
        if stays():
            _apply(files, ("write", name, offset + start, data[start : start + SECTOR]))
