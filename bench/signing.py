"""`python -m bench.signing`: what a signature of the log costs, by a key of the home and by a command outside.

The command is the one that is shipped, over openssl; an HSM has a time of its own. Then receipts: as many askers at
once as a gateway works on, over records that each of them has just written, in a log that signs so. Figures are of the
machine that it runs on.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.stats import spread
from gateway.audit import public_key
from gateway.audit.anchors import Anchors
from gateway.audit.checkpoint import Signer
from gateway.audit.command import Command
from gateway.audit.log import Log
from gateway.audit.note import parse_checkpoint, signed_by
from gateway.audit.plugged import PluggedKey
from gateway.audit.suites import SHA256, SM3_SM2
from gateway.stores.sqlite import SqliteStore

SCRIPT: Final = Path(__file__).parents[1] / "deploy" / "signer" / "openssl-signer"
ORIGIN: Final = "baopingkou/bench"
ASKERS: Final = 16
TIMEOUT_S: Final = 60.0


def plugged(folder: Path, algorithm: str, suite: str) -> Signer:
    """A new key of the script's."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = subprocess.run([SCRIPT, folder, "new", algorithm], capture_output=True, check=True)
    (folder / "key.pub").write_bytes(made.stdout)
    key = public_key.read(folder / "key.pub")
    return Signer(ORIGIN, PluggedKey(key, Command((str(SCRIPT), str(folder)), TIMEOUT_S)), suite)


def each_ms(act: Callable[[int], object], times: int) -> list[float]:
    took = []
    for number in range(times):
        begin = time.perf_counter()
        act(number)
        took.append((time.perf_counter() - begin) * 1000)
    return took


def receipts_a_second(signer: Signer, folder: Path, seconds: float) -> tuple[float, int]:
    """With how many signatures."""
    made: list[int] = []

    class Counted(Signer):
        def sign(self, size: int, root: bytes) -> str:
            made.append(size)
            return Signer.sign(self, size, root)

    with closing(SqliteStore(folder / "ledger.sqlite")) as store:
        counted = Counted(signer.origin, signer.key, signer.suite)
        log = Log(store, counted, Anchors(folder / "anchor"), degraded=lambda: ())
        end = time.monotonic() + seconds

        def ask(_: int) -> int:
            count = 0
            while time.monotonic() < end:
                with store.transaction() as tx:
                    index = log.note_read(tx, "bench", "records")
                log.receipt(index)
                count += 1
            return count

        with ThreadPoolExecutor(ASKERS) as pool:
            return sum(pool.map(ask, range(ASKERS))) / seconds, len(made)


def signed_and_checked(signer: Signer, times: int) -> tuple[list[float], list[float]]:
    """Ms of each signature, and of each look at one."""
    note = parse_checkpoint(signer.sign(1, bytes(32)))
    signing = each_ms(lambda number: signer.sign(number, bytes(32)), times)
    return signing, each_ms(lambda _: signed_by(note, signer.vkey), times)


def main() -> None:
    parser = argparse.ArgumentParser(description="What signatures of the log cost, by a key inside and outside.")
    parser.add_argument("--times", type=int, default=200, help="signatures one after the other")
    parser.add_argument("--seconds", type=float, default=5.0, help="of receipts for askers at once")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bpk-bench-") as place:
        folder = Path(place)
        signers = {
            "Ed25519, of the home": Signer(ORIGIN, Ed25519PrivateKey.generate()),
            "Ed25519, openssl outside": plugged(folder / "ed25519", "ed25519", SHA256),
            "SM2, openssl outside": plugged(folder / "sm2", "sm2", SM3_SM2),
        }
        print(f"{'':<26} {'signing, ms':>22} {'verifying, ms':>14} {f'receipts/s, {ASKERS} at once':>28}")
        for name, signer in signers.items():
            signing, checking = signed_and_checked(signer, chosen.times)
            (folder / name).mkdir()
            rate, made = receipts_a_second(signer, folder / name, chosen.seconds)
            took = f"{spread(signing).median:.2f} (p95 {spread(signing).p95:.2f})"
            shared = f"{rate:.0f} (of {made / chosen.seconds:.0f} signatures)"
            print(f"{name:<26} {took:>22} {spread(checking).median:>14.2f} {shared:>28}")


if __name__ == "__main__":
    main()
