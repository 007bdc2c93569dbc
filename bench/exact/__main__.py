"""`python -m bench.exact`: real data asked exactly and with noise, printed as tables in Markdown."""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.exact.questions import QUESTIONS
from bench.home import degraded
from bench.place import machine
from gateway.admission.admit import admit
from gateway.errors import Refusal
from gateway.sql.limits import SqlLimits
from gateway.sql.read import read
from policies.model import Licence, Mode, Policy
from sandbox.codec import dumps
from sandbox.datasets import Datasets
from sandbox.domain import Domain
from sandbox.door import Door
from sandbox.pool import Pool, PoolSettings
from sandbox.protocol import TICKET_CONTEXT, Prepare, Prepared, Refused, Released, Run, Ticket
from sandbox.release.store import Store
from sandbox.seed import seed_of
from sandbox.service import prepare
from sandbox.tickets import TicketVerifier

ROOT: Final = Path(__file__).parents[2]
HERE: Final = Path(__file__).parent
FOLDER: Final = ROOT.parent / "shared" / "data"
PAUSE_S: Final = 0.6
"""Between two questions: the worker for the next one starts in it, as it does where a person asks."""
AGGREGATE: Final = "[release.aggregate]\nunits_min = 10\nrounding = 5\n"
TABLES: Final = {
    "nafld": {"people": "nafld_people", "measurements": "nafld_measurements", "events": "nafld_events"},
    "flights": {"planes": "planes", "flights": "flights", "airports": "airports"},
}


@dataclass
class Row:
    """One question: what was shown and withheld, and how long both modes took, in ms."""

    sql: str
    shown: int = 0
    withheld: int = 0
    refused: str = ""
    exact: list[float] = field(default_factory=list)
    noisy: list[float] = field(default_factory=list)


@dataclass
class Place:
    """A data domain with one dataset, and a hand that signs tickets for it."""

    door: Door
    policy: Policy
    key: Ed25519PrivateKey
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def ask(self, sql: str, mode: Mode) -> tuple[float, Released | str]:
        """Milliseconds from the text to the answer, without the gateway's ledger and log."""
        licence = Licence("bench", "bench", (self.policy.dataset,), self.policy.purposes, date.min, date.max, {})
        begin = time.perf_counter()
        try:
            query = read(sql, {}, {self.policy.dataset: self.policy}, SqlLimits())
            admitted = admit(
                query,
                self.policy,
                operator="bench",
                licences=(licence,),
                purpose=self.policy.purposes[0],
                mode=mode,
                epsilon=None,
                day=date(2026, 1, 1),
            )
        except Refusal as refusal:
            return 0.0, refusal.code
        question = admitted.question
        prepared = self.door.prepare(Prepare(question, reserve=True))
        if not isinstance(prepared, Prepared):
            return 0.0, prepared.code
        now = time.time_ns() // 1_000_000
        ticket = Ticket(
            f"tkt_{next(self.numbers)}", "qry", question.dataset, question.plan_digest, question.policy_digest,
            prepared.snapshot, question.mode, prepared.price, prepared.audience, now, now + 60_000,
        )  # fmt: skip
        signature = self.key.sign(TICKET_CONTEXT + dumps(ticket)).hex()
        found = self.door.run(Run(ticket, signature, question, prepared.reservation))
        took = (time.perf_counter() - begin) * 1000
        if isinstance(found, Released):
            return took, found
        return took, found.code if isinstance(found, Refused) else "query_failed"


@contextmanager
def place(name: str) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="bpk-exact-") as folder:
        home, key = Path(folder), Ed25519PrivateKey.generate()
        (home / "keys").mkdir()
        kinds = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (home / "keys" / "ticket.pub").write_bytes(key.public_key().public_bytes(*kinds))
        _write(home, name)
        domain = Domain.load(home)
        allowed = frozenset(degraded())
        settings = PoolSettings(spill=domain.state / "spill", threads=2, warm=2, allow_degraded=allowed)
        pool, store, datasets = Pool(settings), Store(domain.state / "domain.sqlite"), Datasets(domain)
        door = Door(datasets, store, pool, TicketVerifier(domain.ticket_key), seed_of(domain.state))
        door.degraded = tuple(sorted(allowed))
        try:
            prepare(datasets, pool, door)
            served = datasets.find(name)
            if served is None:
                raise SystemExit(f"{name}: {door.status()}")
            yield Place(door, served.policy, key)
        finally:
            pool.close()
            store.close()


def _write(home: Path, name: str) -> None:
    """Policy, data and settings of one dataset."""
    folder = home / "policies" / name
    folder.mkdir(parents=True)
    if name == "income":
        example = ROOT / "policies" / "examples" / "income"
        text = (example / "policy.toml").read_text("utf-8")
        text = text.replace('modes = ["dp"]', 'modes = ["dp", "aggregate"]').replace("epsilon = 8", "epsilon = 1000")
        text = text.replace("[tables.tax_units]", AGGREGATE + "[tables.tax_units]", 1)
        tables = {"tax_units": example / "tax_units.parquet", "states": example / "states.csv"}
    else:
        text = (HERE / f"{name}.toml").read_text("utf-8")
        tables = {table: FOLDER / f"{file}.parquet" for table, file in TABLES[name].items()}
    (folder / "policy.toml").write_text(text, "utf-8")
    lines = "\n".join(f'{table} = "{file}"' for table, file in tables.items())
    settings = f'[datasets.{name}]\nsnapshot = "1"\ndeadlines_s = "off"\n[datasets.{name}.tables]\n{lines}\n'
    (home / "domain.toml").write_text(settings, "utf-8")


def measure(name: str, runs: int) -> list[Row]:
    """Every question once in turn, exactly and with noise; `runs` times, each in a place of its own."""
    rows = [Row(sql) for sql in QUESTIONS[name]]
    for _ in range(runs):
        with place(name) as made:
            made.ask(
                "SELECT COUNT(*) FROM " + next(t for t, found in made.policy.tables.items() if not found.public), "dp"
            )
            for row in rows:
                both: tuple[tuple[Mode, list[float]], ...] = (("dp", row.noisy), ("aggregate", row.exact))
                for mode, times in both:
                    time.sleep(PAUSE_S)
                    took, found = made.ask(row.sql, mode)
                    if isinstance(found, str):
                        row.refused += f"{mode}: {found} "
                        continue
                    times.append(took)
                    if mode == "aggregate":
                        row.shown, row.withheld = found.cells_released, found.cells_withheld
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.exact", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each series; 5 by default")
    parser.add_argument("--only", choices=sorted(QUESTIONS), help="one dataset")
    options = parser.parse_args()
    on = machine()
    print(f"# Exact answers on real data\n\ncommit {on.commit}; {on.words()}\n")
    names = [options.only] if options.only else list(QUESTIONS)
    if not FOLDER.exists():
        print("the folder of real data is not here: `income` alone is measured", file=sys.stderr)
        names = [name for name in names if name == "income"]
    for name in names:
        _show(name, measure(name, options.runs))
    return 0


def _show(name: str, rows: list[Row]) -> None:
    print(f"## {name}\n\n| question | numbers | withheld | exact, ms | noisy, ms | x |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        exact, noisy = (statistics.median(times) if times else 0.0 for times in (row.exact, row.noisy))
        ratio = f"{exact / noisy:.1f}" if exact and noisy else row.refused
        print(f"| `{row.sql}` | {row.shown + row.withheld} | {row.withheld} | {exact:.0f} | {noisy:.0f} | {ratio} |")
    shown, withheld = sum(row.shown for row in rows), sum(row.withheld for row in rows)
    if shown + withheld:
        print(f"\n{withheld} of {shown + withheld} numbers are withheld: {withheld / (shown + withheld):.0%}\n")


if __name__ == "__main__":
    raise SystemExit(main())
