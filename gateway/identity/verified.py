"""What tokens said that were verified lately, so that a token which comes again costs no second look at its signature.

What is remembered is a pure function of the token, the key that signed it and the settings. Whether that key is still
one of ours, and what the clock says of the token, is asked each time.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Final, Generic, TypeVar

T = TypeVar("T")
TOKENS_MAX: Final = 1_024
"""Each takes a few kilobytes at most: subject, id and binding are bounded."""


class Verified(Generic[T]):
    """By the SHA-256 of the whole token, which cannot be read out of it. Bounded: what was used longest ago goes first.
    Thread-safe. Only tokens that were accepted belong here, so that nobody can fill it with some of his own making.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[bytes, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, token: str) -> T | None:
        name = _name(token)
        with self._lock:
            found = self._entries.get(name)
            if found is not None:
                self._entries.move_to_end(name)
            return found

    def keep(self, token: str, said: T) -> None:
        """In place of what was kept of this token before."""
        name = _name(token)
        with self._lock:
            self._entries[name] = said
            self._entries.move_to_end(name)
            if len(self._entries) > TOKENS_MAX:
                self._entries.popitem(last=False)


def _name(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
