"""Signed checkpoints, read. Part of the offline verifier: standard library and `cryptography` only."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed note, read; `signed` is what its signature covers."""

    origin: str
    size: int
    root: bytes
    signed: bytes
    signatures: tuple[tuple[str, bytes], ...]


def parse_checkpoint(note: str) -> Checkpoint:
    """Reads a signed note. Raises ValueError for anything that is not exactly one."""
    text, gap, tail = note.partition("\n\n")
    head = text.split("\n")
    if not gap or len(head) != 3 or not tail.endswith("\n"):
        raise ValueError("not a signed checkpoint")
    size = head[1]
    if not size.isascii() or not size.isdigit() or (size != "0" and size.startswith("0")) or len(size) > 18:
        raise ValueError("a checkpoint without a size")
    root = _base64(head[2])
    signatures = tuple(_signature_line(line) for line in tail[:-1].split("\n"))
    if len(root) != 32:
        raise ValueError("a checkpoint without a root")
    return Checkpoint(head[0], int(size), root, f"{text}\n".encode(), signatures)


def parse_key(vkey: str) -> tuple[str, bytes, bytes]:
    """Name, key id and Ed25519 key of `name+hex id+base64`. Raises ValueError."""
    name, _, rest = vkey.partition("+")
    shown, _, encoded = rest.partition("+")
    public = _base64(encoded)
    key_id = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if not name or len(public) != 33 or public[0] != 1 or shown != key_id.hex():
        raise ValueError("not an Ed25519 verifier key")
    return name, key_id, public


def signed_by(checkpoint: Checkpoint, vkey: str) -> bool:
    """Whether the checkpoint carries this key's good signature, and its name is the origin."""
    name, key_id, public = parse_key(vkey)
    if checkpoint.origin != name:
        return False
    for signer, blob in checkpoint.signatures:
        if signer == name and blob[:4] == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(blob[4:], checkpoint.signed)
            except InvalidSignature:
                return False
            return True
    return False


def _signature_line(line: str) -> tuple[str, bytes]:
    mark, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    blob = _base64(encoded)
    if mark != "—" or not name or len(blob) < 5:
        raise ValueError("not a signature line")
    return name, blob


def _base64(text: str) -> bytes:
    """Strict and canonical, so that one note has one spelling."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64") from error
    if base64.b64encode(content).decode() != text:
        raise ValueError("not canonical base64")
    return content
