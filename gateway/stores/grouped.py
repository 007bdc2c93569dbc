"""Several write transactions become durable with one commit, where their writers come at the same time.

A commit waits for the disk, a transaction of a question hardly at all. So whoever is done while others wait leaves the
commit to them: each transaction but the first is a savepoint inside one that the last of them commits. To each it looks
as if it was alone: no block ends, well or with an error, before what it has seen and written is durable. Where that
fails, it has failed for all of them, and none may act on what it saw.
"""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from gateway.errors import Fault
from gateway.store import Execute, InDoubt, NotWritten, Transaction
from gateway.stores.pooled import Pooled

Connection = TypeVar("Connection")
TOGETHER_MAX: Final = 64
PATIENCE_S: Final = 0.02
"""How old a group may be when it is left to others: no commit waits for ever because more keep coming."""
_LOOK_S: Final = 1.0


class _Group:
    """Transactions that one commit makes durable."""

    def __init__(self, execute: Execute) -> None:
        self.execute = execute
        self.begun = time.monotonic()
        self.members = 0
        self.kept = 0
        self.over = threading.Event()
        self.error: Exception | None = None
        """Why nothing of it is durable, as the driver says; to be read when it is over."""


class Grouped(Pooled[Connection]):
    """An adapter says, beside what `Pooled` asks for, how a transaction inside one begins, ends and is taken back."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._group: _Group | None = None
        self._coming = 0
        self._counting = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        with self._within(alone=False) as tx:
            yield tx

    @contextmanager
    def _within(self, *, alone: bool) -> Iterator[Transaction]:
        """`alone` leaves the commit to nobody: for a caller that holds `_writing` itself."""
        self._forbid_nesting()
        failure: BaseException | None = None
        with self._busy():
            self._come()
            try:
                group = self._joined()
                try:
                    yield from self._inside(group)
                except BaseException as error:  # raised again when what was seen in there is durable
                    failure = error
                if alone or not self._others_follow(group):
                    self._finish(group)
            finally:
                self._writing.release()
            self._await(group)
        failure = group.error or failure
        if isinstance(failure, self.errors):
            raise self._told(failure) from failure
        if isinstance(failure, InDoubt):  # one of each member's own
            self._mark(failure)
            raise InDoubt(*failure.args) from failure
        if failure is not None:
            self._mark(failure)
            raise failure

    def close(self) -> None:
        with self._writing:
            if self._group is not None:
                self._finish(self._group)
            super().close()

    @abstractmethod
    def _begin_inner(self) -> None: ...

    @abstractmethod
    def _end_inner(self) -> None: ...

    @abstractmethod
    def _undo_inner(self) -> bool:
        """Takes back what was written since `_begin_inner`; False where all of the transaction is lost."""

    def _come(self) -> None:
        with self._counting:
            self._coming += 1
        try:
            self._writing.acquire()
        finally:
            with self._counting:
                self._coming -= 1

    def _joined(self) -> _Group:
        if self._group is None:
            try:
                self._group = _Group(self._begin())
            except self.errors as error:
                raise self._told(error) from error
        self._group.members += 1
        return self._group

    def _inside(self, group: _Group) -> Iterator[Transaction]:
        """Before the first of a group nobody has written, whose work a savepoint would keep: its end is that of all."""
        first = group.members == 1
        try:
            if not first:
                self._begin_inner()
            tx = Transaction(group.execute)
            try:
                yield tx
            finally:
                tx.close()
            if not first:
                self._end_inner()
            group.kept += 1
        except BaseException as error:
            if first:
                self._lose(group, None)
            elif not self._undo_inner():
                self._lose(group, error if isinstance(error, self.errors) else NotWritten(self._name, "lost"))
            raise

    def _others_follow(self, group: _Group) -> bool:
        waited = time.monotonic() - group.begun > PATIENCE_S
        with self._counting:
            return bool(self._coming) and not (waited or group.members >= TOGETHER_MAX or group.over.is_set())

    def _finish(self, group: _Group) -> None:
        """Commits, with the lock held. Does not raise for what the database says: every member does."""
        if group.over.is_set():
            return
        self._group = None
        group.error = InDoubt(f"{self._name}: whether a transaction is durable is not known")
        try:
            if group.kept:
                self._commit()
            group.error = None
        except (self.errors, InDoubt) as error:
            group.error = error
        finally:
            self._undo()
            group.over.set()

    def _lose(self, group: _Group, error: Exception | None) -> None:
        self._group, group.error = None, error
        self._undo()
        group.over.set()

    def _await(self, group: _Group) -> None:
        """Whoever was to commit may have been stopped on the way: then one that waits does."""
        while not group.over.wait(_LOOK_S):
            with self._writing:
                self._finish(group)

    def _told(self, error: Exception) -> Fault:
        fault = self._not_written(error)
        self._mark(fault)
        return fault

    def _mark(self, failure: BaseException) -> None:
        self._failed = self._failed or isinstance(failure, NotWritten | InDoubt)
