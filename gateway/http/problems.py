"""Errors -> RFC 9457 `application/problem+json`. Every error of every route leaves through here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response

from gateway.errors import STATUS, Refusal
from policies.model import Policy

MEDIA_TYPE: Final = "application/problem+json"
TITLES: Final[dict[int, str]] = {
    400: "The request cannot be read",
    401: "Who are you?",
    403: "The policy or your licence does not allow this",
    404: "Nothing here under this name",
    405: "This address does not take this method",
    409: "This idempotency key belongs to another request",
    422: "The request is readable, but wrong",
    429: "The budget or the rate is used up",
    499: "You hung up",
    500: "Something broke on our side",
    503: "Not ready, nothing was charged",
}
RETRY_AFTER_S: Final = {
    "rate_limited": 60,
    "locked_out": 300,
    "busy": 2,
    "not_ready": 5,
    "dataset_not_ready": 5,
    "dataset_frozen": 300,
}
"""Where the refusal itself does not say when; every code of status 503 and 429 that waiting helps."""

_BEARER: Final = 'Bearer realm="baopingkou"'
_PROOFS: Final = 'DPoP realm="baopingkou", algs="EdDSA ES256"'
CHALLENGES: Final = {
    "token_missing": f"{_BEARER}, {_PROOFS}",
    "proof_invalid": f'{_PROOFS}, error="invalid_dpop_proof"',
    "proof_nonce": f'{_PROOFS}, error="use_dpop_nonce"',
}


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of the query that was refused."""

    policy: Policy | None = None
    query_id: str | None = None


def problem(
    refusal: Refusal, context: Context | None = None, places: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """The members of the problem document; what does not apply is left out."""
    context = context or Context()
    body: dict[str, Any] = {
        "type": f"urn:baopingkou:error:{refusal.code}",
        "title": TITLES[refusal.status],
        "status": refusal.status,
        "detail": refusal.message,
        "code": refusal.code,
    }
    if refusal.hint is not None:
        body["hint"] = refusal.hint
    if refusal.at is not None:
        body["position"] = {"line": refusal.at.line, "column": refusal.at.column, "length": refusal.at.length}
    if refusal.alternatives:
        body["alternatives"] = [{"sql": other.sql, "why": other.why} for other in refusal.alternatives]
    if context.policy is not None:
        policy = context.policy
        body["policy"] = {"dataset": policy.dataset, "version": policy.version, "digest": policy.digest}
    if context.query_id is not None:
        body["query_id"] = context.query_id
    if places:
        body["errors"] = places
    return body


def respond(body: Mapping[str, Any], more: Mapping[str, str] | None = None) -> Response:
    """The response of a problem document, with `more` headers."""
    headers = {}
    if body["code"] in RETRY_AFTER_S:
        headers["Retry-After"] = str(RETRY_AFTER_S[body["code"]])
    headers |= more or {}
    if body["status"] == 401:
        headers["WWW-Authenticate"] = CHALLENGES.get(body["code"], f'{_BEARER}, error="invalid_token"')
    content = json.dumps(body, ensure_ascii=False).encode()
    return Response(content, body["status"], headers, MEDIA_TYPE)


def of_status(status: int) -> Refusal:
    """The refusal for what the web framework turns away by itself."""
    if status == 404:
        return Refusal("not_found", "there is nothing at this address", hint="the addresses are listed at /docs")
    if status == 405:
        return Refusal("method_not_allowed", "this address does not take this method", hint="see /docs")
    if status in STATUS.values() and status < 500:
        return Refusal("body_unreadable", "the request cannot be read")
    return internal()


def internal() -> Refusal:
    return Refusal(
        "internal_error",
        "something broke on our side; whoever runs this gateway finds the cause in its log",
    )


def not_ready() -> Refusal:
    return Refusal("not_ready", "the gateway is not ready", hint="nothing was charged; ask again in a moment")
