"""The gateway's one database and its transaction. The ledger and the log write only through an open one.

What is written here is the SQL that all adapters (`gateway.stores`) share: `?` for each parameter in turn, 64-bit
integers, text without NUL, bytes, NULL. All write transactions of a store come one after the other, whoever makes
them, so each of them sees what is durable and nothing else; a reading sees one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from gateway.errors import Fault, NotReady

Row = tuple[Any, ...]
Parameters = Sequence[Any]


class Result(Protocol):
    """What a statement gave, as Python's database drivers have it."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


Execute = Callable[[str, Parameters], Result]


class NotWritten(NotReady):
    """The database does not take it. All of the transaction was undone. `cause` names no place."""

    def __init__(self, store: str, cause: str, hint: str = "is the disk full?") -> None:
        super().__init__(f"{store}: not written ({cause}); {hint}")
        self.cause = cause


class NewerSchema(NotWritten):
    """A newer release has changed the store under this one, which does not know any more what it would write."""

    def __init__(self, store: str, version: int) -> None:
        super().__init__(store, f"a newer release has brought it to schema {version}", "start that release here too")


class InDoubt(Fault):
    """A commit failed, and it cannot be known now whether it holds. Nothing may be done that rests on it."""


class Reading:
    """A consistent view, open until its block ends."""

    def __init__(self, execute: Execute) -> None:
        self._execute: Execute | None = execute

    def all(self, sql: str, parameters: Parameters = ()) -> list[Row]:
        return self._run(sql, parameters).fetchall()

    def one(self, sql: str, parameters: Parameters = ()) -> Row | None:
        row: Row | None = self._run(sql, parameters).fetchone()
        return row

    def close(self) -> None:
        """Ends the use of this object, not the connection's."""
        self._execute = None

    def _run(self, sql: str, parameters: Parameters) -> Result:
        if self._execute is None:
            raise Fault("the transaction is over")
        if not all(map(_is_value, parameters)):
            raise Fault("a value that no store keeps")
        return self._execute(sql, parameters)


def _is_value(value: object) -> bool:
    """No store may round, cut or turn what it is given; nothing here is a fraction."""
    if type(value) is int:
        return -(2**63) <= value < 2**63
    if type(value) is str:
        return "\0" not in value
    return value is None or type(value) is bytes


class Transaction(Reading):
    """An open write transaction: all of it becomes durable at the end of its block, or none."""

    def write(self, sql: str, parameters: Parameters = ()) -> int:
        """The number of rows that changed."""
        return self._run(sql, parameters).rowcount


class Store(Protocol):
    """Thread-safe; several processes may use one database. `tests/unit/test_store_contract.py` is what it promises."""

    @property
    def name(self) -> str:
        """For messages: a path or an address, without secrets."""
        ...

    @property
    def sessions(self) -> int:
        """How often the writer's connection was made anew: another server may have taken over since."""
        ...

    @property
    def failing(self) -> bool:
        """Whether a transaction was not written, and `try_writing` has not shown since that the next one can be."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Durable when the block ends, rolled back when it raises. Not to be nested. Nothing is ever half-written.

        Raises NotWritten when the database cannot be written, InDoubt where its commit failed and nobody can tell
        whether it holds, Fault for what it does not allow.
        """
        ...

    def reading(self) -> AbstractContextManager[Reading]:
        """A consistent view of what is durable. Keep it short: others may wait until readers are done."""
        ...

    def try_writing(self) -> None:
        """Proves that the database can be written, by writing. Raises as `transaction` does."""
        ...

    def copy_to(self, target: Path) -> None:
        """A consistent copy of everything, as a new file that `SqliteStore` opens (mode 0600). Others go on meanwhile.

        Raises NotWritten where the file cannot be written.
        """
        ...

    def fill(self, view: Reading) -> None:
        """Takes over all rows of another store, in one transaction. This one must be empty."""
        ...

    def serve(self) -> bool:
        """Makes this process one that serves from the database, until it ends: True where it is the only one, so that
        every process that served before is gone. Raises NotReady where another one serves that may not be joined.
        """
        ...

    def close(self) -> None: ...
