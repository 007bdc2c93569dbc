"""The caller's side of proof of possession: a fresh proof for each request. The command line uses it."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.identity.jwk import jwk_of
from gateway.identity.jws import encoded


@dataclass(frozen=True, slots=True)
class Prover:
    """Holds the key that a token is bound to."""

    key: Ed25519PrivateKey

    def __repr__(self) -> str:
        return "Prover()"

    def proof(self, method: str, address: str, token: str, nonce: str | None) -> str:
        """For the header `DPoP` of one request; `nonce` is what the gateway asked for, if it did."""
        claims = {
            "jti": uuid4().hex,
            "htm": method,
            "htu": address.partition("?")[0],
            "iat": int(time.time()),
            "ath": encoded(hashlib.sha256(token.encode()).digest()),
        } | ({} if nonce is None else {"nonce": nonce})
        header = {"typ": "dpop+jwt", "jwk": jwk_of(self.key.public_key())}
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers=header)
