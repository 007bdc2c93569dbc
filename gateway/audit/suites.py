"""The suites of algorithms that a log may be written in: what it is hashed with, and how its keys say so.

Part of the offline verifier: standard library and `cryptography` only. A log keeps the suite that it was begun with.
Its verifier key names it, so that nobody has to believe a record which digest leads to its root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives import hashes

Digest = Callable[[bytes], bytes]
SHA256: Final = "sha256-ed25519"
"""Also of records of version 1, which do not name it."""
SM3: Final = "sm3-ed25519"


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def sm3(content: bytes) -> bytes:
    """GB/T 32905, 32 bytes as SHA-256 has."""
    state = hashes.Hash(hashes.SM3())
    state.update(content)
    return state.finalize()


DIGESTS: Final[Mapping[str, Digest]] = {SHA256: sha256, SM3: sm3}
KEY_TYPES: Final[Mapping[str, bytes]] = {SHA256: b"\x01", SM3: b"\xff" + SM3.encode()}
"""What stands before the 32 bytes of a log's key. C2SP signed-note has 0x01 for Ed25519, and 0xff before a name of
one's own for what it does not know."""


def suite_of(record: Mapping[str, Any]) -> str:
    return str(record.get("suite", SHA256))
