"""`python -m bench.soak`, `make soak`: mixed work for an hour. Fails where memory, descriptors or files pile up.

Growth is that of the last quarter over the first, behind the warm-up: an eighth of the time.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench import data, home, markdown
from bench.client import Client
from bench.place import machine
from bench.soak.watch import Growth, Sample, growth, look, processes
from bench.soak.work import Work

OPERATORS: Final = ("bench", "bench", "second", "second", "third")
"""One client each."""
SAMPLES: Final = 240
SHOWN: Final = 12
IDLE_S: Final = 15
"""What runs at the end is done by then."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="an hour by default")
    seconds = parser.parse_args().seconds
    print(f"{machine().words()}\n{seconds:g} s of mixed work, {len(OPERATORS)} clients\n", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        made = home.make(folder / "home", [data.income()], operators=sorted(set(OPERATORS)))
        with home.served(made) as client:
            return _soaked(made, client, seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _soaked(made: home.Home, client: Client, seconds: float) -> int:
    served = json.loads((made.root / "state" / "gateway" / "address.json").read_text(encoding="utf-8"))
    pids = processes(served["pid"])
    tokens = {each: made.token(each) for each in set(OPERATORS)}
    work = Work(client, [tokens[each] for each in OPERATORS], lambda: pids.zygote)
    samples: list[Sample] = []
    begin = time.monotonic()
    work.start()
    try:
        while (now := time.monotonic() - begin) < seconds:
            samples.append(look(made.root, pids, now))
            if len(samples) % (SAMPLES // SHOWN) == 1:
                print(_line(samples[-1]), flush=True)
            time.sleep(min(seconds / SAMPLES, max(0.0, seconds - now)))
    finally:
        work.stop()
    print(_line(samples[-1]))
    time.sleep(IDLE_S)
    return _judged(samples, look(made.root, pids, seconds), work, seconds)


def _judged(samples: list[Sample], at_rest: Sample, work: Work, seconds: float) -> int:
    found = growth(samples, seconds / 8)
    print(
        "\n"
        + markdown.table(["", "after warm-up", "at the end", "growth", "at most", "at rest"], _rows(found, at_rest))
    )
    print(f"\ndone: {dict(work.done)}; {work.done.total() / seconds:.1f} a second\nother: {dict(work.wrong)}")
    kept = at_rest.spill_folders - at_rest.workers
    if kept > 0:
        print(f"{kept} spill folders belong to no worker")
    failed = [each.name for each in found if not each.ok]
    print(f"too much: {', '.join(failed) or 'nothing'}")
    return 1 if failed or kept > 0 or work.wrong or not work.done["new"] else 0


def _rows(found: list[Growth], at_rest: Sample) -> list[list[str]]:
    return [
        [each.name, f"{each.first:.0f}", f"{each.last:.0f}", f"{100 * each.part:+.1f} %", f"{each.limit:.0f}",
         f"{getattr(at_rest, each.name)}"]
        for each in found
    ]  # fmt: skip


def _line(sample: Sample) -> str:
    return (
        f"{sample.seconds:6.0f} s  memory MiB: gateway {sample.gateway_kib / 1024:.1f} domain "
        f"{sample.domain_kib / 1024:.1f} zygote {sample.zygote_kib / 1024:.1f}  descriptors: "
        f"{sample.gateway_descriptors} {sample.domain_descriptors} {sample.zygote_descriptors}  workers "
        f"{sample.workers}  files {sample.state_files}  spill folders {sample.spill_folders}"
    )


if __name__ == "__main__":
    sys.exit(main())
