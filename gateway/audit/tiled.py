"""Reads a folder of C2SP tlog-tiles as the lines of an export. Part of the offline verifier.

Every hash tile is compared with the records: a folder whose records are good and whose hashes are not would mislead
those who fetch proofs from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.audit.note import parse_key
from gateway.audit.suites import Digest

WIDTH: Final = 256


def lines_of(folder: Path) -> Iterator[bytes]:
    """Records in order, then the line with checkpoint and key. Raises OSError, and ValueError for tiles that lie."""
    note = (folder / "checkpoint").read_text(encoding="utf-8")
    key = (folder / "key").read_text(encoding="utf-8").removesuffix("\n")
    size, digest = _size(note), parse_key(key).digest
    levels: list[list[bytes]] = [[]]
    for start in range(0, size, WIDTH):
        width = min(WIDTH, size - start)
        entries = _entries((folder / _path("entries", start // WIDTH, width)).read_bytes(), width)
        for entry in entries:
            levels[0].append(digest(b"\x00" + entry))
            yield entry + b"\n"
        if width == WIDTH:
            _close(folder, levels, start // WIDTH, digest)
    for level, hashes in enumerate(levels):
        if hashes:
            _compare(folder, level, (size // WIDTH**level) // WIDTH, hashes)
    end = {"checkpoint": note, **_handovers(folder), "key": key}
    yield json.dumps(end, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _handovers(folder: Path) -> dict[str, list[str]]:
    """The checkpoints under which the log changed its key, oldest first."""
    notes = [file.read_text(encoding="utf-8") for file in sorted((folder / "handovers").glob("[0-9]*"))]
    return {"handovers": notes} if notes else {}


def _close(folder: Path, levels: list[list[bytes]], place: int, digest: Digest) -> None:
    """Compares full tiles, from level 0 up, and hashes each into the level above."""
    level = 0
    while len(levels[level]) == WIDTH:
        hashes, levels[level] = levels[level], []
        _compare(folder, level, place, hashes)
        if level + 1 == len(levels):
            levels.append([])
        levels[level + 1].append(_root(hashes, digest))
        level, place = level + 1, place // WIDTH


def _compare(folder: Path, level: int, place: int, hashes: list[bytes]) -> None:
    path = _path(str(level), place, len(hashes))
    if (folder / path).read_bytes() != b"".join(hashes):
        raise ValueError(f"{path} holds other hashes than the records have")


def _root(hashes: list[bytes], digest: Digest) -> bytes:
    while len(hashes) > 1:
        hashes = [digest(b"\x01" + hashes[i] + hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def _entries(content: bytes, width: int) -> list[bytes]:
    found, start = [], 0
    while start < len(content):
        end = start + 2 + int.from_bytes(content[start : start + 2], "big")
        found.append(content[start + 2 : end])
        start = end
    if len(found) != width or start != len(content):
        raise ValueError("a tile of records that is cut off, or too long")
    if any(b"\n" in entry for entry in found):
        raise ValueError("a record of several lines")
    return found


def _path(level: str, place: int, width: int) -> str:
    digits = f"{place:03d}"
    groups = [digits[max(0, end - 3) : end].zfill(3) for end in range(len(digits), 0, -3)][::-1]
    written = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{written}" + (f".p/{width}" if width < WIDTH else "")


def _size(note: str) -> int:
    lines = note.split("\n")
    if len(lines) < 2 or not lines[1].isascii() or not lines[1].isdigit() or len(lines[1]) > 18:
        raise ValueError("a checkpoint without a size")
    return int(lines[1])
