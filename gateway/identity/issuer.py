"""The issuer's published keys, as they were last seen: fetched beside the requests, kept when fetching fails.

A token can ask for a fetch, by naming a key that is not known yet, but not how often: one in `ASK_S`, whoever asks.
Fetched keys serve until they are `stale_s_max` old. A key that the issuer takes back is gone at the next fetch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import NotReady
from gateway.identity.fetch import Fetch, NotFetched
from gateway.identity.jwk import key_set
from gateway.identity.jws import Bad, members
from gateway.identity.keys import VerifyingKey
from gateway.settings import Tokens, require_safe
from sandbox import logs

ASK_S: Final = 30.0
RETRY_S: Final = 5.0
"""The first pause after a fetch that failed; it doubles, up to `refresh_s`."""
WELL_KNOWN: Final = "/.well-known/openid-configuration"
_log = logs.logger("bpk.issuer")


@dataclass(frozen=True, slots=True)
class Published:
    """What is known of the issuer's keys. `state` is `ready`, `stale` (the last fetch failed), or `none` (no key)."""

    state: str
    keys: int
    age_s: float | None
    reason: str

    @property
    def gauges(self) -> dict[str, float]:
        age = {} if self.age_s is None else {"bpk_issuer_keys_age_seconds": self.age_s}
        return {"bpk_issuer_keys": self.keys, **age}


class Issuer:
    """Thread-safe. `start` begins to fetch, `stop` ends it; between them `get` answers from memory alone."""

    def __init__(self, tokens: Tokens, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        if tokens.jwks is None:
            raise ValueError("an issuer that publishes nothing")
        self._name = tokens.issuer
        self._settings = tokens.jwks
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Mapping[str, VerifyingKey] = {}
        self._fetched: float | None = None
        self._failures = 0
        self._reason = "not fetched yet"
        self._asked = float("-inf")
        self._flight: Future[None] | None = None
        self._address: str | None = tokens.jwks.url
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bpk-issuer", daemon=True)

    @property
    def fetch_s_max(self) -> float:
        """The longest that a fetch takes, of both documents."""
        return 2.0 * self._settings.timeout_s + 1

    def get(self, kid: str, /) -> VerifyingKey | None:
        """Raises NotReady where no key serves any more: then nobody can be told from anybody."""
        with self._lock:
            if not self._serving():
                raise NotReady(f"no keys of {self._name}: {self._reason}")
            return self._keys.get(kid)

    def ask(self) -> Future[None] | None:
        """The fetch that runs, or one that begins now; None where the last one that was asked for is too recent."""
        with self._lock:
            if self._flight is not None:
                return self._flight
            if self._clock() < self._asked + ASK_S:
                return None
            self._asked = self._clock()
            self._flight = Future()
            self._wake.set()
            return self._flight

    def look(self) -> Published:
        with self._lock:
            age = None if self._fetched is None else self._clock() - self._fetched
            if not self._serving():
                return Published("none", 0, age, self._reason)
            return Published("stale" if self._failures else "ready", len(self._keys), age, self._reason)

    def refresh(self) -> None:
        """One fetch, now. Never raises: what is wrong is in `look` and in the log, and the old keys stay."""
        try:
            found = key_set(self._fetch(self._where()), tuple(self._settings.algorithms))
            if not found.keys:
                raise NotFetched("no key that is accepted here")
        except (
            Exception
        ) as error:  # the thread must live: without it old keys would serve on, unseen, until they are stale
            reason = str(error) if isinstance(error, NotFetched | Bad) else type(error).__name__
            self._address = self._settings.url
            with self._lock:
                self._failures += 1
                self._reason = reason
            _log.warning("the keys of the issuer were not fetched", issuer=self._name, reason=reason)
            return
        with self._lock:
            if self._keys.keys() != found.keys.keys():
                _log.info(
                    "the issuer has other keys",
                    issuer=self._name,
                    keys=len(found.keys),
                    passed_over=found.passed_over,
                )
            self._keys, self._fetched, self._failures, self._reason = found.keys, self._clock(), 0, ""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self.fetch_s_max)

    def _serving(self) -> bool:
        return self._fetched is not None and self._clock() - self._fetched <= self._settings.stale_s_max

    def _where(self) -> str:
        if self._address is None:
            self._address = address_in(self._fetch(self._name.rstrip("/") + WELL_KNOWN), self._name)
        return self._address

    def _pause_s(self) -> float:
        if not self._failures:
            return float(self._settings.refresh_s)
        return min(RETRY_S * (1 << min(self._failures - 1, 20)), float(self._settings.refresh_s))

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.clear()
            with self._lock:
                flight = self._flight = self._flight or Future()
            self.refresh()
            with self._lock:
                self._flight = None
            flight.set_result(None)
            self._wake.wait(self._pause_s())


def address_in(content: bytes, issuer: str) -> str:
    """The address of the keys in a discovery document. Raises Bad unless it is this issuer's own, on its own host.

    Keys on another host are taken only from an address that the settings name themselves.
    """
    document = members(content)
    if document.get("issuer") != issuer:
        raise Bad("the discovery document is that of another issuer")
    address = document.get("jwks_uri")
    if not isinstance(address, str):
        raise Bad("the discovery document names no keys")
    try:
        require_safe(address)
    except ValueError as error:
        raise Bad("the discovery document names keys at an address that is not safe") from error
    if urlsplit(address)[:2] != urlsplit(issuer)[:2]:
        raise Bad("the discovery document names keys on another host; give their address as `url`")
    return address


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that the settings name, and then those that the issuer publishes."""

    named: Mapping[str, VerifyingKey]
    issuer: Issuer | None

    def get(self, kid: str, /) -> VerifyingKey | None:
        """Raises NotReady as the issuer does."""
        found = self.named.get(kid)
        return found if found is not None or self.issuer is None else self.issuer.get(kid)
