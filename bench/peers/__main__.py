"""`python -m bench.peers`: our answers beside those of other libraries, in one run, printed as tables in Markdown."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from bench import data
from bench.bare import Bare
from bench.cells import NOT_INSTALLED, Cell, Cells
from bench.client import Client
from bench.data import Dataset
from bench.peers import ours
from bench.peers.ask import ask, summary
from bench.peers.libraries.measure import Job
from bench.peers.questions import DELTA, EPSILON, QUESTIONS, Keys, Question
from bench.peers.show import BARE, Board, Entrant, board
from bench.peers.venvs import PEERS, Installed, NotInstallable, Peer
from bench.place import FOLDER, machine

HTTP: Final = Entrant("ours-http", "ours, whole gateway over HTTP", ours=True, judged=False)
ZCDP: Final = Entrant("ours-zcdp", "ours, `zcdp`", ours=True)
PURE: Final = Entrant("ours-pure", "ours, `pure`", ours=True)
UNPROTECTED: Final = Entrant(BARE, "DuckDB, unprotected")


@dataclass(frozen=True, slots=True)
class Options:
    scales: list[str]
    runs: int
    seconds: float
    peers: list[str]
    questions: str
    fresh: bool


def main() -> int:
    options = _options()
    on = machine()
    print(f"# Beside other libraries\n\ncommit {on.commit}; {on.words()}\n")
    print(f"Each question costs epsilon {EPSILON:g}, delta {DELTA:g} in all; {options.runs} runs of each.\n")
    try:
        for scale in options.scales:
            _scale(scale, options, on.commit)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="scale 0.1 and few runs")
    parser.add_argument("--scale", action="append", help="of TPC-H; may be said again; 0.1 and 1 by default")
    parser.add_argument("--runs", type=int, help="of each question; 20 by default")
    parser.add_argument("--seconds", type=float, help="after which a slow library makes no more runs; 60 by default")
    parser.add_argument("--peers", default=",".join(peer.name for peer in PEERS), help="which, with commas between")
    parser.add_argument("--questions", default="".join(q.name for q in QUESTIONS), help="which, such as `abc`")
    parser.add_argument("--fresh", action="store_true", help="measure again what was measured before")
    said = parser.parse_args()
    return Options(
        scales=said.scale or (["0.1"] if said.quick else ["0.1", "1"]),
        runs=said.runs or (4 if said.quick else 20),
        seconds=said.seconds or (10 if said.quick else 60),
        peers=[name for name in said.peers.split(",") if name],
        questions=said.questions,
        fresh=said.fresh,
    )


def _scale(scale: str, options: Options, commit: str) -> None:
    dataset = data.tpch(scale)
    cells = Cells.open(FOLDER / f"peers-sf{scale}.json", fresh=options.fresh)
    questions = tuple(question for question in QUESTIONS if question.name in options.questions)
    private = _Round(scale, "private", options, commit, dataset, cells)
    print(board(private.go(questions)), flush=True)
    grouped = tuple(question for question in questions if question.keys)
    if grouped:
        print("\n" + board(_Round(scale, "public", options, commit, dataset, cells).go(grouped)), flush=True)
    print(f"\nVersions: {_versions(cells)}; figures lie in {cells.file.relative_to(FOLDER.parent)}\n")


@dataclass(frozen=True, slots=True)
class _Runner:
    """How an entrant is measured, and what its figures hang on."""

    entrant: Entrant
    made_by: str
    measure: Callable[[Job], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Round:
    """Every entrant on every question, question by question, so that a busy hour of the machine hits none alone."""

    scale: str
    keys: Keys
    options: Options
    commit: str
    data: Dataset
    cells: Cells

    def go(self, questions: tuple[Question, ...]) -> Board:
        found: dict[tuple[str, str], Cell] = {}
        with ExitStack() as stack:
            runners = self._runners(stack)
            for question in questions:
                job = Job(question, self.keys, data.tpch_files(self.scale), self.options.runs, self.options.seconds)
                exact = Bare.on_parquet(self.data).run(question.exact).rows
                for runner in runners:
                    found[runner.entrant.name, question.name] = self._cell(runner, job, exact)
        entrants = tuple(runner.entrant for runner in runners if runner.entrant is not UNPROTECTED)
        return Board(self.scale, self.keys, self.options.runs, questions, entrants, found)

    def _runners(self, stack: ExitStack) -> list[_Runner]:
        gateway = _Gateway(self.data, self.keys, stack)
        return [
            _Runner(UNPROTECTED, self.commit, lambda job: ours.unprotected(job, self.data)),
            _Runner(HTTP, self.commit, lambda job: ours.over_http(job, gateway.client())),
            _Runner(ZCDP, self.commit, lambda job: ours.domain(job, self.data, "zcdp")),
            _Runner(PURE, self.commit, lambda job: ours.domain(job, self.data, "pure")),
            *(_other(peer) for peer in PEERS if peer.name in self.options.peers),
        ]

    def _cell(self, runner: _Runner, job: Job, exact: list[tuple[Any, ...]]) -> Cell:
        _say(f"scale {self.scale}, keys {self.keys}, Q-{job.question.name}, {runner.entrant.name}")
        size = f"{job.runs} runs, {job.seconds:g} s"
        name = f"{self.keys}/{job.question.name}/{runner.entrant.name}/{size}"
        return self.cells.cell(name, runner.made_by, lambda: summary(runner.measure(job), exact, job.question.keys))


class _Gateway:
    """Served from the moment somebody asks it: where all is known already it never starts."""

    def __init__(self, dataset: Dataset, keys: Keys, stack: ExitStack) -> None:
        self._data = dataset
        self._keys: Keys = keys
        self._stack = stack
        self._client: Client | None = None

    def client(self) -> Client:
        if self._client is None:
            self._client = self._stack.enter_context(ours.served(self._data, self._keys))
        return self._client


def _other(peer: Peer) -> _Runner:
    installed = Installed(peer)

    def measure(job: Job) -> dict[str, Any]:
        try:
            return ask(peer, installed.python(), job)
        except NotInstallable as error:
            return {"why": f"{NOT_INSTALLED}: {error}"}

    return _Runner(Entrant(peer.name, peer.words, enforces=peer.enforces), peer.digest, measure)


def _versions(cells: Cells) -> str:
    found: dict[str, str] = {}
    for cell in cells.content.values():
        found |= {name: version for name, version in cell.get("versions", {}).items() if name != "Python"}
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))


def _say(words: str) -> None:
    print(f"  {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
