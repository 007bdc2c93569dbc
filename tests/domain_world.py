"""A data domain on real files with real workers, and a gateway's hand that signs tickets for it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from policies import privacy_loss
from policies.model import Policy
from sandbox.codec import dumps
from sandbox.datasets import Datasets
from sandbox.domain import Domain
from sandbox.door import Door
from sandbox.pool import Pool, PoolSettings
from sandbox.protocol import TICKET_CONTEXT, Failed, Prepare, Prepared, Question, Refused, Released, Run, Ticket
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure, Output, Release, Scan
from sandbox.release.store import Store
from sandbox.seed import seed_of
from sandbox.service import prepare
from sandbox.tickets import TicketVerifier
from tests.builders import policy_text

DOMAIN = """
[datasets.clinic]
engine = "duckdb"
snapshot = "1"
ceiling = { epsilon = 20 }
{deadlines}
[datasets.clinic.tables]
people = "data/people.csv"
visits = "data/visits.csv"
items = "data/items.csv"
hospitals = "data/hospitals.csv"
codes = "data/codes.csv"
[worker]
threads = 1
wall_s = 20
"""
PEOPLE = 400
_ids = itertools.count()


def write_home(
    home: Path, key: Ed25519PrivateKey, policy: str | None = None, deadlines: str = 'deadlines_s = "off"'
) -> None:
    """The files of a domain: policy, data, the gateway's public key."""
    dice = random.Random(11)
    kinds = ["in", "out", "day"]
    tables: dict[str, tuple[str, list[list[object]]]] = {
        "people": (
            "pid,sex,age,income,weight,diagnosis,born,active",
            [
                [i, "FM"[i % 2], i % 90, dice.randint(0, 1000), 70.5, ["flu", "gout"][i % 2], "1980-02-03", "true"]
                for i in range(PEOPLE)
            ],
        ),
        "visits": (
            "pid,vid,hospital,cost,kind,seen",
            [[i % PEOPLE, i, i % 4, f"{dice.uniform(0, 500):.2f}", kinds[i % 3], "2021-05-05"] for i in range(900)],
        ),
        "items": ("vid,price,drug", [[i % 900, dice.uniform(0, 90), i % 5] for i in range(1200)]),
        "hospitals": ("id,level", [[i, ["county", "city"][i % 2]] for i in range(4)]),
        "codes": ("id,hospital,code", [[i, i % 4, "abc"[i % 3]] for i in range(9)]),
    }
    for folder in ("data", "policies/clinic", "keys"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    for name, (header, rows) in tables.items():
        with (home / "data" / f"{name}.csv").open("w", newline="") as out:
            csv.writer(out).writerows([header.split(","), *rows])
    (home / "policies/clinic/policy.toml").write_text(policy or policy_text())
    (home / "domain.toml").write_text(DOMAIN.replace("{deadlines}", deadlines))
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (home / "keys/ticket.pub").write_bytes(public)


@dataclass
class DomainWorld:
    door: Door
    policy: Policy
    key: Ed25519PrivateKey
    store: Store
    pool: Pool

    def question(
        self, *measures: Measure, epsilon: str = "0.5", table: str = "people", keys: tuple[Column, ...] = ()
    ) -> Question:
        release = Release(Scan(table, 0), keys, measures or (Measure("count_rows", None),))
        names = [*(f"k{i}" for i in range(len(keys))), *(f"m{i}" for i in range(len(release.measures)))]
        plan = Output(release, tuple((name, Column(name)) for name in names))
        units = privacy_loss.units_down(Decimal(epsilon), privacy_loss.EPSILON_UNIT)
        return Question("clinic", self.policy.digest, "dp", units, plan)

    def prepared(self, question: Question, *, reserve: bool = False) -> Prepared:
        found = self.door.prepare(Prepare(question, reserve))
        assert isinstance(found, Prepared), found
        return found

    def ticket(self, question: Question, prepared: Prepared, **changes: object) -> Ticket:
        now = time.time_ns() // 1_000_000
        ticket = Ticket(
            id=f"tkt_{next(_ids)}_{now}",
            query="qry_1",
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
        return dataclasses.replace(ticket, **changes)

    def signed(self, ticket: Ticket, question: Question, key: Ed25519PrivateKey | None = None) -> Run:
        signature = (key or self.key).sign(TICKET_CONTEXT + dumps(ticket)).hex()
        return Run(ticket, signature, question, None)

    def run(self, question: Question, **changes: object) -> Released | Failed | Refused:
        ticket = self.ticket(question, self.prepared(question), **changes)
        return self.door.run(self.signed(ticket, question))

    def spent(self) -> tuple[int, int]:
        assert self.policy.release.dp is not None
        return self.store.spent("clinic", self.policy.release.dp.accountant)


@contextlib.contextmanager
def domain_world(
    home: Path, policy: str | None = None, deadlines: str = 'deadlines_s = "off"', workers_max: int = 0
) -> Iterator[DomainWorld]:
    key = Ed25519PrivateKey.generate()
    write_home(home, key, policy, deadlines)
    with opened(home, key, workers_max) as world:
        yield world


@contextlib.contextmanager
def opened(home: Path, key: Ed25519PrivateKey, workers_max: int = 0) -> Iterator[DomainWorld]:
    """The domain that lies in `home`; may be opened again and again, as a service is started again."""
    domain = Domain.load(home)
    pool = Pool(PoolSettings(spill=domain.state / "spill", threads=1, wall_ms=20_000, warm=1, workers_max=workers_max))
    store = Store(domain.state / "domain.sqlite", domain.tally)
    datasets = Datasets(domain)
    door = Door(datasets, store, pool, TicketVerifier(domain.ticket_key), seed_of(domain.state))
    try:
        prepare(datasets, pool, door)
        served = datasets.find("clinic")
        assert served is not None, door.status()
        yield DomainWorld(door, served.policy, key, store, pool)
    finally:
        pool.close()
        store.close()
