"""How callers show who they are, and the headers of replies, in the words of OpenAPI."""

from __future__ import annotations

from typing import Any, Final

_RETRY: Final = {
    "Retry-After": {
        "description": "in so many seconds; absent where waiting does not help, as for a budget that is used up",
        "schema": {"type": "integer", "minimum": 1},
    }
}
CURSOR: Final = {
    "X-Cursor": {"description": "of records as NDJSON or CSV: the next page's", "schema": {"type": "string"}}
}
HEADERS: Final[dict[int, dict[str, Any]]] = {
    202: {"Location": {"description": "where the answer will be", "schema": {"type": "string"}}},
    401: {
        "WWW-Authenticate": {
            "description": "the schemes that are taken, `Bearer` and `DPoP`, and what was wrong",
            "required": True,
            "schema": {"type": "string"},
        },
        "DPoP-Nonce": {
            "description": "with `proof_nonce`: sign the proof again with this `nonce`; it is good for a minute",
            "schema": {"type": "string"},
        },
    },
    429: _RETRY,
    503: _RETRY,
}
"""status -> what its reply may have beside the headers of every reply."""
SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token (RFC 9068) of the issuer that this gateway trusts. One that is bound to a key "
        "(`cnf.jkt`) or a certificate (`cnf.x5t#S256`) is refused without it. Where the gateway asks for "
        "bound tokens, others are refused as `token_unbound`.",
    },
    "dpop": {
        "type": "http",
        "scheme": "DPoP",
        "description": "A token that is bound to a key (RFC 9449): `Authorization: DPoP <token>`, and in the header "
        "`DPoP` a proof for this one request, signed by that key (EdDSA or ES256), with `htm`, `htu`, `ath`, "
        "`iat`, `jti` and the gateway's `nonce`. Without a good nonce the reply is 401 `proof_nonce` with one in "
        "`DPoP-Nonce`.",
    },
    "mutualTLS": {
        "type": "mutualTLS",
        "description": "Beside the bearer token: the certificate that the token names (`cnf.x5t#S256`, RFC 8705), as "
        "the proxy that speaks TLS in front of the gateway has seen it.",
    },
}
