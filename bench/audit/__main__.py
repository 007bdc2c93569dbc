"""`python -m bench.audit --records 1000000`: a log written by the gateway's own ledger, then verified offline."""

from __future__ import annotations

import argparse
import resource
import secrets
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.audit import export
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.log import Log
from gateway.audit.verify import verify_file
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
BATCH = 1000
"""Queries to a transaction; a gateway commits each, which is what `make bench` measures."""
DIGEST = "ab" * 32
OPERATORS = tuple(f"operator-{number}" for number in range(20))


def write(folder: Path, records: int) -> Path:
    """Half of the queries are answered, a quarter fail, a quarter are refused; the export's file."""
    store = SqliteStore(folder / "ledger.sqlite")
    log = Log(store, Signer("baopingkou/bench", Ed25519PrivateKey.generate()), Anchors(folder / "anchor"))
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
            size = log.size(tx)
    target = folder / "log.ndjson"
    export.write(log, target)
    store.close()
    return target


def main() -> int:
    """0 when the log is sound and was verified within the target, in proportion to its records."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bpk-bench-") as folder:
        begin = time.monotonic()
        target = write(Path(folder), chosen.records)
        written = time.monotonic() - begin
        begin, cpu = time.monotonic(), time.process_time()
        report = verify_file(target)
        wall, cpu = time.monotonic() - begin, time.process_time() - cpu
        size = target.stat().st_size
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    memory = most / 1024 / (1024 if sys.platform == "darwin" else 1)
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {report.size} records, {size / 1e6:.0f} MB of export")
    print(f"written and exported in {written:.0f} s ({report.size / written:.0f} records/s, {BATCH} to a commit)")
    print(f"verified offline in {wall:.1f} s ({cpu:.1f} s of CPU, {report.size / wall:.0f} records/s)")
    print(f"most memory of the whole run {memory:.0f} MiB; sound: {report.ok}")
    return 0 if report.ok and wall <= TARGET_S * report.size / 1_000_000 else 1


if __name__ == "__main__":
    sys.exit(main())
