"""The gateway's one SQLite file and its transaction. The ledger and the log write only through an open one.

Several threads and several processes may share the file. The journal is a rollback journal, never a write-ahead log:
SQLite 3.7.0 to 3.51.2 can lose committed pages of a write-ahead log under several connections, Python ships such
versions, and a lost charge is an overspent budget.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from gateway.errors import Fault, Misconfigured, NotReady
from gateway.store_schema import APPLICATION_ID, SCHEMAS

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]

BUSY_WAIT_S: Final = 20.0
"""How long a transaction waits for other processes before it is a fault."""

ROOM_BYTES: Final = 65_536
"""More than the largest transaction of a question adds to the file."""

_SETTINGS: Final = {
    "journal_mode": "truncate",  # and synced then, so a commit survives power loss; faster than to unlink it each time
    "synchronous": 3,  # EXTRA: where a journal is unlinked after all, the folder is synced too
    "fullfsync": 1,  # macOS: a sync that reaches the disk, not only its cache; nothing elsewhere
    "foreign_keys": 1,
    "recursive_triggers": 1,  # else INSERT OR REPLACE would delete rows past the triggers that forbid it
    "secure_delete": 1,  # an erased text is overwritten, not only unlinked
    "trusted_schema": 0,
}


class NotWritten(NotReady):
    """The disk or the file does not take it. All of the transaction was undone. `cause` names no path."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path}: not written ({cause}); is the disk full?")
        self.cause = cause


class Reading:
    """A consistent view of the file, open until its block ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection: sqlite3.Connection | None = connection

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._open().execute(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        row: Row | None = self._open().execute(sql, parameters).fetchone()
        return row

    def close(self) -> None:
        """Ends the use of this object, not the connection's."""
        self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Fault("the transaction is over")
        return self._connection


class Transaction(Reading):
    """An open write transaction: all of it becomes durable at the end of its block, or none."""

    def write(self, sql: str, parameters: Parameters = ()) -> int:
        """The number of rows that changed."""
        return self._open().execute(sql, parameters).rowcount


class Store:
    """`state/gateway/ledger.sqlite`, made with mode 0600 if it is not there.

    Raises Misconfigured for a file that is none of ours, that others may read, or whose settings do not hold.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.RLock()
        self._pool_lock = threading.Lock()
        self._readers: list[sqlite3.Connection] = []
        self._here = threading.local()
        self._owner: int | None = None
        self._closed = False
        self._failed = False
        _make_file(path)
        self._identity = _identity(path)
        try:
            self._writer = _connect(path)
            self._migrate()
        except sqlite3.Error as error:
            raise Misconfigured(f"{path}: cannot be used as the gateway's store ({error})") from error

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """BEGIN IMMEDIATE; durable when the block ends, rolled back when it raises. Not to be nested.

        Raises NotWritten when the file cannot be written, Fault for what it does not allow; nothing is half-written.
        """
        self._forbid_nesting()
        with self._writing:
            self._check_file()
            tx = Transaction(self._writer)
            self._here.busy = True
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                yield tx
                tx.close()
                self._writer.execute("COMMIT")
            except sqlite3.OperationalError as error:  # a full disk, a file on another's lock: not our mistake
                self._failed = True
                raise NotWritten(self.path, str(error)) from error
            except sqlite3.Error as error:
                raise Fault(f"{self.path}: not written ({error})") from error
            finally:
                tx.close()
                self._here.busy = False
                if self._writer.in_transaction:
                    self._roll_back()

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A consistent view. Keep it short: a commit waits until readers are done."""
        self._forbid_nesting()
        self._check_file()
        connection = self._take_reader()
        view = Reading(connection)
        self._here.busy = True
        try:
            connection.execute("BEGIN")
            yield view
        except sqlite3.Error as error:
            raise Fault(f"{self.path}: not read ({error})") from error
        finally:
            view.close()
            self._here.busy = False
            self._give_back(connection)

    def try_writing(self) -> None:
        """Proves that the file can be written, by writing. Raises as `transaction` does.

        After a transaction that was not written the file must also be able to grow as much as a question makes it: a
        small write may fit where that one did not. The room stays in the file, for the next question.
        """
        with self._writing:
            if self._failed:
                with self.transaction() as tx:
                    tx.write("CREATE TABLE IF NOT EXISTS room (filler BLOB) STRICT")
                    tx.write("INSERT INTO room VALUES (zeroblob(?))", (ROOM_BYTES,))
                with self.transaction() as tx:
                    tx.write("DROP TABLE room")
                self._failed = False
            with self.transaction() as tx:
                tx.write(f"PRAGMA user_version = {len(SCHEMAS)}")  # what it is already: the first page is written anew

    @property
    def failing(self) -> bool:
        """Whether a transaction was not written, and `try_writing` has not shown since that the next one can be."""
        return self._failed

    def serve_alone(self) -> None:
        """Makes this process the one that serves the file, until it ends. Raises NotReady if another one does.

        Only the owner may settle queries that look unfinished: they could be another process's running ones.
        """
        if self._owner is not None:
            return
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise NotReady(f"{self.path}: another gateway serves this home") from error
        self._owner = handle

    def close(self) -> None:
        with self._writing, self._pool_lock:
            self._closed = True
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers.clear()
            if self._owner is not None:
                os.close(self._owner)
                self._owner = None

    def _migrate(self) -> None:
        with self.transaction() as tx:
            version = _number(tx.one("PRAGMA user_version"))
            application = _number(tx.one("PRAGMA application_id"))
            tables = _number(tx.one("SELECT count(*) FROM sqlite_schema"))
            if (version or tables) and application != APPLICATION_ID:
                raise Misconfigured(f"{self.path}: a database of something else; move it away")
            if version > len(SCHEMAS):
                raise Misconfigured(f"{self.path}: written by a newer release (schema {version})")
            for statements in SCHEMAS[version:]:
                for statement in statements:
                    tx.write(statement)
            if version < len(SCHEMAS):
                tx.write(f"PRAGMA application_id = {APPLICATION_ID}")
                tx.write(f"PRAGMA user_version = {len(SCHEMAS)}")

    def _forbid_nesting(self) -> None:
        if self._closed:
            raise Fault(f"{self.path}: closed")
        if getattr(self._here, "busy", False):
            raise Fault("a transaction inside another one would wait for itself")

    def _check_file(self) -> None:
        """A file that was moved away or replaced would take charges that nobody finds again."""
        if _identity(self.path) != self._identity:
            raise Fault(f"{self.path}: replaced or removed while it was in use; restart the gateway")

    def _roll_back(self) -> None:
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:  # a rolled back disk error leaves the journal; a new connection plays it back
            self._writer.close()
            self._writer = _connect(self.path)

    def _take_reader(self) -> sqlite3.Connection:
        with self._pool_lock:
            if self._readers:
                return self._readers.pop()
        try:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = 1")
        except sqlite3.Error as error:
            raise Fault(f"{self.path}: not read ({error})") from error
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        with self._pool_lock:
            if self._closed:
                connection.close()
            else:
                self._readers.append(connection)


def _make_file(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        mode = path.stat().st_mode
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be opened for writing ({error.strerror})") from error
    if not stat.S_ISREG(mode) or mode & 0o077:
        raise Misconfigured(f"{path}: must be a file that nobody else may read; `chmod 600` it")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _connect(path: Path) -> sqlite3.Connection:
    """A connection with every setting set and read back."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_WAIT_S, isolation_level=None, check_same_thread=False)
    try:
        for name, value in _SETTINGS.items():
            connection.execute(f"PRAGMA {name} = {value}")
        for name, value in _SETTINGS.items():
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if found != value:
                raise Misconfigured(f"{path}: SQLite keeps {name} at {found} instead of {value}")
    except BaseException:
        connection.close()
        raise
    return connection


def _number(row: Row | None) -> int:
    return 0 if row is None else int(row[0])
