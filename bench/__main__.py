"""`python -m bench`: what privacy costs in time and in accuracy, printed as tables and kept as JSON in .bench/."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import aims, answers, data, growth, home, inside, load, show, stages, tracer
from bench.bare import Bare
from bench.client import Client
from bench.data import Dataset
from bench.place import FOLDER, machine
from bench.questions import EVERY, SMALL, TPCH
from bench.results import Results
from policies.load import load_policy
from sandbox.ingest import snapshot as snapshots

STAGES_FIRST: Final = 60
"""Numbers of runs, and so constants, that the parts do not share."""
ALONE_FIRST: Final = 200
TOGETHER_FIRST: Final = 1000
STAGED: Final = (SMALL, *(TPCH[i] for i in (3, 6, 8, 10)))


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    scale: str
    runs: int
    staged: int
    alone: int
    together_s: float


QUICK: Final = Size(scale="0.1", runs=4, staged=4, alone=20, together_s=1.5)
FULL: Final = Size(scale="1", runs=20, staged=10, alone=100, together_s=8)


def main() -> int:
    options = _options()
    size = QUICK if options.quick else FULL
    size = Size(options.scale or size.scale, options.runs or size.runs, size.staged, size.alone, size.together_s)
    on = machine()
    settings = {"seed": options.seed, "scale": size.scale, "runs": size.runs, "quick": options.quick}
    name = f"results-sf{size.scale}-seed{options.seed}{'-quick' if options.quick else ''}.json"
    results = Results.open(FOLDER / name, on, settings, fresh=options.fresh)
    print(f"seed {options.seed}, commit {on.commit}, TPC-H scale {size.scale}, {size.runs} runs\n{on.words()}\n")
    try:
        _measure(results, size, options.seed)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    _print(results.content["parts"], size.scale)
    print(f"\n{results.file.relative_to(FOLDER.parent)} holds the same as JSON")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scale 0.1 and few runs: under two minutes")
    parser.add_argument("--scale", help="of TPC-H, such as 0.1, 1 or 10; 1 by default")
    parser.add_argument("--runs", type=int, help="of each question; 20 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which things are run; noise has no seed")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured for this commit")
    return parser.parse_args()


def _measure(results: Results, size: Size, seed: int) -> None:
    if results.missing("answers", "ranks", "stages", "alone", "together"):
        _measure_home(results, size, seed)
    for scale in growth.scales(size.scale):
        _say(f"growth: scale {scale}")
        results.part(f"growth {scale}", partial(growth.measure, scale, size.runs, seed))


def _measure_home(results: Results, size: Size, seed: int) -> None:
    tracer.check()
    datasets = [data.tpch(size.scale), data.income(), data.clinic()]
    begin = time.monotonic()
    made = home.make(FOLDER / "home", datasets)
    with home.served(made) as client:
        results.content["ready_s"] = round(time.monotonic() - begin, 1)
        _say(f"ready, with all data taken in, after {results.content['ready_s']} s")
        results.part("answers", lambda: _answers(made, client, datasets, size, seed))
        results.part("alone", lambda: load.alone(client, range(ALONE_FIRST, ALONE_FIRST + size.alone)))
        results.part("together", lambda: load.together(client, size.together_s, TOGETHER_FIRST))
    results.part("ranks", lambda: _ranks(made, datasets))
    results.part("stages", lambda: _stages(made, size))


def _answers(made: home.Home, client: Client, datasets: list[Dataset], size: Size, seed: int) -> dict[str, Any]:
    twins = {
        each.name: answers.Twins(Bare.on_snapshot(each, made.snapshot(each.name)), Bare.on_parquet(each))
        for each in datasets
    }
    _say(f"{len(EVERY)} questions, {size.runs} runs each")
    return answers.measure(list(EVERY), client, twins, size.runs, random.Random(seed))


def _ranks(made: home.Home, datasets: list[Dataset]) -> dict[str, bool]:
    _say("ranks")
    found: dict[str, bool] = {}
    for each in datasets:
        policy = load_policy(made.root / "policies" / each.name / "policy.toml")
        published = snapshots.published(made.root / "state" / "domain", each.name)
        assert published is not None
        with inside.opened_on(published, policy, remember=False) as here:
            found |= aims.ranked([question for question in EVERY if question.dataset == each.name], here, 0)
    return found


def _stages(made: home.Home, size: Size) -> dict[str, dict[str, float]]:
    _say("steps")
    with _folder() as spans:
        with home.traced(made, spans) as client:
            replies = stages.measure(list(STAGED), client, size.staged, STAGES_FIRST)
        found = stages.read_spans(spans)
        return {name: stages.shares(each, found) for name, each in replies.items()}


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print(parts: dict[str, Any], scale: str) -> None:
    print("The whole question over HTTP against the bare one in DuckDB (on the snapshot's table, on Parquet):")
    print(show.answers(parts["answers"]))
    print("\nWhere no rank over units is needed:")
    print(show.aim(parts["answers"], parts["ranks"]))
    print("\n" + show.ranked(parts["answers"], parts["ranks"]))
    grown = {small: parts[f"growth {small}"] for small in growth.scales(scale)} | {scale: parts["answers"]}
    print("\n" + show.growth(grown))
    print("\nWhere the time goes (medians; traced in the two processes, one question at a time):")
    print(show.stages(parts["stages"]))
    print("\n" + show.alone(parts["alone"]))
    print("\n" + show.together(parts["together"]))


def _say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
