"""`python -m bench.rates`: new questions and stored answers at a fixed rate, and how long a charge takes.

Requests are sent at their own moments and not when the one before has ended, so that a gateway that falls behind is
seen to. Answers of new questions come at their deadline of half a second, which is no part of what is measured here:
what is counted is whether each was answered. The time of a charge is the gateway's own (`bpk_charge_seconds`). Beside
it stands what each request takes of the processor, in which process: that does not depend on what else runs.
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench import data, home, markdown, processor
from bench.client import Client, Reply
from bench.home import OPERATOR, PURPOSES
from bench.place import machine
from bench.questions import SMALL
from bench.saturation import percentile

OPERATORS: Final = (OPERATOR, *(f"operator-{number}" for number in range(1, 16)))
WORKERS: Final = 16
"""20 questions a second hold a place for half a second each, and some slack."""
NEW_PER_S: Final = 20
REUSED_PER_S: Final = 200
REUSED_QUESTIONS: Final = 20
"""So many stored answers are asked for in turn."""
REUSED_P99_MS: Final = 100
CHARGE_P99_MS: Final = 50
ANSWERED_MIN: Final = 0.99
"""Else a machine that is too slow for its deadlines would look well: what fails after its charge is no 5xx."""
EPSILON: Final = "0.001"


class Rate:
    """So many requests a second for so long, each at its own moment, over many connections."""

    def __init__(self, per_s: float, seconds: float, lanes: int) -> None:
        self._per_s = per_s
        self._count = int(per_s * seconds)
        self._lanes = lanes
        self._lock = threading.Lock()
        self._next = 0
        self.took: list[float] = []
        """Seconds from the moment that a request was due to its answer."""
        self.outcomes: Counter[str] = Counter()

    def run(self, client: Client, tokens: Sequence[str], ask: Callable[[Client, int], Reply]) -> None:
        begin = time.monotonic()

        def work(token: str) -> None:
            own = client.another(token)
            while (number := self._take()) is not None:
                due = begin + number / self._per_s
                time.sleep(max(0.0, due - time.monotonic()))
                try:
                    reply = ask(own, number)
                    outcome = f"{reply.status} {reply.code or 'answered'}"
                except (OSError, http.client.HTTPException) as error:
                    own, outcome = client.another(token), f"599 {type(error).__name__}"
                ended = time.monotonic()
                with self._lock:
                    self.took.append(ended - due)
                    self.outcomes[outcome] += 1
            own.close()

        threads = [threading.Thread(target=work, args=(tokens[number % len(tokens)],)) for number in range(self._lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seconds = time.monotonic() - begin

    def _take(self) -> int | None:
        with self._lock:
            number, self._next = self._next, self._next + 1
        return number if number < self._count else None

    @property
    def faults(self) -> int:
        return sum(count for outcome, count in self.outcomes.items() if outcome.startswith("5"))

    def line(self, name: str) -> list[str]:
        shown = [f"{1000 * percentile(self.took, each):.0f}" for each in (0.5, 0.95, 0.99)]
        outcomes = ", ".join(f"{count} × {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return [name, f"{len(self.took) / self.seconds:.1f}", *shown, str(self.faults), outcomes]


def main() -> int:
    """0 when every aim is met, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.rates", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300, help="of new questions; 300 by default")
    parser.add_argument("--reused-seconds", type=float, default=30, help="of stored answers; 30 by default")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        made = home.make(folder / "home", [data.income()], operators=OPERATORS, deadlines="[0.5]")
        _make_room(made.root)
        with home.served(made) as client:
            tokens = [made.token(each) for each in OPERATORS]
            fresh, again = Rate(NEW_PER_S, chosen.seconds, 64), Rate(REUSED_PER_S, chosen.reused_seconds, 32)
            costs = [_cost(lambda: fresh.run(client, tokens, _new), fresh)]
            charge_ms = 1000 * charged_within(_metrics(client), 0.99)
            another = client.another()  # the connection of before may have been idle for too long
            for number in range(REUSED_QUESTIONS):
                _new(another, number)
            costs.append(_cost(lambda: again.run(client, tokens, _new_as_before), again))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    reused_ms = 1000 * percentile(again.took, 0.99)
    print(f"{machine().words()}; {WORKERS} workers, {len(OPERATORS)} operators, deadline 0.5 s\n")
    head = ["", "a second", "p50 ms", "p95 ms", "p99 ms", "5xx", "outcomes"]
    print(markdown.table(head, [fresh.line(f"new, {NEW_PER_S}/s"), again.line(f"stored, {REUSED_PER_S}/s")]))
    for name, cost in zip(("new", "stored"), costs, strict=True):
        print(f"\n{name}: {cost}")
    print(f"\ncharge p99: at most {charge_ms:.0f} ms")
    answered = fresh.outcomes["200 answered"] / max(1, len(fresh.took))
    met = {
        "new questions without a 5xx": fresh.faults == 0,
        f"new questions answered in time: {answered:.1%} >= {ANSWERED_MIN:.0%}": answered >= ANSWERED_MIN,
        f"stored answers p99 <= {REUSED_P99_MS} ms": reused_ms <= REUSED_P99_MS and again.faults == 0,
        f"charge p99 <= {CHARGE_P99_MS} ms": charge_ms <= CHARGE_P99_MS,
    }
    for aim, reached in met.items():
        print(f"{'met' if reached else 'MISSED'}: {aim}")
    return 0 if all(met.values()) else 1


def _cost(act: Callable[[], None], rate: Rate) -> str:
    """What the requests of `act` took of the processor."""
    gateway = processor.served_below(os.getpid())
    if gateway is None:
        act()
        return "what it takes of the processor is only told on Linux"
    before, own = processor.taken(gateway), time.process_time()
    act()
    own = 1000 * (time.process_time() - own) / max(1, len(rate.took))
    return f"{processor.words(before, processor.taken(gateway), len(rate.took))}, and {own:.1f} ms of whoever asks"


def _new(client: Client, number: int) -> Reply:
    return client.ask(SMALL.ask(number + 1), PURPOSES[SMALL.dataset], EPSILON)


def _new_as_before(client: Client, number: int) -> Reply:
    return _new(client, number % REUSED_QUESTIONS)


def _make_room(root: Path) -> None:
    domain, gateway = root / "domain.toml", root / "gateway.toml"
    domain.write_text(domain.read_text("utf-8") + f"[worker]\nthreads = 1\nwarm = 4\nmax = {WORKERS}\n", "utf-8")
    limits = f"[limits]\nrunning_max = {WORKERS}\nwaiting_max = 256\nwaiting_per_operator_max = 16\n"
    gateway.write_text(gateway.read_text("utf-8").replace("[limits]\n", limits, 1), "utf-8")


def _metrics(client: Client) -> str:
    parts = urlsplit(client.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def charged_within(metrics: str, part: float) -> float:
    """Seconds: the upper end of the bucket in which so many of the charges lie."""
    found = re.findall(r'^bpk_charge_seconds_bucket\{le="([^"]+)"\} (\d+)$', metrics, re.MULTILINE)
    total = max((int(count) for _, count in found), default=0)
    return next((float(edge) for edge, count in found if int(count) >= part * total), float("inf"))


if __name__ == "__main__":
    sys.exit(main())
