"""Requests for a price that came lately, byte for byte, and what was found to follow from each.

The same question comes again and again, and most of what is said to it is always the same. What is kept here is a
function of the request's own bytes and of what is served, and of nothing else: what was spent, which releases there are
and whether anything may be answered at all is looked at every time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sandbox.codec import dumps, loads
from sandbox.datasets import Served
from sandbox.protocol import Prepare, Prepared
from sandbox.recent import Recent
from sandbox.regimes.regime import Described, Regime

REQUESTS_MAX: Final = 256
BYTES_MAX: Final = 16_384
"""Of a request, and of a reply: with what they are decoded to, some ten times as much is kept of each."""


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """What a request comes to, before anything is looked up for it."""

    served: Served
    regime: Regime[Any]
    job: Any
    described: Described
    deadline_ms: int | None


@dataclass(slots=True, eq=False)
class Said:
    """A stored answer that came along with its price. Its words are those of `prepared`, once they were written."""

    terms: Terms
    prepared: Prepared
    words: bytes | None = None


@dataclass(slots=True, eq=False)
class Asked:
    """One request. Thread-safe: where two find the same at once, either is right."""

    request: Prepare
    _terms: Terms | None = None
    _said: Said | None = None

    def terms(self, served: Served) -> Terms | None:
        """Those of before, if they were of the same policy and snapshot."""
        found = self._terms
        return found if found is not None and found.served is served else None

    def agree(self, terms: Terms) -> None:
        """To be called where they follow from the request and from what is served, and from nothing else."""
        self._terms = terms

    def said(self, terms: Terms, stored: tuple[str, str], degraded: tuple[str, ...]) -> Prepared | None:
        """What was said of this release, if it would be said again to the letter."""
        found = self._said
        if found is None or found.terms is not terms:
            return None
        told = found.prepared
        return told if (told.release, told.release_hash, told.degraded) == (*stored, degraded) else None

    def say(self, terms: Terms, prepared: Prepared) -> None:
        """Only what holds a stored answer and no place is said again."""
        if terms is self._terms and prepared.released is not None and prepared.reservation is None:
            self._said = Said(terms, prepared)

    def written(self, told: object) -> bytes:
        """`told` in canonical bytes: those of before, where it is what was said before."""
        said = self._said
        if said is None or said.prepared is not told:
            return dumps(told)
        if said.words is None:
            words = dumps(told)
            if len(words) > BYTES_MAX:
                self._said = None
                return words
            said.words = words
        return said.words


class Lately:
    """Thread-safe and bounded."""

    def __init__(self) -> None:
        self._requests: Recent[bytes, Asked] = Recent(REQUESTS_MAX)

    def read(self, body: bytes) -> Asked:
        """Raises CodecError."""
        if len(body) > BYTES_MAX:
            return _read(body)
        return self._requests.get(body, lambda: _read(body))


def _read(body: bytes) -> Asked:
    return Asked(loads(body, Prepare))
