"""`python -m bench.saturation`: questions a second when everybody asks at once, of one operator and of several.

Every question is a new one. A client that is told to come back (503) does so after the seconds it was told. With a
deadline, a question that is not ready at it has failed.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import data, home, markdown
from bench.client import Client
from bench.home import OPERATOR, PURPOSES
from bench.place import machine
from bench.questions import SMALL

OPERATORS: Final = (OPERATOR, "second", "third", "fourth")
CROWDS: Final = ((1, 1), (4, 1), (16, 1), (4, 4), (16, 4))
"""(clients, operators)."""
EPSILON: Final = "0.001"
DEADLINES: Final = {"off": '"off"', "0.5 s": "[0.5]", "2 s": "[2]"}


@dataclass
class Crowd:
    """What became of the questions of some clients, who ask without a pause."""

    clients: int
    operators: int
    answered: list[float] = field(default_factory=list)
    """Seconds."""
    busy: int = 0
    failed: int = 0
    """Charged, and not ready at the deadline."""
    other: list[str] = field(default_factory=list)
    seconds: float = 0

    def ask(self, client: Client, tokens: Sequence[str], numbers: Iterator[int], seconds: float) -> None:
        begin = time.monotonic()

        def work(token: str) -> None:
            own = client.another(token)
            while time.monotonic() - begin < seconds:
                reply = own.ask(SMALL.ask(next(numbers)), PURPOSES[SMALL.dataset], EPSILON)
                if reply.code is None:
                    self.answered.append(reply.seconds)
                elif reply.status == 503:
                    self.busy += 1
                    time.sleep(min(reply.retry_after_s or 0, max(0.0, begin + seconds - time.monotonic())))
                elif reply.code == "query_failed":
                    self.failed += 1
                else:
                    self.other.append(reply.code)
            own.close()

        threads = [
            threading.Thread(target=work, args=(tokens[number % self.operators],)) for number in range(self.clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - begin

    def line(self) -> list[str]:
        asked = len(self.answered) + self.busy + self.failed + len(self.other)
        shown = [f"{1000 * percentile(self.answered, each):.0f}" for each in (0.5, 0.95, 0.99)]
        rate = f"{len(self.answered) / self.seconds:.1f}"
        return [
            str(self.clients),
            str(self.operators),
            rate,
            *shown,
            *(markdown.percent(n / max(1, asked)) for n in (self.busy, self.failed)),
        ]


def percentile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.saturation", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15, help="for each crowd; 15 by default")
    seconds = parser.parse_args().seconds
    print(f"{machine().words()}; {home.CONCURRENT_MAX} questions of one operator may run at once, on 4 workers\n")
    numbers, rows, wrong = itertools.count(1), [], 0
    for name, deadlines in DEADLINES.items():
        for crowd in measured(deadlines, numbers, seconds):
            rows.append([name, *crowd.line()])
            wrong += len(crowd.other)
            print(f"  {' '.join(rows[-1])} {sorted(set(crowd.other))}", file=sys.stderr, flush=True)
    head = ["deadline", "clients", "operators", "answers a second", "p50 ms", "p95 ms", "p99 ms", "503", "failed"]
    print(markdown.table(head, rows))
    print(f"\n{wrong} questions had another outcome")
    return 1 if wrong else 0


def measured(deadlines: str, numbers: Iterator[int], seconds: float) -> Iterator[Crowd]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        made = home.make(folder / "home", [data.income()], operators=OPERATORS, deadlines=deadlines)
        with home.served(made) as client:
            tokens = [made.token(each) for each in OPERATORS]
            for clients, operators in CROWDS:
                crowd = Crowd(clients, operators)
                crowd.ask(client, tokens, numbers, seconds)
                yield crowd
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
