"""What the soak calls too much: planted leaks are found, what comes and goes is not."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from bench.saturation import percentile
from bench.soak.watch import Processes, Sample, children, growth, look

STEADY = Sample(0, 100_000, 150_000, 50_000, 20, 25, 6, 4, 15, 4)


def samples(**per_sample: float) -> list[Sample]:
    """Eighty of them with some noise, and what leaks so much of each."""
    dice = random.Random(1)
    found = []
    for number in range(80):
        grown = {name: int(getattr(STEADY, name) + number * each) for name, each in per_sample.items()}
        noisy = {"gateway_kib": STEADY.gateway_kib + dice.randrange(1000), "workers": dice.randrange(1, 5)} | grown
        found.append(replace(STEADY, seconds=float(number), **noisy))
    return found


def too_much(found: list[Sample]) -> list[str]:
    return [each.name for each in growth(found, warm_s=10) if not each.ok]


def test_what_comes_and_goes_is_not_too_much() -> None:
    assert too_much(samples()) == []


@pytest.mark.parametrize(
    ("name", "each"),
    [
        ("gateway_kib", 110),
        ("domain_kib", 160),
        ("zygote_kib", 60),
        ("gateway_descriptors", 0.3),
        ("domain_descriptors", 0.3),
        ("workers", 0.2),
        ("state_files", 0.1),
        ("spill_folders", 0.2),
    ],
)
def test_a_planted_leak_is_found(name: str, each: float) -> None:
    found = [replace(sample, **{name: getattr(leaky, name)}) for sample, leaky in
             zip(samples(), samples(**{name: each}), strict=True)]  # fmt: skip
    assert too_much(found) == [name]


def test_too_few_samples_prove_nothing() -> None:
    with pytest.raises(ValueError, match="too few"):
        growth(samples()[:15], warm_s=10)


def test_a_look_counts_files_and_folders_of_workers(tmp_path: Path) -> None:
    pool = tmp_path / "state" / "domain" / "spill" / "pool-1"
    for folder in (pool / "a" / "deep", pool / "b"):
        folder.mkdir(parents=True)
        (folder / "rows.tmp").touch()
    (tmp_path / "state" / "ledger.sqlite").touch()
    me = os.getpid()
    found = look(tmp_path, Processes(me, me, me), 1.0)
    assert (found.state_files, found.spill_folders, found.workers) == (1, 2, len(children(me)))
    assert found.gateway_kib > 1000


def test_percentiles_are_of_the_values() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile(list(map(float, range(100))), 0.99) == 99.0
