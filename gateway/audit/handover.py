"""How the log goes over from one key to the next: who signs now, and the checkpoints that two keys have signed.

Which key is the log's follows from its records. The checkpoints lie beside them, since an old key signs nothing again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from gateway.audit import soundness, tree
from gateway.audit.checkpoint import Signer
from gateway.audit.keys import SHAPE, Keys, first_key
from gateway.audit.note import key_hash, size_of
from gateway.audit.suites import Digest
from gateway.errors import NotReady, Unsound
from gateway.store import Reading, Transaction

_CHANGES: Final = f"SELECT body FROM record WHERE code = '{SHAPE}' ORDER BY seq"  # noqa: S608  # as its index is written
NEWEST: Final = f"{_CHANGES} DESC LIMIT 1"
"""Gives the record by which the log changed its key last, if it ever did."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a home holds of the log's keys, or has a signer for: the one that it was opened with, those that are there
    now (one is prepared, or has taken the first one's place), and the public halves of those that were."""

    signer: Signer
    now: Callable[[], list[Signer]] = list
    retired: Collection[str] = ()

    def all(self) -> list[Signer]:
        return [self.signer, *self.now()]

    def vkeys(self) -> set[str]:
        return {*(signer.vkey for signer in self.all()), *self.retired}


class KeyMissing(NotReady):
    """The log has gone over to another key, and this home does not hold it."""

    def __init__(self) -> None:
        super().__init__("the log has gone over to another key, which this home does not hold")


class Ring:
    """Finds the signer that the log's records ask for. Thread-safe."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.last = held.signer
        """The one that was asked for last."""
        self._found = {held.signer.key_hash: held.signer}
        self._begun_with: str | None = None

    def signer(self, view: Reading) -> Signer:
        """Raises KeyMissing where this home does not hold the log's key of now."""
        row = view.one(NEWEST)
        return self.signer_after(None if row is None else row[0], view)

    def signer_after(self, change: bytes | None, view: Reading) -> Signer:
        """As `signer`, where it is known already what `NEWEST` gives. Raises KeyMissing."""
        hashed = self._after(change, view)
        if hashed not in self._found:
            self._found.update({each.key_hash: each for each in self.held.all()})
        if hashed not in self._found:
            raise KeyMissing
        self.last = self._found[hashed]
        return self.last

    def keys(self, view: Reading) -> Keys:
        """All that the log had."""
        handed = _records(view)
        if not handed:
            named = self._after(None, view)
            first = next((vkey for vkey in self.held.vkeys() if key_hash(vkey) == named), self.held.signer.vkey)
            return Keys.of(first)
        keys = Keys.of(first_key(handed[0]))
        for record in handed:
            keys = keys.named(record)
        return keys

    def _after(self, change: bytes | None, view: Reading) -> str | None:
        """The hash of the key that signs now, as records name keys; None in an empty log."""
        if change is not None:
            return key_hash(json.loads(change)["terms"]["to"])
        self._begun_with = self._begun_with or begun_with(view)  # read once: a first record does not change
        return self._begun_with


def begun_with(view: Reading) -> str | None:
    """The hash of the first key; None in an empty log."""
    row = view.one("SELECT body FROM record WHERE seq = 0")
    return None if row is None else (json.loads(row[0])["commitments"] or {}).get("key")


def last(view: Reading) -> int:
    """The place of the record by which the log changed its key last; -1 where it never did."""
    row = view.one(NEWEST)
    return -1 if row is None else int(json.loads(row[0])["seq"])


def keep(tx: Transaction, note: str) -> None:
    tx.write("INSERT INTO handover (size, note) VALUES (?, ?)", (size_of(note), note))


def note_at(view: Reading, size: int) -> str | None:
    """The checkpoint of this size, where it is one under which the key was changed."""
    row = view.one("SELECT note FROM handover WHERE size = ?", (size,))
    return None if row is None else str(row[0])


def notes(view: Reading, size: int) -> list[str]:
    """The checkpoints under which the key was changed, up to `size`. Raises Unsound where one is lost."""
    found = []
    for record in _records(view):
        if record["seq"] < size:
            note = note_at(view, record["seq"] + 1)
            if note is None:
                raise Unsound("the checkpoint under which the log changed its key is lost")
            found.append(note)
    return found


def links(view: Reading, size: int, digest: Digest) -> list[dict[str, Any]]:
    """`{record, proof, checkpoint}` of each change of the key up to `size`: whoever knows an older key follows them."""
    found = []
    for note in notes(view, size):
        last = size_of(note) - 1
        row = view.one("SELECT body FROM record WHERE seq = ?", (last,))
        path = tree.inclusion(last, last + 1, partial(soundness.node, view), digest)
        found.append(
            {
                "record": json.loads(row[0] if row is not None else b"null"),
                "proof": [step.hex() for step in path],
                "checkpoint": note,
            }
        )
    return found


def _records(view: Reading) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in view.all(_CHANGES)]
