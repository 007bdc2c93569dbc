"""The town behind its door, in this process: asked in SQL as over HTTP, by the same reading, admission and release."""

from __future__ import annotations

import contextlib
import datetime as dt
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.admission.admit import admit
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import Query, read
from policies.model import Licence, Policy
from policies.types import Value
from sandbox.datasets import Datasets
from sandbox.domain import Domain
from sandbox.door import Door
from sandbox.pool import Pool, PoolSettings
from sandbox.protocol import Fetch, Interval, Prepare, Prepared, Question, Refused, Released
from sandbox.release.store import Store
from sandbox.seed import seed_of
from sandbox.service import prepare
from sandbox.tickets import TicketVerifier
from tests.disclosure.planted import DOMAIN, Town, next_town, policy_text, town
from tests.domain_world import DomainWorld

_memories = itertools.count()
DAY = dt.date(2026, 11, 26)
LIMITS = SqlLimits()
OPERATORS = ("op-a", "op-b")
LICENCES = tuple(
    Licence(f"L-{name}", name, ("town",), ("research",), dt.date(2026, 1, 1), dt.date(2026, 12, 31), {})
    for name in OPERATORS
)


@dataclass(frozen=True)
class Reply:
    """An answer, or the code of its refusal. `kinds` are those of the columns."""

    sql: str
    code: str | None = None
    detail: str = ""
    names: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    rows: tuple[tuple[Value, ...], ...] = ()
    intervals: tuple[tuple[Interval | None, ...], ...] = ()
    """Where the exact numbers lie, by what the answer itself says; empty where all are exact."""

    @property
    def answered(self) -> bool:
        return self.code is None

    @property
    def numbers(self) -> list[Value]:
        """Every cell of the answer that is no key, withheld ones as None."""
        return [value for row in self.rows for kind, value in zip(self.kinds, row, strict=True) if kind != "key"]

    @property
    def released(self) -> list[Value]:
        return [value for value in self.numbers if value is not None]

    def by_key(self, column: int = -1) -> dict[tuple[Value, ...], Value]:
        """Key values of each row -> its number in `column` of those that are no keys."""
        places = [i for i, kind in enumerate(self.kinds) if kind != "key"]
        keys = [i for i, kind in enumerate(self.kinds) if kind == "key"]
        return {tuple(row[i] for i in keys): row[places[column]] for row in self.rows}


@dataclass
class TownWorld:
    """`restart` closes everything and opens it again over the same folder; `move` does so with the next snapshot."""

    home: Path
    town: Town
    key: Ed25519PrivateKey
    _opened: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _snapshot: int = 1

    def open(self) -> None:
        domain = Domain.load(self.home)
        pool = Pool(PoolSettings(spill=domain.state / "spill", threads=1, wall_ms=20_000, warm=2))
        self._opened.callback(pool.close)
        datasets = Datasets(domain)
        verifier, seed = TicketVerifier(domain.ticket_key), seed_of(domain.state)

        def door(memory: Path) -> tuple[Door, Store]:
            store = Store(memory)
            self._opened.callback(store.close)
            return Door(datasets, store, pool, verifier, seed), store

        self._door = door
        first, store = door(domain.state / "domain.sqlite")
        prepare(datasets, pool, first)
        served = datasets.find("town")
        assert served is not None, first.status()
        self.inner = DomainWorld(first, served.policy, self.key, store, pool)

    def forget(self) -> None:
        """From here on nothing was ever said: what is asked next is an enemy's first question."""
        before = self.inner.door
        door, store = self._door(self.home / "state" / f"memory-{next(_memories)}.sqlite")
        door.layers, door.degraded = before.layers, before.degraded
        self.inner = DomainWorld(door, self.policy, self.key, store, self.inner.pool)

    @property
    def policy(self) -> Policy:
        return self.inner.policy

    def close(self) -> None:
        self._opened.close()
        self._opened = contextlib.ExitStack()

    def restart(self) -> None:
        self.close()
        self.open()

    def move(self) -> None:
        """The custodian publishes the next snapshot."""
        self.close()
        self._snapshot += 1
        self.town = next_town(self.town)
        self.publish()
        self.open()

    def _admitted(self, query: Query, operator: str, mode: str) -> Question:
        return admit(
            query,
            self.policy,
            operator=operator,
            licences=tuple(one for one in LICENCES if one.operator == operator),
            purpose="research",
            mode=mode,
            epsilon=None,
            day=DAY,
        ).question

    def publish(self) -> None:
        self.town.write(self.home / "data" / str(self._snapshot))
        (self.home / "domain.toml").write_text(DOMAIN.format(snapshot=self._snapshot))

    def ask(self, sql: str, operator: str = "op-a", mode: str = "aggregate") -> Reply:
        """Whatever is answered or refused; a failure after the charge is a fault."""
        policies = {"town": self.policy}
        try:
            query = read(sql, {}, policies, LIMITS)
            question = self._admitted(query, operator, mode)
        except Refusal as refusal:
            return Reply(sql, refusal.code, f"{refusal.message} | {refusal.hint}")
        found = self.inner.door.prepare(Prepare(question, reserve=False))
        if isinstance(found, Refused):
            return Reply(sql, found.code, f"{found.detail} | {found.hint}")
        assert isinstance(found, Prepared)
        if found.release is not None:
            got = self.inner.door.fetch(Fetch(found.release, question))
        else:
            got = self.inner.door.run(self.inner.signed(self.inner.ticket(question, found), question))
        if isinstance(got, Refused):
            return Reply(sql, got.code, f"{got.detail} | {got.hint}")
        assert isinstance(got, Released), (sql, got)
        kinds = tuple(column.kind for column in got.columns)
        return Reply(sql, None, "", tuple(column.name for column in got.columns), kinds, got.rows, got.intervals)


@contextlib.contextmanager
def town_world(*, rounding: int = 0, edit: tuple[str, str] = ("", ""), rows: Town | None = None) -> Iterator[TownWorld]:
    """`edit`: a piece of the policy's text, and what stands in its place."""
    with tempfile.TemporaryDirectory(prefix="bpk-town-") as folder:
        home = Path(folder)
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        for part in ("policies/town", "keys"):
            (home / part).mkdir(parents=True)
        (home / "keys/ticket.pub").write_bytes(public)
        (home / "policies/town/policy.toml").write_text(policy_text(rounding=rounding).replace(*edit))
        world = TownWorld(home, rows or town(), key)
        world.publish()
        world.open()
        try:
            yield world
        finally:
            world.close()
