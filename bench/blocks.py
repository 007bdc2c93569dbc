"""`python -m bench.blocks`: what a question costs where its dataset has blocks, and where it has none.

The same number of made-up people lie in three datasets: without blocks, in 12 (by years) and in 61 (by months). A new
count is asked of each, one at a time, of all its blocks or of some by name. Beside what it takes of the processor, in
which process, stands its price: what each block that it is of pays.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb

from bench import home, markdown, processor
from bench.client import Client
from bench.data import Dataset
from bench.place import machine
from policies.load import load_policy

PEOPLE: Final = 100_000
EPSILON: Final = "0.001"
REST_S: Final = 0.5
"""After the questions of one kind, until the worker is there that the next would have had."""
DATASETS: Final = {"people": ("", 2018), "people_by_year": ("year", 2024), "people_by_month": ("month", 2018)}
"""How each is cut, and the last year in which people came in; the first is 2014, with as many on each day."""
KINDS: Final = (*((name, None) for name in DATASETS), ("people_by_month", 12), ("people_by_month", 1))
"""The dataset, and of how many blocks by name; None for all."""
POLICY: Final = Path(__file__).parent / "people"


@dataclass
class Kind:
    """Questions of one kind, and what became of them."""

    dataset: str
    every: tuple[str, ...]
    """The blocks of its dataset."""
    named: int | None
    asked: int = 0
    took: dict[str, float] = field(default_factory=dict)
    """Seconds of the processor by process."""
    prices: set[str] = field(default_factory=set)
    other: list[str] = field(default_factory=list)

    def ask(self, client: Client, wages: Sequence[int], gateway: int) -> None:
        before = processor.taken(gateway)
        more: dict[str, Any] = {} if self.named is None else {"blocks": self.every[: self.named]}
        for least in wages:
            sql = f"SELECT COUNT(*) AS n FROM {self.dataset}.people WHERE wages >= {least}"
            reply = client.ask(sql, home.PURPOSES[self.dataset], EPSILON, **more)
            if reply.code is None:
                self.prices.add(reply.body["cost"]["epsilon"])
            else:
                self.other.append(reply.code)
        time.sleep(REST_S)
        self.asked += len(wages)
        for name, seconds in processor.taken(gateway).items():
            self.took[name] = self.took.get(name, 0) + seconds - before[name]

    @property
    def each_ms(self) -> list[float]:
        """By process, then in all."""
        parts = [1000 * seconds / self.asked for seconds in self.took.values()]
        return [*parts, sum(parts)]

    def line(self, plain: Kind) -> list[str]:
        of = f"{self.named or len(self.every)} of {len(self.every)}" if self.every else "none"
        ratio = markdown.ratio(self.each_ms[-1] / plain.each_ms[-1])
        return [of, *map(markdown.milliseconds, self.each_ms), ratio, ", ".join(sorted(self.prices))]


def main() -> int:
    """0 when every question was answered, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.blocks", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="of twenty questions of each kind; 5 by default")
    rounds, on = parser.parse_args().rounds, machine()
    kinds = measured(rounds)
    print(f"{on.words()}, commit {on.commit}; {PEOPLE} people, {kinds[0].asked} questions of each kind\n")
    head = ["blocks", "gateway, ms", "data domain, ms", "workers, ms", "in all, ms", "×", "epsilon in each"]
    print(markdown.table(head, [kind.line(kinds[0]) for kind in kinds]))
    wrong = [code for kind in kinds for code in kind.other]
    print(f"\n{len(wrong)} questions had another outcome {sorted(set(wrong)) or ''}".rstrip())
    return 1 if wrong else 0


def measured(rounds: int, each: int = 20) -> list[Kind]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        datasets = [made(folder / name, *cut) for name, cut in DATASETS.items()]
        blocks = {one.name: load_policy(one.policy / "policy.toml").blocks for one in datasets}
        kinds, wages = [Kind(name, blocks[name], named) for name, named in KINDS], itertools.count(1)
        with home.served(home.make(folder / "home", datasets)) as client, closing(client):
            gateway = processor.served_below(os.getpid())
            if gateway is None:
                raise SystemExit("what a question takes of the processor is only told on Linux")
            time.sleep(REST_S)
            for _ in range(rounds):
                for kind in kinds:
                    kind.ask(client, list(itertools.islice(wages, each)), gateway)
        return kinds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def made(folder: Path, by: str, last: int) -> Dataset:
    """The dataset that is called like the folder."""
    shutil.copytree(POLICY, folder)
    text = (folder / "policy.toml").read_text("utf-8")
    text = text.replace('dataset = "people"', f'dataset = "{folder.name}"').replace("2018-", f"{last}-")
    if by:
        text = text.replace("[unit]\n", f'[unit]\nblocks = {{ column = "enrolled", by = "{by}" }}\n')
    (folder / "policy.toml").write_text(text, "utf-8")
    days, file = (last - 2013) * 365, folder / "people.parquet"
    columns = f"i AS pid, DATE '2014-01-01' + (i % {days})::INTEGER AS enrolled, (i * 7919 % 150000)::INTEGER AS wages"
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT {columns} FROM range({PEOPLE}) t(i)) TO '{file}'")
    return Dataset(folder.name, folder, {"people": file}, {"people": file})


if __name__ == "__main__":
    sys.exit(main())
