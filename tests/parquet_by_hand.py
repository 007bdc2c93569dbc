"""Parquet files written byte by byte, so that they can say what no honest writer would: just enough of the format.

Thrift's compact protocol: a field begins with its type and how far its number is from the last one's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INT64, BYTES = 2, 6
PLAIN, RLE, DICTIONARY = 0, 3, 8
NO_CODEC, GZIP = 0, 2
REQUIRED = UTF8 = 0


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def whole(number: int) -> bytes:
    return varint((number << 1) ^ (number >> 63))


def struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Fields are (number, type, content); types: 5 i32, 6 i64, 8 bytes, 9 list, 12 struct."""
    out, last = b"", 0
    for number, kind, content in fields:
        out += bytes([(number - last) << 4 | kind]) + content
        last = number
    return out + b"\0"


def text(name: bytes) -> bytes:
    return varint(len(name)) + name


def items(kind: int, contents: Sequence[bytes]) -> bytes:
    head = bytes([len(contents) << 4 | kind]) if len(contents) < 15 else bytes([0xF0 | kind]) + varint(len(contents))
    return head + b"".join(contents)


@dataclass(frozen=True)
class Page:
    body: bytes
    values: int
    encoding: int = PLAIN
    dictionary: bool = False
    unpacked: int | None = None
    """What the page says it unpacks to."""

    def written(self) -> bytes:
        said = struct((1, 5, whole(self.values)), (2, 5, whole(self.encoding)))
        if not self.dictionary:
            said = struct(
                (1, 5, whole(self.values)), (2, 5, whole(self.encoding)), (3, 5, whole(RLE)), (4, 5, whole(RLE))
            )
        size = len(self.body) if self.unpacked is None else self.unpacked
        head = struct(
            (1, 5, whole(2 if self.dictionary else 0)),
            (2, 5, whole(size)),
            (3, 5, whole(len(self.body))),
            (7 if self.dictionary else 5, 12, said),
        )
        return head + self.body


def leaf(name: str, kind: int) -> bytes:
    told = [(1, 5, whole(kind)), (3, 5, whole(REQUIRED)), (4, 8, text(name.encode()))]
    return struct(*told, (6, 5, whole(UTF8))) if kind == BYTES else struct(*told)


def group(name: str, children: int) -> bytes:
    return struct((4, 8, text(name.encode())), (5, 5, whole(children)))


def file(
    columns: dict[str, tuple[int, list[Page]]],
    rows: int,
    *,
    codec: int = NO_CODEC,
    groups: int = 1,
    schema: list[bytes] | None = None,
) -> bytes:
    """A whole file. Each of the `groups` row groups points to the same pages."""
    out, chunks = b"PAR1", []
    for name, (kind, pages) in columns.items():
        begin, data = len(out), len(out)
        for page in pages:
            out += page.written()
            data = len(out) if page.dictionary else data
        size = len(out) - begin
        values = sum(page.values for page in pages if not page.dictionary)
        about = [
            (1, 5, whole(kind)),
            (2, 9, items(5, [whole(PLAIN), whole(DICTIONARY)])),
            (3, 9, items(8, [text(name.encode())])),
            (4, 5, whole(codec)),
            (5, 6, whole(values)),
            (6, 6, whole(size)),
            (7, 6, whole(size)),
            (9, 6, whole(data)),
        ]
        if pages[0].dictionary:
            about.append((11, 6, whole(begin)))
        chunks.append(struct((2, 6, whole(begin)), (3, 12, struct(*about))))
    one = struct((1, 9, items(12, chunks)), (2, 6, whole(len(out))), (3, 6, whole(rows)))
    leaves = schema or [group("root", len(columns)), *(leaf(name, kind) for name, (kind, _) in columns.items())]
    footer = struct(
        (1, 5, whole(1)), (2, 9, items(12, leaves)), (3, 6, whole(rows * groups)), (4, 9, items(12, [one] * groups))
    )
    return out + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def int64s(*values: int) -> bytes:
    return b"".join(value.to_bytes(8, "little", signed=True) for value in values)


def repeated(count: int) -> list[Page]:
    """One value, said `count` times in a few bytes."""
    run = bytes([1]) + varint(count << 1) + b"\0"
    return [Page(int64s(7), 1, PLAIN, dictionary=True), Page(run, count, DICTIONARY)]
