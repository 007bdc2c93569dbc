"""The store as one SQLite file: the default.

Several threads and several processes may share the file. The journal is a rollback journal, never a write-ahead log:
SQLite 3.7.0 to 3.51.2 can lose committed pages of a write-ahead log under several connections, Python ships such
versions, and a lost charge is an overspent budget.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from gateway.errors import Fault, Misconfigured, NotReady
from gateway.store import Execute, InDoubt, NewerSchema, NotWritten
from gateway.stores.grouped import Grouped
from gateway.stores.schema import SCHEMAS, Column, Guard, Index, NoGuard, Rows, Step, Table

APPLICATION_ID: Final = 0x42504B31
BUSY_WAIT_S: Final = 20.0
"""How long a transaction waits for other processes before it is a fault."""

IN_DOUBT: Final = "the disk failed in a commit, and it cannot be seen whether it holds"
ROOM_BYTES: Final = 65_536
"""More than the largest transaction of a question adds to the file."""

LANDED: Final = (
    "CREATE TABLE IF NOT EXISTS landed (writer BLOB PRIMARY KEY, token BLOB NOT NULL, at INTEGER NOT NULL) STRICT"
)
"""Which transaction of each writer was its last that holds: another process may write before one has looked. Beside the
schema: it says nothing that anybody keeps for more than a day."""
_NOW: Final = "CAST(strftime('%s', 'now') AS INTEGER)"
_LAND: Final = (
    f"INSERT INTO landed VALUES (?, ?, {_NOW})"  # noqa: S608  # our own text
    " ON CONFLICT (writer) DO UPDATE SET token = excluded.token, at = excluded.at"
)

_PASSING: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
"""What may go better another time."""
_SETTINGS: Final = {
    "journal_mode": "truncate",  # and synced then, so a commit survives power loss; faster than to unlink it each time
    "synchronous": 3,  # EXTRA: where a journal is unlinked after all, the folder is synced too
    "fullfsync": 1,  # macOS: a sync that reaches the disk, not only its cache; nothing elsewhere
    "foreign_keys": 1,
    "recursive_triggers": 1,  # else INSERT OR REPLACE would delete rows past the triggers that forbid it
    "secure_delete": 1,  # an erased text is overwritten, not only unlinked
    "trusted_schema": 0,
}


class SqliteStore(Grouped[sqlite3.Connection]):
    """The file at `path`, made with mode 0600 if it is not there.

    Raises Misconfigured for a file that is none of ours, that others may read, or whose settings do not hold.
    """

    errors = sqlite3.Error

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._owner: int | None = None
        self._changes = 0
        self._broken = False
        self._opened = False
        self._id = secrets.token_bytes(8)
        _make_file(path)
        self._identity = _identity(path)
        try:
            self._writer = _connect(path)
            self._migrate()
            self._opened = True
        except sqlite3.Error as error:
            raise Misconfigured(f"{path}: cannot be used as the gateway's store ({error})") from error

    def try_writing(self) -> None:
        """After a transaction that was not written the file must also be able to grow as much as a question makes it: a
        small write may fit where that one did not. The room stays in the file, for the next question.
        """
        with self._writing:
            if self._failed:
                with self._within(alone=True) as tx:
                    tx.write("CREATE TABLE IF NOT EXISTS room (filler BLOB) STRICT")
                    tx.write("INSERT INTO room VALUES (zeroblob(?))", (ROOM_BYTES,))
                with self._within(alone=True) as tx:
                    tx.write("DROP TABLE room")
                self._failed = False
            with self._within(alone=True) as tx:
                tx.write(f"PRAGMA user_version = {len(SCHEMAS)}")  # what it is already: the first page is written anew

    def copy_to(self, target: Path) -> None:
        """While the pages are copied, in one go, a commit waits."""
        self._check_file()
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            with closing(_connect(self.path)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        except (sqlite3.Error, OSError) as error:
            raise NotWritten(str(target), str(error)) from error

    def serve(self) -> bool:
        """One process serves the file: what looks unfinished in it could be another one's running queries."""
        if self._owner is None:
            self._owner = _own(self.path)
        return True

    def _migrate(self) -> None:
        self._keep_older()
        with self.transaction() as tx:
            version = _number(tx.one("PRAGMA user_version"))
            application = _number(tx.one("PRAGMA application_id"))
            tables = _number(tx.one("SELECT count(*) FROM sqlite_schema"))
            if (version or tables) and application != APPLICATION_ID:
                raise Misconfigured(f"{self.path}: a database of something else; move it away")
            if version > len(SCHEMAS):
                raise Misconfigured(f"{self.path}: written by a newer release (schema {version})")
            for steps in SCHEMAS[version:]:
                for step in steps:
                    for statement in self._with(step):
                        tx.write(statement)
            tx.write(LANDED)
            tx.write(f"DELETE FROM landed WHERE at < {_NOW} - 86400")  # noqa: S608  # our own text
            if version < len(SCHEMAS):
                tx.write(f"PRAGMA application_id = {APPLICATION_ID}")
                tx.write(f"PRAGMA user_version = {len(SCHEMAS)}")

    def _keep_older(self) -> None:
        """A copy of a file of an older schema, beside it, before it is brought to this one: the way back."""
        with self.reading() as view:
            version = _number(view.one("PRAGMA user_version"))
            ours = _number(view.one("PRAGMA application_id")) == APPLICATION_ID
        kept = self.path.with_name(f"{self.path.name}.schema-{version}")
        if ours and 0 < version < len(SCHEMAS) and not kept.exists():
            part = kept.with_name(f"{kept.name}.{os.getpid()}")  # else a copy that was cut off would count as one
            self.copy_to(part)
            part.replace(kept)

    def _begin(self) -> Execute:
        self._check_file()
        if self._broken:
            self._reconnect()
        self._writer.execute("BEGIN IMMEDIATE")
        if self._opened:
            self._require_schema()
        self._changes = self._writer.total_changes
        return self._writer.execute

    def _require_schema(self) -> None:
        """A command of a newer release may have brought on a file that is served. Raises NewerSchema."""
        version = int(self._writer.execute("PRAGMA user_version").fetchone()[0])
        if version > len(SCHEMAS):
            self._undo()
            self._failed = True
            raise NewerSchema(str(self.path), version)

    def _commit(self) -> None:
        if self._writer.total_changes == self._changes:  # nothing that anybody is told of
            self._writer.execute("COMMIT")
            return
        token = secrets.token_bytes(16)
        self._writer.execute(_LAND, (self._id, token))
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            if self._writer.in_transaction or not self._landed(token):
                raise

    def _landed(self, token: bytes) -> bool:
        """Whether a commit holds that failed: once the journal is cut it does, whatever became of the sync after it.

        It is durable only when another one has succeeded, for until then a loss of power would bring the journal back.
        """
        try:
            self._reconnect()
            self._writer.execute("BEGIN IMMEDIATE")
            found = self._writer.execute("SELECT token FROM landed WHERE writer = ?", (self._id,)).fetchone()
            holds: bool = found == (token,)
            if holds:
                self._writer.execute(_LAND, (self._id, secrets.token_bytes(16)))
            self._writer.execute("COMMIT")
        except (sqlite3.Error, Misconfigured) as error:
            self._let_go()
            raise InDoubt(f"{self.path}: {IN_DOUBT}") from error
        return holds

    def _reconnect(self) -> None:
        """A new connection plays back a journal that was not cut."""
        self._let_go()
        self._writer = _connect(self.path)
        self._broken = False

    def _let_go(self) -> None:
        self._broken = True
        self._writer.close()

    def _undo(self) -> None:
        if self._broken or not self._writer.in_transaction:
            return
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:  # a rolled back disk error leaves the journal; a new connection plays it back
            self._let_go()

    def _begin_inner(self) -> None:
        self._check_file()
        self._writer.execute("SAVEPOINT inner_one")

    def _end_inner(self) -> None:
        self._writer.execute("RELEASE inner_one")

    def _undo_inner(self) -> bool:
        """A full disk takes back the whole transaction by itself, so there is nothing to go back to."""
        try:
            self._writer.execute("ROLLBACK TO inner_one")
            self._writer.execute("RELEASE inner_one")
        except sqlite3.Error:
            return False
        return True

    def _begin_reading(self) -> tuple[sqlite3.Connection, Execute]:
        self._check_file()
        connection = self._take()
        if connection is None:
            connection = _connect(self.path)
            connection.execute("PRAGMA query_only = 1")
        try:
            connection.execute("BEGIN")
        except BaseException:
            connection.close()
            raise
        return connection, connection.execute

    def _end_reading(self, connection: sqlite3.Connection) -> bool:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def _drop(self, connection: sqlite3.Connection) -> None:
        connection.close()

    def _end(self) -> None:
        self._writer.close()
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _with(self, step: Step) -> tuple[str, ...]:
        match step:
            case Table(name, columns, by_key):
                return (f"CREATE TABLE {name} ({columns}) STRICT{', WITHOUT ROWID' if by_key else ''}",)
            case Index(sql) | Rows(sql):
                return (sql,)
            case Column(table, column):
                return (f"ALTER TABLE {table} ADD COLUMN {column}",)
            case NoGuard(name, _):
                return (f"DROP TRIGGER {name}",)
            case Guard(name, table, event, says, when):
                condition = "" if when is None else f" WHEN {when}"
                refuse = f"SELECT RAISE(ABORT, '{says}')"
                return (f"CREATE TRIGGER {name} BEFORE {event} ON {table}{condition} BEGIN {refuse}; END",)

    def _not_written(self, error: Exception) -> Fault:
        if isinstance(error, sqlite3.OperationalError):  # a full disk, a file on another's lock: not our mistake
            return NotWritten(self.name, str(error))
        return Fault(f"{self.path}: not written ({error})")

    def _not_read(self, error: Exception) -> Fault:
        """What a full disk left of a transaction is rolled back before anything is read, which needs room too."""
        code = error.sqlite_errorcode & 0xFF if isinstance(error, sqlite3.OperationalError) else None
        kind = NotReady if code in _PASSING else Fault
        return kind(f"{self.path}: not read ({error})")

    def _check_file(self) -> None:
        """A file that was moved away or replaced would take charges that nobody finds again."""
        if _identity(self.path) != self._identity:
            raise Fault(f"{self.path}: replaced or removed while it was in use; restart the gateway")


def replace(path: Path, copy: Path, kept: str) -> Path | None:
    """Puts a copy in the place of the file at `path`, which is kept beside it under another suffix; where, if there was
    one. Raises NotReady while the file is served, Misconfigured where nothing can be written there.
    """
    before = path.with_suffix(f".{kept}")
    beside = path.with_suffix(".restoring")
    owner = _own(path)
    try:
        shutil.copyfile(copy, beside)
        beside.chmod(0o600)
        with beside.open("rb") as written:
            os.fsync(written.fileno())
        was = path.exists()
        if was:
            _rename(path, before)
        beside.rename(path)
        return before if was else None
    except OSError as error:
        raise Misconfigured(f"{path}: cannot be replaced ({error.strerror})") from error
    finally:
        os.close(owner)


def _rename(path: Path, target: Path) -> None:
    """With its journal: that of another file would be played back into the new one."""
    for suffix in ("-journal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(target.with_name(target.name + suffix))


def _own(path: Path) -> int:
    """A lock beside the file, held as long as what is returned is open. Raises NotReady."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise NotReady(f"{path}: another gateway serves this home") from error
    return handle


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


def _number(row: tuple[Any, ...] | None) -> int:
    return 0 if row is None else int(row[0])
