"""RFC 3161 time stamps over checkpoints, checked offline against the authority's certificates.

Part of the offline verifier: `cryptography` and `rfc3161-client`, nothing of the writer. A stamp shows that the records
under its checkpoint were there at its time. What is stamped is what the log has signed: the checkpoint's three lines.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from gateway.audit.note import Checkpoint, parse_checkpoint

TOKEN_BYTES_MAX: Final = 65_536
LINE_BYTES_MAX: Final = 4 * TOKEN_BYTES_MAX
MISSING: Final = "time stamps need `pip install baopingkou[timestamps]`"


@dataclass(frozen=True, slots=True)
class Stamp:
    """A checkpoint and the authority's whole reply for it (DER)."""

    note: str
    token: bytes

    def line(self) -> str:
        return json.dumps({"checkpoint": self.note, "token": base64.b64encode(self.token).decode()}, ensure_ascii=False)


def read(file: Path) -> list[Stamp]:
    """The stamps in a file, one a line, as `bpk audit timestamps` writes them. Raises OSError, ValueError."""
    found = []
    with file.open("rb") as lines:
        while line := lines.readline(LINE_BYTES_MAX):
            value = json.loads(line)
            if not isinstance(value, dict) or not all(type(value.get(name)) is str for name in ("checkpoint", "token")):
                raise ValueError("a line that holds no time stamp")
            found.append(Stamp(value["checkpoint"], base64.b64decode(value["token"], validate=True)))
    return found


def certificates(file: Path) -> list[x509.Certificate]:
    """The authority's root, and those between, in PEM. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificates(file.read_bytes())


def time_of(
    checkpoint: Checkpoint, token: bytes, authority: Sequence[x509.Certificate], nonce: int | None = None
) -> datetime:
    """When the authority saw the checkpoint.

    Raises ValueError unless the token is of this checkpoint (and answers this nonce), and is signed by a certificate
    for time stamps alone, which at that time led to one of the authority's. Raises ImportError without the library.
    """
    from rfc3161_client import (  # noqa: PLC0415  # an optional extra
        VerificationError,
        VerifierBuilder,
        decode_timestamp_response,
    )

    if len(token) > TOKEN_BYTES_MAX:
        raise ValueError("a time stamp that is longer than any")
    try:
        reply = decode_timestamp_response(token)
    except (ValueError, TypeError) as error:
        raise ValueError("the time stamp cannot be read") from error
    try:
        VerifierBuilder(roots=list(authority), nonce=nonce).build().verify_message(reply, checkpoint.signed)
        moment: datetime = reply.tst_info.gen_time
    except (VerificationError, ValueError, TypeError) as error:
        raise ValueError("the time stamp does not hold for this checkpoint, or under these certificates") from error
    return datetime.fromtimestamp(moment.timestamp(), UTC)


def check(stamps: Sequence[Stamp], authority: Sequence[x509.Certificate]) -> list[tuple[int, datetime]]:
    """How many records each stamp is about, and when. Whether the log extends their checkpoints is another question.

    Raises ValueError for the first one that does not hold.
    """
    found = []
    for stamp in stamps:
        checkpoint = parse_checkpoint(stamp.note)
        found.append((checkpoint.size, time_of(checkpoint, stamp.token, authority)))
    return found
