"""Replies that every route of `/v1` can give, whatever it does: who asks too often, and what is not ready or broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.http.example import QUERY, Example, no_token, problem, wrong
from gateway.identity.roles import ROUTES, Need, Route

PATHS: Final = {"query_id": QUERY, "name": "clinic", "path": "checkpoint"}
NOTHING_LOOKED_AT: Final = "/v1/queries/{query_id}"
"""Takes any parameters, and looks at none."""
_UNBOUND: Final = problem(
    "token_unbound",
    "this takes a token that is bound to a key or a certificate of yours",
    hint="ask your identity provider for one (DPoP, or mutual TLS)",
)
_LIMITED: Final = problem(
    "rate_limited", "more than 600 requests in a minute", hint="wait a minute; this spent no budget"
)
_BROKEN: Final = problem(
    "internal_error", "something broke on our side; whoever runs this gateway finds the cause in its log"
)
_NOT_READY: Final = problem("not_ready", "the gateway is not ready", hint="nothing was charged; ask again in a moment")


def completed(examples: Sequence[Example]) -> tuple[Example, ...]:
    """With what is missing of these. It is not sent: a gateway that works for its caller does not reply so."""
    there = {(example.route, example.status) for example in examples}
    needed = {(method, path.replace(":path}", "}")): need for (method, path), need in ROUTES.items()}
    more = [each for route, need in needed.items() if need is not None for each in _of(route, need)]
    return (*examples, *(each for each in more if (each.route, each.status) not in there))


def _of(route: Route, need: Need) -> list[Example]:
    path = {name: text for name, text in PATHS.items() if f"{{{name}}}" in route[1]}
    replies = {
        "not bound to its holder": (403, _UNBOUND),
        "too often": (429, _LIMITED),
        "something broke": (500, _BROKEN),
        "not ready": (503, _NOT_READY),
    }
    if not need.spends and route[1] != NOTHING_LOOKED_AT:
        replies["an unknown parameter"] = (422, wrong("`page` is not known here"))
    made = [Example(route, name, status, reply, path=path, sent=False) for name, (status, reply) in replies.items()]
    return [no_token(route, path=path), *made]
