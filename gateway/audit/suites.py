"""The suites of algorithms that a log may be written in: what it is hashed with, and how its keys say so.

Part of the offline verifier: standard library and `cryptography` only. A log keeps the digest that it was begun with.
Its verifier key names the suite, so that nobody has to believe a record which digest leads to its root.
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
SM3_SM2: Final = "sm3-sm2"


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def sm3(content: bytes) -> bytes:
    """GB/T 32905, 32 bytes as SHA-256 has."""
    state = hashes.Hash(hashes.SM3())
    state.update(content)
    return state.finalize()


DIGESTS: Final[Mapping[str, Digest]] = {SHA256: sha256, SM3: sm3, SM3_SM2: sm3}
KEY_TYPES: Final[Mapping[str, bytes]] = {
    SHA256: b"\x01",
    SM3: b"\xff" + SM3.encode(),
    SM3_SM2: b"\xff" + SM3_SM2.encode(),
}
"""What stands before the bytes of a log's key. C2SP signed-note has 0x01 for Ed25519, and 0xff before a name of one's
own for what it does not know."""
PUBLIC_BYTES: Final[Mapping[str, int]] = {SHA256: 32, SM3: 32, SM3_SM2: 65}
"""Of a log's key: of Ed25519, or a point of SM2's curve behind 0x04."""


def digest_name(suite: str) -> str:
    """Suites with the same one can follow each other in a log: its tree is of one digest."""
    return suite.partition("-")[0]


def suite_of(record: Mapping[str, Any]) -> str:
    return str(record.get("suite", SHA256))
