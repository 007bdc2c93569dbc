"""Sends the log's checkpoints to witnesses (C2SP tlog-witness) and keeps what they cosign.

A witness that has seen more than this log holds, or other records, says that this log was put back or forked: the
operator is told, and nothing of it is cosigned.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import httpx

from gateway import clocked
from gateway.audit import cosigned
from gateway.audit.log import Log
from gateway.audit.note import WITNESS_KEY, cosigned_by, parse_checkpoint, parse_key, size_of
from gateway.errors import Fault, Misconfigured
from gateway.store import Store
from sandbox import logs

TIMEOUT_S: Final = 5.0
REPLY_BYTES_MAX: Final = 65_536
REPLY_S_MAX: Final = 15.0
"""For all of an exchange: the other limit is for each wait."""
_log = logs.logger("bpk.witnessing")


@dataclass(frozen=True, slots=True)
class Remote:
    """A witness: where it is asked, and its verifier key."""

    url: str
    vkey: str


class NoCosignature(Exception):
    """Why there is none this time."""


class Disagrees(NoCosignature):
    """The witness has seen another log under our name, or more of ours than there is."""


class Witnessing:
    """`start` begins to send in a thread of its own, every `every_s` while the log grows; `stop` ends it."""

    def __init__(self, log: Log, store: Store, remotes: Sequence[Remote], every_s: float) -> None:
        for remote in remotes:
            _require_witness(remote)
        self._log = log
        self._store = store
        self._remotes = tuple(remotes)
        self._every_s = every_s
        self._seen: dict[str, int] = {}
        self._told: dict[str, str] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._client = clocked.client(TIMEOUT_S)

    def start(self) -> None:
        if self._remotes:
            self._thread = threading.Thread(target=self._run, name="witnessing", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(2 * TIMEOUT_S)
        self._client.close()

    @property
    def problems(self) -> dict[str, str]:
        """Witness -> why it did not cosign last; empty where all did."""
        return dict(self._told)

    def once(self) -> int:
        """Sends the newest checkpoint to every witness that has not cosigned it; how many have. Raises Fault."""
        note = self._log.checkpoint()
        size = size_of(note)
        waiting = [remote for remote in self._remotes if self._seen.get(remote.vkey) != size]
        if waiting:
            with ThreadPoolExecutor(len(waiting)) as pool:
                lines = [line for line in pool.map(lambda remote: self._asked(remote, note, size), waiting) if line]
            if lines:
                with self._store.transaction() as tx:
                    cosigned.keep(tx, note + "".join(lines), datetime.now(UTC).date().isoformat())
        return sum(1 for remote in self._remotes if self._seen.get(remote.vkey) == size)

    def fetch(self, folder: Path | None) -> None:
        """Puts what each witness saw last into `folder`, where the log is held against it. One that does not answer is
        told of and waited for by nobody: what it said the last time is there still."""
        if folder is None or (folder.exists() and not folder.is_dir()):
            return
        for remote in self._remotes:
            try:
                note = self.newest(remote)
                if note is not None:
                    _put(folder / f"{hashlib.sha256(remote.vkey.encode()).hexdigest()[:16]}.checkpoint", note)
            except NoCosignature as error:
                self._tell(remote, error)
            except OSError as error:
                raise Misconfigured(f"{folder}: cannot be written ({error.strerror})") from error

    def newest(self, remote: Remote) -> str | None:
        """The newest checkpoint of this log that the witness says it cosigned; None where it never did.

        Raises NoCosignature where it does not answer, or with what neither the log nor the witness has signed.
        """
        origin = hashlib.sha256(self._log.origin.encode()).hexdigest()
        reply = self._call("GET", f"{remote.url.rstrip('/')}/{origin}/checkpoint", b"")
        if reply.status_code == 404:
            return None
        if reply.status_code != 200:
            raise NoCosignature(f"answers {reply.status_code}")
        try:
            checkpoint = parse_checkpoint(reply.text)
        except ValueError as error:
            raise NoCosignature("answers with no checkpoint") from error
        if not self._log.has_signed(checkpoint) or cosigned_by(checkpoint, remote.vkey) is None:
            raise NoCosignature("answers with a checkpoint that is not signed by both")
        return reply.text

    def _run(self) -> None:
        while not self._stopped.wait(self._every_s):
            try:
                self.once()
            except Fault as fault:
                _log.error("nothing was sent to witnesses", reason=str(fault))

    def _asked(self, remote: Remote, note: str, size: int) -> str | None:
        try:
            line = self._cosignature(remote, note, size)
        except NoCosignature as error:
            self._tell(remote, error)
            return None
        self._seen[remote.vkey] = size
        self._told.pop(remote.url, None)
        return line

    def _tell(self, remote: Remote, error: NoCosignature) -> None:
        words = str(error)
        if self._told.get(remote.url) != words:
            if isinstance(error, Disagrees):
                _log.error("a witness contradicts this log", witness=remote.url, reason=words)
            else:
                _log.warning("a witness did not cosign", witness=remote.url, reason=words)
            self._told[remote.url] = words

    def _cosignature(self, remote: Remote, note: str, size: int) -> str:
        reply = self._offered(remote, note, size)
        if reply.status_code == 403 and self._tell_keys(remote, size):
            reply = self._offered(remote, note, size)
        if reply.status_code != 200:
            raise NoCosignature(f"answers {reply.status_code}")
        for line in reply.text.splitlines(keepends=True):
            try:
                if cosigned_by(parse_checkpoint(note + line), remote.vkey) is not None:
                    return line
            except ValueError:
                continue
        raise NoCosignature("answers without a cosignature of its key")

    def _offered(self, remote: Remote, note: str, size: int) -> httpx.Response:
        """Asked twice at most: a witness says which size it saw last."""
        old = self._seen.get(remote.vkey, 0)
        reply = self._submit(remote, note, old, size)
        if reply.status_code == 409:
            old = _size(reply)
            if old > size:
                raise Disagrees(f"has cosigned {old} records of this log, which has {size}: it was put back or forked")
            reply = self._submit(remote, note, old, size)
        if reply.status_code == 422:
            raise Disagrees(f"has cosigned other {old} records under this log's name: one of the two is a fork")
        return reply

    def _tell_keys(self, remote: Remote, size: int) -> bool:
        """Leads a witness that knows the log by an older key to its newest; whether it took one up."""
        took, against = False, None
        for link in self._log.handovers(size):
            try:
                self._offered(remote, link["checkpoint"], size_of(link["checkpoint"]))
            except Disagrees as error:  # all is well where it has seen what came after this change, and a later one
                against = error  # leads on from there
                continue
            reply = self._call("POST", f"{remote.url.rstrip('/')}/add-key", json.dumps(link).encode())
            took, against = took or reply.status_code == 200, None
        if against is not None:
            raise against
        return took

    def _submit(self, remote: Remote, note: str, old: int, size: int) -> httpx.Response:
        proof = self._log.consistency(old, size) if 0 < old <= size else []
        lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", note]
        return self._call("POST", f"{remote.url.rstrip('/')}/add-checkpoint", "\n".join(lines).encode())

    def _call(self, method: str, url: str, body: bytes) -> httpx.Response:
        try:
            with clocked.within(REPLY_S_MAX), self._client.stream(method, url, content=body or None) as reply:
                content = b""
                for part in reply.iter_bytes():
                    content += part
                    if len(content) > REPLY_BYTES_MAX:
                        raise NoCosignature("answers with too much")
                return httpx.Response(reply.status_code, content=content)
        except httpx.TimeoutException as error:
            raise NoCosignature("takes too long") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoCosignature("does not answer") from error


def _put(file: Path, note: str) -> None:
    """Never an older one in the place of a newer: a witness that was put back itself would help a rollback."""
    if file.exists() and size_of(file.read_text(encoding="utf-8")) > size_of(note):
        return
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}")
    beside.write_text(note, encoding="utf-8")
    beside.replace(file)


def _require_witness(remote: Remote) -> None:
    try:
        if parse_key(remote.vkey).kind == WITNESS_KEY:
            return
    except (ValueError, UnicodeError):
        pass
    raise Misconfigured(f"`[[audit.witnesses]]` {remote.url}: `key` is no witness's verifier key (`bpk witness key`)")


def _size(reply: httpx.Response) -> int:
    text = reply.text.removesuffix("\n")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise NoCosignature("answers with no size")
    return int(text)
