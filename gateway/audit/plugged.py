"""A log's key whose private half is with a signer outside: a command that is given what is to be signed.

Nothing that it answers is used before it holds under the public key that is known. Where it fails nothing is signed,
and so nothing that needs a signature is given out.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import Final

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.audit.command import Command, CommandFailed
from gateway.audit.public_key import PublicKey
from gateway.errors import NotReady
from sandbox import logs

RETRY_S: Final = 2.0
"""After a failure: it is asked again no sooner, so that nobody waits in line for a signer that hangs."""
FRESH_S: Final = 60.0
"""How long nobody has to try a signer that has signed."""
_log = logs.logger("bpk.signer")


class SignerFailed(NotReady):
    """The signer outside gave no signature that holds. `said` are its own words, for whoever runs a command by hand."""

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(why)
        self.said = said


class PluggedKey:
    """Thread-safe."""

    def __init__(self, key: PublicKey, command: Command) -> None:
        self._key = key
        self._command = command
        self._trying = Lock()
        self._asking = Lock()
        self._last: tuple[float, str | None] = (float("-inf"), None)
        """When it was asked last, and why it did not sign then."""

    @property
    def public(self) -> bytes:
        return self._key.raw

    def sign(self, content: bytes) -> bytes:
        """One at a time. Raises SignerFailed."""
        with self._asking:
            when, why = self._last
            if why is not None and time.monotonic() - when < RETRY_S:
                raise SignerFailed(why)
            return self._signed(content)

    def _signed(self, content: bytes) -> bytes:
        try:
            answer = self._command.run((self._key.algorithm, self._key.fingerprint), content)
            signature = self._held(answer, content)
        except CommandFailed as failed:
            why = f"the log's signer {failed}"
            if self._last[1] != why:
                _log.error("the log cannot be signed", reason=why)
            self._last = (time.monotonic(), why)
            raise SignerFailed(why, failed.said) from failed
        if self._last[1] is not None:
            _log.info("the log can be signed again")
        self._last = (time.monotonic(), None)
        return signature

    def unready(self, content: bytes) -> str | None:
        """Asked now, unless it was a short while ago or somebody else is about it."""
        if self._due() and self._trying.acquire(blocking=False):
            try:
                self.sign(content)
            except SignerFailed:
                pass
            finally:
                self._trying.release()
        return self._last[1]

    def _due(self) -> bool:
        when, why = self._last
        return time.monotonic() - when > (FRESH_S if why is None else RETRY_S)

    def _held(self, answer: bytes, content: bytes) -> bytes:
        """The signature in the answer, if it is one. Raises CommandFailed."""
        for signature in _read(self._key.algorithm, answer):
            if self._key.holds(signature, content):
                return signature
        raise CommandFailed("answers with what is no signature of the log's key")


def _read(algorithm: str, answer: bytes) -> list[bytes]:
    """What the answer may say: for SM2 both numbers as they are, or in DER, as OpenSSL writes them."""
    found = [answer]
    if algorithm == "sm2":
        try:
            numbers = decode_dss_signature(answer)
            found.append(b"".join(number.to_bytes(32, "big") for number in numbers))
        except (ValueError, OverflowError):
            pass
    return found
