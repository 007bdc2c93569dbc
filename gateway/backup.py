"""Copies of the ledger, and how they come back: never with less than what was signed, or nothing is granted.

A copy is older than the ledger by the time that it is needed. What it lacks is put back from an export of the log,
whose records hold all that budgets hang on. What is still missing then, as the checkpoints that are kept outside show,
keeps every dataset frozen.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from gateway.audit import handover
from gateway.audit.log import Log
from gateway.audit.note import size_of
from gateway.audit.verify import verify_file
from gateway.budget import rebuild
from gateway.budget.recovery import differences
from gateway.errors import Misconfigured, Unsound
from gateway.store import Store, Transaction
from gateway.synced import sync

_DONE_AGAIN: Final = ("cap_", "policy", "licence", "log_key")
"""Acts on record that an import does again, or that are done again when they are needed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a ledger is worth: its records, and why which datasets are frozen. `closed`: why all are."""

    records: int
    closed: str | None
    frozen: dict[str, str]

    @property
    def open(self) -> bool:
        return self.closed is None and not self.frozen


@dataclass(frozen=True, slots=True)
class Imported:
    """How many records were put back, and which acts of the owner among them have to be repeated: what was erased or
    called back after the copy was made, which records only commit to."""

    records: int
    to_repeat: Mapping[str, int]


def back_up(store: Store, log: Log, target: Path) -> None:
    """A consistent copy at `target`, whole or not at all. On record, if the log takes records. Raises Fault."""
    if log.closed is None:
        with store.transaction() as tx:
            log.note_read(tx, None, "backup")
        log.checkpoint()  # kept: from now on a copy that is older than this one is seen to be
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
            copy = Path(folder) / "copy"
            store.copy_to(copy)
            sync(copy)
            copy.replace(target)
            sync(target.parent)
    except OSError as error:
        raise Misconfigured(f"{target}: cannot be written ({error.strerror})") from error


def standing(store: Store, log: Log) -> Standing:
    """Holds the whole log, the tables and all known checkpoints against each other."""
    frozen = differences(store, log)
    with store.reading() as view:
        return Standing(log.size(view), log.closed, frozen)


def import_records(store: Store, log: Log, export: Path) -> Imported:
    """Puts back the records that `export` has beyond this log's own, and what they did to the tables.

    All or nothing. Raises Misconfigured for an export that is not sound, or not of this log.
    """
    try:
        report = verify_file(export)
    except OSError as error:
        raise Misconfigured(f"{export}: cannot be read ({error.strerror})") from error
    if not report.ok:
        raise Misconfigured(f"{export}: is no sound export of this log: {report.problems[0].words}")
    if not log.is_of([vkey for _, vkey in report.keys]):
        raise Misconfigured(f"{export}: is no sound export of this log: it is signed with the keys of another one")
    with export.open("rb") as lines, store.transaction() as tx:
        found = _import(tx, log, export, lines)
        if found.records:
            _require_ours(tx, log, export, report.keys[-1][1])
        return found


def _require_ours(tx: Transaction, log: Log, export: Path, newest: str) -> None:
    """A key that the log had once signs to this day for whoever stole it, and a copy from before its change knows no
    other. Raises Misconfigured; then the transaction takes all back."""
    if log.has_put_aside(newest):
        way_out = "take one from after the change; nothing was imported"
        raise Misconfigured(f"{export}: ends under a key that this home has changed since; {way_out}")
    try:
        log.require_no_fork(tx)
    except Unsound as unsound:
        raise Misconfigured(f"{export}: {unsound}, with these records; nothing was imported") from unsound


def _import(tx: Transaction, log: Log, export: Path, lines: Iterator[bytes]) -> Imported:
    own, taken = log.size(tx), 0
    acts: Counter[str] = Counter()
    before: dict[str, Any] = {}
    rebuild.begin(tx)
    end = b"{}"
    for seq, (line, following) in enumerate(pairwise(lines)):  # the last line is the checkpoint
        end = following
        content = line.removesuffix(b"\n")
        if seq < own:
            if tx.one("SELECT 1 FROM record WHERE seq = ? AND body = ?", (seq, content)) is None:
                raise Misconfigured(f"{export}: is of another log, from record {seq} on")
            continue
        record = log.take_back(tx, content)
        rebuild.take_back(tx, record, before)
        before = record
        taken += 1
        if record["kind"] == "admin" and not record["code"].startswith(_DONE_AGAIN):
            acts[record["code"]] += 1
    for note in json.loads(end).get("handovers", ()):
        if size_of(note) > own:
            handover.keep(tx, note)
    return Imported(taken, acts)
