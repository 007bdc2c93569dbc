"""`python -m bench.deadlines`: the benchmark's questions against the answer deadlines that they would have.

Each question runs without waiting for its deadline, in this process, and is held against the deadline that the data
domain chooses for it beforehand: with the true order of magnitude of every table in `rows_about`, and with none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from statistics import median
from typing import Final

from bench import data, inside, markdown
from bench.questions import EVERY, Question
from policies.load import load_policy
from policies.model import Policy
from sandbox.deadlines import DEADLINES_MS, Deadlines
from sandbox.ingest.snapshot import Snapshot

RUNS: Final = 3
FIRST: Final = 300
ROWS_ABOUT: Final = {"customer": 150_000, "orders": 1_500_000, "lineitem": 6_000_000}
"""At scale 1."""


def main() -> int:
    """0 when every question leaves a third of its deadline to spare, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.deadlines", description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="1", help="of TPC-H; 1 by default")
    scale = parser.parse_args().scale
    rows, close = [], 0
    for dataset in (data.tpch(scale), data.income(), data.clinic()):
        policy = load_policy(dataset.policy / "policy.toml")
        published = inside.snapshot(dataset, policy)
        about = {name: int(count * float(scale)) for name, count in ROWS_ABOUT.items() if name in policy.tables}
        questions = [each for each in EVERY if each.dataset == dataset.name]
        told, untold = (_deadlines(policy, published, questions, each) for each in (about, {}))
        with inside.opened_on(published, policy, remember=False) as here:
            for question in questions:
                taken = [here.ask(question.ask(FIRST + run), question.epsilon).seconds for run in range(RUNS)]
                deadline, without = told[question.name], untold[question.name]
                close += max(taken) > deadline * 2 / 3
                figures = [f"{median(taken):.2f}", f"{max(taken):.2f}", f"{deadline:g}", f"{without:g}"]
                rows.append([dataset.name, question.name, *figures, markdown.percent(max(taken) / deadline)])
    head = ["data", "question", "median s", "longest s", "deadline s", "without `rows_about` s", "longest / deadline"]
    print(markdown.table(head, rows))
    print(f"\n{close} of {len(rows)} questions take more than two thirds of their deadline")
    return 1 if close else 0


def _deadlines(
    policy: Policy, published: Snapshot, questions: list[Question], rows_about: Mapping[str, int]
) -> dict[str, float]:
    """Seconds by question."""
    with inside.opened_on(
        published, policy, remember=False, deadlines=Deadlines(DEADLINES_MS, dict(rows_about))
    ) as here:
        found = {each.name: here.deadline_ms(each.ask(FIRST), each.epsilon) for each in questions}
    return {name: (ms or 0) / 1000 for name, ms in found.items()}


if __name__ == "__main__":
    sys.exit(main())
