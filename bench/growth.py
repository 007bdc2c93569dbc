"""What a question costs as rows grow: the same questions at a tenth, at three tenths and at the whole of a scale."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import Any, Final

from bench import answers, data, home
from bench.answers import Twins
from bench.bare import Bare
from bench.place import FOLDER
from bench.questions import TPCH

PARTS: Final = (Decimal("0.1"), Decimal("0.3"))
RUNS_MIN: Final = 3


def scales(scale: str) -> tuple[str, ...]:
    """The smaller ones of a scale, as the generator writes them."""
    return tuple(f"{(Decimal(scale) * part).normalize():f}" for part in PARTS)


def measure(scale: str, runs: int, seed: int) -> dict[str, dict[str, Any]]:
    """The answers of the questions of TPC-H at `scale`, in a home of their own."""
    dataset = data.tpch(scale)
    made = home.make(FOLDER / "home-growth", [dataset])
    with home.served(made) as client:
        twins = {"tpch": Twins(Bare.on_snapshot(dataset, made.snapshot("tpch")), Bare.on_parquet(dataset))}
        return answers.measure(list(TPCH), client, twins, max(RUNS_MIN, runs // 4), random.Random(seed))
