"""The domain's one SQLite file as a file: its settings, its transactions, and whether it is the newest of itself.

Journal mode TRUNCATE with synchronous EXTRA: the journal is cut to nothing and synced, so a committed ticket survives
power loss, and the write-ahead log's reset bug of older SQLite libraries cannot bite.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox import logs
from sandbox.release import layouts, tally
from sandbox.release.layouts import StoreUnusable, WrittenByNewer

ALONE_WAIT_S: Final = 10.0
"""How long a start waits for the end of an earlier service of the same state."""
ROOM_BYTES: Final = 1 << 20
"""What must fit on the disk after something did not."""
log = logs.logger("bpk.domain")


class Durable:
    """Thread-safe. Every transaction is durable when its block ends, and so is the tally of what it spent.

    `tally_path` is the file of `tally.py`, None beside the store; better where the store's backups do not lie.
    `trusted` is the custodian's word that this store is the newest, where its tally is lost. Raises StoreUnusable at
    its making, for a file that is none of ours, cannot be written, is in use by another process, or lost its tally.
    """

    def __init__(self, path: Path, tally_path: Path | None, *, trusted: bool) -> None:
        self._path = path
        self._tally_path = tally_path or path.with_suffix(".tally")
        self._lock = threading.Lock()
        self._failed = False
        self._counted = tally.NOTHING
        self._alone: int | None = None
        try:
            self._open(path)
            self._remember(trusted=trusted)
        except tally.TallyNewer as error:
            self._let_go()
            raise WrittenByNewer(str(error)) from error
        except (OSError, sqlite3.Error, tally.TallyUnreadable) as error:
            self._let_go()
            raise StoreUnusable(f"{path}: cannot be used as the data domain's store ({error})") from error
        except BaseException:
            self._let_go()
            raise

    def _open(self, path: Path) -> None:
        for folder in (path.parent, self._tally_path.parent):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._alone = _alone(path.with_suffix(".lock"))
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(descriptor)
        self._identity = _identity(path)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        mode = self._connection.execute("PRAGMA journal_mode=TRUNCATE").fetchone()[0]
        self._connection.execute("PRAGMA synchronous=EXTRA")
        level = self._connection.execute("PRAGMA synchronous").fetchone()[0]
        if (mode, level) != ("truncate", 3):
            raise StoreUnusable(f"{path}: could not be made durable (journal mode {mode}, synchronous {level})")
        layouts.bring(self._connection, path)

    def _remember(self, *, trusted: bool) -> None:
        """Holds the store against its tally, and counts again what an older copy has forgotten."""
        kept = tally.NOTHING if trusted else tally.read(self._tally_path)
        if kept is None and layouts.has(self._connection, tally.MARK):
            raise StoreUnusable(
                f"{self._tally_path}: the tally of what was spent is missing, so this store may be an older copy; put "
                "the tally back, or say that the store is the newest: `bpk sandbox tally --trust-store`"
            )
        with self._transaction() as tx:
            older = tally.catch_up(tx, kept or tally.NOTHING)
        for dataset in older:
            log.error("the store is older than its tally; what was spent since is counted again", dataset=dataset)
        tally.write(self._tally_path, self._counted)
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {tally.MARK} (mark INTEGER) STRICT")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._require_newest()
                yield self._connection
                self._connection.execute("COMMIT")
                self._count()
            except BaseException as error:
                self._failed = self._failed or isinstance(error, sqlite3.OperationalError | OSError | StoreUnusable)
                with contextlib.suppress(sqlite3.Error):  # a commit that failed may have rolled back by itself
                    self._connection.execute("ROLLBACK")
                raise

    def _count(self) -> None:
        """Makes the tally say what the store says, before anything leaves that it counts."""
        found = tally.of(self._connection)
        if found != self._counted:
            tally.write(self._tally_path, found)
            self._counted = found

    def _require_newest(self) -> None:
        """A file that was moved away, or overwritten by an older copy, would take what nobody finds again."""
        if _identity(self._path) != self._identity:
            raise StoreUnusable(f"{self._path}: replaced or removed while it was in use; restart the service")
        layouts.require_known(self._connection, self._path)
        if self._counted.beyond(tally.of(self._connection)):
            raise StoreUnusable(f"{self._path}: overwritten by an older copy while it was in use; restart the service")

    def writable(self) -> bool:
        """Whether a ticket and a release could be kept now, shown by writing: after one that could not, with room."""
        try:
            if self._failed:
                with self._transaction() as tx:
                    tx.execute("CREATE TABLE IF NOT EXISTS room (filler BLOB) STRICT")
                    tx.execute("INSERT INTO room VALUES (zeroblob(?))", (ROOM_BYTES,))
                with self._transaction() as tx:
                    tx.execute("DROP TABLE room")
                    tally.write(self._tally_path, tally.of(tx))
            with self._transaction() as tx:
                tx.execute(
                    f"PRAGMA user_version = {len(layouts.LAYOUTS)}"
                )  # what it is: the first page is written anew
        except (sqlite3.Error, OSError, StoreUnusable):
            return False
        self._failed = False
        return True

    @property
    def failing(self) -> bool:
        """Whether something could not be kept, and `writable` has not shown since that the next one can be."""
        return self._failed

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For what others keep here."""
        with self._lock:
            yield self._connection

    def close(self) -> None:
        with self._lock:
            self._connection.close()
            self._let_go()

    def _let_go(self) -> None:
        if self._alone is not None:
            os.close(self._alone)
            self._alone = None


def _alone(path: Path) -> int:
    """Makes this process the only one that keeps what is spent here, until it ends. Raises StoreUnusable.

    Another one that was killed a moment ago may still be ending.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + ALONE_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > until:
                os.close(handle)
                raise StoreUnusable(f"{path}: another process serves this data domain") from error
            time.sleep(0.05)
        else:
            return handle


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
