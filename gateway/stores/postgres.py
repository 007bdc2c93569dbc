"""The store in PostgreSQL, for several gateways at once.

All write transactions take one advisory lock first, so they come one after the other as they do in a file; the budget's
rows and the log's next place are then nobody else's. The server's own word on durability is set, read back, and refused
where it does not hold.
"""

from __future__ import annotations

import re
import secrets
import threading
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from gateway.errors import Fault, Misconfigured, NotReady
from gateway.store import Execute, InDoubt, NewerSchema, NotWritten, Parameters, Result
from gateway.stores.pooled import Pooled
from gateway.stores.schema import SCHEMAS, Column, Guard, Index, NoGuard, Rows, Step, Table
from gateway.stores.sqlite import SqliteStore

SCHEMA: Final = "baopingkou"
LOCK: Final = 0x42504B31
"""The advisory lock that every write transaction of this database holds."""
BUSY_WAIT_S: Final = 20
IDLE_S: Final = 10
"""A gateway that stops in the middle of a transaction holds up all others: so long, then the server undoes it."""
READERS_MAX: Final = 8
VERSION_MIN: Final = 130_000
UNREACHABLE: Final = "the database cannot be reached"
IN_DOUBT: Final = "the connection broke in a commit, and the database cannot be asked whether it holds"

_SETTINGS: Final = {
    "search_path": SCHEMA,
    "lock_timeout": f"{BUSY_WAIT_S}s",
    "idle_in_transaction_session_timeout": f"{IDLE_S}s",
    "statement_timeout": "60s",
    "default_transaction_isolation": "read committed",
    "client_encoding": "UTF8",
}
_DURABLE: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "remote_apply"},
    "server_encoding": {"UTF8"},
    "session_replication_role": {"origin"},  # else guards do not fire
}
"""Read back: a commit that the server may still lose after it said so is an overspent budget."""
_CONNECTING: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "target_session_attrs": "read-write",  # of several hosts, the one that takes writes
    "application_name": "baopingkou",
}
_TYPES: Final = {"INTEGER": "BIGINT", "BLOB": "BYTEA", "TEXT": 'TEXT COLLATE "C"'}
_OWN: Final = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    "CREATE TABLE IF NOT EXISTS meta (one BOOLEAN PRIMARY KEY CHECK (one), version BIGINT NOT NULL)",
    # the last write transaction of each writer: a commit whose answer was lost is looked up here
    "CREATE TABLE IF NOT EXISTS landed (writer TEXT PRIMARY KEY, token TEXT NOT NULL,"
    " at TIMESTAMPTZ NOT NULL DEFAULT now())",
    "CREATE OR REPLACE FUNCTION refuse() RETURNS TRIGGER LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$",
)
_PASSING: Final = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
"""What may go better another time."""
_Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


class PostgresStore(Pooled[_Connection]):
    """The database that `url` names, in a schema of its own.

    Raises Misconfigured for a server that may lose commits or is too old, and NotReady where there is none.
    """

    errors = psycopg.Error

    def __init__(self, url: str) -> None:
        super().__init__(_shown(url))
        self._url = url
        self._id = secrets.token_hex(8)
        self._reading_room = threading.BoundedSemaphore(READERS_MAX)
        try:
            self._writer = self._connect()
            try:
                self._migrate()
            except BaseException:
                self._writer.close()
                raise
        except psycopg.OperationalError as error:
            raise NotReady(f"{self.name}: {_cause(error)}") from error
        except psycopg.Error as error:
            raise Misconfigured(f"{self.name}: cannot be used as the gateway's store ({_cause(error)})") from error

    def try_writing(self) -> None:
        with self.transaction():
            pass  # its own commit writes
        self._failed = False

    def copy_to(self, target: Path) -> None:
        if target.exists():
            raise NotWritten(str(target), "it exists")
        with self.reading() as view, closing(SqliteStore(target)) as copy:
            copy.fill(view)

    def serve(self) -> bool:
        return False

    def _migrate(self) -> None:
        self._writer.execute("BEGIN")
        try:
            self._writer.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
            for statement in _OWN:
                self._writer.execute(statement)
            self._writer.execute("DELETE FROM landed WHERE at < now() - INTERVAL '1 day'")
            row = self._writer.execute("SELECT version FROM meta").fetchone()
            version = 0 if row is None else row[0]
            if version > len(SCHEMAS):
                raise Misconfigured(f"{self.name}: written by a newer release (schema {version})")
            for steps in SCHEMAS[version:]:
                for step in steps:
                    for statement in self._with(step):
                        self._writer.execute(_text(statement))
            upsert = "INSERT INTO meta VALUES (true, $1) ON CONFLICT (one) DO UPDATE SET version = excluded.version"
            self._writer.execute(upsert, (len(SCHEMAS),))
            self._writer.execute("COMMIT")
        finally:
            self._undo()

    def _begin(self) -> Execute:
        begin = f"BEGIN; SELECT pg_advisory_xact_lock({LOCK}); SELECT version FROM meta"  # noqa: S608  # our own number
        try:
            began = self._writer.execute(begin)
        except psycopg.Error:
            if not self._writer.closed:
                raise
            self._reconnect()
            began = self._writer.execute(begin)
        self._require_schema(began)
        return _executing(self._writer)

    def _require_schema(self, began: psycopg.Cursor[tuple[Any, ...]]) -> None:
        """A gateway of a newer release may have brought on what others serve. Raises NewerSchema."""
        while began.nextset():
            pass
        row = began.fetchone()
        if row is not None and row[0] > len(SCHEMAS):
            self._undo()
            raise NewerSchema(self.name, row[0])

    def _commit(self) -> None:
        token = secrets.token_hex(16)
        try:
            self._writer.execute(
                f"INSERT INTO landed VALUES ('{self._id}', '{token}') ON CONFLICT (writer)"  # noqa: S608  # hex of our own
                " DO UPDATE SET token = excluded.token, at = now(); COMMIT"
            )
        except psycopg.Error:
            if not (self._writer.closed and self._landed(token)):
                raise

    def _landed(self, token: str) -> bool:
        """Whether a commit holds whose answer was lost: who is told that nothing was charged must not be charged."""
        try:
            self._reconnect()
            self._writer.execute(f"BEGIN; SELECT pg_advisory_xact_lock({LOCK})")  # the old session is over then
            row = self._writer.execute("SELECT token FROM landed WHERE writer = $1", (self._id,)).fetchone()
            self._writer.execute("ROLLBACK")
        except psycopg.Error as error:
            raise InDoubt(f"{self.name}: {IN_DOUBT}") from error
        return bool(row == (token,))

    def _undo(self) -> None:
        try:
            if self._writer.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                self._writer.execute("ROLLBACK")
        except psycopg.Error:
            self._writer.close()  # the next transaction connects anew

    def _begin_reading(self) -> tuple[_Connection, Execute]:
        self._reading_room.acquire()
        try:
            connection = self._take()
            if connection is not None:
                try:
                    return _view(connection)
                except psycopg.Error:
                    connection.close()
            return _view(self._connect())
        except BaseException:
            self._reading_room.release()
            raise

    def _end_reading(self, connection: _Connection) -> bool:
        self._reading_room.release()
        try:
            connection.execute("ROLLBACK")
        except psycopg.Error:
            return False
        return True

    def _drop(self, connection: _Connection) -> None:
        connection.close()

    def _end(self) -> None:
        self._writer.close()

    def _with(self, step: Step) -> tuple[str, ...]:
        match step:
            case Table(name, columns):
                return (f"CREATE TABLE {name} ({_typed(columns)})",)
            case Index(sql) | Rows(sql):
                return (sql,)
            case Column(table, column):
                return (f"ALTER TABLE {table} ADD COLUMN {_typed(column)}",)
            case NoGuard(name, table):
                return f"DROP TRIGGER {name} ON {table}", f"DROP TRIGGER IF EXISTS {name}_all ON {table}"
            case Guard(name, table, event, says, when):
                row = (
                    f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW WHEN ({when or 'true'})"
                    f" EXECUTE FUNCTION refuse('{says}')"
                )
                if event != "DELETE":
                    return (row,)
                whole = f"CREATE TRIGGER {name}_all BEFORE TRUNCATE ON {table} EXECUTE FUNCTION refuse('{says}')"
                return row, whole

    def _not_written(self, error: Exception) -> Fault:
        if isinstance(error, _PASSING):
            return NotWritten(self.name, _cause(error))
        return Fault(f"{self.name}: not written ({_cause(error)})")

    def _not_read(self, error: Exception) -> Fault:
        kind = NotReady if isinstance(error, _PASSING) else Fault
        return kind(f"{self.name}: not read ({_cause(error)})")

    def _reconnect(self) -> None:
        """The server was started anew, or another one took over."""
        self._writer.close()
        self._writer = self._connect()
        self._sessions += 1

    def _connect(self) -> _Connection:
        """A connection with every setting set, and durability read back."""
        connection: _Connection = psycopg.connect(
            self._url, autocommit=True, cursor_factory=psycopg.RawCursor, **_only_new(self._url)
        )
        try:
            if connection.info.server_version < VERSION_MIN:
                raise Misconfigured(f"{self.name}: PostgreSQL 13 or later is needed")
            settings = dict(_SETTINGS)
            if _setting(connection, "synchronous_commit") != "remote_apply":
                settings["synchronous_commit"] = "on"
            for name, value in settings.items():
                connection.execute("SELECT set_config($1, $2, false)", (name, value))
            for name, allowed in _DURABLE.items():
                found = _setting(connection, name)
                if found not in allowed:
                    raise Misconfigured(f"{self.name}: {name} is {found}, and must be {' or '.join(sorted(allowed))}")
        except BaseException:
            connection.close()
            raise
        return connection


def _view(connection: _Connection) -> tuple[_Connection, Execute]:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return connection, _executing(connection)


def _executing(connection: _Connection) -> Execute:
    def execute(statement: str, parameters: Parameters) -> Result:
        result: Result = connection.execute(_numbered(statement), parameters)
        return result

    return execute


@lru_cache(maxsize=1024)
def _numbered(statement: str) -> Any:
    """`?`, which no text of ours holds otherwise, becomes `$1`, `$2` and so on."""
    first, *others = statement.split("?")
    return _text(first + "".join(f"${number}{part}" for number, part in enumerate(others, start=1)))


def _text(statement: str) -> Any:
    """The driver's types want literals of Python, to keep strangers' words out; these are our own."""
    return statement


def _typed(columns: str) -> str:
    return re.sub(r"\b(INTEGER|BLOB|TEXT)\b", lambda found: _TYPES[found[1]], columns)


def _setting(connection: _Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting($1)", (name,)).fetchone()
    return "" if row is None else str(row[0])


def _only_new(url: str) -> dict[str, Any]:
    """What the url itself says, holds."""
    said = conninfo_to_dict(url)
    return {name: value for name, value in _CONNECTING.items() if name not in said}


def _shown(url: str) -> str:
    """The address, without a user and without secrets. Raises Misconfigured."""
    try:
        said = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise Misconfigured("`store.url` is not an address of PostgreSQL") from error
    host, port = said.get("host") or "local", said.get("port")
    return f"postgresql://{host}{f':{port}' if port else ''}/{said.get('dbname') or ''}"


def _cause(error: Exception) -> str:
    """In words that hold no address and no value."""
    if isinstance(error, psycopg.Error) and error.sqlstate is not None:
        return str(error.diag.message_primary or error.sqlstate)
    return UNREACHABLE
