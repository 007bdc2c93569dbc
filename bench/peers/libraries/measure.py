"""One question asked of one library again and again, in a process of its own: times, answers, memory.

The answers are handed over as they are; what is wrong with them is reckoned in one place, by `bench.peers.run`.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from bench.peers.questions import BY_NAME, Keys, Question

RUNS_MIN: Final = 3
"""Even where they take longer than `seconds` together."""
MARK: Final = "RESULT "
Row = Sequence[Any]
Ask = Callable[[], list[Row]]


class NotExpressible(Exception):
    """The library has no way to ask this. The text says what it lacks."""


@dataclass(frozen=True, slots=True)
class Job:
    question: Question
    keys: Keys
    data: Path
    """Folder of the Parquet files."""
    runs: int
    seconds: float

    def parquet(self, table: str) -> str:
        return str(self.data / f"{table}.parquet")

    @classmethod
    def read(cls, text: str) -> Job:
        raw = json.loads(text)
        return cls(BY_NAME[raw["question"]], raw["keys"], Path(raw["data"]), raw["runs"], raw["seconds"])

    def text(self) -> str:
        return json.dumps({**asdict(self), "question": self.question.name, "data": str(self.data)})


@dataclass(slots=True)
class Measured:
    """What a script prints. `seconds` and `answers` are run by run; `why` says why there are none."""

    ready_s: float = 0.0
    seconds: list[float] = field(default_factory=list)
    answers: list[list[Row]] = field(default_factory=list)
    rss_mib: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    why: str | None = None


def main(prepare: Callable[[Job], Ask], *packages: str) -> None:
    """`prepare` loads the data and says how to ask; `packages` are those whose versions are told."""
    found = Measured(versions=_versions(packages))
    try:
        _measure(Job.read(sys.argv[1]), prepare, found)
    except BaseException as error:  # noqa: BLE001 RUF100  # a panic of a Rust library is not an Exception
        found.why = f"{type(error).__name__}: {error}"[:400]
    found.rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(MARK + json.dumps(asdict(found), default=str), flush=True)


def _measure(job: Job, prepare: Callable[[Job], Ask], into: Measured) -> None:
    begin = time.monotonic()
    ask = prepare(job)
    into.ready_s = round(time.monotonic() - begin, 2)
    ask()  # the first one does not count: everybody warms up
    begin = time.monotonic()
    while len(into.seconds) < job.runs:
        if len(into.seconds) >= RUNS_MIN and time.monotonic() - begin > job.seconds:
            break
        start = time.monotonic()
        answer = ask()
        into.seconds.append(time.monotonic() - start)
        into.answers.append([[*row] for row in answer])


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {"Python": ".".join(str(part) for part in sys.version_info[:3])}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found
