"""The keys that tokens may be signed with: one algorithm each, chosen by us and never by a token.

EdDSA and ES256, and where the settings name them RSA's PS256 and RS256. Symmetric and private keys are refused here, so
no later step can be talked into using one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import Misconfigured
from gateway.settings import Algorithm, TokenKey

KEY_BYTES_MAX: Final = 10_000
RSA_BITS: Final = range(2048, 8193)
RSA_EXPONENT: Final = 65_537
PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
_WANTED: Final[dict[Algorithm, str]] = {
    "EdDSA": "an Ed25519 key",
    "ES256": "a P-256 key",
    "PS256": "an RSA key of 2048 to 8192 bits with exponent 65537",
    "RS256": "an RSA key of 2048 to 8192 bits with exponent 65537",
}
_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    kid: str
    algorithm: Algorithm
    key: PublicKey


def load_keys(entries: Sequence[TokenKey], path: Callable[[str], Path]) -> dict[str, VerifyingKey]:
    """kid -> key. Raises Misconfigured, naming the file."""
    return {entry.kid: _load(entry, path(entry.file)) for entry in entries}


def fits(key: object, algorithm: Algorithm) -> bool:
    """Whether `key` is a public key of the one kind that `algorithm` takes here, and a sound one."""
    if algorithm == "EdDSA":
        return isinstance(key, Ed25519PublicKey)
    if algorithm == "ES256":
        return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    if not isinstance(key, RSAPublicKey) or key.key_size not in RSA_BITS:
        return False
    numbers = key.public_numbers()
    return numbers.e == RSA_EXPONENT and numbers.n % 2 == 1 and not _is_roca(numbers.n)


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
    if isinstance(key, PublicKey) and fits(key, entry.alg):
        return VerifyingKey(entry.kid, entry.alg, key)
    raise Misconfigured(f"{file}: key `{entry.kid}` is for {entry.alg}, which takes {_WANTED[entry.alg]}")


def _is_roca(modulus: int) -> bool:
    """Whether the modulus has the mark of CVE-2017-15361, by which such keys can be factored.

    Their primes are powers of 65537 modulo many small primes, and so is the modulus; of sound keys one in 2^27 is.
    """
    return all(modulus % prime in _powers(prime) for prime in _ROCA_PRIMES)


def _powers(prime: int) -> set[int]:
    found, power = set(), 1
    while power not in found:
        found.add(power)
        power = power * RSA_EXPONENT % prime
    return found
