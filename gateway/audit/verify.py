"""The offline verifier: an export and nothing else. Standard library and `cryptography`, nothing of the writer.

It finds any record that was changed, dropped, added, swapped or cut off, a checkpoint that does not fit or was signed
by another key, and any charge beyond its cap. What it cannot see alone is a log rewritten as a whole by the holder of
the key: give it an older checkpoint or a receipt, and it sees that too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.audit.broken import Broken
from gateway.audit.keys import Keys, following
from gateway.audit.note import Checkpoint, key_hash, parse_checkpoint, parse_key
from gateway.audit.older import (
    NO_WITNESSES,
    Witnesses,
    check_cosigned,
    check_older,
    check_receipt,
    read_older,
    require_witnesses,
)
from gateway.audit.replay import Replay
from gateway.audit.report import Report
from gateway.audit.shapes import amount_text, canonical
from gateway.audit.suites import DIGESTS, Digest, sha256, suite_of
from gateway.audit.tiled import lines_of

LINE_BYTES_MAX: Final = 65_536


def _refuse(text: str) -> Any:
    raise ValueError(text)


_DECODER: Final = json.JSONDecoder(parse_float=_refuse, parse_constant=_refuse)
_END: Final = {"checkpoint", "key"}
_END_MORE: Final = ({"cosigned", "consistency"}, {"handovers"})
_END_PROBLEMS: Final = {
    "key_differs", "signature", "checkpoint_unreadable", "size_differs", "root_differs", "handover",
}  # fmt: skip


def verify_file(
    path: Path,
    *,
    key: str | None = None,
    since: Sequence[str] = (),
    receipts: Sequence[Mapping[str, Any]] = (),
    witnesses: Witnesses = NO_WITNESSES,
) -> Report:
    """As `verify`, of a file, or of a folder of tiles. Raises OSError."""
    if path.is_dir():
        return verify(lines_of(path), key=key, since=since, receipts=receipts, witnesses=witnesses)
    with path.open("rb") as lines:
        return verify(lines, key=key, since=since, receipts=receipts, witnesses=witnesses)


def verify(
    lines: Iterable[bytes],
    *,
    key: str | None = None,
    since: Sequence[str] = (),
    receipts: Sequence[Mapping[str, Any]] = (),
    witnesses: Witnesses = NO_WITNESSES,
) -> Report:
    """Checks an export line by line. Nothing in it is trusted but what `key` signed.

    `key` is a verifier key that one expects the log to have or to have had, by default the export's own; `since` are
    older checkpoints and `receipts` old receipts that the log must still contain, `witnesses` those who must have
    cosigned a checkpoint of it.
    """
    report = Report()
    replay = Replay()
    tree = _Tree()
    older = read_older(report, since, receipts)
    sizes = {each.checkpoint.size for each in older}
    roots = {0: tree.root()}
    leaves: dict[int, bytes] = {}
    wanted = {each.receipt["index"] for each in older if each.receipt is not None}
    last: bytes | None = None
    for line in lines:
        if last is not None:
            _take_record(report, replay, tree, last)
            if tree.size in sizes or (replay.keys is not None and replay.keys.chain[-1][0] == tree.size):
                roots[tree.size] = tree.root()
            if tree.size - 1 in wanted:
                leaves[tree.size - 1] = tree.latest
        last = line
    _finish_replay(report, replay)
    report.size, report.root, report.ledger = tree.size, tree.root().hex(), replay.ledger or ""
    end = _end_line(last)
    keys = _check_end(report, replay, tree, end, key, roots)
    held = [] if keys is None else check_older(report, keys, older, roots, leaves)
    if keys is not None and end is not None and not report.kinds.keys() & _END_PROBLEMS:
        held.append(parse_checkpoint(end["checkpoint"]))
    if keys is not None and end is not None and "cosigned" in end and (cosigned := check_cosigned(report, keys, end)):
        held.append(cosigned)
    require_witnesses(report, witnesses, held)
    _summarise(report, replay)
    return report


def verify_receipt(receipt: Mapping[str, Any], key: str, witnesses: Witnesses = NO_WITNESSES) -> list[str]:
    """What is wrong with a receipt under the verifier key `key`; empty when it proves its record."""
    report = Report()
    try:
        keys = following(key, receipt.get("handovers", ()))
    except (ValueError, TypeError) as error:
        return [str(error)]
    checkpoint = check_receipt(report, receipt, keys)
    require_witnesses(report, witnesses, [] if checkpoint is None else [checkpoint])
    return [problem.words for problem in report.problems]


class _Tree:
    """RFC 6962: the roots of the complete subtrees on the left, largest first."""

    def __init__(self) -> None:
        self.digest: Digest = sha256
        """That of the first record's suite, which the key has to name as well."""
        self.size = 0
        self.latest = b""
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, content: bytes) -> None:
        value = self.latest = self.digest(b"\x00" + content)
        count = 1
        while self._peaks and self._peaks[-1][0] == count:
            value = self.digest(b"\x01" + self._peaks.pop()[1] + value)
            count *= 2
        self._peaks.append((count, value))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return self.digest(b"")
        value = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            value = self.digest(b"\x01" + peak + value)
        return value


def _take_record(report: Report, replay: Replay, tree: _Tree, line: bytes) -> None:
    seq, content = tree.size, line.removesuffix(b"\n")
    if seq == 0:
        tree.digest = _digest_of(content)
    tree.add(content)
    try:
        if len(line) > LINE_BYTES_MAX or not line.endswith(b"\n"):
            raise Broken("unreadable", "is not one line")
        replay.take(seq, _read_canonical(content))
    except Broken as broken:
        report.add(broken.code, seq, broken.words)


def _digest_of(content: bytes) -> Digest:
    """Of the first record; of what is none it does not matter, for it is told of."""
    try:
        return DIGESTS[suite_of(_read_canonical(content))]
    except (Broken, KeyError, AttributeError):
        return sha256


def _read_canonical(content: bytes) -> Any:
    """One text per record: no duplicate names, no other spelling of a string or a number."""
    try:
        read = _DECODER.decode(content.decode())
        again = canonical(read)
    except (ValueError, RecursionError) as error:
        raise Broken("unreadable", "is not JSON as records are") from error
    if again != content:
        raise Broken("canonical", "is not in canonical form")
    return read


def _finish_replay(report: Report, replay: Replay) -> None:
    try:
        replay.finish()
    except Broken as broken:
        report.add(broken.code, None, broken.words)
    if replay.ledger is None:
        report.add("empty", None, "there is no record")


def _check_end(  # noqa: PLR0913, PLR0917  # all that the last line is held against
    report: Report,
    replay: Replay,
    tree: _Tree,
    end: dict[str, Any] | None,
    expected: str | None,
    roots: Mapping[int, bytes],
) -> Keys | None:
    """The last line: the checkpoint over all records, under the keys that the records name. The keys to go on with."""
    if end is None:
        report.add("checkpoint_missing", None, "does not end with a signed checkpoint; it may be cut off")
        return replay.keys if expected is None or replay.keys is not None else Keys.of(expected)
    vkey = report.key = str(end["key"])
    try:
        checkpoint = parse_checkpoint(str(end["checkpoint"]))
        keys = replay.keys or Keys.of(vkey)
        named, begun_with = parse_key(vkey).name, key_hash(keys.vkeys[0])
        notes = [parse_checkpoint(note) for note in end.get("handovers", ())]
        if not keys.signed(checkpoint):
            report.add("signature", None, "the checkpoint's signature does not hold")
        _check_handovers(report, keys, notes, roots)
    except (ValueError, UnicodeError):
        report.add("checkpoint_unreadable", None, "the checkpoint or its key is unreadable")
        return None if expected is None else Keys.of(expected)
    report.keys = list(keys.chain)
    if expected is not None and expected not in keys.vkeys:
        report.add("key_differs", None, "is signed with another key than the expected one")
    if named != replay.ledger or begun_with != replay.key_hash:
        report.add("key_differs", None, "the key is not the one that the log was begun with")
    if keys.suite != replay.suite:
        report.add("key_differs", None, "the key is of other algorithms than the records")
    if vkey != keys.newest:
        report.add("key_differs", None, "the key is not the one that the records hand the log over to")
    if checkpoint.size != tree.size:
        report.add("size_differs", None, f"the checkpoint covers {checkpoint.size} records, there are {tree.size}")
    if checkpoint.root != tree.root():
        report.add("root_differs", None, "the records are not those that the checkpoint was signed over")
    return keys


def _check_handovers(report: Report, keys: Keys, notes: Sequence[Checkpoint], roots: Mapping[int, bytes]) -> None:
    """Each change of the key stands under a checkpoint that both keys have signed."""
    if len(notes) != len(keys.chain) - 1:
        report.add("handover", None, f"the log changed its key {len(keys.chain) - 1} times, {len(notes)} are signed")
        return
    for place, note in enumerate(notes):
        size = keys.chain[place + 1][0]
        if not Keys(keys.chain[: place + 2]).handed_over(note, roots.get(size)):
            report.add("handover", size - 1, "hands the log over, and not both keys have signed that")


def _end_line(line: bytes | None) -> dict[str, Any] | None:
    if line is None or not line.endswith(b"\n") or len(line) > LINE_BYTES_MAX:
        return None
    try:
        end = _read_canonical(line[:-1])
    except Broken:
        return None
    more = set().union(*(names for names in _END_MORE if names <= end.keys())) if isinstance(end, dict) else set()
    if not isinstance(end, dict) or set(end) != _END | more:
        return None
    texts = [end[name] for name in set(end) - {"consistency", "handovers"}]
    if "handovers" in end:
        if type(end["handovers"]) is not list or not end["handovers"]:
            return None
        texts += end["handovers"]
    return end if all(type(text) is str for text in texts) else None


def _summarise(report: Report, replay: Replay) -> None:
    report.counts = dict(replay.counts)
    report.unsettled = replay.unsettled
    report.without_budget = replay.without_budget
    report.reused_from_elsewhere = replay.reused_from_elsewhere
    report.approvers = {"quorum": replay.caps.quorum, "names": sorted(replay.caps.keys), "changes": replay.caps.changes}
    report.degraded = dict(sorted(replay.degraded.items()))
    report.cells = {
        name: {"released": shown, "withheld": withheld} for name, (shown, withheld) in sorted(replay.cells.items())
    }
    for name, scope in sorted(replay.scopes.items()):
        report.scopes[name] = {
            "accountant": scope.accountant,
            "cap": {unit: amount_text(amount, unit) for unit, amount in scope.cap.items()},
            "spent": {unit: amount_text(amount, unit) for unit, amount in scope.spent.items()},
            "charges": scope.charges,
            "cap_changes": scope.cap_changes,
            "raises_decided": scope.raises_decided,
            "raises_undecided": scope.raises_undecided,
        }
