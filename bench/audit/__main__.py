"""`python -m bench.audit --records 1000000`: a log written by the gateway's own ledger, then verified offline.

It is verified by the command that an auditor runs, in a process of its own, whose processor time and memory are
measured: on a machine that does other things as well, they say more than a clock.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import export
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.log import Log
from gateway.budget import queries, seats
from gateway.budget.account import Scope
from gateway.budget.ledger import Ledger
from gateway.budget.loss import Cap
from gateway.budget.queries import Asked, Stored
from gateway.right import Right
from gateway.stores.sqlite import SqliteStore
from policies.model import Licence
from policies.privacy_loss import EPSILON_UNIT, rho_for, units_down
from sandbox.protocol import Price

TARGET_S = 60
"""Of processor time, for a million records."""
MEMORY_MIB_MAX = 1024
TOLD_EACH = 100_000
BATCH = 1000
"""Queries to a transaction; a gateway commits each, which is what `make bench` measures."""
DIGEST = "ab" * 32
OPERATORS = tuple(f"operator-{number}" for number in range(20))


def write(folder: Path, records: int) -> Path:
    """Half of the queries are answered, a quarter fail, a quarter are refused; the export's file."""
    store = SqliteStore(folder / "ledger.sqlite")
    signer, anchors = Signer("baopingkou/bench", Ed25519PrivateKey.generate()), Anchors(folder / "anchor")
    log = Log(store, signer, anchors, degraded=lambda: ())  # a data domain that has told is not asked record by record
    ledger = Ledger(log)
    with store.transaction() as tx:
        ledger.seat = seats.take(tx)
    loss = units_down(Decimal("0.0001"), EPSILON_UNIT)
    price = Price(loss, 0, rho_for(loss, 10**14))
    cap = Cap("zcdp", price.rho * records, 0, 10**15)
    rights = {
        name: Right("dp", "authorised", Licence(f"L-{name}", name, ("clinic",), ("x",), date(2020, 1, 1), date.max, {}))
        for name in OPERATORS
    }
    size, number = 1, 0
    while size < records:
        with store.transaction() as tx:
            for _ in range(BATCH):
                number += 1
                who = OPERATORS[number % len(OPERATORS)]
                texts = {"sql": f"SELECT COUNT(*) FROM people WHERE age > {number % 90}"}
                if number % 4 == 0:
                    ledger.refuse(tx, query_id=queries.new_query_id(), actor=who, code="column_hidden", texts=texts)
                    continue
                asked = Asked(
                    queries.new_query_id(), who, None, "r", "clinic", "dp", DIGEST, DIGEST, "{}", "t", rights[who]
                )
                scopes = (Scope("clinic", None, cap), Scope("clinic", who, cap))
                row = ledger.charge(tx, asked, scopes, price, texts=texts)
                if number % 4 == 1:
                    ledger.fail(tx, row.id)
                else:
                    ledger.answer(tx, row.id, Stored(f"rel_{number}", secrets.token_hex(32)))
            before, size = size, log.size(tx)
        if size // TOLD_EACH > before // TOLD_EACH:
            print(f"{size} records written", file=sys.stderr)
    target = folder / "log.ndjson"
    export.write(log, target)
    store.close()
    return target


@dataclass(frozen=True, slots=True)
class Verified:
    ok: bool
    size: int
    wall_s: float
    cpu_s: float
    memory_mib: float


def verified(target: Path) -> Verified:
    """What `bpk audit verify` says of the export, and what that took."""
    report = target.with_suffix(".json")
    begin = time.monotonic()
    with report.open("wb") as out:
        command = [sys.executable, "-m", "gateway", "audit", "verify", str(target), "--json"]
        process = subprocess.Popen(command, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - begin
    found = json.loads(report.read_bytes())
    memory = used.ru_maxrss / 1024 / (1024 if sys.platform == "darwin" else 1)
    ok = process.returncode == 0 and bool(found["ok"])
    return Verified(ok, int(found["records"]), wall, used.ru_utime + used.ru_stime, memory)


def main() -> int:
    """0 when the log is sound and was verified within the target, in proportion to its records."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit", description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bpk-bench-") as folder:
        begin, cpu = time.monotonic(), time.process_time()
        target = write(Path(folder), chosen.records)
        written, cpu = time.monotonic() - begin, time.process_time() - cpu
        found = verified(target)
        size = target.stat().st_size
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {found.size} records, {size / 1e6:.0f} MB of export")
    print(f"written and exported in {written:.0f} s ({cpu:.0f} s of processor time), {BATCH} questions to a commit")
    print(f"verified offline in {found.wall_s:.1f} s, {found.cpu_s:.1f} s of processor time", end=" ")
    print(f"({found.size / found.cpu_s:.0f} records a second), {found.memory_mib:.0f} MiB of memory")
    in_time = found.cpu_s <= TARGET_S * max(1.0, found.size / 1_000_000)
    met = found.ok and in_time and found.memory_mib < MEMORY_MIB_MAX
    print(f"{'met' if met else 'MISSED'}: sound, {TARGET_S} s a million records, less than {MEMORY_MIB_MAX} MiB")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
