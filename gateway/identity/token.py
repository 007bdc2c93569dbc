"""Bearer token -> Caller. The token's own header chooses a key id among ours, and nothing else.

Strictness comes before cryptography: one spelling per token (canonical base64url, no duplicate members), a closed set
of header members, so that `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64` and `zip` have no reader to confuse.
Every reason is `token_invalid` in the same words but for expiry: a forger learns nothing from the refusal.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import Refusal
from gateway.identity.keys import VerifyingKey
from gateway.identity.roles import Caller, Role, known_roles
from gateway.settings import Tokens

TOKEN_BYTES_MAX: Final = 8_000
HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
ROLES_MAX: Final = 200
TIME_MAX: Final = 253_402_300_799  # the last second of the year 9999

_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_EDGE = r"[^\x00-\x20\x7f-\x9f\ud800-\udfff]"
_SUBJECT = re.compile(rf"{_EDGE}(?:[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{0,198}}{_EDGE})?")


class _Bad(Exception):
    """Some rule is broken; which one is nobody's business outside."""


@dataclass(frozen=True, slots=True)
class Verifier:
    settings: Tokens
    keys: Mapping[str, VerifyingKey]
    now: Callable[[], float] = time.time

    def caller(self, token: str) -> Caller:
        """Raises Refusal(`token_invalid` or `token_expired`)."""
        try:
            claims = self._verified(token)
            return self._caller(claims)
        except _Bad:
            raise Refusal(
                "token_invalid",
                "the bearer token is not accepted",
                hint="ask your identity provider, or whoever runs this gateway, for a new one",
            ) from None

    def _verified(self, token: str) -> dict[str, object]:
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise _Bad
        match = _SHAPE.fullmatch(token)
        if match is None:
            raise _Bad
        header, claims = _object(_canonical(match[1])), _object(_canonical(match[2]))
        _canonical(match[3])
        key = self._key(header)
        try:
            _JWS.decode(token, key.key, algorithms=[key.algorithm])
        except jwt.PyJWTError:
            raise _Bad from None
        except (ValueError, TypeError, RecursionError):  # whatever a parser makes of hostile bytes, it is no token
            raise _Bad from None
        return claims

    def _key(self, header: dict[str, object]) -> VerifyingKey:
        if not set(header) <= HEADER_MEMBERS:
            raise _Bad
        kind = header.get("typ", "jwt")
        if not isinstance(kind, str) or kind.lower() not in TYPES:
            raise _Bad
        kid = header.get("kid")
        key = self.keys.get(kid) if isinstance(kid, str) else None
        if key is None or header.get("alg") != key.algorithm:
            raise _Bad
        return key

    def _caller(self, claims: dict[str, object]) -> Caller:
        if claims.get("iss") != self.settings.issuer or not _names(claims.get("aud"), self.settings.audience):
            raise _Bad
        subject, token_id = claims.get("sub"), claims.get("jti")
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise _Bad
        if not isinstance(token_id, str) or not 1 <= len(token_id) <= 200:
            raise _Bad
        self._check_times(claims)
        return Caller(subject, known_roles(_roles(claims, self.settings.roles_claim)))

    def _check_times(self, claims: dict[str, object]) -> None:
        issued, expires = _time(claims.get("iat")), _time(claims.get("exp"))
        starts = _time(claims["nbf"]) if "nbf" in claims else issued
        now, leeway = self.now(), self.settings.leeway_s
        if max(issued, starts) > now + leeway or not 0 < expires - issued <= self.settings.lifetime_s_max:
            raise _Bad
        if expires <= now - leeway:
            raise Refusal("token_expired", "the bearer token has expired", hint="get a new one and ask again")


_JWS: Final = jwt.PyJWS(algorithms=["EdDSA", "ES256"])  # the signature alone: claims are typed and checked here


def _canonical(segment: str) -> bytes:
    """The bytes of a base64url segment that is spelt in the one canonical way: no padding, no stray bits."""
    try:
        content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise _Bad from None
    if base64.urlsafe_b64encode(content).rstrip(b"=").decode() != segment:
        raise _Bad
    return content


def _object(content: bytes) -> dict[str, object]:
    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _Bad
        return found

    def constant(_: str) -> object:
        raise _Bad  # NaN and Infinity are not JSON

    try:
        value = json.loads(content.decode("utf-8"), object_pairs_hook=members, parse_constant=constant)
    except (ValueError, RecursionError):
        raise _Bad from None
    if not isinstance(value, dict):
        raise _Bad
    return value


def _names(audience: object, ours: str) -> bool:
    """Whether the token is for us alone: one for several audiences could be replayed here by any of them."""
    return audience in (ours, [ours])


def _time(value: object) -> int:
    if type(value) is not int or not 0 < value <= TIME_MAX:
        raise _Bad
    return value


def _roles(claims: dict[str, object], path: str) -> tuple[str, ...]:
    """The names under the dotted `path`; none where there is nothing. Raises where it is no list of names."""
    found: object = claims
    for part in [path] if path in claims else path.split("."):
        if not isinstance(found, dict):
            raise _Bad
        if part not in found:
            return ()
        found = found[part]
    if isinstance(found, str):
        return (found,)
    if not isinstance(found, list) or len(found) > ROLES_MAX or not all(isinstance(name, str) for name in found):
        raise _Bad
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token of our own says."""

    subject: str
    roles: tuple[Role, ...]
    life: timedelta


def issue(key: Ed25519PrivateKey, kid: str, settings: Tokens, grant: Grant) -> str:
    """A token signed with the home's own key. Raises ValueError for a subject or life that would not be accepted."""
    if not _SUBJECT.fullmatch(grant.subject):
        raise ValueError("a subject is 1 to 200 printable characters, without white space at its ends")
    if not 0 < grant.life.total_seconds() <= settings.lifetime_s_max:
        raise ValueError(f"a token lives at most {settings.lifetime_s_max} seconds here")
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": settings.issuer,
        "aud": settings.audience,
        "sub": grant.subject,
        "iat": now,
        "exp": now + int(grant.life.total_seconds()),
        "jti": uuid4().hex,
    }
    place = claims
    *parents, leaf = settings.roles_claim.split(".")
    for parent in parents:
        inner: dict[str, object] = {}
        place[parent] = inner
        place = inner
    place[leaf] = sorted(grant.roles)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid, "typ": "at+jwt"})
