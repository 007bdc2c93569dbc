"""What a witness has cosigned, in one SQLite file: judged and replaced in one transaction, before it is told."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.audit.note import only, parse_key
from gateway.errors import Misconfigured
from gateway.witness import submission as submissions
from gateway.witness.submission import HandOver, Refused, Seen, Submission, judge

EVIDENCE_MAX: Final = 1_000
BUSY_WAIT_S: Final = 10.0
_SETTINGS: Final = {"journal_mode": "truncate", "synchronous": 3, "fullfsync": 1, "trusted_schema": 0}
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS log (origin TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size >= 0),"
    " root BLOB NOT NULL CHECK (length(root) = 32), note TEXT NOT NULL, time INTEGER NOT NULL) STRICT",
    "CREATE TRIGGER IF NOT EXISTS log_only_grows BEFORE UPDATE ON log"
    " WHEN NEW.size < OLD.size OR (NEW.size = OLD.size AND NEW.root <> OLD.root) OR NEW.time < OLD.time"
    " OR NEW.origin <> OLD.origin BEGIN SELECT RAISE(ABORT, 'a witness does not go back'); END",
    "CREATE TRIGGER IF NOT EXISTS log_stays BEFORE DELETE ON log"
    " BEGIN SELECT RAISE(ABORT, 'a witness does not forget'); END",
    "CREATE TABLE IF NOT EXISTS key (origin TEXT NOT NULL, old TEXT NOT NULL, new TEXT NOT NULL,"
    " size INTEGER NOT NULL, PRIMARY KEY (origin, old), UNIQUE (origin, new)) STRICT",
    "CREATE TRIGGER IF NOT EXISTS key_stays BEFORE UPDATE ON key"
    " BEGIN SELECT RAISE(ABORT, 'a key that was handed over stays so'); END",
    "CREATE TRIGGER IF NOT EXISTS key_is_kept BEFORE DELETE ON key"
    " BEGIN SELECT RAISE(ABORT, 'a witness does not forget'); END",
    "CREATE TABLE IF NOT EXISTS evidence (place INTEGER PRIMARY KEY, origin TEXT NOT NULL, time INTEGER NOT NULL,"
    " seen INTEGER NOT NULL, note TEXT NOT NULL, words TEXT NOT NULL, UNIQUE (origin, note)) STRICT",
)


@dataclass(frozen=True, slots=True)
class Witnessed:
    """The newest checkpoint of a log that was cosigned, with the cosignature, and when."""

    origin: str
    size: int
    note: str
    time: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """A checkpoint that the log did sign, and that does not fit what it signed before."""

    origin: str
    time: int
    seen: int
    note: str
    words: str


class Memory:
    """Thread-safe, and safe between processes. Raises Misconfigured for a file that cannot be used."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(path, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False)
            for name, value in _SETTINGS.items():
                self._connection.execute(f"PRAGMA {name} = {value}")
                if self._connection.execute(f"PRAGMA {name}").fetchone()[0] != value:
                    raise Misconfigured(f"{path}: SQLite does not keep {name} at {value}")
            with self._transaction():
                for statement in _SCHEMA:
                    self._connection.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise Misconfigured(f"{path}: cannot be used as the witness's memory ({error})") from error

    def extend(self, submission: Submission, logs: Mapping[str, str], now: int, sign: Callable[[int], str]) -> str:
        """The cosignature line of `sign(time)`, when the submission extends what was seen; durable when this returns.

        `logs` are the keys that the settings name. Raises Refused, and keeps the checkpoint as evidence where it is
        the log's own word against itself.
        """
        new = submission.checkpoint
        with self._transaction():
            vkey = submissions.require_signed(submission, self._key(new.origin, logs))
            seen, before = self._seen(new.origin)
            try:
                judge(submission, seen, parse_key(vkey).digest)
            except Refused as refused:
                if not refused.evidence:
                    raise
                self._keep(submission, now, seen.size, refused)
                problem = refused
            else:
                moment = max(now, before)
                line = sign(moment)
                self._connection.execute(
                    "INSERT INTO log VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE SET size = excluded.size,"
                    " root = excluded.root, note = excluded.note, time = excluded.time",
                    (new.origin, new.size, new.root, only(submission.note, vkey) + line, moment),
                )
                return line
        raise problem

    def follow(self, handover: HandOver, logs: Mapping[str, str]) -> None:
        """From now on this log is known by its new key alone. Durable when this returns. Raises Refused."""
        origin = handover.checkpoint.origin
        with self._transaction():
            old = self._key(origin, logs)
            seen, _ = self._seen(origin)
            new = submissions.successor(handover, old, seen)
            if self._connection.execute(
                "SELECT 1 FROM key WHERE origin = ? AND ? IN (old, new)", (origin, new)
            ).fetchone():
                raise Refused(403, "the change is to a key that the log had before\n")
            self._connection.execute("INSERT INTO key VALUES (?, ?, ?, ?)", (origin, old, new, seen.size))

    def newest(self) -> list[Witnessed]:
        return [Witnessed(*row) for row in self._rows("SELECT origin, size, note, time FROM log ORDER BY origin")]

    def evidence(self) -> list[Evidence]:
        sql = "SELECT origin, time, seen, note, words FROM evidence ORDER BY place"
        return [Evidence(*row) for row in self._rows(sql)]

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _key(self, origin: str, logs: Mapping[str, str]) -> str | None:
        """The key that the settings name, or the last of those that took over from it."""
        followed = dict(self._connection.execute("SELECT old, new FROM key WHERE origin = ?", (origin,)).fetchall())
        vkey = logs.get(origin)
        while vkey in followed:
            vkey = followed[vkey]
        return vkey

    def _seen(self, origin: str) -> tuple[Seen, int]:
        """What was cosigned last, and when."""
        row = self._connection.execute("SELECT size, root, time FROM log WHERE origin = ?", (origin,)).fetchone()
        return (Seen(), 0) if row is None else (Seen(row[0], bytes(row[1])), row[2])

    def _rows(self, sql: str) -> list[Any]:
        with self._lock:  # on this connection an open transaction would show what is not durable
            return self._connection.execute(sql).fetchall()

    def _keep(self, submission: Submission, now: int, seen: int, refused: Refused) -> None:
        (count,) = self._connection.execute("SELECT count(*) FROM evidence").fetchone()
        if count < EVIDENCE_MAX:
            self._connection.execute(
                "INSERT OR IGNORE INTO evidence (origin, time, seen, note, words) VALUES (?, ?, ?, ?, ?)",
                (submission.checkpoint.origin, now, seen, submission.note, refused.words.strip()),
            )

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
