"""Figures that tests have measured, printed as one table at the end of a run, with commit and seed.

python -m pytest -q -k "kill or snapshot or prefix or simulated or edge" tests/attack tests/e2e      prints these alone
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PROPERTY = "figure"
Record = Callable[[str, object], None]


def told(record: Record, what: str, count: int, wrong: Mapping[str, int], seed: object) -> None:
    """`count` times it was tried; `wrong` -> how often: 0, or the test has failed."""
    record(PROPERTY, {"what": what, "count": count, "wrong": dict(wrong), "seed": str(seed)})


def lines(reports: Iterable[Any]) -> list[str]:
    """The table, empty where nothing was measured."""
    rows = []
    for report in reports:
        for name, figure in getattr(report, "user_properties", ()):
            if name == PROPERTY and report.when == "call":
                wrong = ", ".join(f"{times} {name}" for name, times in figure["wrong"].items())
                rows.append((figure["what"], f"{figure['count']:,}", wrong, figure["seed"], report.outcome))
    if not rows:
        return []
    table = [("tried at commit " + commit(), "times", "found", "seed", "test"), *sorted(rows)]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
