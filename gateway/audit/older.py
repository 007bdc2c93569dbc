"""What somebody kept of an earlier log: checkpoints, receipts, cosignatures. The log must still contain them.

Part of the offline verifier: standard library and `cryptography`, nothing of the writer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.audit.climbing import climb, extends, leaf_hash
from gateway.audit.keys import Keys
from gateway.audit.note import Checkpoint, cosigned_by, parse_checkpoint, parse_key
from gateway.audit.report import Report
from gateway.audit.shapes import canonical
from gateway.audit.suites import DIGESTS, suite_of


@dataclass(frozen=True, slots=True)
class Witnesses:
    """The witnesses that one knows, by their verifier keys, and how many of them must have cosigned."""

    keys: tuple[str, ...] = ()
    quorum: int = 0

    def cosigners(self, checkpoint: Checkpoint) -> dict[str, int]:
        """Name and time of each that cosigned; one key counts once."""
        found: dict[bytes, tuple[str, int]] = {}
        for vkey in self.keys:
            moment = cosigned_by(checkpoint, vkey)
            if moment is not None:
                key = parse_key(vkey)
                found.setdefault(key.public, (key.name, moment))
        return dict(found.values())


NO_WITNESSES: Final = Witnesses()


@dataclass(frozen=True, slots=True)
class Older:
    """An older checkpoint, or that of a receipt."""

    checkpoint: Checkpoint
    receipt: Mapping[str, Any] | None


def read_older(report: Report, since: Sequence[str], receipts: Sequence[Mapping[str, Any]]) -> list[Older]:
    older: list[Older] = []
    sources: list[tuple[Any, Mapping[str, Any] | None]] = [(note, None) for note in since]
    sources += [(receipt.get("checkpoint"), receipt) for receipt in receipts]
    for note, receipt in sources:
        try:
            if receipt is not None and type(receipt.get("index")) is not int:
                raise ValueError("a receipt without an index")
            older.append(Older(parse_checkpoint(str(note)), receipt))
        except (ValueError, UnicodeError):
            report.add("older_unreadable", None, "an older checkpoint or receipt is unreadable")
    return older


def check_older(
    report: Report, keys: Keys, older: Sequence[Older], roots: Mapping[int, bytes], leaves: Mapping[int, bytes]
) -> list[Checkpoint]:
    """Those that the log still contains."""
    held = []
    for each in older:
        report.consistent_with += 1
        checkpoint, receipt = each.checkpoint, each.receipt
        if not keys.signed(checkpoint):
            report.add(
                "older_signature",
                None,
                "an older checkpoint or receipt was signed by another key, or one that was handed over before",
            )
        elif checkpoint.size > report.size:
            report.add("truncated", None, f"an older checkpoint covers {checkpoint.size} records, more than there are")
        elif roots.get(checkpoint.size) != checkpoint.root:
            report.add("fork", None, f"an older checkpoint covers other {checkpoint.size} records than these")
        elif receipt is not None:
            check_receipt(report, receipt, keys)
            if leaves.get(receipt["index"], b"").hex() != receipt.get("leaf_hash"):
                report.add("fork", receipt["index"], "is not the one that an older receipt proves")
        else:
            held.append(checkpoint)
    return held


def check_cosigned(report: Report, keys: Keys, end: Mapping[str, Any]) -> Checkpoint | None:
    """The cosigned checkpoint in an export's last line, where the records extend it."""
    try:
        cosigned, newest = parse_checkpoint(end["cosigned"]), parse_checkpoint(end["checkpoint"])
        proof = [bytes.fromhex(step) for step in end["consistency"]]
        sound = keys.signed(cosigned)
    except (TypeError, ValueError, UnicodeError):
        report.add("cosigned_unreadable", None, "the cosigned checkpoint is unreadable")
        return None
    if not sound:
        report.add("cosigned_signature", None, "the cosigned checkpoint is not signed by this log")
    elif not extends(cosigned.size, newest.size, cosigned.root, newest.root, proof, keys.digest):
        report.add("fork", None, "the cosigned checkpoint is not one that these records extend")
    else:
        return cosigned
    return None


def require_witnesses(report: Report, witnesses: Witnesses, candidates: Sequence[Checkpoint]) -> None:
    """Of the checkpoints that hold, the largest one with enough witnesses; else that with most of them."""
    need = max(witnesses.quorum, 1)
    seen = [(checkpoint.size, witnesses.cosigners(checkpoint)) for checkpoint in candidates]
    enough = [each for each in seen if len(each[1]) >= need]
    best = max(enough, key=lambda each: each[0], default=None) or max(seen, key=lambda each: len(each[1]), default=None)
    report.witnessed, report.witnesses = best if best is not None and best[1] else (0, {})
    if len(report.witnesses) < witnesses.quorum:
        words = f"{len(report.witnesses)} of the {witnesses.quorum} witnesses that are needed have cosigned it"
        report.add("witnesses_missing", None, words)


def check_receipt(report: Report, receipt: Mapping[str, Any], keys: Keys) -> Checkpoint | None:
    """The receipt's checkpoint, where it proves its record under the log's keys."""
    try:
        checkpoint = parse_checkpoint(str(receipt["checkpoint"]))
        proof = [bytes.fromhex(step) for step in receipt["proof"]]
        leaf = leaf_hash(canonical(receipt["record"]), keys.digest)
        index, shown, seq = receipt["index"], receipt["leaf_hash"], receipt["record"]["seq"]
        hashed_alike = DIGESTS.get(suite_of(receipt["record"])) == keys.digest  # whose key it was under is not shown
        signed = keys.signed(checkpoint)
    except (KeyError, TypeError, ValueError, UnicodeError, RecursionError):
        report.add("receipt_unreadable", None, "a receipt is unreadable")
        return None
    if not signed:
        report.add("signature", None, "a receipt's checkpoint is not signed by this log")
    elif type(index) is not int or seq != index or shown != leaf.hex() or not hashed_alike:
        report.add("receipt_differs", None, "a receipt's record is not the one its hash names")
    elif climb(index, checkpoint.size, leaf, proof, keys.digest) != checkpoint.root:
        report.add("receipt_unproven", index, "a receipt's proof does not lead to its checkpoint")
    else:
        return checkpoint
    return None
