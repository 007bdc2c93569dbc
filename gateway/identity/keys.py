"""The keys that tokens may be signed with: read from files, one algorithm each, nothing but EdDSA and ES256.

RSA, symmetric and private keys are refused here, so no later step can be talked into using one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import Misconfigured
from gateway.settings import Algorithm, TokenKey

KEY_BYTES_MAX = 10_000
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    kid: str
    algorithm: Algorithm
    key: PublicKey


def load_keys(entries: list[TokenKey], path: Callable[[str], Path]) -> dict[str, VerifyingKey]:
    """kid -> key. Raises Misconfigured, naming the file."""
    return {entry.kid: _load(entry, path(entry.file)) for entry in entries}


def _load(entry: TokenKey, file: Path) -> VerifyingKey:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    if len(content) > KEY_BYTES_MAX or not content.strip().startswith(b"-----BEGIN PUBLIC KEY-----"):
        raise Misconfigured(f"{file}: not a public key in PEM (`-----BEGIN PUBLIC KEY-----`)")
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Misconfigured(f"{file}: not a readable public key") from error
    if entry.alg == "EdDSA" and isinstance(key, Ed25519PublicKey):
        return VerifyingKey(entry.kid, entry.alg, key)
    if entry.alg == "ES256" and isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return VerifyingKey(entry.kid, entry.alg, key)
    wanted = "an Ed25519 key" if entry.alg == "EdDSA" else "a P-256 key"
    raise Misconfigured(f"{file}: key `{entry.kid}` is for {entry.alg}, which takes {wanted}")
