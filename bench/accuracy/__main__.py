"""`python -m bench.accuracy`: how far answers are from the truth on TPC-H, printed as tables in Markdown."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import Final

from bench.accuracy import show
from bench.accuracy.bounds import BOUNDS, FILES, FOLDER, Bounds
from bench.accuracy.clip import Price
from bench.accuracy.measure import Asked, Measuring
from bench.accuracy.questions import RACED, SUITE, Question
from bench.accuracy.show import Line
from bench.cells import Cells
from bench.place import FOLDER as KEPT
from bench.place import machine
from bench.variants import read
from policies.model import Accountant

RACED_EPSILON: Final = "0.8"
EPSILONS: Final = ("0.1", "1")
ACCOUNTANTS: Final[tuple[Accountant, ...]] = ("pure", "zcdp")


@dataclass(frozen=True, slots=True)
class Options:
    scale: str
    runs: int
    only: str
    fresh: bool


def main() -> int:
    options = _options()
    on = machine()
    print(f"# Accuracy\n\ncommit {on.commit}; TPC-H scale {options.scale}, {options.runs} runs; {on.words()}\n")
    print("Relative errors: median / 95th percentile over runs and groups; a lost group counts 100 %.\n")
    cells = Cells.open(KEPT / f"accuracy-sf{options.scale}.json", fresh=options.fresh)
    measuring = Measuring(options.scale, options.runs, on.commit, cells)
    try:
        _raced(measuring, options)
        for accountant in ACCOUNTANTS:
            for epsilon in EPSILONS:
                _suite(measuring, options, accountant, epsilon)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"\n{cells.file.relative_to(KEPT.parent)} holds the same as JSON")
    return 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scale 0.1 and ten runs")
    parser.add_argument("--scale", help="of TPC-H; 1 by default")
    parser.add_argument("--runs", type=int, help="of each question; 50 by default")
    parser.add_argument("--only", default="", help="questions whose name holds this")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    said = parser.parse_args()
    scale, runs = ("0.1", 10) if said.quick else ("1", 50)
    return Options(said.scale or scale, said.runs or runs, said.only, said.fresh)


def _raced(measuring: Measuring, options: Options) -> None:
    races = [raced for raced in RACED if options.only in raced.question.name]
    asked = {raced: _asked(raced.question, "pure", RACED_EPSILON) for raced in races}
    released = measuring.released(one for some in asked.values() for one in some)
    lines = [
        Line(
            raced.question,
            {one.bounds: released[one.name] for one in asked[raced]},
            measuring.best(raced.question, _price(raced.question, "pure", RACED_EPSILON)),
            raced,
            measuring.raced(raced, RACED_EPSILON),
            measuring.exact(raced.question),
        )
        for raced in races
    ]
    print(f"## The queries of Race-to-the-Top without self-join: `pure`, epsilon {RACED_EPSILON}\n")
    print(
        "R2T is told a global sensitivity of 10^6. Its authors report the mean of the middle 6 of 10 runs, at scale 1;"
    )
    print("`middle` is the mean of the middle 60 % of runs.\n")
    print(show.raced(lines, at_scale_1=options.scale == "1"), flush=True)


def _suite(measuring: Measuring, options: Options, accountant: Accountant, epsilon: str) -> None:
    questions = [question for question in SUITE if options.only in question.name]
    asked = {question: _asked(question, accountant, epsilon) for question in questions}
    released = measuring.released(one for some in asked.values() for one in some)
    lines = [
        Line(
            question,
            {one.bounds: released[one.name] for one in asked[question]},
            measuring.best(question, _price(question, accountant, epsilon)),
        )
        for question in questions
    ]
    print(f"\n## Counts, sums, means, medians: `{accountant}`, epsilon {epsilon}, unit customer\n")
    print(show.suite(lines), flush=True)


def _asked(question: Question, accountant: Accountant, epsilon: str) -> list[Asked]:
    wanted: list[Bounds] = [bounds for bounds in BOUNDS if question.bounded or bounds != "no ranges"]
    return [Asked(question, accountant, epsilon, bounds) for bounds in wanted]


def _price(question: Question, accountant: Accountant, epsilon: str) -> Price:
    delta = read(FOLDER / FILES[question.unit])["release"]["dp"]["delta"]
    return Price(accountant, epsilon, str(delta))


if __name__ == "__main__":
    sys.exit(main())
