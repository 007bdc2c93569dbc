"""Bearer token -> Accepted. The token's own header chooses a key id among ours, and nothing else.

Every reason is `token_invalid` in the same words but for expiry: a forger learns nothing from the refusal. Our own log
says the reason, without a word of the token.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.errors import Refusal
from gateway.identity import jws
from gateway.identity.confirmation import Confirmation, confirmation
from gateway.identity.jws import Bad
from gateway.identity.keys import VerifyingKey
from gateway.identity.roles import Caller, Role, known_roles
from gateway.identity.verified import Verified
from gateway.settings import Tokens
from sandbox import logs

HEADER_MEMBERS: Final = frozenset({"alg", "kid", "typ"})
ACCESS_TOKEN: Final = frozenset({"at+jwt", "application/at+jwt"})
ROLES_MAX: Final = 200
TIME_MAX: Final = 253_402_300_799  # the last second of the year 9999

_EDGE = r"[^\x00-\x20\x7f-\x9f\ud800-\udfff]"
_SUBJECT = re.compile(  # and ids of tokens: one line, that every store keeps as it is
    rf"{_EDGE}(?:[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{0,198}}{_EDGE})?"
)
_log = logs.logger("bpk.token")


class Keys(Protocol):
    """Where keys are found by their ids."""

    def get(self, kid: str, /) -> VerifyingKey | None: ...


class _UnknownKey(Bad):
    """A key that is not known, or not yet."""


class NotAccepted(Refusal):
    """`token_invalid`. `unknown_key` where it names a key that is not known here: the issuer may have a new one.

    `reason` is for our own log, and for whoever runs the gateway.
    """

    def __init__(self, bad: Bad) -> None:
        hint = "ask your identity provider, or whoever runs this gateway, for a new one"
        super().__init__("token_invalid", "the bearer token is not accepted", hint=hint)
        self.unknown_key = isinstance(bad, _UnknownKey)
        self.reason = str(bad)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A token that holds: who it speaks for, and what else has to hold for whoever presents it."""

    caller: Caller
    id: str
    issued: int
    """Seconds since 1970, as the issuer's clock has it."""
    confirmation: Confirmation


@dataclass(frozen=True, slots=True)
class _Times:
    """Seconds since 1970, as the issuer's clock has it."""

    issued: int
    starts: int
    expires: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What a token says that `key`, called `kid`, has signed, before anything is held against the clock."""

    kid: str
    key: VerifyingKey
    times: _Times
    accepted: Accepted


@dataclass(frozen=True, slots=True)
class Verifier:
    settings: Tokens
    keys: Keys
    now: Callable[[], float] = time.time
    _verified: Verified[_Said] = field(default_factory=Verified, init=False, repr=False, compare=False)

    def accept(self, token: str) -> Accepted:
        """Raises Refusal(`token_invalid` or `token_expired`), NotReady without any key of the issuer.

        A token that was accepted before is held against the keys and the clock again, and not against its signature.
        """
        try:
            said = self._verified.find(token)
            if said is not None and self.keys.get(said.kid) is said.key:
                self._check_now(said.times)
            else:
                said = self._said(token)
                self._verified.keep(token, said)
        except Bad as bad:
            _log.info("a token is refused", reason=str(bad))
            raise NotAccepted(bad) from None
        return said.accepted

    def caller(self, token: str) -> Caller:
        """Raises as `accept`."""
        return self.accept(token).caller

    def payload(self, token: str) -> bytes:
        """What one of our keys signed, whatever it says. Raises Bad, NotReady."""
        return self._signed(token)[0]

    def _signed(self, token: str) -> tuple[bytes, str, VerifyingKey]:
        compact = jws.read(token)
        kid, key = self._key(compact.header)
        jws.verify(compact, key)
        return compact.payload, kid, key

    def _key(self, header: dict[str, object]) -> tuple[str, VerifyingKey]:
        if not set(header) <= HEADER_MEMBERS:
            raise Bad("a header member that is not known here")
        self._check_type(header)
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise Bad("no key id")
        key = self.keys.get(kid)
        if key is None:
            raise _UnknownKey("a key that is not known here")
        return kid, key

    def _check_type(self, header: dict[str, object]) -> None:
        kind = header.get("typ", "jwt")
        if not isinstance(kind, str):
            raise Bad("`typ` is no text")
        if kind.lower() not in ACCESS_TOKEN and not (self.settings.type == "jwt" and kind.lower() == "jwt"):
            raise Bad("not marked as an access token (`typ`); see `type` in [tokens]")

    def _said(self, token: str) -> _Said:
        payload, kid, key = self._signed(token)
        claims = jws.members(payload)
        if claims.get("iss") != self.settings.issuer:
            raise Bad("another issuer")
        if not _names(claims.get("aud"), self.settings.audience):
            raise Bad("not for this audience alone")
        subject, token_id = claims.get(self.settings.subject_claim), claims.get(self.settings.id_claim)
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise Bad("no subject, or one that is none")
        if not isinstance(token_id, str) or not _SUBJECT.fullmatch(token_id):
            raise Bad("no token id, or one that is none")
        times = _times(claims)
        self._check_now(times)
        service = is_service(claims)
        roles = known_roles(_roles(claims, self.settings.roles_claim), service=service)
        bound = confirmation(claims.get("cnf"), given="cnf" in claims)
        caller = Caller(subject, roles, service=service, bound=bound.binds)
        return _Said(kid, key, times, Accepted(caller, token_id, times.issued, bound))

    def _check_now(self, times: _Times) -> None:
        now, leeway = self.now(), self.settings.leeway_s
        if max(times.issued, times.starts) > now + leeway:
            raise Bad("not valid yet")
        if not 0 < times.expires - times.issued <= self.settings.lifetime_s_max:
            raise Bad("valid for longer than `lifetime_s_max`, or for no time")
        if times.expires <= now - leeway:
            raise Refusal("token_expired", "the bearer token has expired", hint="get a new one and ask again")


def is_service(claims: dict[str, object]) -> bool:
    """Whether the token was given to a program itself (client credentials), and speaks for no person.

    RFC 9068: its subject is the client. Keycloak and Entra mark it in claims of their own.
    """
    client = claims.get("client_id")
    if isinstance(client, str) and client == claims.get("sub"):
        return True
    name = claims.get("preferred_username")
    return claims.get("idtyp") == "app" or (isinstance(name, str) and name.startswith("service-account-"))


def _names(audience: object, ours: str) -> bool:
    """Whether the token is for us alone: one for several audiences could be replayed here by any of them."""
    return audience in (ours, [ours])


def _times(claims: dict[str, object]) -> _Times:
    issued, expires = _time(claims.get("iat")), _time(claims.get("exp"))
    return _Times(issued, _time(claims["nbf"]) if "nbf" in claims else issued, expires)


def _time(value: object) -> int:
    if type(value) is not int or not 0 < value <= TIME_MAX:
        raise Bad("a time that is none")
    return value


def _roles(claims: dict[str, object], path: str) -> tuple[str, ...]:
    """The names under the dotted `path`; none where there is nothing. Raises where it is no list of names."""
    found: object = claims
    for part in [path] if path in claims else path.split("."):
        if not isinstance(found, dict):
            raise Bad("the roles' claim is no object")
        if part not in found:
            return ()
        found = found[part]
    if isinstance(found, str):
        return (found,)
    if not isinstance(found, list) or len(found) > ROLES_MAX or not all(isinstance(name, str) for name in found):
        raise Bad("the roles' claim is no list of names")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token of our own says. `jkt` is the thumbprint of the key that it is bound to."""

    subject: str
    roles: tuple[Role, ...]
    life: timedelta
    service: bool = False
    jkt: str | None = None


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
        settings.subject_claim: grant.subject,
        "iat": now,
        "exp": now + int(grant.life.total_seconds()),
        settings.id_claim: uuid4().hex,
    }
    if grant.service:
        claims["client_id"] = grant.subject
    if grant.jkt is not None:
        claims["cnf"] = {"jkt": grant.jkt}
    place = claims
    *parents, leaf = settings.roles_claim.split(".")
    for parent in parents:
        inner: dict[str, object] = {}
        place[parent] = inner
        place = inner
    place[leaf] = sorted(grant.roles)
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid, "typ": "at+jwt"})
