"""The client to the data domain's door: records of `sandbox.protocol` over HTTP.

The other side is trusted with data, not with our process: replies are bounded in size and decoded strictly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import declared
from gateway.errors import STATUS, NotReady, Refusal
from gateway.line import Cut, Line, Place
from sandbox import codec
from sandbox.protocol import (
    FREE,
    TICKET_CONTEXT,
    Accuracy,
    Cancel,
    Cancelled,
    Fetch,
    Prepare,
    Prepared,
    Question,
    Refused,
    Released,
    Request,
    Run,
    Status,
    Ticket,
)

TURNED_AWAY: Final = 403
STATUS_S: Final = 5
LAYERS_MAX: Final = 32
AGAIN_BYTES_MAX: Final = 16_384
"""Of a reply that is remembered, as what it was read as."""
_NO_PLACE: Final = b'"reservation":null'
_LAYER: Final = re.compile(r"[a-z][a-z_]{0,31}")
R = TypeVar("R")


class Unreachable(NotReady):
    """The data domain did not answer, or not in our language. The text names no address: `/readyz` shows it."""


class Domain:
    """Thread-safe. `prepare_s_max` and `run_s_max` bound the waiting in seconds. Raises Misconfigured."""

    def __init__(self, place: Place, key: Ed25519PrivateKey, *, prepare_s_max: int, run_s_max: int) -> None:
        self._key = key
        self._prepare_s = prepare_s_max
        self._run_s = run_s_max
        self._line = Line(place)
        self.degraded: tuple[str, ...] | None = None
        """The isolation layers that the data domain does without, as it told last; None before it has told."""
        self.places: int | None = None
        """How many questions it works on at once, as it told last."""

    def prepare(
        self,
        question: Question,
        *,
        reserve: bool,
        accuracy: Accuracy | None = None,
        deadline_ms: int | None = None,
        fetch: bool = False,
    ) -> Prepared:
        """Free. With `accuracy` the price is at most the question's epsilon, else exactly that. With `deadline_ms` the
        answer comes no sooner than so long after the charge. With `fetch` a stored release may come along.

        Raises Refusal in the domain's words, Unreachable.
        """
        prepare = Prepare(question, reserve, accuracy, deadline_ms, fetch)
        prepared = self._ask("/v1/prepare", prepare, self._prepare_s, Prepared)
        if prepared.plan_digest != question.plan_digest:
            raise Unreachable("the data domain priced another question")
        epsilon = prepared.price.epsilon
        free = question.mode != "dp" and prepared.price == FREE
        chosen = 0 < epsilon <= question.epsilon and (accuracy is not None or epsilon == question.epsilon)
        if not (free or (question.mode == "dp" and chosen)):
            raise Unreachable("the data domain named another price than it was asked for")
        if declared.wrong_price(prepared):
            raise Unreachable("the data domain named amounts that are none")
        if declared.untold(prepared, question, asked=fetch and accuracy is None):
            raise Unreachable("the data domain gave an answer that it was not asked for")
        self._hear(prepared.degraded)
        return prepared

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        """After the charge, in the place and at the deadline that were prepared. None is the one constant failure,
        whatever caused it."""
        signature = self._key.sign(TICKET_CONTEXT + codec.dumps(ticket)).hex()
        try:
            run = Run(ticket, signature, question, prepared.reservation, prepared.deadline_ms)
            released = self._ask("/v1/run", run, self._run_s + (prepared.deadline_ms or 0) / 1000, Released)
            same = released.price == ticket.price and not declared.undeclared(released, question)
            return released if same else None
        except (Unreachable, Refusal):
            return None

    def fetch(self, release: str, question: Question) -> Released:
        """A stored release again. Raises Refusal, Unreachable."""
        released = self._ask("/v1/fetch", Fetch(release, question), self._run_s, Released)
        if released.release != release or declared.undeclared(released, question):
            raise Unreachable("the data domain gave another answer than it was asked for")
        return released

    def cancel(self, ticket: str) -> None:
        """Raises Unreachable."""
        self._ask("/v1/cancel", Cancel(ticket), self._prepare_s, Cancelled)

    def status(self) -> Status:
        """Raises Unreachable."""
        status = self._ask("/v1/status", None, STATUS_S, Status)
        self._hear(status.degraded)
        self.places = status.places
        return status

    def close(self) -> None:
        self._line.close()

    def _hear(self, degraded: tuple[str, ...]) -> None:
        """For the log, whose records take plain names only. Raises Unreachable."""
        if len(degraded) > LAYERS_MAX or not all(map(_LAYER.fullmatch, degraded)):
            raise Unreachable("the data domain does without layers that are none")
        self.degraded = tuple(sorted(set(degraded)))

    def _ask(self, route: str, request: Request | None, seconds: float, expected: type[R]) -> R:
        body = self._exchange(route, request, seconds)
        comes_again = len(body) <= AGAIN_BYTES_MAX and _NO_PLACE in body
        try:
            read = cast("Callable[[bytes, type[R]], R | Refused]", _read_lately) if comes_again else _read
            told = read(body, expected)
        except codec.CodecError as error:
            raise Unreachable(f"the data domain's reply to {route} is none of ours: {error}") from error
        if isinstance(told, Refused):
            raise _refusal(told)
        return told

    def _exchange(self, route: str, request: Request | None, seconds: float) -> bytes:
        content = None if request is None else codec.dumps(request)
        try:  # a run may have been heard, and a ticket is for one try
            status, body = self._line.exchange(route, content, seconds, again=not isinstance(request, Run))
        except Cut as cut:
            raise Unreachable(f"the data domain cannot be asked: {cut}") from cut
        if status == TURNED_AWAY:
            raise Unreachable("the data domain lets nobody in by the name in this gateway's certificate")
        if status != 200:
            raise Unreachable(f"the data domain answered {route} with HTTP {status}")
        return body


def _read(body: bytes, expected: type[R]) -> R | Refused:
    """Raises CodecError."""
    plain = codec.parse(body)
    if isinstance(plain, dict) and plain.get("@") == "Refused":
        return codec.decode(plain, Refused)
    return codec.decode(plain, expected)


@lru_cache(maxsize=256)
def _read_lately(body: bytes, expected: type[Any]) -> Any:
    """The price of a stored answer comes to the letter, with the answer, as often as it is asked for."""
    return _read(body, expected)


def _refusal(refused: Refused) -> Exception:
    if refused.code not in STATUS or declared.strange(refused):
        return Unreachable("the data domain refused with a code that is none")
    return Refusal(refused.code, refused.detail, hint=refused.hint, at=refused.at)
