"""What the adapters have in common: one writer, as many readers as are needed at once, and no nesting."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from gateway.errors import Fault
from gateway.store import Execute, InDoubt, NotWritten, Reading, Transaction
from gateway.stores.copying import GUARDS, copy
from gateway.stores.schema import NoGuard, Step

Connection = TypeVar("Connection")


class Pooled(ABC, Generic[Connection]):
    """An adapter says how its database begins, commits, undoes and reads; and which of its errors are whose."""

    errors: type[Exception]
    """Of the database's driver."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._writing = threading.RLock()
        self._pool_lock = threading.Lock()
        self._readers: list[Connection] = []
        self._here = threading.local()
        self._closed = False
        self._failed = False
        self._sessions = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def failing(self) -> bool:
        return self._failed

    @property
    def sessions(self) -> int:
        return self._sessions

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self._forbid_nesting()
        with self._writing, self._busy():
            try:
                tx = Transaction(self._begin())
                try:
                    yield tx
                    tx.close()
                    self._commit()
                finally:
                    tx.close()
                    self._undo()
            except (NotWritten, InDoubt):
                self._failed = True
                raise
            except self.errors as error:
                fault = self._not_written(error)
                self._failed = self._failed or isinstance(fault, NotWritten)
                raise fault from error

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        self._forbid_nesting()
        with self._busy():
            try:
                connection, execute = self._begin_reading()
                view = Reading(execute)
                try:
                    yield view
                finally:
                    view.close()
                    self._give_back(connection)
            except self.errors as error:
                raise self._not_read(error) from error

    def fill(self, view: Reading) -> None:
        """Takes over all rows of another store, in one transaction. This one must be empty."""
        with self.transaction() as tx:
            for guard in GUARDS:
                for statement in self._with(NoGuard(guard.name, guard.table)):
                    tx.write(statement)
            copy(view, tx)
            for guard in GUARDS:
                for statement in self._with(guard):
                    tx.write(statement)

    def close(self) -> None:
        with self._writing, self._pool_lock:
            if self._closed:
                return
            self._closed = True
            for connection in self._readers:
                self._drop(connection)
            self._readers.clear()
            self._end()

    @abstractmethod
    def _begin(self) -> Execute:
        """Opens a write transaction on the writer."""

    @abstractmethod
    def _commit(self) -> None:
        """Durable when it returns, undone when it raises an error of the driver. Raises InDoubt."""

    @abstractmethod
    def _undo(self) -> None:
        """Rolls back what is still open. Does not raise."""

    @abstractmethod
    def _begin_reading(self) -> tuple[Connection, Execute]:
        """Opens a view, on a connection of `_take` or a new one."""

    @abstractmethod
    def _end_reading(self, connection: Connection) -> bool:
        """Closes the view; whether the connection is still good. Does not raise."""

    @abstractmethod
    def _drop(self, connection: Connection) -> None: ...

    @abstractmethod
    def _end(self) -> None:
        """Closes the writer and whatever else is held."""

    @abstractmethod
    def _with(self, step: Step) -> tuple[str, ...]:
        """A step of the schema, in this database's words."""

    @abstractmethod
    def _not_written(self, error: Exception) -> Fault:
        """NotWritten for what may go better another time, else Fault."""

    @abstractmethod
    def _not_read(self, error: Exception) -> Fault: ...

    def _take(self) -> Connection | None:
        """A reader that is free."""
        with self._pool_lock:
            return self._readers.pop() if self._readers else None

    def _give_back(self, connection: Connection) -> None:
        good = self._end_reading(connection)
        with self._pool_lock:
            if good and not self._closed:
                self._readers.append(connection)
            else:
                self._drop(connection)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._here.busy = True
        try:
            yield
        finally:
            self._here.busy = False

    def _forbid_nesting(self) -> None:
        if self._closed:
            raise Fault(f"{self._name}: closed")
        if getattr(self._here, "busy", False):
            raise Fault("a transaction inside another one would wait for itself")
