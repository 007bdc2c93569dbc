"""Whether whoever presents a token is whom it is bound to. A bound token without its proof is worth nothing."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import Refusal
from gateway.identity.jws import Bad
from gateway.identity.proof import Proofs, Requested
from gateway.identity.token import Accepted
from sandbox import logs

DPOP: Final = "dpop"
BEARER: Final = "bearer"
_log = logs.logger("bpk.token")


@dataclass(frozen=True, slots=True)
class Presented:
    """How a token came: `scheme` in lower case, the proofs beside it, and the certificate of the connection."""

    scheme: str
    token: str
    proofs: Sequence[str]
    certificate: str | None
    method: str
    addresses: tuple[str, ...]


def require_holder(accepted: Accepted, presented: Presented, proofs: Proofs) -> None:
    """Raises Refusal(`proof_invalid`, `proof_nonce`, `rate_limited`)."""
    try:
        _check_certificate(accepted.confirmation.certificate, presented.certificate)
        _check_key(accepted, presented, proofs)
    except Bad as bad:
        _log.info("a token is refused to who presents it", reason=str(bad))
        raise Refusal(
            "proof_invalid",
            "the token is bound to a key or a certificate, and what came with it does not show that",
            hint="send `Authorization: DPoP <token>` with a header `DPoP`, or connect with the certificate",
        ) from None


def _check_certificate(wanted: str | None, shown: str | None) -> None:
    if wanted is None:
        return
    if shown is None:
        raise Bad("no certificate, or none from a proxy that is believed")
    if not hmac.compare_digest(wanted, shown):
        raise Bad("another certificate")


def _check_key(accepted: Accepted, presented: Presented, proofs: Proofs) -> None:
    key = accepted.confirmation.key
    if key is None:
        if presented.scheme == DPOP or presented.proofs:
            raise Bad("a proof beside a token that is bound to no key")
        return
    if presented.scheme != DPOP:
        raise Bad("a bound token as a bearer token")
    if len(presented.proofs) != 1:
        raise Bad("no proof, or several")
    subject = accepted.caller.subject
    proofs.require(presented.proofs[0], key, Requested(presented.method, presented.addresses, presented.token, subject))
