"""Proofs that a caller holds the key that its token is bound to (DPoP, RFC 9449): one proof, one request.

Every proof carries a nonce of ours, which is a minute old at most and unknown to every other process: so a proof that
was made ahead of time, that an earlier run of the gateway saw, or that another gateway saw, is worth nothing here.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import Refusal
from gateway.identity import jws
from gateway.identity.jwk import algorithm_of, public_key, thumbprint
from gateway.identity.jws import Bad
from gateway.identity.keys import VerifyingKey

NONCE_S: Final = 60
LIVE_MAX: Final = 20_000
"""Proofs of one subject that are remembered at once. One more is refused, and no other subject notices."""
_HEADER: Final = frozenset({"typ", "alg", "jwk"})
_TAG_BYTES: Final = 16
_TIME_BYTES: Final = 8
_ID_MAX: Final = 200
_PORTS: Final = {"https": 443, "http": 80}


class NonceNeeded(Refusal):
    """`proof_nonce`: the proof has no nonce of ours, or an old one. `nonce` is one for the next try."""

    def __init__(self, nonce: str) -> None:
        super().__init__(
            "proof_nonce",
            "the proof of possession needs a fresh nonce",
            hint="sign it again with the value of the header `DPoP-Nonce`, as `nonce`",
        )
        self.nonce = nonce


@dataclass(frozen=True, slots=True)
class Requested:
    """What a proof has to be for. `addresses`: the ways in which callers may write the address of the request."""

    method: str
    addresses: tuple[str, ...]
    token: str
    subject: str


class Proofs:
    """Judges proofs, and remembers those that were good. Thread-safe; one for each process."""

    def __init__(self, leeway_s: int, now: Callable[[], float] = time.time) -> None:
        self._leeway_s = leeway_s
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._seen: dict[str, OrderedDict[bytes, float]] = {}
        self._swept = now()
        self._lock = Lock()

    def nonce(self) -> str:
        when = int(self._now()).to_bytes(_TIME_BYTES, "big")
        return jws.encoded(when + self._tag(when))

    def require(self, proof: str, key: str, requested: Requested) -> None:
        """Raises Bad unless `proof` shows the key with the thumbprint `key`, now, for this request and never before.

        Raises NonceNeeded where nothing but its nonce is wrong, Refusal(`rate_limited`) for too many at once.
        """
        compact = jws.read(proof)
        claims = jws.members(compact.payload)
        shown = _key(compact.header)
        jws.verify(compact, shown.key)
        if shown.thumbprint != key:
            raise Bad("a proof by another key than the token's")
        proof_id = _about(claims, requested)
        issued = claims.get("iat")
        if type(issued) is not int or abs(self._now() - issued) > self._leeway_s + NONCE_S:
            raise Bad("a proof of another time")
        until = self._nonce_until(claims.get("nonce"))
        self._remember(requested.subject, f"{key} {proof_id}", until)

    def _nonce_until(self, nonce: object) -> float:
        """When the nonce ends. Raises NonceNeeded."""
        try:
            content = jws.decoded(nonce) if isinstance(nonce, str) else b""
        except Bad:
            content = b""
        when, tag = content[:_TIME_BYTES], content[_TIME_BYTES:]
        if not hmac.compare_digest(tag, self._tag(when)):
            raise NonceNeeded(self.nonce())
        until = int.from_bytes(when, "big") + NONCE_S
        if self._now() > until:
            raise NonceNeeded(self.nonce())
        return until

    def _tag(self, when: bytes) -> bytes:
        return hmac.digest(self._secret, when, "sha256")[:_TAG_BYTES]

    def _remember(self, subject: str, name: str, until: float) -> None:
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
        now = self._now()
        with self._lock:
            if now > self._swept + NONCE_S:
                self._swept = now
                self._seen = {name: left for name, each in self._seen.items() if (left := _left(each, now))}
            live = _left(self._seen.setdefault(subject, OrderedDict()), now)
            if digest in live:
                raise Bad("a proof that was used before")
            if len(live) >= LIVE_MAX:
                raise Refusal("rate_limited", "too many proofs in a minute", hint="wait a minute; this spent no budget")
            live[digest] = until


def _left(seen: OrderedDict[bytes, float], now: float) -> OrderedDict[bytes, float]:
    """The same, without what has ended at its beginning: nothing that has not ended is ever forgotten."""
    while seen and next(iter(seen.values())) < now:
        seen.popitem(last=False)
    return seen


@dataclass(frozen=True, slots=True)
class _Shown:
    key: VerifyingKey
    thumbprint: str


def _key(header: dict[str, object]) -> _Shown:
    """The key that the proof names: the caller's own, and of the one algorithm that its kind has. Raises Bad."""
    if set(header) != _HEADER or header["typ"] != "dpop+jwt":
        raise Bad("no proof")
    jwk = header["jwk"]
    if not isinstance(jwk, dict):
        raise Bad("a proof without a key")
    algorithm = algorithm_of(jwk)
    return _Shown(VerifyingKey("", algorithm, public_key(jwk, algorithm)), thumbprint(jwk))


def _about(claims: Mapping[str, object], requested: Requested) -> str:
    """The proof's own id. Raises Bad where it is for something else."""
    proof_id = claims.get("jti")
    if not isinstance(proof_id, str) or not 1 <= len(proof_id) <= _ID_MAX:
        raise Bad("a proof without an id")
    if claims.get("htm") != requested.method:
        raise Bad("a proof for another method")
    if origin_and_path(claims.get("htu")) not in [origin_and_path(address) for address in requested.addresses]:
        raise Bad("a proof for another address; see `url` in [server]")
    if claims.get("ath") != jws.encoded(hashlib.sha256(requested.token.encode()).digest()):
        raise Bad("a proof for another token")
    return proof_id


def origin_and_path(address: object) -> tuple[str, str, int, str]:
    """Scheme, host, port and path, without query and fragment. Raises Bad for what is no address."""
    if not isinstance(address, str) or not address.isascii() or not address.isprintable() or " " in address:
        raise Bad("no address")
    try:
        parts = urlsplit(address)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        raise Bad("no address") from None
    if scheme not in _PORTS or not host or "@" in parts.netloc or "\\" in address:
        raise Bad("no address")
    return scheme, host, _PORTS[scheme] if port is None else port, parts.path or "/"
