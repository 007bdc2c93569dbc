"""What a token says of whoever may present it (`cnf`, RFC 7800): a certificate (RFC 8705), a key (RFC 9449)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from gateway.identity.jws import Bad, decoded

_MEMBERS: Final = {"x5t#S256": "certificate", "jkt": "key"}
_SHA256: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Confirmation:
    """SHA-256 in base64url of the certificate, and of the key, that the token is bound to."""

    certificate: str | None = None
    key: str | None = None

    @property
    def binds(self) -> bool:
        return self.certificate is not None or self.key is not None


def confirmation(claim: object, *, given: bool) -> Confirmation:
    """Raises Bad for anything that could not be held to: a binding that is not understood must not count for none."""
    if not given:
        return Confirmation()
    if not isinstance(claim, dict) or not claim or not set(claim) <= set(_MEMBERS):
        raise Bad("a confirmation (`cnf`) that is not understood")
    for value in claim.values():
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise Bad("a confirmation that is no SHA-256")
        decoded(value)
    return Confirmation(**{_MEMBERS[name]: value for name, value in claim.items()})
