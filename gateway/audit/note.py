"""Signed checkpoints, read, with keys of Ed25519 and SM2. Part of the offline verifier: standard library and
`cryptography` only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.sm2 import holds as sm2_holds
from gateway.audit.sm2 import read_point
from gateway.audit.suites import DIGESTS, KEY_TYPES, PUBLIC_BYTES, SHA256, SM3_SM2, Digest

LOG_KEY: Final = 0x01
WITNESS_KEY: Final = 0x04
"""Of cosignatures, whose signed text begins with their time (C2SP tlog-cosignature)."""
SIGNATURES_MAX: Final = 64
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed note, read; `signed` is what its signature covers."""

    origin: str
    size: int
    root: bytes
    signed: bytes
    signatures: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Key:
    """A verifier key, read: its name, its id, its kind (LOG_KEY or WITNESS_KEY), the bytes of the key alone, and the
    suite of the log that it signs, which says of what algorithm it is. A witness's is Ed25519."""

    name: str
    id: bytes
    kind: int
    public: bytes
    suite: str = SHA256

    @property
    def digest(self) -> Digest:
        """What the log is hashed with."""
        return DIGESTS[self.suite]


def parse_checkpoint(note: str) -> Checkpoint:
    """Reads a signed note. Raises ValueError for anything that is not exactly one."""
    text, gap, tail = note.partition("\n\n")
    head = text.split("\n")
    if not gap or len(head) != 3 or not head[0] or not tail.endswith("\n"):
        raise ValueError("not a signed checkpoint")
    size = head[1]
    if not size.isascii() or not size.isdigit() or (size != "0" and size.startswith("0")) or len(size) > 18:
        raise ValueError("a checkpoint without a size")
    root = _base64(head[2])
    lines = tail[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise ValueError("too many signatures")
    signatures = tuple(signature_line(line) for line in lines)
    if len(root) != 32:
        raise ValueError("a checkpoint without a root")
    return Checkpoint(head[0], int(size), root, f"{text}\n".encode(), signatures)


def size_of(note: str) -> int:
    """Of a checkpoint that is known to be one."""
    return int(note.split("\n", 2)[1])


def parse_key(vkey: str) -> Key:
    """Reads `name+hex id+base64` of a key, a log's or a witness's. Raises ValueError."""
    name, _, rest = vkey.partition("+")
    shown, _, encoded = rest.partition("+")
    written = _base64(encoded)
    kind, public, suite = _typed(written)
    key_id = hashlib.sha256(name.encode() + b"\n" + written).digest()[:4]
    if not name:
        raise ValueError("not a verifier key: it has no name")
    if shown != key_id.hex():
        raise ValueError("a verifier key whose id is not its own")
    return Key(name, key_id, kind, public, suite)


def _typed(written: bytes) -> tuple[int, bytes, str]:
    """Kind, key and suite. Raises ValueError."""
    types = [(type_, PUBLIC_BYTES[suite], LOG_KEY, suite) for suite, type_ in KEY_TYPES.items()]
    for type_, size, kind, suite in [*types, (bytes([WITNESS_KEY]), PUBLIC_BYTES[SHA256], WITNESS_KEY, SHA256)]:
        if written.startswith(type_) and len(written) == len(type_) + size:
            if suite == SM3_SM2:
                read_point(written[-size:])
            return kind, written[-size:], suite
    raise ValueError("not a verifier key of a log or a witness")


def key_hash(vkey: str) -> str:
    """What a genesis record commits to. Raises ValueError."""
    key = parse_key(vkey)
    return key.digest(KEY_TYPES[key.suite] + key.public).hex()


def signed_by(checkpoint: Checkpoint, vkey: str) -> bool:
    """Whether the checkpoint carries the good signature of this log's key, and its name is the origin."""
    key = parse_key(vkey)
    if key.kind != LOG_KEY or checkpoint.origin != key.name:
        return False
    blobs = _blobs(checkpoint, key)
    return bool(blobs) and all(_holds(key, blob, checkpoint.signed) for blob in blobs)


def cosigned_by(checkpoint: Checkpoint, vkey: str) -> int | None:
    """When this witness cosigned the checkpoint (s since 1970); None where it did not."""
    key = parse_key(vkey)
    moments = [_moment(key, blob, checkpoint.signed) for blob in _blobs(checkpoint, key)]
    return None if key.kind != WITNESS_KEY or not all(moments) else max(moments, default=None)


def cosigned_text(moment: int, text: bytes) -> bytes:
    """What a cosignature/v1 signs."""
    return f"cosignature/v1\ntime {moment}\n".encode() + text


def signature_line(line: str) -> tuple[str, bytes]:
    """Name and signature with its key id. Raises ValueError."""
    mark, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    blob = _base64(encoded)
    if mark != "—" or not name or len(blob) < 5:
        raise ValueError("not a signature line")
    return name, blob


def only(note: str, vkey: str) -> str:
    """The note without the signatures of others. Raises ValueError."""
    key = parse_key(vkey)
    text, _, tail = note.partition("\n\n")
    named = [(line, signature_line(line)) for line in tail[:-1].split("\n")]
    kept = [line for line, (name, blob) in named if name == key.name and blob[:4] == key.id]
    return "\n".join([text, "", *kept, ""])


def _blobs(checkpoint: Checkpoint, key: Key) -> list[bytes]:
    """Each once: whoever repeats a good signature is not to make a check dear."""
    own = (blob[4:] for name, blob in checkpoint.signatures if name == key.name and blob[:4] == key.id)
    return list(dict.fromkeys(own))


def _moment(key: Key, blob: bytes, text: bytes) -> int:
    """When a cosignature was made; 0 for one that does not hold."""
    moment = int.from_bytes(blob[:_TIME_BYTES], "big")
    good = len(blob) > _TIME_BYTES and 0 < moment < 2**63
    return moment if good and _holds(key, blob[_TIME_BYTES:], cosigned_text(moment, text)) else 0


def _holds(key: Key, signature: bytes, text: bytes) -> bool:
    if key.suite == SM3_SM2:
        return sm2_holds(key.public, signature, text)
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _base64(text: str) -> bytes:
    """Strict and canonical, so that one note has one spelling."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(content).decode() != text:
        raise ValueError("not canonical base64")
    return content
