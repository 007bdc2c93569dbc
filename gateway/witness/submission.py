"""What a log sends to be cosigned: the size that the witness saw last, a proof, the new checkpoint. Pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from gateway.audit.climbing import HASHES_MAX, extends
from gateway.audit.keys import following
from gateway.audit.note import Checkpoint, parse_checkpoint, signed_by
from gateway.audit.suites import Digest, sha256

BYTES_MAX: Final = 65_536
SIZE_TYPE: Final = "text/x.tlog.size"
_OLD: Final = re.compile(r"old (0|[1-9]\d{0,17})", re.ASCII)


class Refused(Exception):
    """An answer that is no cosignature. `evidence`: the log's own signature is on what does not fit."""

    def __init__(self, status: int, words: str, *, kind: str = "text/plain", evidence: bool = False) -> None:
        super().__init__(words)
        self.status = status
        self.words = words
        self.kind = kind
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class Submission:
    old: int
    proof: tuple[bytes, ...]
    note: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Seen:
    """The last checkpoint of a log that was cosigned; size 0 and no root where there was none."""

    size: int = 0
    root: bytes = b""


def read(body: bytes) -> Submission:
    """Raises Refused(400)."""
    try:
        head, gap, note = body.decode().partition("\n\n")
        first, *steps = head.split("\n")
        old = _OLD.fullmatch(first)
        if not gap or old is None or len(steps) > HASHES_MAX:
            raise ValueError("not a submission")
        return Submission(int(old[1]), tuple(map(_hash, steps)), note, parse_checkpoint(note))
    except ValueError as error:
        raise Refused(400, "not a submission of tlog-witness\n") from error


def require_signed(submission: Submission, vkey: str | None) -> str:
    """`vkey`, the key that this witness knows the log by, if it does. Raises Refused(404, 403)."""
    if vkey is None:
        raise Refused(404, "this witness does not know the log\n")
    if not signed_by(submission.checkpoint, vkey):
        raise Refused(403, "the checkpoint is not signed by the log's key\n")
    return vkey


def judge(submission: Submission, seen: Seen, digest: Digest = sha256) -> None:
    """Raises Refused for whatever does not extend what was seen. Guarantee: what passes, passed against `seen`."""
    new = submission.checkpoint
    if submission.old > new.size:
        raise Refused(400, "the old size is larger than the checkpoint\n")
    if submission.old != seen.size:
        raise Refused(409, f"{seen.size}\n", kind=SIZE_TYPE)
    if new.size == 0 and new.root != digest(b""):
        raise Refused(422, "the root of an empty log is another one\n", evidence=True)
    if submission.old == 0 and submission.proof:
        raise Refused(422, "from nothing there is nothing to prove\n")
    if submission.old == 0:
        return
    if not extends(submission.old, new.size, seen.root, new.root, submission.proof, digest):
        raise Refused(422, "the checkpoint is not proven to extend the last one\n", evidence=True)


@dataclass(frozen=True, slots=True)
class HandOver:
    """What shows that a log has gone over to another key: the record that names it, proven under a checkpoint that both
    have signed (`gateway.audit.keys`)."""

    link: Any
    checkpoint: Checkpoint


def read_handover(body: bytes) -> HandOver:
    """Raises Refused(400)."""
    try:
        link = json.loads(body)
        return HandOver(link, parse_checkpoint(link["checkpoint"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(400, "not a change of a log's key\n") from error


def successor(handover: HandOver, vkey: str | None, seen: Seen) -> str:
    """The key that follows the known one. The change must stand at the end of just the log that was cosigned last.

    Raises Refused(404, 403, 409).
    """
    if vkey is None:
        raise Refused(404, "this witness does not know the log\n")
    try:
        keys = following(vkey, [handover.link])
    except ValueError as error:
        raise Refused(403, "the change of key is not proven\n") from error
    if keys.newest == vkey:
        raise Refused(403, "the change is not from the key that this witness knows\n")
    if (handover.checkpoint.size, handover.checkpoint.root) != (seen.size, seen.root):
        raise Refused(409, f"{seen.size}\n", kind=SIZE_TYPE)
    return keys.newest


def _hash(line: str) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if len(value) != 32 or base64.b64encode(value).decode() != line:
        raise ValueError("not a hash")
    return value
