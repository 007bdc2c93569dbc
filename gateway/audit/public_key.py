"""Public halves of a log's key in PEM, of Ed25519 and of SM2, which `cryptography` cannot read."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit import sm2
from gateway.errors import Misconfigured

FILE_BYTES_MAX: Final = 10_000
Algorithm = Literal["ed25519", "sm2"]
_HEADS: Final[dict[Algorithm, bytes]] = {
    "ed25519": bytes.fromhex("302a300506032b6570032100"),
    "sm2": bytes.fromhex("3059301306072a8648ce3d020106082a811ccf5501822d034200"),
}
"""Of a SubjectPublicKeyInfo in DER, before the bytes of the key."""
_SIZES: Final[dict[Algorithm, int]] = {"ed25519": 32, "sm2": sm2.PUBLIC_BYTES}
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True)
class PublicKey:
    algorithm: Algorithm
    raw: bytes

    @property
    def fingerprint(self) -> str:
        """By which a signer knows it: SHA-256 of its SubjectPublicKeyInfo, in hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def der(self) -> bytes:
        """Its SubjectPublicKeyInfo."""
        return _HEADS[self.algorithm] + self.raw

    def holds(self, signature: bytes, content: bytes) -> bool:
        if self.algorithm == "sm2":
            return sm2.holds(self.raw, signature, content)
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, content)
        except InvalidSignature:
            return False
        return True


def read(file: Path) -> PublicKey:
    """Raises Misconfigured."""
    try:
        with file.open("rb") as source:
            content = source.read(FILE_BYTES_MAX)
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    try:
        return _read(content.decode("ascii"))
    except ValueError as error:
        raise Misconfigured(f"{file}: not the public key of Ed25519 or SM2 in PEM") from error


def _read(text: str) -> PublicKey:
    lines = text.strip().splitlines()
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise ValueError("not PEM")
    der = base64.b64decode("".join(lines[1:-1]), validate=True)
    for algorithm, head in _HEADS.items():
        if der.startswith(head) and len(der) == len(head) + _SIZES[algorithm]:
            raw = der[len(head) :]
            if algorithm == "sm2":
                sm2.read_point(raw)
            return PublicKey(algorithm, raw)
    raise ValueError("another kind of key")
