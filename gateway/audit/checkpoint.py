"""Signed checkpoints: C2SP signed notes over tlog-checkpoint bodies, with Ed25519 or SM2.

<origin>\\n<number of records>\\n<base64 of the root>\\n\\n— <origin> <base64 of key id and signature>\\n
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.audit.suites import DIGESTS, KEY_TYPES, SHA256
from gateway.errors import Misconfigured

_ORIGIN: Final = re.compile(r"[!-*,-~]{1,200}")


class Plugged(Protocol):
    """A key whose private half is somewhere else."""

    @property
    def public(self) -> bytes:
        """The bytes of the key alone, as a verifier key ends with them."""
        ...

    def sign(self, content: bytes) -> bytes:
        """Raises NotReady."""
        ...

    def unready(self, content: bytes) -> str | None:
        """Why it does not sign, as far as is known; `content` is what it may sign to find out."""
        ...


@dataclass(frozen=True, slots=True)
class Signer:
    """The log's name and key. Raises Misconfigured for an origin with spaces, `+` or anything but plain ASCII."""

    origin: str
    key: Ed25519PrivateKey | Plugged
    suite: str = SHA256
    public: bytes = field(init=False, repr=False, compare=False)
    """The type, which names the suite, and the bytes of the key."""
    key_id: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin):
            raise Misconfigured("the log's origin must be plain ASCII without spaces or `+`")
        public = KEY_TYPES[self.suite] + _public(self.key)
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "key_id", hashlib.sha256(self.origin.encode() + b"\n" + public).digest()[:4])

    def __repr__(self) -> str:
        return f"Signer({self.origin})"

    @property
    def vkey(self) -> str:
        """The verifier key as C2SP writes it: `origin+key id+base64`."""
        return f"{self.origin}+{self.key_id.hex()}+{base64.b64encode(self.public).decode()}"

    @property
    def key_hash(self) -> str:
        """What the genesis record commits to: the hex digest of `public`."""
        return DIGESTS[self.suite](self.public).hex()

    def sign(self, size: int, root: bytes) -> str:
        """The note for the first `size` records. Raises NotReady where a plugged key does not sign."""
        text = self._text(size, root)
        return f"{text}\n{self._line(text)}"

    def sign_too(self, note: str) -> str:
        """The note with this signature under the others."""
        text, _, _ = note.partition("\n\n")
        return note + self._line(f"{text}\n")

    def unready(self) -> str | None:
        """Why it could not sign now. A plugged key is tried now and then, on the checkpoint of no records, which
        every log extends."""
        if isinstance(self.key, Ed25519PrivateKey):
            return None
        return self.key.unready(self._nothing().encode())

    def try_out(self) -> None:
        """Signs that checkpoint once. Raises NotReady where a plugged key does not."""
        self._line(self._nothing())

    def _nothing(self) -> str:
        return self._text(0, DIGESTS[self.suite](b""))

    def _text(self, size: int, root: bytes) -> str:
        return f"{self.origin}\n{size}\n{base64.b64encode(root).decode()}\n"

    def _line(self, text: str) -> str:
        signature = self.key_id + self.key.sign(text.encode())
        return f"— {self.origin} {base64.b64encode(signature).decode()}\n"


def _public(key: Ed25519PrivateKey | Plugged) -> bytes:
    if isinstance(key, Ed25519PrivateKey):
        return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.public
