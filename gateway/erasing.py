"""Erases texts for ever: on demand with a reason, and by themselves when they are older than they need to be kept.

A text is the SQL, the purpose and the parameters behind a record's commitments, and the question that the ledger keeps
to answer it again. The salt that opens an answer's commitment goes with them. Records, charges and the tree stay whole;
commitments then open for nobody. Erasures are records.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.audit import record as records
from gateway.audit.log import Log, utc_now
from gateway.errors import Fault, Refusal
from gateway.store import Reading, Store, Transaction
from sandbox import logs

FLOOR_DAYS: Final = 180
"""Texts are kept at least so long, whoever asks: laws on network logs demand six months."""
BATCH: Final = 500
"""So many records in one transaction, so that no question waits long."""
LOOK_S: Final = 86_400.0
_OUTCOME: Final = (
    "SELECT o.seq FROM record d JOIN record o ON o.query = d.query JOIN secret s ON s.seq = o.seq"
    " WHERE d.seq = ? AND d.kind = 'decision' AND o.kind = 'release'"
)
_log = logs.logger("bpk.erasing")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose texts: of one record, of one query, or of all that an operator asked. Exactly one of them."""

    record: int | None = None
    query_id: str | None = None
    actor: str | None = None

    def find(self, view: Reading) -> list[int]:
        """Records that still have texts, in order. Raises Refusal(not_found)."""
        column, value = next(
            (column, value)
            for column, value in (("seq", self.record), ("query", self.query_id), ("actor", self.actor))
            if value is not None
        )
        sql = f"SELECT DISTINCT r.seq FROM record r JOIN secret s ON s.seq = r.seq WHERE r.{column} = ? ORDER BY r.seq"  # noqa: S608  # our own names
        found = [int(row[0]) for row in view.all(sql, (value,))]
        if self.record is not None:  # what opens the answer to a question goes with the question
            found = sorted({*found, *(int(row[0]) for row in view.all(_OUTCOME, (value,)))})
        if not found:
            raise Refusal("not_found", "there is no text to erase")
        return found


@dataclass(frozen=True, slots=True)
class Why:
    """The reason, and who decided it."""

    reason: str
    by: str


def erase(log: Log, tx: Transaction, wanted: Wanted, why: Why, now: datetime) -> int:
    """How many records lost their texts. Raises Refusal(not_found, retention_floor); then nothing is erased."""
    found = wanted.find(tx)
    youngest = tx.one("SELECT time FROM record WHERE seq = ?", (found[-1],))
    if youngest is None or youngest[0] > records.stamp(now - timedelta(days=FLOOR_DAYS)):
        raise Refusal(
            "retention_floor",
            f"texts are kept for {FLOOR_DAYS} days, and some of these are younger",
            hint="erase them when they are old enough; nothing was erased",
        )
    _forget(tx, found)
    texts = {"records": json.dumps(_ranges(found)), "reason": why.reason, "by": why.by}
    log.append(tx, kind="admin", code="texts_erased", texts=texts)
    return len(found)


def expire(log: Log, tx: Transaction, now: datetime, days: int) -> int:
    """Erases a batch of the texts that are older than `days`; how many records lost theirs."""
    if days < FLOOR_DAYS:
        raise Fault("a retention below the floor")
    before = records.stamp(now - timedelta(days=days))
    rows = tx.all(
        "SELECT DISTINCT r.seq FROM secret s JOIN record r ON r.seq = s.seq WHERE r.time < ? ORDER BY r.seq LIMIT ?",
        (before, BATCH),
    )
    found = [int(row[0]) for row in rows]
    if found:
        _forget(tx, found)
        log.append(tx, kind="admin", code="texts_expired", texts={"records": json.dumps(_ranges(found))})
    return len(found)


class Retention:
    """Looks once a day, in a thread of its own."""

    def __init__(self, log: Log, store: Store, days: int, now: Callable[[], datetime] = utc_now) -> None:
        self._log = log
        self._store = store
        self._days = days
        self._now = now
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def once(self) -> int:
        """Everything that is due now."""
        total = 0
        while not self._stopped.is_set():
            with self._store.transaction() as tx:
                found = expire(self._log, tx, self._now(), self._days)
            total += found
            if found < BATCH:
                break
        return total

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.once()
            except Fault as fault:
                _log.error("old texts were not erased", error=type(fault).__name__)
            self._stopped.wait(LOOK_S)


def _forget(tx: Transaction, found: Sequence[int]) -> None:
    for seq in found:
        tx.write("DELETE FROM secret WHERE seq = ?", (seq,))
        tx.write(
            "UPDATE query SET question = '', request_hash = ''"
            " WHERE state <> 'running' AND id = (SELECT query FROM record WHERE seq = ? AND kind = 'decision')",
            (seq,),
        )


def _ranges(found: Sequence[int]) -> list[list[int]]:
    """`[first, last]` of each run of numbers."""
    ranges: list[list[int]] = []
    for seq in found:
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1][1] = seq
        else:
            ranges.append([seq, seq])
    return ranges
