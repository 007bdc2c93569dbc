"""Asks a time-stamping authority (RFC 3161) for stamps over the log's checkpoints, now and then, and keeps them.

In a thread of its own: an authority that is slow, away or wrong holds no question up. It is told of where the gateway
is watched, and asked again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx
from cryptography import x509

from gateway import clocked
from gateway.audit.log import Log
from gateway.audit.note import parse_checkpoint, size_of
from gateway.audit.stamps import MISSING, TOKEN_BYTES_MAX, Stamp, certificates, time_of
from gateway.errors import Fault, Misconfigured
from gateway.store import Reading, Store, Transaction
from sandbox import logs

AGAIN_S: Final = 60.0
"""How soon after a failure it is asked again, at most."""
_TYPES: Final = {"Content-Type": "application/timestamp-query", "Accept-Encoding": "identity"}
_log = logs.logger("bpk.stamping")


@dataclass(frozen=True, slots=True)
class Authority:
    """Where it is asked, whose word counts for it, how often, and for how long it is waited for."""

    url: str
    certificates: Path
    every_s: float
    timeout_s: float


class NotStamped(Exception):
    """Why there is no stamp this time."""


class Stamping:
    """`start` begins to ask, while the log grows, where there is an authority; `stop` ends it. Raises Misconfigured."""

    def __init__(self, log: Log, store: Store, authority: Authority | None) -> None:
        self._trusted = [] if authority is None else _trusted(authority.certificates)
        self._log = log
        self._store = store
        self._authority = authority or Authority("", Path(), 3600, 1)
        self._size = 0
        self._failures = 0
        self._problem = ""
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._client = clocked.client(self._authority.timeout_s)

    def start(self) -> None:
        if self._trusted:
            self._thread = threading.Thread(target=self._run, name="stamping", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * self._authority.timeout_s)
        self._client.close()

    @property
    def state(self) -> str | None:
        """`ready`, or why the authority gave no stamp last; None where there is no authority."""
        return (self._problem or "ready") if self._trusted else None

    @property
    def gauges(self) -> dict[str, float]:
        counts: dict[str, float] = {"bpk_stamped_records": self._size, "bpk_stamp_failures": self._failures}
        return counts if self._trusted else {}

    def once(self) -> bool:
        """Has the newest checkpoint stamped, where the log has grown; whether it is. Raises Fault."""
        note = self._log.checkpoint()
        if size_of(note) == self._size:
            return True
        try:
            stamp = self._stamped(note)
        except NotStamped as error:
            self._failures += 1
            if str(error) != self._problem:
                _log.warning("no time stamp", authority=self._authority.url, reason=str(error))
            self._problem = str(error)
            return False
        with self._store.transaction() as tx:
            keep(tx, stamp, datetime.now(UTC).date().isoformat())
        self._size, self._problem = size_of(note), ""
        return True

    def _run(self) -> None:
        wait = min(AGAIN_S, self._authority.every_s)
        while not self._stopped.wait(wait):
            try:
                done = self.once()
            except Fault as fault:
                done = False
                _log.error("nothing was stamped", reason=str(fault))
            wait = self._authority.every_s if done else min(AGAIN_S, self._authority.every_s)

    def _stamped(self, note: str) -> Stamp:
        """Nothing is kept that would not hold offline."""
        from rfc3161_client import HashAlgorithm, TimestampRequestBuilder  # noqa: PLC0415  # an optional extra

        checkpoint = parse_checkpoint(note)
        request = TimestampRequestBuilder().data(checkpoint.signed).hash_algorithm(HashAlgorithm.SHA256).build()
        token = self._ask(request.as_bytes())
        try:
            time_of(checkpoint, token, self._trusted, request.nonce)
        except ValueError as error:
            raise NotStamped(str(error)) from error
        return Stamp(note, token)

    def _ask(self, request: bytes) -> bytes:
        """Bounded in size and time; nothing is unpacked, and no redirect is followed."""
        content = bytearray()
        try:
            with (
                clocked.within(self._authority.timeout_s),
                self._client.stream("POST", self._authority.url, content=request, headers=_TYPES) as reply,
            ):
                if reply.status_code != 200:
                    raise NotStamped(f"answers {reply.status_code}")
                for part in reply.iter_raw():
                    content += part
                    if len(content) > TOKEN_BYTES_MAX:
                        raise NotStamped("answers with too much")
        except httpx.TimeoutException as error:
            raise NotStamped("takes too long") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotStamped("does not answer") from error
        return bytes(content)


def keep(tx: Transaction, stamp: Stamp, day: str) -> None:
    """The newest of its day."""
    size = size_of(stamp.note)
    row = tx.one("SELECT size FROM stamped WHERE day = ?", (day,))
    if row is None or row[0] < size:
        tx.write("DELETE FROM stamped WHERE day = ?", (day,))
        tx.write(
            "INSERT INTO stamped (day, size, note, token) VALUES (?, ?, ?, ?)", (day, size, stamp.note, stamp.token)
        )


def kept(view: Reading) -> list[Stamp]:
    """The newest of each day, oldest first."""
    return [Stamp(note, bytes(token)) for note, token in view.all("SELECT note, token FROM stamped ORDER BY size")]


def _trusted(file: Path) -> list[x509.Certificate]:
    try:
        import rfc3161_client  # noqa: F401, PLC0415  # an optional extra
    except ImportError as error:
        raise Misconfigured(MISSING) from error
    try:
        return certificates(file)
    except OSError as error:
        raise Misconfigured(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise Misconfigured(f"{file}: no certificates in PEM") from error
