"""Compact JWS, read strictly: one spelling per token, no member twice, and the key says the algorithm.

Strictness comes before cryptography: canonical base64url, plain JSON objects, a closed set of header members for each
use, so that `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64` and `zip` have no reader to confuse.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Final

import jwt

from gateway.identity.keys import VerifyingKey

BYTES_MAX: Final = 8_000
_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_JWS: Final = jwt.PyJWS(algorithms=["EdDSA", "ES256", "PS256", "RS256"])  # of which a key allows one


class Bad(Exception):
    """Some rule is broken. Which one is for our own log, and never holds a word of the token."""


@dataclass(frozen=True, slots=True)
class Compact:
    """A JWS whose signature nobody has looked at yet."""

    text: str
    header: dict[str, object]
    payload: bytes

    def __repr__(self) -> str:
        return "Compact()"


def read(text: str) -> Compact:
    """Raises Bad."""
    if len(text) > BYTES_MAX or not text.isascii():
        raise Bad("too long, or not ASCII")
    match = _SHAPE.fullmatch(text)
    if match is None:
        raise Bad("not three parts of base64url")
    header, payload = members(decoded(match[1])), decoded(match[2])
    decoded(match[3])
    return Compact(text, header, payload)


def verify(compact: Compact, key: VerifyingKey) -> None:
    """Raises Bad unless `key` signed it, by the one algorithm that this key is for."""
    if compact.header.get("alg") != key.algorithm:
        raise Bad("another algorithm than its key's")
    try:
        _JWS.decode(compact.text, key.key, algorithms=[key.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):  # whatever is made of hostile bytes, it is no token
        raise Bad("not signed by its key") from None


def decoded(segment: str) -> bytes:
    """The bytes of base64url that is spelt in the one canonical way: no padding, no stray bits. Raises Bad."""
    try:
        content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise Bad("not base64url") from None
    if encoded(content) != segment:
        raise Bad("base64url that is not canonical")
    return content


def encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def members(content: bytes) -> dict[str, object]:
    """A JSON object in UTF-8 in which no member is named twice, and no number is NaN. Raises Bad."""

    def object_of(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Bad("a member twice")
        return found

    def constant(_: str) -> object:
        raise Bad("NaN or Infinity")

    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=object_of, parse_constant=constant)
    except (ValueError, RecursionError):
        raise Bad("not JSON") from None
    if not isinstance(value, dict):
        raise Bad("not an object")
    return value
