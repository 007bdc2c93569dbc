"""The witness's key, and what it signs: `cosignature/v1` of C2SP tlog-cosignature, Ed25519."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.audit.note import WITNESS_KEY, Checkpoint, cosigned_text
from gateway.errors import Misconfigured

_NAME: Final = re.compile(r"[!-*,-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Cosigner:
    """Raises Misconfigured for a name with spaces, `+` or anything but plain ASCII."""

    name: str
    key: Ed25519PrivateKey

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise Misconfigured("the witness's name must be plain ASCII without spaces or `+`")

    def __repr__(self) -> str:
        return f"Cosigner({self.name})"

    @property
    def vkey(self) -> str:
        """The verifier key, in C2SP's form."""
        return f"{self.name}+{self._id().hex()}+{base64.b64encode(self._public()).decode()}"

    def line(self, checkpoint: Checkpoint, moment: int) -> str:
        """The signature line. `moment`: s since 1970. Sign nothing that was not judged before."""
        signature = self.key.sign(cosigned_text(moment, checkpoint.signed))
        blob = self._id() + moment.to_bytes(8, "big") + signature
        return f"— {self.name} {base64.b64encode(blob).decode()}\n"

    def _public(self) -> bytes:
        return bytes([WITNESS_KEY]) + self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def _id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self._public()).digest()[:4]
