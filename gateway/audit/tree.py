"""The Merkle tree of RFC 6962 section 2.1, with SHA-256 or the digest of another suite. Pure.

Hashes of complete subtrees are kept by the caller under (level, place): `place` counts subtrees of 2**level leaves from
the left. An append writes 1 + (trailing ones of the index) of them; a root or a proof reads O(log n).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.audit.suites import Digest, sha256

Node = Callable[[int, int], bytes]
"""The hash of a complete subtree: (level, place) -> 32 bytes."""
EMPTY_ROOT = sha256(b"")


def leaf_hash(content: bytes, digest: Digest = sha256) -> bytes:
    return digest(b"\x00" + content)


def parent_hash(left: bytes, right: bytes, digest: Digest = sha256) -> bytes:
    return digest(b"\x01" + left + right)


def appended(index: int, leaf: bytes, node: Node, digest: Digest = sha256) -> list[tuple[int, int, bytes]]:
    """The new complete subtrees (level, place, hash) when `leaf` becomes leaf number `index` (from 0)."""
    fresh, level, place, value = [(0, index, leaf)], 0, index, leaf
    while place % 2 == 1:
        value = parent_hash(node(level, place - 1), value, digest)
        level, place = level + 1, place // 2
        fresh.append((level, place, value))
    return fresh


def root(size: int, node: Node, digest: Digest = sha256) -> bytes:
    """The root over the first `size` leaves."""
    return _subtree(0, size, node, digest) if size else digest(b"")


def inclusion(index: int, size: int, node: Node, digest: Digest = sha256) -> list[bytes]:
    """The audit path of leaf `index` in the tree of the first `size` leaves. Raises ValueError."""
    if not 0 <= index < size:
        raise ValueError("no such leaf in a tree of this size")
    path, low, high = [], 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_subtree(middle, high, node, digest))
            high = middle
        else:
            path.append(_subtree(low, middle, node, digest))
            low = middle
    return path[::-1]


def consistency(old: int, new: int, node: Node, digest: Digest = sha256) -> list[bytes]:
    """Proves that the tree of `old` leaves begins the tree of `new` leaves. Raises ValueError."""
    if not 0 < old <= new:
        raise ValueError("sizes must be 0 < old <= new")
    path, low, high, whole = [], 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(_subtree(middle, high, node, digest))
            high = middle
        else:
            path.append(_subtree(low, middle, node, digest))
            low, whole = middle, False
    if not whole:
        path.append(_subtree(low, high, node, digest))
    return path[::-1]


def inclusion_holds(  # noqa: PLR0913, PLR0917  # as the RFC has them, and the digest
    index: int, size: int, leaf: bytes, path: Sequence[bytes], expected: bytes, digest: Digest = sha256
) -> bool:
    """RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size or not len(leaf) == len(expected) == 32:
        return False
    first, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if first % 2 == 1 or first == last:
            value = parent_hash(sibling, value, digest)
            while first % 2 == 0 and first != 0:
                first, last = first >> 1, last >> 1
        else:
            value = parent_hash(value, sibling, digest)
        first, last = first >> 1, last >> 1
    return last == 0 and value == expected


def consistency_holds(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2."""
    if not 0 < old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        return False
    first, last = old - 1, new - 1
    while first % 2 == 1:
        first, last = first >> 1, last >> 1
    old_value = new_value = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if first % 2 == 1 or first == last:
            old_value, new_value = parent_hash(step, old_value), parent_hash(step, new_value)
            while first % 2 == 0 and first != 0:
                first, last = first >> 1, last >> 1
        else:
            new_value = parent_hash(new_value, step)
        first, last = first >> 1, last >> 1
    return last == 0 and old_value == old_root and new_value == new_root


def needed(compute: Callable[[Node, Digest], object]) -> set[tuple[int, int]]:
    """Which subtrees (level, place) `compute` looks at: none of the functions here chooses them by their hashes."""
    found: set[tuple[int, int]] = set()

    def node(level: int, place: int) -> bytes:
        found.add((level, place))
        return b""

    compute(node, lambda _: b"")
    return found


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _subtree(low: int, high: int, node: Node, digest: Digest) -> bytes:
    """The hash over leaves low..high-1, where `low` is a multiple of the next power of two of their number."""
    count = high - low
    if count & (count - 1) == 0:
        level = count.bit_length() - 1
        return node(level, low >> level)
    middle = low + _split(count)
    return parent_hash(_subtree(low, middle, node, digest), _subtree(middle, high, node, digest), digest)
