"""Length-prefixed frames over a socket's descriptor, with a limit on what is accepted."""

from __future__ import annotations

import os
import struct
from typing import Final

_LENGTH: Final = struct.Struct(">I")
HEADER_BYTES: Final = _LENGTH.size


class FrameError(Exception):
    """The other side closed, or said something that is no frame of ours."""


def length_of(header: bytes, bytes_max: int) -> int:
    """The length that a header announces. Raises FrameError when it is above the limit."""
    length = int(_LENGTH.unpack(header)[0])
    if length > bytes_max:
        raise FrameError("a frame above the limit")
    return length


def frame(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


def write_frame(descriptor: int, body: bytes) -> None:
    """By write(2) alone: a confined process has no other call for it."""
    rest = memoryview(frame(body))
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_frame(descriptor: int, bytes_max: int) -> bytes | None:
    """The next frame, or None when the other side closed between two frames. Blocks."""
    header = _read(descriptor, HEADER_BYTES)
    if not header:
        return None
    if len(header) < HEADER_BYTES:
        raise FrameError("closed inside a frame")
    body = _read(descriptor, length := length_of(header, bytes_max))
    if len(body) < length:
        raise FrameError("closed inside a frame")
    return body


def _read(descriptor: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
