"""The layouts of the data domain's store, and how a file of an earlier one becomes today's.

A layout that was given a number never changes; what comes after it is another one. A file is copied beside itself
before it is brought on, in one transaction: it is of one layout or of the other, whenever the machine stops.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from sandbox.synced import sync

APPLICATION_ID: Final = 0x42504B44
HEADER: Final = b"SQLite format 3\0"
_HEADER_BYTES: Final = 100


class StoreUnusable(Exception):
    """What was spent cannot be known, so nothing is answered."""


class WrittenByNewer(StoreUnusable):
    """A newer release kept here what this one does not understand. It was left alone."""


Step = str | Callable[[sqlite3.Connection], None]


def _set_aside(tx: sqlite3.Connection) -> None:
    """Releases of before the second layout cannot be read any more; what was spent on them stays spent."""
    if has(tx, "release"):
        tx.execute("ALTER TABLE release RENAME TO release_0")
        tx.execute("DROP INDEX IF EXISTS release_by_meaning")


_SECOND: Final[tuple[Step, ...]] = (
    _set_aside,
    """CREATE TABLE IF NOT EXISTS ticket (
    id TEXT PRIMARY KEY, dataset TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('accepted', 'released', 'failed')),
    loss INTEGER NOT NULL CHECK (loss >= 0), delta INTEGER NOT NULL CHECK (delta >= 0), accountant TEXT NOT NULL,
    release TEXT, accepted_ms INTEGER NOT NULL
) STRICT""",
    """CREATE TABLE IF NOT EXISTS spent (
    dataset TEXT NOT NULL, accountant TEXT NOT NULL, loss INTEGER NOT NULL, delta INTEGER NOT NULL,
    PRIMARY KEY (dataset, accountant)
) STRICT""",
    """CREATE TRIGGER IF NOT EXISTS spent_never_falls BEFORE UPDATE ON spent
    WHEN NEW.loss < OLD.loss OR NEW.delta < OLD.delta
    BEGIN SELECT RAISE(ABORT, 'spent never falls'); END""",
    """CREATE TRIGGER IF NOT EXISTS spent_never_goes BEFORE DELETE ON spent
    BEGIN SELECT RAISE(ABORT, 'spent never falls'); END""",
    """CREATE TABLE release (
    id TEXT PRIMARY KEY, plan_digest TEXT NOT NULL, policy_digest TEXT NOT NULL, snapshot TEXT NOT NULL,
    mode TEXT NOT NULL, epsilon INTEGER NOT NULL, salt BLOB NOT NULL, hash TEXT NOT NULL, body BLOB NOT NULL,
    source_digest TEXT NOT NULL
) STRICT""",
    "CREATE INDEX release_by_meaning ON release (plan_digest, policy_digest, snapshot, mode, epsilon)",
    "CREATE INDEX release_open ON release (mode) WHERE mode = 'open'",
    "CREATE INDEX release_by_source ON release (source_digest, policy_digest, snapshot, mode, epsilon)",
)

# Files of the second layout have some of these tables or all, by what was asked of them.
_THIRD: Final[tuple[Step, ...]] = (
    "CREATE INDEX IF NOT EXISTS release_open ON release (mode) WHERE mode = 'open'",
    "CREATE TABLE IF NOT EXISTS exact (dataset TEXT PRIMARY KEY, answers INTEGER NOT NULL CHECK (answers >= 0)) STRICT",
    "CREATE TABLE IF NOT EXISTS forgotten (dataset TEXT PRIMARY KEY) STRICT",
    """CREATE TABLE IF NOT EXISTS said_row (
    dataset TEXT NOT NULL, snapshot TEXT NOT NULL, quantity TEXT NOT NULL,
    items BLOB NOT NULL, units BLOB NOT NULL, amounts BLOB NOT NULL
) STRICT""",
    "CREATE INDEX IF NOT EXISTS said_row_of ON said_row (dataset, snapshot, quantity)",
    """CREATE TABLE IF NOT EXISTS said_cell (
    dataset TEXT NOT NULL, snapshot TEXT NOT NULL, quantity TEXT NOT NULL, nonnegative INTEGER NOT NULL,
    counts INTEGER NOT NULL, release TEXT NOT NULL, part INTEGER NOT NULL, said INTEGER NOT NULL,
    secret INTEGER NOT NULL CHECK (said + secret <= 1), places BLOB NOT NULL
) STRICT""",
    "CREATE INDEX IF NOT EXISTS said_cell_of ON said_cell (dataset)",
    """CREATE TRIGGER IF NOT EXISTS said_stays BEFORE DELETE ON said_cell
    BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END""",
    """CREATE TRIGGER IF NOT EXISTS said_as_it_was BEFORE UPDATE ON said_cell
    BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END""",
    """CREATE TRIGGER IF NOT EXISTS said_row_stays BEFORE DELETE ON said_row
    BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END""",
    """CREATE TRIGGER IF NOT EXISTS said_row_as_it_was BEFORE UPDATE ON said_row
    BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END""",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

LAYOUTS: Final[tuple[tuple[Step, ...], ...]] = ((), _SECOND, _THIRD)
"""LAYOUTS[n] leads from layout n to layout n + 1. No file says that it is of the first one."""


def bring(connection: sqlite3.Connection, path: Path) -> None:
    """Makes the open store at `path` one of today's layout, or leaves it alone. Raises StoreUnusable, sqlite3.Error."""
    _require_ours(path, _number(connection, "application_id"), _number(connection, "user_version"))
    version, empty = _number(connection, "user_version"), not _number(connection, "page_count")
    if not empty and version < len(LAYOUTS):
        if not has(connection, "ticket"):
            raise StoreUnusable(f"{path}: a database of something else; move it away")
        _copy(connection, path.with_name(f"{path.name}.layout-{version}"))
    if version < len(LAYOUTS):
        connection.execute("BEGIN IMMEDIATE")
        try:
            take(connection, version)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    _require_whole(connection, path)


def take(connection: sqlite3.Connection, version: int) -> None:
    """The steps from layout `version` to today's, in the open transaction."""
    for steps in LAYOUTS[version:]:
        for step in steps:
            if isinstance(step, str):
                connection.execute(step)
            else:
                step(connection)
    mark(connection)


def mark(connection: sqlite3.Connection) -> None:
    """Says that the file is of today's layout."""
    connection.execute(f"PRAGMA user_version = {len(LAYOUTS)}")


def inspect(path: Path) -> int | None:
    """The layout of the store at `path`, None where there is none, by its first bytes: it may be in use.

    Raises StoreUnusable for what `bring` would not take, OSError.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    if not head:
        return None
    if len(head) < _HEADER_BYTES or not head.startswith(HEADER):
        raise StoreUnusable(f"{path}: not a database; put back the newest copy of the data domain's store")
    version, application = (int.from_bytes(head[at : at + 4], "big") for at in (60, 68))
    _require_ours(path, application, version)
    return version


def require_known(connection: sqlite3.Connection, path: Path) -> None:
    """A command of a newer release may have brought on a file that is in use. Raises WrittenByNewer."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(LAYOUTS):
        raise WrittenByNewer(
            f"{path}: brought to layout {version} by a newer release while it was in use; start that one"
        )


def _require_ours(path: Path, application: int, version: int) -> None:
    if application not in (0, APPLICATION_ID):
        raise StoreUnusable(f"{path}: a database of something else; move it away")
    if version > len(LAYOUTS):
        raise WrittenByNewer(
            f"{path}: written by a newer release (layout {version}, this one knows {len(LAYOUTS)}); install that "
            "release again, or go back as the runbook says under Upgrade"
        )


def _require_whole(connection: sqlite3.Connection, path: Path) -> None:
    """A file that lacks a guard, or has a table of another shape, would keep what nobody can rely on."""
    with closing(sqlite3.connect(":memory:")) as model:
        take(model, 0)
        missing = _described(model) - _described(connection)
    if missing:
        name = sorted(missing)[0].split(" (")[0]
        raise StoreUnusable(f"{path}: not of the layout that it says it is; it lacks `{name}` as it has to be")


def _described(connection: sqlite3.Connection) -> set[str]:
    found = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {re.sub(r"\s+", " ", sql) for (sql,) in found}


def _copy(connection: sqlite3.Connection, target: Path) -> None:
    """Durable and whole when it is there under its name; one of an earlier try gives way."""
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    sync(part)
    part.replace(target)
    sync(target.parent)


def has(connection: sqlite3.Connection, table: str) -> bool:
    """Whether there is such a table."""
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is not None


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
