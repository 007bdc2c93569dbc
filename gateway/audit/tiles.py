"""The log as C2SP tlog-tiles: hashes and records in files of 256, which never change once they are full."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.audit.log import Log
from gateway.audit.note import size_of
from gateway.errors import Fault, Refusal
from gateway.store import Reading

WIDTH: Final = 256
_PATH: Final = re.compile(r"tile/(entries|0|[1-9]\d?)/((?:x\d{3}/){0,6}\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tile:
    """`level` is None for records, which lie as the hashes of level 0 do. `width` is 256 but at the right edge."""

    level: int | None
    place: int
    width: int

    @property
    def path(self) -> str:
        digits = str(self.place)
        groups = digits.zfill(-(-len(digits) // 3) * 3)
        parts = [groups[start : start + 3] for start in range(0, len(groups), 3)]
        written = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
        level = "entries" if self.level is None else self.level
        return f"tile/{level}/{written}" + (f".p/{self.width}" if self.width < WIDTH else "")


def parse(path: str) -> Tile:
    """Raises Refusal(not_found) for what is no tile's path, and for a second spelling of one."""
    match = _PATH.fullmatch(path)
    if match is not None:
        place = int(match[2].replace("x", "").replace("/", ""))
        tile = Tile(None if match[1] == "entries" else int(match[1]), place, int(match[3] or WIDTH))
        if tile.path == path:
            return tile
    raise Refusal("not_found", "there is no tile of this name", hint="tile/0/000, tile/entries/x001/234.p/17")


def content(view: Reading, tile: Tile) -> bytes:
    """Raises Refusal(not_found) where the log has not grown so far."""
    start = tile.place * WIDTH
    if tile.level is None:
        rows = view.all("SELECT body FROM record WHERE seq >= ? AND seq < ? ORDER BY seq", (start, start + tile.width))
        found = b"".join(len(row[0]).to_bytes(2, "big") + bytes(row[0]) for row in rows)
    else:
        level = 8 * tile.level
        rows = view.all(
            "SELECT hash FROM node WHERE level = ? AND place >= ? AND place < ? ORDER BY place",
            (level, start, start + tile.width),
        )
        found = b"".join(bytes(row[0]) for row in rows)
    if len(rows) != tile.width:
        raise Refusal("not_found", "the log has not grown so far")
    return found


def of_size(size: int) -> Iterator[Tile]:
    """Every tile of a tree of so many records: first the records, then the hashes, level by level."""
    yield from _row(None, size)
    level = 0
    while size:
        yield from _row(level, size)
        level, size = level + 1, size // WIDTH


def write(log: Log, folder: Path) -> str:
    """Writes what is missing in `folder`, then the checkpoint and the key; the checkpoint. Raises Fault.

    Whoever reads the folder meanwhile finds the old checkpoint and all that it covers.
    """
    note = log.published()
    size = size_of(note)
    try:
        for tile in of_size(size):
            target = folder / tile.path
            if not target.exists():
                with log.reading() as view:
                    found = content(view, tile)
                _put(target, found)
        for each in log.handovers(size):
            _put(folder / "handovers" / f"{size_of(each['checkpoint']):018d}", each["checkpoint"].encode())
        _put(folder / "key", f"{log.keys().at(size)}\n".encode())
        _put(folder / "checkpoint", note.encode())
    except OSError as error:
        raise Fault(f"{folder}: cannot be written ({error.strerror})") from error
    return note


def _row(level: int | None, size: int) -> Iterator[Tile]:
    full, rest = divmod(size, WIDTH)
    for place in range(full):
        yield Tile(level, place, WIDTH)
    if rest:
        yield Tile(level, full, rest)


def _put(target: Path, found: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as out:
        out.write(found)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(target)
