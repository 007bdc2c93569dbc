"""`python -m bench.exact.guard`: how long a new table takes to be held against all that was said before.

Units and tables are drawn at random: cells of 1,000 units each, ten to a table, none of which is near another.
"""

from __future__ import annotations

import statistics
import time
from decimal import Decimal
from typing import Final

import numpy as np

from bench.place import machine
from policies.model import Aggregate
from sandbox.disclosure.cells import TAG_MAX, Cell, Ground, Quantity, shares_of
from sandbox.disclosure.memory import Remembered
from sandbox.disclosure.past import Past
from sandbox.disclosure.protect import Candidate

UNITS, EACH, CELLS, RUNS = 100_000, 1_000, 10, 5
RULES: Final = Aggregate(10, 2, Decimal("0.85"), Decimal(10), 5, 10)
COUNT: Final = Quantity("units", nonnegative=True, counts=True)


class _Nowhere:
    """In the place of the domain's file."""

    def execute(self, *_: object) -> None:
        pass

    executemany = execute


def _table(tags: np.ndarray, dice: np.random.Generator) -> list[Candidate]:
    drawn = dice.permutation(tags)[: EACH * CELLS].reshape(CELLS, EACH)
    found = []
    for place, units in enumerate(np.sort(drawn, axis=1)):
        rows = Ground(units, units, np.ones(EACH, dtype=np.int64))
        found.append(Candidate(Cell(COUNT, rows, 0, place, 0), shares_of(rows), None))
    return found


def main() -> None:
    on = machine()
    print(f"# The differencing guard\n\ncommit {on.commit}; {on.words()}\n")
    print("| cells said before | ten new cells, ms | one new cell, ms |\n| ---: | ---: | ---: |")
    dice = np.random.default_rng(1)
    tags = np.unique(dice.integers(0, TAG_MAX, UNITS))
    past = Past(UNITS, {}, [])
    for tables in (10, 100, 1_000):
        while len(past.said) < tables * CELLS:
            table = _table(tags, dice)
            Remembered(past, "bench", "s", RULES).keeping(table)(_Nowhere(), f"rel_{len(past.said)}")  # type: ignore[arg-type]  # nothing is read back
        took = {size: [_timed(past, _table(tags, dice)[:size]) for _ in range(RUNS)] for size in (CELLS, 1)}
        print(f"| {len(past.said):,} | {statistics.median(took[CELLS]):.0f} | {statistics.median(took[1]):.0f} |")


def _timed(past: Past, table: list[Candidate]) -> float:
    begin = time.perf_counter()
    withheld = Remembered(past, "bench", "s", RULES).differing(table)
    assert not withheld, "random cells are not near each other"
    return (time.perf_counter() - begin) * 1000


if __name__ == "__main__":
    main()
