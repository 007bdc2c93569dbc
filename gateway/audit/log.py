"""The append-only log: records enter inside the transaction of the change they record.

Receipts and checkpoints read only what is durable, so nothing is signed that a crash could take back.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

from gateway.audit import approvers, cosigned, handover, rights, soundness, tree
from gateway.audit import record as records
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.handover import Held, KeyMissing, Ring
from gateway.audit.keys import CHANGES_MAX, SHAPE, Keys
from gateway.audit.note import Checkpoint, key_hash, parse_checkpoint, signed_by, size_of
from gateway.audit.record import Decision, Entry, Kind, Secret
from gateway.audit.search import PAGE_MAX
from gateway.audit.suites import DIGESTS, Digest, digest_name, suite_of
from gateway.audit.told import COMMITMENT
from gateway.decided import Approvers, Decided
from gateway.errors import Fault, Misconfigured, Refusal, Unsound
from gateway.right import Right
from gateway.store import Reading, Store, Transaction

_LAST: Final = f"SELECT seq, time, body, ({handover.NEWEST}) FROM record ORDER BY seq DESC LIMIT 1"  # noqa: S608  # our own text
NO_LONGER: Final = "the log no longer extends what was signed before"


@dataclass(frozen=True, slots=True)
class _Signed:
    """What this process signed last: size, root, last leaf, and the note over that. SM2 would sign the same tree in
    another way each time, and a signer outside takes its time."""

    size: int
    root: bytes
    last: bytes | None
    note: str | None


def utc_now() -> datetime:
    return datetime.now(UTC)


class Log:
    """Opens the log of `signer.origin` in `store`, with its genesis record if it is new.

    `signer` is the key that it signs with, or all that a home holds of the log's keys.
    `anchors` are the checkpoints that are kept outside the database.
    `degraded` are the isolation layers that the data domain does without, or None as long as it has not told: then
    records say what the one before them says.

    Raises Misconfigured when the file holds the log of another origin or key.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer | Held,
        anchors: Anchors,
        clock: Callable[[], datetime] = utc_now,
        degraded: Callable[[], tuple[str, ...] | None] = lambda: None,
    ) -> None:
        self._store = store
        self._ring = Ring(signer if isinstance(signer, Held) else Held(signer))
        self._digest = DIGESTS[self._ring.held.signer.suite]
        self._anchors = anchors
        self._clock = clock
        self._degraded = degraded
        self._signed = _Signed(0, self._digest(b""), None, None)
        """Replaced as one, for other threads look at it."""
        self._signing = threading.Lock()
        self._closed: str | None = None
        self._sessions = store.sessions
        with store.reading() as view:
            size = self.size(view)
            try:
                self._check_extends(view)
            except Unsound as unsound:
                self.close(str(unsound))
        if size == 0 and self._closed is None:
            self._begin()
        if size or self._closed is None:
            self._check_key()

    @property
    def closed(self) -> str | None:
        """Why the log takes no more records, if it does not."""
        return self._closed

    def unready(self) -> str | None:
        """Why this process could not sign what is added now, in words for whoever runs it."""
        try:
            with self._store.reading() as view:
                signer = self._ring.signer(view)
        except KeyMissing as error:
            return str(error)
        except Fault:
            return "cannot be read: the log of the gateway says why"
        return signer.unready()

    def unsigned(self) -> str | None:
        """Why the key of now does not sign, as far as is known: an answer could not be given out. Reads nothing."""
        return self._ring.last.unready()

    def close(self, why: str) -> None:
        """Takes no more records and signs nothing: what would be added now would contradict what was signed."""
        self._closed = self._closed or why

    @property
    def origin(self) -> str:
        return self._ring.held.signer.origin

    @property
    def vkey(self) -> str:
        """The key that verifies checkpoints of now, in C2SP's form."""
        return self.keys().newest

    def keys(self) -> Keys:
        """Those that the log had, with the sizes that they are good for."""
        with self._store.reading() as view:
            return self._ring.keys(view)

    @property
    def digest(self) -> Digest:
        """That of the log's suite."""
        return self._digest

    def is_of(self, keys: Sequence[str]) -> bool:
        """Whether these, in order, can be the keys of this log: begun with the same, or, where nothing is here yet, one
        of them is held by this home. A key that the log had once is no sign: it may have been stolen since."""
        with self._store.reading() as view:
            begun_with = handover.begun_with(view)
        if begun_with is not None:
            return bool(keys) and key_hash(keys[0]) == begun_with
        return any(signer.vkey in keys for signer in self._ring.held.all())

    def has_put_aside(self, vkey: str) -> bool:
        """Whether this home has changed this key for another one: what it signs now may be the work of a thief."""
        return vkey in self._ring.held.retired and vkey not in {each.vkey for each in self._ring.held.all()}

    def require_no_fork(self, view: Reading) -> None:
        """Raises Unsound where a checkpoint that is kept outside is one of another log, as far as the records go."""
        soundness.check_forks(view, self._anchors.known(self._vkeys(view)), self._digest)

    def has_signed(self, checkpoint: Checkpoint) -> bool:
        """Whether it carries the signature of one of this log's keys, also of one that the store does not know of."""
        with self._store.reading() as view:
            return any(signed_by(checkpoint, vkey) for vkey in self._vkeys(view))

    def handovers(self, size: int) -> list[dict[str, Any]]:
        """What proves to somebody who knows an older key that the one of a checkpoint of this size followed it."""
        with self._store.reading() as view:
            return handover.links(view, size, self._digest)

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
        told: str | None = None,
        right: Right | None = None,
        decided: Decided | None = None,
    ) -> int:
        """The record's index. `texts` are committed to with fresh salts and kept apart; `hashes` are such already.
        `told` is what an answer says: it is committed to, and only the salt is kept.

        A null `actor` is the gateway itself. `right` is that of a decision to run or to reuse; what it rests on is put
        on record first, where it is new. `decided` is what a raised cap rests on. Durable with `tx`, not before. Raises
        Refusal(licence_expired), Unsound while the log is closed, and KeyMissing where this home cannot sign what it
        would add.
        """
        self._require_whole(tx)
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
            secrets=(
                *records.commit(texts or {}, self._digest),
                *(() if told is None else (records.seal(COMMITMENT, told, self._digest),)),
            ),
            hashes=tuple(sorted((hashes or {}).items())),
        )
        if decided is not None:
            entry = replace(entry, terms=decided.terms(), secrets=_reason(decided))
        return self._write(tx, entry if right is None else self._by_right(tx, entry, right), right)

    def size(self, view: Reading) -> int:
        return soundness.size_of(view)

    def reading(self) -> AbstractContextManager[Reading]:
        """A view of what is durable."""
        return self._store.reading()

    def checkpoint(self) -> str:
        """A signed note over every record that is durable now. Raises NotReady where its key does not sign."""
        return self._covering(self._durable())

    def published(self) -> str:
        """The newest checkpoint that witnesses have cosigned under the key of now; without any, one that is new."""
        return self.cosigned_over(-1) or self.checkpoint()

    def cosigned(self) -> str | None:
        """The newest checkpoint that witnesses have cosigned."""
        with self._store.reading() as view:
            return cosigned.newest(view)

    def cosigned_over(self, index: int) -> str | None:
        """That checkpoint, where it holds the record, and the last change of the log's key: a reader may know the newer
        key alone, and an older one may be stolen."""
        with self._store.reading() as view:
            return _over(view, index)

    def receipt(self, index: int) -> dict[str, Any]:
        """`{index, record, leaf_hash, proof, checkpoint}`: proves a durable record offline. Hashes are hex.

        Raises Fault when there is no such record, NotReady where the log's key does not sign.
        """
        with self.receipted(index) as (_, receipt):
            return receipt

    @contextmanager
    def receipted(self, index: int) -> Iterator[tuple[Reading, dict[str, Any]]]:
        """A view of what is durable, and the receipt of a record by it. Raises as `receipt` does."""
        wanted = index + 1
        while True:
            note = self._covering(wanted, proven=True)
            with self._store.reading() as view:
                last = handover.last(view)
                asked, wanted = wanted, max(index, last) + 1  # under the key of now
                if wanted <= max(asked, size_of(note)):
                    yield view, self._receipt(view, index, note, changed=last >= 0)
                    return

    def _receipt(self, view: Reading, index: int, note: str, *, changed: bool) -> dict[str, Any]:
        """Guarantee: on return the proof holds, from the record to the root that `checkpoint` was signed over."""
        row = view.one("SELECT body FROM record WHERE seq = ?", (index,))
        if row is None:
            self._require_length(view, size_of(note))
            raise Fault("a receipt for a record that is not durable")
        note = _over(view, index) or note  # what witnesses have cosigned says more than our own word
        checkpoint, leaf = parse_checkpoint(note), tree.leaf_hash(row[0], self._digest)
        try:
            path = soundness.Subtrees(view, self._digest).inclusion(index, checkpoint.size)
        except Unsound:
            self._require_length(view, checkpoint.size)
            raise
        if not tree.inclusion_holds(index, checkpoint.size, leaf, path, checkpoint.root, self._digest):
            self._lose_trust(NO_LONGER)
        handed = handover.links(view, checkpoint.size, self._digest) if changed else []
        return {
            "index": index,
            "record": json.loads(row[0]),
            "leaf_hash": leaf.hex(),
            "proof": [step.hex() for step in path],
            "checkpoint": note,
            **({"handovers": handed} if handed else {}),
        }

    def inclusion(self, index: int, size: int) -> tuple[bytes, list[bytes]]:
        """The leaf's hash and its audit path in the tree of `size` records. Raises Refusal(not_found)."""
        with self._proving(size) as node:
            path = tree.inclusion(index, size, node, self._digest)
            return node(0, index), path

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proves that the tree of `old` records begins that of `new`. Raises Refusal(not_found)."""
        with self._proving(new) as node:
            return tree.consistency(old, new, node, self._digest)

    def bodies(self, start: int, end: int) -> list[bytes]:
        """The exact bytes of records start..end-1; at most PAGE_MAX of them."""
        with self._store.reading() as view:
            rows = view.all(
                "SELECT body FROM record WHERE seq >= ? AND seq < ? ORDER BY seq LIMIT ?", (start, end, PAGE_MAX)
            )
        return [row[0] for row in rows]

    def moves(self, view: Reading) -> Iterator[dict[str, Any]]:
        """The records that move budgets (charges, caps, cells), in order, with every record checked against the tree.

        Raises Unsound when the log is damaged, when a cap was raised without the approvers that were in force, or when
        it does not extend a checkpoint that is kept outside: a restored backup gives no budget back.
        """
        decisions = soundness.Decisions()
        for record in soundness.records(view, self._digest):
            decisions.take(record)
            if record["kind"] == "charge" or (record["code"] or "").startswith(("cap_", "cells_")):
                yield record
        soundness.check_tree(view, self._digest)
        self._check_extends(view)
        handover.notes(view, self.size(view))

    def approvers(self, view: Reading) -> Approvers | None:
        """Who may decide on caps; None as long as nobody was named."""
        return approvers.in_force(view)

    def applied(self, view: Reading, nonce: str) -> bool:
        """Whether a decision of this nonce is on record."""
        return approvers.applied(view, nonce)

    def name_approvers(self, tx: Transaction, named: Approvers, decided: Decided | None = None) -> int:
        """Puts approvers in force: the first, or others by a decision of those that are. The caller has judged it."""
        self._require_whole(tx)
        terms = {approvers.CODE: named.as_json(), **({} if decided is None else decided.terms())}
        secret = () if decided is None else _reason(decided)
        return self._write(tx, Entry(kind="admin", code=approvers.CODE, terms=terms, secrets=secret))

    def note_read(self, tx: Transaction, actor: str | None, what: str, wanted: Mapping[str, str] | None = None) -> int:
        """Records that somebody reads the log: `what` is the act (`records`, `export`), `wanted` its parameters."""
        texts = {"wanted": json.dumps(dict(wanted), sort_keys=True, ensure_ascii=False)} if wanted else None
        return self.append(tx, kind="read", actor=actor, code=what, texts=texts)

    def opened(self, view: Reading, index: int) -> dict[str, tuple[str, str]]:
        """The texts behind a record's commitments that were not erased: name -> (hex salt, text)."""
        rows = view.all("SELECT name, salt, text FROM secret WHERE seq = ? AND name <> ?", (index, COMMITMENT))
        return {name: (salt.hex(), text) for name, salt, text in rows}

    def opening(self, view: Reading, index: int) -> str | None:
        """The salt (hex) by which a record's commitment to its answer opens; None where there is none, or none left.

        For whoever is told the answer, and for nobody else: few numbers are soon guessed from hash and salt.
        """
        row = view.one("SELECT salt FROM secret WHERE seq = ? AND name = ?", (index, COMMITMENT))
        return None if row is None else bytes(row[0]).hex()

    def take_back(self, tx: Transaction, content: bytes) -> dict[str, Any]:
        """Appends a record that was lost, as it was. The caller has verified it, and does what it did. Raises Fault."""
        entry = records.read(content)
        if entry["seq"] != self.size(tx) or entry["ledger"] != self.origin:
            raise Fault("a record that is not the next one of this log")
        names = ("time", "kind", "actor", "query_id", "dataset", "decision", "code")
        self._insert(tx, entry["seq"], tuple(entry[name] for name in names), content)
        return entry

    def _check_extends(self, view: Reading) -> None:
        """Raises Unsound where a checkpoint that is kept outside is not one of this log's."""
        soundness.check_extends(view, self._anchors.known(self._vkeys(view)), self._digest)

    def _vkeys(self, view: Reading) -> set[str]:
        """Every key that checkpoints of this log may be signed with, wherever they are kept."""
        return {*self._ring.keys(view).vkeys, *self._ring.held.vkeys()}

    def _require_open(self) -> None:
        if self._closed is not None:
            raise Unsound(self._closed)

    def _require_whole(self, view: Reading) -> None:
        """What this process has signed is there: a server that took over may lack the last records. Raises Unsound."""
        self._require_open()
        signed = self._signed
        if signed.size and soundness.leaf(view, signed.size - 1) != signed.last:
            self._lose_trust("the log no longer holds what was signed before")
        if self._store.sessions != self._sessions:
            try:
                self._check_extends(view)
            except Unsound as unsound:
                self._lose_trust(str(unsound))
            self._sessions = self._store.sessions

    def _require_length(self, view: Reading, signed: int) -> None:
        """Raises Unsound where there are fewer records than were signed, and closes the log."""
        if self.size(view) < signed:
            self._lose_trust(NO_LONGER)

    def _lose_trust(self, why: str) -> NoReturn:
        self.close(why)
        raise Unsound(why)

    def _begin(self) -> None:
        with self._store.transaction() as tx:
            if self.size(tx) == 0:
                self._write(tx, Entry(kind="genesis", hashes=(("key", self._ring.held.signer.key_hash),)))

    def _check_key(self) -> None:
        """A closed log may be one that lacks the record of its newest key."""
        genesis = records.read(self.bodies(0, 1)[0])
        if genesis["ledger"] != self.origin:
            raise Misconfigured(f"the log in {self._store.name} is that of `{genesis['ledger']}`, not `{self.origin}`")
        if digest_name(suite_of(genesis)) != digest_name(self._ring.held.signer.suite):
            raise Misconfigured(f"the log in {self._store.name} was begun with the suite `{genesis['suite']}`")
        if self._closed is None:
            with self._store.reading() as view:
                try:
                    self._ring.signer(view)
                except KeyMissing as error:
                    raise Misconfigured(
                        f"the log in {self._store.name} goes on with another key; put that key back"
                    ) from error

    def try_out(self, successor: Signer) -> None:
        """Has the key of now and the next one sign: one that is out is found before a transaction waits for it.

        Raises NotReady.
        """
        with self._store.reading() as view:
            old = self._ring.signer(view)
        for each in (old, successor):
            each.try_out()

    def hand_over(self, tx: Transaction, successor: Signer) -> int:
        """The log goes over to another key: how many records it then has. Durable with `tx`.

        The record names both keys, and the checkpoint over it is signed by both: by the old one for the last time.
        """
        self._require_whole(tx)
        old, keys = self._ring.signer(tx), self._ring.keys(tx)
        if successor.origin != self.origin or successor.key_hash in map(key_hash, keys.vkeys):
            raise Misconfigured("the log's next key has to be a new one")
        if len(keys.vkeys) > CHANGES_MAX:
            raise Misconfigured(f"a log changes its key {CHANGES_MAX} times at most; begin another one")
        if digest_name(successor.suite) != digest_name(old.suite):
            raise Misconfigured(f"the log's next key has to be of a suite with its own digest, as `{old.suite}` is")
        terms = {"from": old.vkey, "to": successor.vkey}
        size = self._write(tx, Entry(kind="admin", code=SHAPE, terms=terms)) + 1
        handover.keep(tx, successor.sign_too(old.sign(size, soundness.root_of(tx, size, self._digest))))
        return size

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
        last = tx.one(_LAST)
        seq, time = (0, "") if last is None else (last[0] + 1, last[1])
        held = self._ring.held.signer
        signer = held if last is None else self._ring.signer_after(last[3], tx)  # nothing is added without one
        degraded = self._degraded()
        if degraded is None:
            degraded = () if last is None else tuple(records.read(last[2]).get(records.DEGRADED, ()))
        entry = replace(entry, degraded=degraded)
        time = max(time, records.stamp(self._clock()))  # a clock that was set back does not turn the order of records
        if right is not None:
            right.require_valid(time)
        content = records.body(entry, ledger=self.origin, seq=seq, time=time, suite=signer.suite)
        about = (time, entry.kind, entry.actor, entry.query_id, entry.dataset, entry.decision, entry.code)
        self._insert(tx, seq, about, content)
        kept = [(seq, each.name, each.salt, each.text if each.kept else "") for each in entry.secrets]
        _insert_all(tx, "secret", kept)
        return int(seq)

    def _insert(self, tx: Transaction, seq: int, about: tuple[str | None, ...], content: bytes) -> None:
        tx.write("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (seq, *about, content))
        leaf = tree.leaf_hash(content, self._digest)
        _insert_all(tx, "node", tree.appended(seq, leaf, partial(soundness.node, tx), self._digest))

    def _durable(self) -> int:
        """How many records there are as somebody asks for a signature over them."""
        with self._store.reading() as view:
            return self.size(view)

    def _covering(self, wanted: int, *, proven: bool = False) -> str:
        """A note over at least `wanted` records, but never one that does not extend what this process signed before.

        Whoever waits for a turn is served by what was signed meanwhile, if that covers it: at once where it is
        `proven`, by whoever asks, that the note is over the records of now. Nothing is read from the store while a
        signer outside takes its time.
        """
        with self._signing:
            signed = self._signed
            if proven and signed.note is not None and wanted <= signed.size:
                self._require_open()
                return signed.note
            with self._store.reading() as view:
                subtrees, size = soundness.Subtrees(view, self._digest), self.size(view)
                self._require_open()
                if size < signed.size or (signed.size and subtrees.root(signed.size) != signed.root):
                    self._lose_trust(NO_LONGER)
                if signed.note is not None and wanted <= signed.size:
                    return signed.note
                root, last = subtrees.root(size), soundness.leaf(view, size - 1)
                signer, note = self._ring.signer(view), handover.note_at(view, size)
            note = note or signer.sign(size, root)
            if size > signed.size:
                self._anchors.keep(note)
                self._signed = _Signed(size, root, last, note)
            return note

    @contextmanager
    def _proving(self, size: int) -> Iterator[tree.Node]:
        with self._store.reading() as view:
            if size > self.size(view):
                raise Refusal("not_found", f"the log has no {size} records")
            try:
                yield partial(soundness.node, view)
            except ValueError as error:
                raise Refusal("not_found", str(error)) from error


def _insert_all(tx: Transaction, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """In one statement: others wait for this transaction, and every statement lets other threads go on first."""
    if rows:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        tx.write(f"INSERT INTO {table} VALUES {marks}", [each for row in rows for each in row])  # noqa: S608  # our own text


def _over(view: Reading, index: int) -> str | None:
    note = cosigned.newest(view)
    return note if note is not None and size_of(note) > max(index, handover.last(view)) else None


def _reason(decided: Decided) -> tuple[Secret, ...]:
    """Of a decision: committed to with the salt that was signed."""
    return (Secret("reason", decided.salt, decided.reason),)
