"""In which order several processes take the tests: what takes long comes first, so that none is left over at the end.

xdist gives each process an equal share of the list, and who has done his takes from the end of another's. So the slow
files are dealt to the heads of the shares, one after the other, as are the others behind them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

import pytest

SLOW = (
    "e2e/test_kills.py",
    "e2e/test_two_gateways_killed.py",
    "attack/test_ledger_race.py",
    "property/test_neighbours.py",
    "property/test_record_replay.py",
    "property/test_scalars_are_total.py",
    "e2e/test_runbook.py",
    "attack/test_bad_input.py",
    "attack/test_poisoned_unit.py",
    "property/test_sql_means_what_it_says.py",
    "statistical/test_empirical_epsilon.py",
    "e2e/test_cli.py",
    "property/test_blocks_are_read_alone.py",
    "attack/test_aggregate_series.py",
    "statistical/test_interval_coverage.py",
    "attack/test_aggregate_planted.py",
    "attack/test_aggregate_sequences.py",
    "attack/test_ledger_simulated.py",
    "statistical/test_noise.py",
    "e2e/test_two_machines.py",
    "e2e/test_http.py",
    "attack/test_hostile_files.py",
    "property/test_rows_of_units.py",
    "property/test_engine_agrees_with_reference.py",
    "statistical/test_choices.py",
    "attack/test_aggregate_questions.py",
    "property/test_moves.py",
    "e2e/test_cli_demo.py",
    "isolation/test_pool.py",
    "unit/test_ingest.py",
)
"""The slowest first. A file that is missing here costs no more than some waiting at the end."""


def for_several(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """`items` in another order, those of a file together wherever a share does not end among them."""
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0].removeprefix("tests/"), []).append(item)
    slow = _dealt([files.pop(name) for name in SLOW if name in files], processes)
    others = chain.from_iterable(_dealt(list(files.values()), processes))
    found: list[pytest.Item] = []
    for head, size in zip(slow, _shares(len(items), processes), strict=True):
        found += [*head, *islice(others, max(0, size - len(head)))]
    return found + list(others)


def _dealt(files: list[list[pytest.Item]], hands: int) -> list[list[pytest.Item]]:
    return [list(chain.from_iterable(files[hand::hands])) for hand in range(hands)]


def _shares(items: int, processes: int) -> Iterator[int]:
    """As xdist divides them."""
    for left in range(processes, 0, -1):
        yield items // left
        items -= items // left
