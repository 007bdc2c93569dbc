"""The offline verifier: an export and nothing else. Standard library and `cryptography`, nothing of the writer.

It finds any record that was changed, dropped, added, swapped or cut off, a checkpoint that does not fit or was signed
by another key, and any charge beyond its cap. What it cannot see alone is a log rewritten as a whole by the holder of
the key: give it an older checkpoint or a receipt, and it sees that too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.audit.note import Checkpoint, parse_checkpoint, parse_key, signed_by
from gateway.audit.replay import Broken, Replay, amount_text
from gateway.audit.report import Report

LINE_BYTES_MAX: Final = 65_536


def verify_file(
    path: Path, *, key: str | None = None, since: Sequence[str] = (), receipts: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """As `verify`, of a file. Raises OSError."""
    with path.open("rb") as lines:
        return verify(lines, key=key, since=since, receipts=receipts)


def verify(
    lines: Iterable[bytes],
    *,
    key: str | None = None,
    since: Sequence[str] = (),
    receipts: Sequence[Mapping[str, Any]] = (),
) -> Report:
    """Checks an export line by line. Nothing in it is trusted but what `key` signed.

    `key` is the verifier key one expects, by default the export's own; `since` are older checkpoints and `receipts` old
    receipts that the log must still contain.
    """
    report = Report()
    replay = Replay()
    tree = _Tree()
    older = _read_older(report, since, receipts)
    sizes = {checkpoint.size for checkpoint, _ in older}
    roots = {0: tree.root()}
    leaves: dict[int, bytes] = {}
    wanted = {receipt["index"] for _, receipt in older if receipt is not None}
    last: bytes | None = None
    for line in lines:
        if last is not None:
            _take_record(report, replay, tree, last)
            if tree.size in sizes:
                roots[tree.size] = tree.root()
            if tree.size - 1 in wanted:
                leaves[tree.size - 1] = tree.latest
        last = line
    _finish_replay(report, replay)
    report.size, report.root, report.ledger = tree.size, tree.root().hex(), replay.ledger or ""
    vkey = _check_end(report, replay, tree, last, key)
    if vkey is not None:
        _check_older(report, vkey, older, roots, leaves)
    _summarise(report, replay)
    return report


def verify_receipt(receipt: Mapping[str, Any], key: str) -> list[str]:
    """What is wrong with a receipt under the verifier key `key`; empty when it proves its record."""
    report = Report()
    _check_receipt(report, receipt, key)
    return [problem.words for problem in report.problems]


def canonical(record: Any) -> bytes:
    """RFC 8785 for what records are made of: ASCII keys, strings, small integers, null, lists."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


class _Tree:
    """RFC 6962: the roots of the complete subtrees on the left, largest first."""

    def __init__(self) -> None:
        self.size = 0
        self.latest = b""
        self._peaks: list[tuple[int, bytes]] = []

    def add(self, content: bytes) -> None:
        value = self.latest = hashlib.sha256(b"\x00" + content).digest()
        count = 1
        while self._peaks and self._peaks[-1][0] == count:
            value = hashlib.sha256(b"\x01" + self._peaks.pop()[1] + value).digest()
            count *= 2
        self._peaks.append((count, value))
        self.size += 1

    def root(self) -> bytes:
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        value = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            value = hashlib.sha256(b"\x01" + peak + value).digest()
        return value


def _take_record(report: Report, replay: Replay, tree: _Tree, line: bytes) -> None:
    seq, content = tree.size, line.removesuffix(b"\n")
    tree.add(content)
    try:
        if len(line) > LINE_BYTES_MAX or not line.endswith(b"\n"):
            raise Broken("unreadable", "is not one line")
        replay.take(seq, _read_canonical(content))
    except Broken as broken:
        report.add(broken.code, seq, broken.words)


def _read_canonical(content: bytes) -> Any:
    """One text per record: no duplicate names, no other spelling of a string or a number."""
    try:
        read = json.loads(content.decode(), parse_float=_refuse, parse_constant=_refuse)
        again = canonical(read)
    except (ValueError, RecursionError) as error:
        raise Broken("unreadable", "is not JSON as records are") from error
    if again != content:
        raise Broken("canonical", "is not in canonical form")
    return read


def _refuse(text: str) -> Any:
    raise ValueError(text)


def _finish_replay(report: Report, replay: Replay) -> None:
    try:
        replay.finish()
    except Broken as broken:
        report.add(broken.code, None, broken.words)
    if replay.ledger is None:
        report.add("empty", None, "there is no record")


def _check_end(report: Report, replay: Replay, tree: _Tree, line: bytes | None, expected: str | None) -> str | None:
    """The last line: the checkpoint over all records, under the key of the genesis record. The key to go on with."""
    end = _end_line(line)
    if end is None:
        report.add("checkpoint_missing", None, "does not end with a signed checkpoint; it may be cut off")
        return expected
    vkey = str(end["key"])
    report.key = vkey
    if expected is not None and vkey != expected:
        report.add("key_differs", None, "is signed with another key than the expected one")
    try:
        checkpoint = parse_checkpoint(str(end["checkpoint"]))
        name, _, public = parse_key(vkey)
        if not signed_by(checkpoint, expected or vkey):
            report.add("signature", None, "the checkpoint's signature does not hold")
    except (ValueError, UnicodeError):
        report.add("checkpoint_unreadable", None, "the checkpoint or its key is unreadable")
        return expected
    if name != replay.ledger or hashlib.sha256(public).hexdigest() != replay.key_hash:
        report.add("key_differs", None, "the key is not the one that the log was begun with")
    if checkpoint.size != tree.size:
        report.add("size_differs", None, f"the checkpoint covers {checkpoint.size} records, there are {tree.size}")
    if checkpoint.root != tree.root():
        report.add("root_differs", None, "the records are not those that the checkpoint was signed over")
    return expected or vkey


def _end_line(line: bytes | None) -> dict[str, Any] | None:
    if line is None or not line.endswith(b"\n") or len(line) > LINE_BYTES_MAX:
        return None
    try:
        end = _read_canonical(line[:-1])
    except Broken:
        return None
    if not isinstance(end, dict) or set(end) != {"checkpoint", "key"}:
        return None
    return end if all(type(value) is str for value in end.values()) else None


_Older = tuple[Checkpoint, Mapping[str, Any] | None]


def _read_older(report: Report, since: Sequence[str], receipts: Sequence[Mapping[str, Any]]) -> list[_Older]:
    older: list[_Older] = []
    sources: list[tuple[Any, Mapping[str, Any] | None]] = [(note, None) for note in since]
    sources += [(receipt.get("checkpoint"), receipt) for receipt in receipts]
    for note, receipt in sources:
        try:
            if receipt is not None and type(receipt.get("index")) is not int:
                raise ValueError("a receipt without an index")
            older.append((parse_checkpoint(str(note)), receipt))
        except (ValueError, UnicodeError):
            report.add("older_unreadable", None, "an older checkpoint or receipt is unreadable")
    return older


def _check_older(
    report: Report, vkey: str, older: Sequence[_Older], roots: Mapping[int, bytes], leaves: Mapping[int, bytes]
) -> None:
    for checkpoint, receipt in older:
        report.consistent_with += 1
        if not signed_by(checkpoint, vkey):
            report.add("older_signature", None, "an older checkpoint or receipt was signed by another key")
        elif checkpoint.size > report.size:
            report.add("truncated", None, f"an older checkpoint covers {checkpoint.size} records, more than there are")
        elif roots.get(checkpoint.size) != checkpoint.root:
            report.add("fork", None, f"an older checkpoint covers other {checkpoint.size} records than these")
        elif receipt is not None:
            _check_receipt(report, receipt, vkey)
            if leaves.get(receipt["index"], b"").hex() != receipt.get("leaf_hash"):
                report.add("fork", receipt["index"], "is not the one that an older receipt proves")


def _check_receipt(report: Report, receipt: Mapping[str, Any], vkey: str) -> None:
    try:
        checkpoint = parse_checkpoint(str(receipt["checkpoint"]))
        proof = [bytes.fromhex(step) for step in receipt["proof"]]
        leaf = hashlib.sha256(b"\x00" + canonical(receipt["record"])).digest()
        index, shown, seq = receipt["index"], receipt["leaf_hash"], receipt["record"]["seq"]
        signed = signed_by(checkpoint, vkey)
    except (KeyError, TypeError, ValueError, UnicodeError):
        report.add("receipt_unreadable", None, "a receipt is unreadable")
        return
    if not signed:
        report.add("signature", None, "a receipt's checkpoint is not signed by this log")
    if type(index) is not int or seq != index or shown != leaf.hex():
        report.add("receipt_differs", None, "a receipt's record is not the one its hash names")
    elif _climb(index, checkpoint.size, leaf, proof) != checkpoint.root:
        report.add("receipt_unproven", index, "a receipt's proof does not lead to its checkpoint")


def _climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that an audit path leads to, from the leaf up; None when the path has another length."""
    sides = []
    low, high = 0, size
    while high - low > 1 and low <= index < high:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        sides.append(index < middle)
        low, high = (low, middle) if index < middle else (middle, high)
    if len(sides) != len(proof) or not 0 <= index < size:
        return None
    for is_left, sibling in zip(reversed(sides), proof, strict=True):
        pair = leaf + sibling if is_left else sibling + leaf
        leaf = hashlib.sha256(b"\x01" + pair).digest()
    return leaf


def _summarise(report: Report, replay: Replay) -> None:
    report.counts = dict(replay.counts)
    report.unsettled = replay.unsettled
    report.without_budget = replay.without_budget
    report.reused_from_elsewhere = replay.reused_from_elsewhere
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
        }


def _receipts(paths: Sequence[Path]) -> Iterator[Mapping[str, Any]]:
    for path in paths:
        content = json.loads(path.read_bytes())
        inner = content.get("receipt", content) if isinstance(content, dict) else {}
        yield inner if isinstance(inner, dict) else {}


def _is_key(text: str) -> bool:
    try:
        parse_key(text)
    except (ValueError, UnicodeError):
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """0 sound, 1 not sound or unreadable, 2 wrong usage."""
    parser = argparse.ArgumentParser(description="Verifies an exported audit log, offline.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", help="the verifier key you expect")
    parser.add_argument("--since", type=Path, action="append", default=[], help="file of an older checkpoint")
    parser.add_argument("--receipt", type=Path, action="append", default=[], help="file of an old answer or receipt")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    chosen = parser.parse_args(arguments)
    if chosen.key is not None and not _is_key(chosen.key):
        print("--key is no verifier key; `audit checkpoint --json` prints the one of a log", file=sys.stderr)
        return 2
    try:
        since = [path.read_text(encoding="utf-8") for path in chosen.since]
        report = verify_file(chosen.export, key=chosen.key, since=since, receipts=list(_receipts(chosen.receipt)))
    except OSError as error:
        print(f"`{error.filename}` cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"cannot be read: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report.as_json(), indent=2) if chosen.json else report.text())
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
