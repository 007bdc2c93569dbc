"""Proofs of RFC 6962, checked by its recursive definition. Part of the offline verifier, and pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.audit.suites import Digest, sha256

HASHES_MAX = 63
"""No tree has longer proofs."""


def leaf_hash(content: bytes, digest: Digest = sha256) -> bytes:
    return digest(b"\x00" + content)


def climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes], digest: Digest = sha256) -> bytes | None:
    """The root that an audit path leads to, from the leaf up; None when the path has another length."""
    sides = []
    low, high = 0, size
    while high - low > 1 and low <= index < high:
        middle = low + _split(high - low)
        sides.append(index < middle)
        low, high = (low, middle) if index < middle else (middle, high)
    if len(sides) != len(proof) or not 0 <= index < size:
        return None
    for is_left, sibling in zip(reversed(sides), proof, strict=True):
        leaf = _pair(leaf, sibling, digest) if is_left else _pair(sibling, leaf, digest)
    return leaf


def extends(  # noqa: PLR0913, PLR0917  # two trees and a proof
    old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes], digest: Digest = sha256
) -> bool:
    """Whether the tree of `new` leaves begins with that of `old` leaves. Every tree begins with the empty one."""
    if old == 0:
        return not proof and old_root == digest(b"")
    if not 0 < old <= new or len(proof) > HASHES_MAX:
        return False
    steps = iter(proof)
    try:
        roots = _both(old, new, old_root, steps, digest, whole=True)
    except StopIteration:
        return False
    return next(steps, None) is None and roots == (old_root, new_root)


def _both(  # noqa: PLR0913  # likewise
    old: int, new: int, known: bytes, steps: Iterator[bytes], digest: Digest, *, whole: bool
) -> tuple[bytes, bytes]:
    """The hashes of the first `old` and of all `new` leaves of a part; `whole`: its `old` leaves are the old tree's."""
    if old == new:
        value = known if whole else next(steps)
        return value, value
    middle = _split(new)
    if old <= middle:
        first, second = _both(old, middle, known, steps, digest, whole=whole)
        return first, _pair(second, next(steps), digest)
    first, second = _both(old - middle, new - middle, known, steps, digest, whole=False)
    left = next(steps)
    return _pair(left, first, digest), _pair(left, second, digest)


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1


def _pair(left: bytes, right: bytes, digest: Digest) -> bytes:
    return digest(b"\x01" + left + right)
