"""JSON Web Keys: the published keys of an issuer, and the one key that a proof of possession names.

A key of a kind that is not for us is passed over, as RFC 7517 asks; one that is for us and is not sound is never used.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicNumbers
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from gateway.identity.jws import Bad, decoded, encoded, members
from gateway.identity.keys import PublicKey, VerifyingKey, fits
from gateway.settings import ALGORITHMS, Algorithm

KEYS_MAX: Final = 100
KID_MAX: Final = 200
_BYTES: Final = 32
"""Of an Ed25519 key, and of a coordinate of P-256."""
_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_THUMB: Final[dict[str, tuple[str, ...]]] = {"OKP": ("crv", "kty", "x"), "EC": ("crv", "kty", "x", "y")}
_BY_CURVE: Final[dict[tuple[str, str], Algorithm]] = {("OKP", "Ed25519"): "EdDSA", ("EC", "P-256"): "ES256"}


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by their ids, and how many of the document's were passed over."""

    keys: Mapping[str, VerifyingKey]
    passed_over: int


def key_set(content: bytes, allowed: tuple[Algorithm, ...]) -> KeySet:
    """The keys of a JWKS document that sign by one of `allowed`. Raises Bad where the document is none.

    An id that two usable keys share is nobody's: which of them is meant could be the token's choice.
    """
    entries = members(content).get("keys")
    if not isinstance(entries, list) or len(entries) > KEYS_MAX:
        raise Bad(f"no list of at most {KEYS_MAX} keys")
    found: list[VerifyingKey] = []
    for entry in entries:
        try:
            found.append(_published(entry, allowed))
        except Bad:
            continue
    ids = Counter(key.kid for key in found)
    keys = {key.kid: key for key in found if ids[key.kid] == 1}
    return KeySet(keys, len(entries) - len(keys))


def algorithm_of(jwk: Mapping[str, object]) -> Algorithm:
    """The one algorithm that a key of this kind has, of those that prove possession. Raises Bad."""
    found = _BY_CURVE.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    if found is None or jwk.get("alg", found) != found:
        raise Bad("a key of an algorithm that is not accepted here")
    return found


def public_key(jwk: Mapping[str, object], algorithm: Algorithm) -> PublicKey:
    """The key itself. Raises Bad for a private one, and for what `algorithm` does not take."""
    if _PRIVATE & set(jwk):
        raise Bad("a private key")
    try:
        key = _made(jwk)
    except (ValueError, UnsupportedAlgorithm):
        raise Bad("a key that is not sound") from None
    if not fits(key, algorithm):
        raise Bad("a key that its algorithm does not take")
    return key


def thumbprint(jwk: Mapping[str, object]) -> str:
    """RFC 7638, of a key that `public_key` took. Raises Bad for a kind that has none here."""
    names = _THUMB.get(str(jwk.get("kty")))
    if names is None:
        raise Bad("a key without a thumbprint")
    text = json.dumps({name: jwk[name] for name in names}, separators=(",", ":"), sort_keys=True)
    return encoded(hashlib.sha256(text.encode()).digest())


def jwk_of(key: PublicKey) -> dict[str, str]:
    """The members of a public key that a thumbprint is made of. Raises Bad for RSA."""
    if isinstance(key, Ed25519PublicKey):
        return {"crv": "Ed25519", "kty": "OKP", "x": encoded(key.public_bytes_raw())}
    numbers = key.public_numbers()
    if not isinstance(numbers, EllipticCurvePublicNumbers):
        raise Bad("a key without a thumbprint")
    x, y = (encoded(number.to_bytes(_BYTES, "big")) for number in (numbers.x, numbers.y))
    return {"crv": "P-256", "kty": "EC", "x": x, "y": y}


def _published(entry: object, allowed: tuple[Algorithm, ...]) -> VerifyingKey:
    if not isinstance(entry, dict):
        raise Bad("no key")
    kid, use, operations = entry.get("kid"), entry.get("use", "sig"), entry.get("key_ops", ["verify"])
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX:
        raise Bad("a key without an id")
    if use != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise Bad("a key for something else")
    algorithm = _algorithm(entry, allowed)
    return VerifyingKey(kid, algorithm, public_key(entry, algorithm))


def _algorithm(entry: Mapping[str, object], allowed: tuple[Algorithm, ...]) -> Algorithm:
    """The one that the key names, or the only one that its kind has here."""
    rsa: list[Algorithm] = [each for each in allowed if each in ("PS256", "RS256")]
    named = entry.get("alg")
    if named is not None:
        algorithm = next((each for each in ALGORITHMS if each == named), None)
    elif entry.get("kty") == "RSA":
        algorithm = rsa[0] if len(rsa) == 1 else None  # with both allowed, the token would choose
    else:
        algorithm = _BY_CURVE.get((str(entry.get("kty")), str(entry.get("crv"))))
    if algorithm is None or algorithm not in allowed:
        raise Bad("a key of an algorithm that is not accepted here")
    return algorithm


def _made(jwk: Mapping[str, object]) -> PublicKey:
    match jwk.get("kty"), jwk.get("crv"):
        case "OKP", "Ed25519":
            return Ed25519PublicKey.from_public_bytes(_coordinate(jwk, "x"))
        case "EC", "P-256":
            x, y = (int.from_bytes(_coordinate(jwk, name), "big") for name in ("x", "y"))
            return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
        case "RSA", None:
            return RSAPublicNumbers(_number(jwk, "e"), _number(jwk, "n")).public_key()
        case _:
            raise Bad("a key of another kind")


def _coordinate(jwk: Mapping[str, object], name: str) -> bytes:
    content = _octets(jwk, name)
    if len(content) != _BYTES:
        raise Bad("a key of another length")
    return content


def _number(jwk: Mapping[str, object], name: str) -> int:
    content = _octets(jwk, name)
    if content[:1] in (b"", b"\0"):
        raise Bad("a number that is not in its shortest form")
    return int.from_bytes(content, "big")


def _octets(jwk: Mapping[str, object], name: str) -> bytes:
    text = jwk.get(name)
    if not isinstance(text, str):
        raise Bad("a key without its numbers")
    return decoded(text)
