"""The data domain in this process: the project's own door, asked as the gateway asks it, without sockets and walls.

A question is read, admitted, priced, charged by a signed ticket, run and kept, all by the project's code; only the
worker is missing, so statements run in a hardened connection of this process. Each asking is a release of its own.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.bare import MEMORY, THREADS
from bench.data import Dataset
from bench.home import degraded
from bench.place import FOLDER
from gateway.admission.admit import admit
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.load import load_text
from policies.model import Licence, Policy
from policies.types import Type, Value
from sandbox.codec import dumps
from sandbox.datasets import Datasets, Served
from sandbox.deadlines import NO_DEADLINES, Deadlines
from sandbox.domain import Ceiling as OwnCeiling
from sandbox.domain import DatasetSource, Domain, WorkerLimits
from sandbox.door import Door
from sandbox.engine.shadow import Shadow
from sandbox.engine.snapshot import open_snapshot
from sandbox.ingest.ensure import ensure
from sandbox.ingest.job import schema_digest
from sandbox.ingest.snapshot import Snapshot
from sandbox.pool import Pool, Worker
from sandbox.protocol import (
    TICKET_CONTEXT,
    Failed,
    Layer,
    Prepare,
    Prepared,
    Question,
    Refused,
    Released,
    Run,
    Ticket,
)
from sandbox.relational.facts import Schema
from sandbox.relational.lower.statement import KEPT
from sandbox.release.store import Ceiling, Store
from sandbox.tickets import TicketVerifier

Row = tuple[Value, ...]
MEMORY_MB: Final = int(MEMORY.removesuffix("MiB"))
WALL_MS: Final = 300_000
NO_CEILING: Final = 10**30
"""A benchmark asks as often as it likes; the noise of each question is that of its price all the same."""
OPERATOR: Final = "bench"
_ids = itertools.count()


class NotAnswered(Exception):
    """`code` is that of the refusal, or of the failure after the charge."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code}: {words}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    rows: list[Row]
    seconds: float
    """From the text of the question to its rows."""


def snapshot(data: Dataset, policy: Policy) -> Snapshot:
    """The data as the domain publishes it, taken in once for all policies that differ in bounds alone."""
    home = FOLDER / "snapshots" / f"{data.label}-{schema_digest(policy)[:16]}"
    home.mkdir(parents=True, exist_ok=True)
    tables = {name: (str(file.absolute()),) for name, file in data.tables.items() if name in policy.tables}
    source = DatasetSource(policy.dataset, "duckdb", tables, "bench", OwnCeiling(None, None), NO_DEADLINES)
    limits = WorkerLimits(threads=THREADS, memory_mb=MEMORY_MB, wall_s=WALL_MS // 1000, warm=0, max=1)
    domain = Domain(
        home, {policy.dataset: source}, frozenset(degraded()), home / "ticket.pub", home / "domain.tally", limits
    )
    return ensure(domain, {policy.dataset: policy}, policy.dataset)


@contextmanager
def opened(policy: str, data: Dataset, *, remember: bool) -> Iterator[Inside]:
    """A door on `data` under the policy in the text `policy`, until the block ends.

    `remember`: whether a statement that ran once is not run again. Exact vectors are then computed once, and each
    release is still drawn afresh by the code that releases.
    """
    loaded = load_text(policy, "the benchmark's policy")
    with opened_on(snapshot(data, loaded), loaded, remember=remember) as here:
        yield here


@contextmanager
def opened_on(
    published: Snapshot, loaded: Policy, *, remember: bool, deadlines: Deadlines = NO_DEADLINES
) -> Iterator[Inside]:
    """The same on a snapshot that is there already."""
    with tempfile.TemporaryDirectory(prefix="bench-inside-") as folder:
        spill = Path(folder) / "spill"
        spill.mkdir()
        connection = open_snapshot(published.path, threads=THREADS, memory_mb=MEMORY_MB, wall_ms=WALL_MS, spill=spill)
        store = Store(Path(folder) / "domain.sqlite")
        try:
            hands = _Hands(connection, published.path, remember=remember)
            yield Inside(_OneDataset(loaded, published, deadlines), store, hands, Path(folder))
        finally:
            store.close()
            connection.close()


class Inside:
    """One dataset behind its own door."""

    def __init__(self, dataset: _OneDataset, store: Store, hands: _Hands, folder: Path) -> None:
        self.policy = dataset.one.policy
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (folder / "ticket.pub").write_bytes(public)
        verifier = TicketVerifier(folder / "ticket.pub")
        self._hands = hands
        self._door = Door(dataset, store, _OneHand(hands), verifier, bytes(32))
        self._door.layers = (Layer("process", required=True, active=True, reason="statements run in this process"),)

    def ask(self, sql: str, epsilon: str) -> Answer:
        """A fresh release for the question. Raises NotAnswered."""
        begin = time.monotonic()
        question = self._admitted(sql, epsilon)
        prepared = self._door.prepare(Prepare(question, reserve=False))
        if isinstance(prepared, Refused):
            raise NotAnswered(prepared.code, prepared.detail)
        ticket = _ticket(question, prepared)
        signature = self._key.sign(TICKET_CONTEXT + dumps(ticket)).hex()
        released = self._door.run(Run(ticket, signature, question, None))
        match released:
            case Released():
                return Answer(list(released.rows), time.monotonic() - begin)
            case Refused():
                raise NotAnswered(released.code, released.detail)
            case Failed():
                raise NotAnswered(released.code, "failed after the charge")

    def deadline_ms(self, sql: str, epsilon: str) -> int | None:
        """When the question would be answered. Raises NotAnswered."""
        prepared = self._door.prepare(Prepare(self._admitted(sql, epsilon), reserve=False))
        if isinstance(prepared, Refused):
            raise NotAnswered(prepared.code, prepared.detail)
        return prepared.deadline_ms

    def statements(self, sql: str, epsilon: str) -> list[str]:
        """What the engine runs for the question: nothing that is remembered. Raises NotAnswered."""
        before = len(self._hands.given)
        self.ask(sql, epsilon)
        return self._hands.given[before:]

    def _admitted(self, sql: str, epsilon: str) -> Question:
        policy = self.policy
        licence = Licence("bench", OPERATOR, (policy.dataset,), policy.purposes, date.min, date.max, {})
        try:
            admitted = admit(
                read(sql, {}, {policy.dataset: policy}, SqlLimits()),
                policy,
                operator=OPERATOR,
                licences=(licence,),
                purpose=policy.purposes[0],
                mode=None,
                epsilon=Decimal(epsilon),
                day=date.max,
            )
        except Refusal as refusal:
            raise NotAnswered(refusal.code, refusal.message) from refusal
        return admitted.question


def _ticket(question: Question, prepared: Prepared) -> Ticket:
    now = time.time_ns() // 1_000_000
    return Ticket(
        id=f"tkt_{next(_ids)}",
        query="qry_bench",
        dataset=question.dataset,
        plan_digest=question.plan_digest,
        policy_digest=question.policy_digest,
        snapshot=prepared.snapshot,
        mode=question.mode,
        price=prepared.price,
        audience=prepared.audience,
        issued=now,
        expires=now + 60_000,
    )


class _OneDataset(Datasets):
    def __init__(self, policy: Policy, published: Snapshot, deadlines: Deadlines) -> None:
        dp, unit = policy.release.dp, policy.unit
        assert dp is not None
        assert unit is not None
        assert published.manifest.schema_digest == schema_digest(policy), "the snapshot is of another layout"
        schema = Schema(policy, published.public_keys)
        ceiling = Ceiling(dp.accountant, NO_CEILING, NO_CEILING, custodians=False)
        self.one = Served(
            policy, dp, unit.count_max, published, schema, published.publics, Shadow(policy), ceiling, deadlines
        )

    def find(self, name: str) -> Served | None:
        return self.one if name == self.one.policy.dataset else None


class _OneHand(Pool):
    """Statements run one at a time, so no place is ever waited for."""

    def __init__(self, hands: _Hands) -> None:
        self._hands = hands

    def take(self, token: str | None, dataset: str) -> Worker | None:
        del token, dataset
        return self._hands

    def release(self, token: str) -> None:
        del token


class _Hands(Worker):
    """What a worker does, without its walls."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path, *, remember: bool) -> None:
        self.snapshot = path
        self._connection = connection
        self._known: dict[tuple[str, str | None], list[Row]] | None = {} if remember else None
        self._kept: str | None = None
        self.given: list[str] = []

    def query(self, sql: str, shape: tuple[Type, ...], rows_max: int, keep: str | None = None) -> list[Row]:
        if self._known is not None and (sql, keep) in self._known:
            return self._known[sql, keep]
        if keep is not None and keep != self._kept:
            self.given.append(keep)
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {KEPT} AS {keep}").fetchall()
            self._kept = keep
        self.given.append(sql)
        found: list[Any] = self._connection.execute(sql).fetchall()
        assert len(found) <= rows_max
        assert all(len(row) == len(shape) for row in found[:1])
        if self._known is not None:
            self._known[sql, keep] = found
        return found

    def close(self) -> None:
        """The next job is another worker's: unless all is remembered, it begins with nothing kept."""
        if self._known is None:
            self._kept = None

    kill = close
