"""The append-only log: records enter inside the transaction of the change they record.

Receipts and checkpoints read only what is durable, so nothing is signed that a crash could take back.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from gateway.audit import cosigned, rights, tree
from gateway.audit import record as records
from gateway.audit.checkpoint import Signer
from gateway.audit.note import size_of
from gateway.audit.record import Decision, Entry, Kind
from gateway.errors import Fault, Misconfigured, Refusal
from gateway.right import Right
from gateway.store import Reading, Store, Transaction

PAGE_MAX: Final = 1000


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records an auditor wants; None is any. Times as in records, `since` included, `until` not."""

    actor: str | None = None
    dataset: str | None = None
    kind: str | None = None
    decision: str | None = None
    code: str | None = None
    query_id: str | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Records in order, oldest first, and the cursor of the next page, None at the end."""

    records: tuple[dict[str, Any], ...]
    cursor: str | None


class Log:
    """Opens the log of `signer.origin` in `store`, with its genesis record if it is new.

    `anchor` is the file of the last checkpoint, outside the database: a database put back from a copy is older than it.
    `degraded` are the isolation layers that the data domain does without, or None as long as it has not told: then
    records say what the one before them says.

    Raises Misconfigured when the file holds the log of another origin or key.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        anchor: Path,
        clock: Callable[[], datetime] = utc_now,
        degraded: Callable[[], tuple[str, ...] | None] = lambda: None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._anchor = anchor
        self._clock = clock
        self._degraded = degraded
        self._signed: tuple[int, bytes] = (0, tree.EMPTY_ROOT)
        self._signing = threading.Lock()
        with store.reading() as view:
            empty = self.size(view) == 0
        if empty:
            self._begin()
        self._check_genesis()

    @property
    def origin(self) -> str:
        return self._signer.origin

    @property
    def vkey(self) -> str:
        """The key that verifies checkpoints, in C2SP's form."""
        return self._signer.vkey

    def append(  # noqa: PLR0913  # the fields of a record
        self,
        tx: Transaction,
        *,
        kind: Kind,
        actor: str | None = None,
        query_id: str | None = None,
        dataset: str | None = None,
        policy_digest: str | None = None,
        snapshot: str | None = None,
        decision: Decision | None = None,
        code: str | None = None,
        charges: Sequence[Mapping[str, str]] | None = None,
        texts: Mapping[str, str] | None = None,
        hashes: Mapping[str, str] | None = None,
        right: Right | None = None,
    ) -> int:
        """The record's index. `texts` are committed to with fresh salts and kept apart; `hashes` are such already.

        A null `actor` is the gateway itself. `right` is that of a decision to run or to reuse; what it rests on is put
        on record first, where it is new. Durable with `tx`, not before. Raises Refusal(licence_expired).
        """
        entry = Entry(
            kind=kind,
            actor=actor,
            query_id=query_id,
            dataset=dataset,
            policy_digest=policy_digest,
            snapshot=snapshot,
            decision=decision,
            code=code,
            charges=None if charges is None else tuple(charges),
            secrets=records.commit(texts or {}),
            hashes=tuple(sorted((hashes or {}).items())),
        )
        return self._write(tx, entry if right is None else self._by_right(tx, entry, right), right)

    def size(self, view: Reading) -> int:
        row = view.one("SELECT max(seq) FROM record")
        return 0 if row is None or row[0] is None else int(row[0]) + 1

    def reading(self) -> AbstractContextManager[Reading]:
        """A view of what is durable."""
        return self._store.reading()

    def checkpoint(self) -> str:
        """A signed note over every record that is durable now."""
        with self._signing, self._store.reading() as view:
            return self._sign(view, self.size(view))

    def published(self) -> str:
        """The newest checkpoint that witnesses have cosigned; without any, one that is signed now."""
        witnessed = self.cosigned()
        return self.checkpoint() if witnessed is None else witnessed

    def cosigned(self) -> str | None:
        """The newest checkpoint that witnesses have cosigned."""
        with self._store.reading() as view:
            return cosigned.newest(view)

    def receipt(self, index: int) -> dict[str, Any]:
        """`{index, record, leaf_hash, proof, checkpoint}`: proves a durable record offline. Hashes are hex.

        Raises Fault when there is no such record.
        """
        with self._signing, self._store.reading() as view:
            size = self.size(view)
            row = view.one("SELECT body FROM record WHERE seq = ?", (index,))
            if row is None:
                raise Fault("a receipt for a record that is not durable")
            note = self._sign(view, size)
            witnessed = cosigned.newest(view)
            if witnessed is not None and size_of(witnessed) > index:  # says more than our own word
                note, size = witnessed, size_of(witnessed)
            path = tree.inclusion(index, size, partial(_node, view))
        return {
            "index": index,
            "record": json.loads(row[0]),
            "leaf_hash": tree.leaf_hash(row[0]).hex(),
            "proof": [step.hex() for step in path],
            "checkpoint": note,
        }

    def inclusion(self, index: int, size: int) -> tuple[bytes, list[bytes]]:
        """The leaf's hash and its audit path in the tree of `size` records. Raises Refusal(not_found)."""
        with self._proving(size) as node:
            path = tree.inclusion(index, size, node)
            return node(0, index), path

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proves that the tree of `old` records begins that of `new`. Raises Refusal(not_found)."""
        with self._proving(new) as node:
            return tree.consistency(old, new, node)

    def records(self, view: Reading, wanted: Filter, *, limit: int = 100, cursor: str | None = None) -> Page:
        """A page of records. Raises Refusal(parameter_invalid) for a cursor or a limit that is none."""
        if not 1 <= limit <= PAGE_MAX:
            raise Refusal("parameter_invalid", f"`limit` must be from 1 to {PAGE_MAX}")
        conditions = {
            "actor = ?": wanted.actor,
            "dataset = ?": wanted.dataset,
            "kind = ?": wanted.kind,
            "decision = ?": wanted.decision,
            "code = ?": wanted.code,
            "query = ?": wanted.query_id,
            "time >= ?": wanted.since,
            "time < ?": wanted.until,
            "seq >= ?": _start(cursor),
        }
        chosen = {text: value for text, value in conditions.items() if value is not None}
        sql = f"SELECT seq, body FROM record WHERE {' AND '.join(chosen)} ORDER BY seq LIMIT ?"  # noqa: S608  # our own texts
        rows = view.all(sql, (*chosen.values(), limit + 1))
        following = str(rows[limit][0]) if len(rows) > limit else None
        return Page(tuple(json.loads(content) for _, content in rows[:limit]), following)

    def bodies(self, start: int, end: int) -> list[bytes]:
        """The exact bytes of records start..end-1; at most PAGE_MAX of them."""
        with self._store.reading() as view:
            rows = view.all(
                "SELECT body FROM record WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?", (start, end, PAGE_MAX)
            )
        return [row[0] for row in rows]

    def moves(self, view: Reading) -> Iterator[dict[str, Any]]:
        """The records that move budgets (charges, caps, cells), in order, with every record checked against the tree.

        Raises Misconfigured when the log is damaged, or older than the last checkpoint that was signed over it: a
        restored backup gives no budget back.
        """
        size = self.size(view)
        start = 0
        while start < size:
            rows = view.all(
                "SELECT r.seq, r.kind, r.code, r.body, n.hash FROM record r"
                " JOIN node n ON n.level = 0 AND n.place = r.seq WHERE r.seq >= ? ORDER BY r.seq LIMIT ?",
                (start, PAGE_MAX),
            )
            for seq, kind, code, content, leaf in rows:
                if seq != start or tree.leaf_hash(content) != leaf:
                    raise Misconfigured(f"{self._store.name}: the log is damaged at record {start}")
                start += 1
                if kind == "charge" or (code is not None and code.startswith(("cap_", "cells_"))):
                    yield json.loads(content)
            if not rows:
                raise Misconfigured(f"{self._store.name}: the log is damaged at record {start}")
        self._check_tree(view, size)
        self._check_anchor(view, size)

    def note_read(self, tx: Transaction, actor: str | None, what: str, wanted: Mapping[str, str] | None = None) -> int:
        """Records that somebody reads the log: `what` is the act (`records`, `export`), `wanted` its parameters."""
        texts = {"wanted": json.dumps(dict(wanted), sort_keys=True, ensure_ascii=False)} if wanted else None
        return self.append(tx, kind="read", actor=actor, code=what, texts=texts)

    def opened(self, view: Reading, index: int) -> dict[str, tuple[str, str]]:
        """The texts behind a record's commitments that were not erased: name -> (hex salt, text)."""
        rows = view.all("SELECT name, salt, text FROM secret WHERE seq = ?", (index,))
        return {name: (salt.hex(), text) for name, salt, text in rows}

    def _begin(self) -> None:
        with self._store.transaction() as tx:
            if self.size(tx) == 0:
                self.append(tx, kind="genesis", hashes={"key": self._signer.key_hash})

    def _check_genesis(self) -> None:
        genesis = records.read(self.bodies(0, 1)[0])
        if genesis["ledger"] != self._signer.origin:
            raise Misconfigured(f"the log in {self._store.name} is that of `{genesis['ledger']}`, not `{self.origin}`")
        if (genesis["commitments"] or {}).get("key") != self._signer.key_hash:
            raise Misconfigured(f"the log in {self._store.name} was begun with another key; put that key back")

    def end_licences(self, tx: Transaction, licences: frozenset[str]) -> None:
        """Puts on record that of those in force only `licences` still are."""
        for name, entry in rights.ended(tx, licences):
            self._declare(tx, name, entry)

    def _by_right(self, tx: Transaction, entry: Entry, right: Right) -> Entry:
        if entry.dataset is None or entry.policy_digest is None:
            raise Fault("a decision by right names its dataset and its policy")
        for name, news in rights.undeclared(tx, entry.dataset, entry.policy_digest, right):
            self._declare(tx, name, news)
        licence = None if right.licence is None else right.licence.licence
        return replace(entry, mode=right.mode, licence=licence)

    def _declare(self, tx: Transaction, name: str, entry: Entry) -> None:
        self._write(tx, entry)
        rights.remember(tx, name, entry)

    def _write(self, tx: Transaction, entry: Entry, right: Right | None = None) -> int:
        last = tx.one("SELECT seq, time, body FROM record ORDER BY seq DESC LIMIT 1")
        seq, time = (0, "") if last is None else (last[0] + 1, last[1])
        degraded = self._degraded()
        if degraded is None:
            degraded = () if last is None else tuple(records.read(last[2]).get(records.DEGRADED, ()))
        entry = replace(entry, degraded=degraded)
        time = max(time, records.stamp(self._clock()))  # a clock that was set back does not turn the order of records
        if right is not None:
            right.require_valid(time)
        content = records.body(entry, ledger=self._signer.origin, seq=seq, time=time)
        tx.write(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, time, entry.kind, entry.actor, entry.query_id, entry.dataset, entry.decision, entry.code, content),
        )
        for level, place, value in tree.appended(seq, tree.leaf_hash(content), partial(_node, tx)):
            tx.write("INSERT INTO node VALUES (?, ?, ?)", (level, place, value))
        for secret in entry.secrets:
            tx.write("INSERT INTO secret VALUES (?, ?, ?, ?)", (seq, secret.name, secret.salt, secret.text))
        return int(seq)

    def _check_tree(self, view: Reading, size: int) -> None:
        """The stored subtrees must be those of the leaves, and no others."""
        total = width = size
        for level in range(1, size.bit_length()):
            width //= 2
            total += width
            for start in range(0, width, PAGE_MAX):
                rows = view.all(
                    "SELECT p.hash, l.hash, r.hash FROM node p"
                    " JOIN node l ON l.level = p.level - 1 AND l.place = 2 * p.place"
                    " JOIN node r ON r.level = p.level - 1 AND r.place = 2 * p.place + 1"
                    " WHERE p.level = ? AND p.place >= ? AND p.place < ?",
                    (level, start, min(start + PAGE_MAX, width)),
                )
                whole = len(rows) == min(PAGE_MAX, width - start)
                if not whole or any(tree.parent_hash(left, right) != parent for parent, left, right in rows):
                    raise Misconfigured(f"{self._store.name}: the log's tree is damaged")
        if view.one("SELECT count(*) FROM node") != (total,):
            raise Misconfigured(f"{self._store.name}: the log's tree is damaged")

    def _check_anchor(self, view: Reading, size: int) -> None:
        try:
            note = self._anchor.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        except (OSError, UnicodeError) as error:
            raise Misconfigured(f"{self._anchor}: cannot be read") from error
        if not note:
            return  # power was lost just after the file was replaced; the database holds the records
        lines = note.split("\n")
        signed = int(lines[1]) if len(lines) > 1 and lines[1].isascii() and lines[1].isdigit() else size + 1
        if signed > size or self._signer.sign(signed, tree.root(signed, partial(_node, view))) != note:
            raise Misconfigured(
                f"{self._store.name}: older than the checkpoint in {self._anchor.name}, or another log; put the newest "
                "copy of the database back. Removing that file gives up the proof that no charge was lost"
            )

    def _keep(self, note: str) -> None:
        beside = self._anchor.with_suffix(f".{secrets.token_hex(4)}")
        try:
            beside.write_text(note, encoding="utf-8")
            beside.replace(self._anchor)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise Fault(f"{self._anchor}: not written ({error.strerror})") from error

    def _sign(self, view: Reading, size: int) -> str:
        """Signs the tree of `size`, but never one that does not extend what this process signed before.

        Under `_signing`, taken before the view was opened, so that views come in order.
        """
        node = partial(_node, view)
        signed_size, signed_root = self._signed
        if size < signed_size or (signed_size and tree.root(signed_size, node) != signed_root):
            raise Fault("the log no longer extends what was signed before")
        root = tree.root(size, node)
        note = self._signer.sign(size, root)
        if size > signed_size:
            self._keep(note)
            self._signed = (size, root)
        return note

    @contextmanager
    def _proving(self, size: int) -> Iterator[tree.Node]:
        with self._store.reading() as view:
            if size > self.size(view):
                raise Refusal("not_found", f"the log has no {size} records")
            try:
                yield partial(_node, view)
            except ValueError as error:
                raise Refusal("not_found", str(error)) from error


def _node(view: Reading, level: int, place: int) -> bytes:
    row = view.one("SELECT hash FROM node WHERE level = ? AND place = ?", (level, place))
    if row is None:
        raise Fault("the log's tree has a hole")
    return bytes(row[0])


def _start(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Refusal("parameter_invalid", "`cursor` is not one of ours")
    return int(cursor)
