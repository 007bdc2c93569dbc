"""`make mutation`: whether the tests of ledger, log and accounting notice when a line of them is wrong.

    python -m tests.mutated                          every mutant that was not judged yet; goes on where it stopped
    python -m tests.mutated tree note                those of these modules (an area's name is all of its modules)
    python -m tests.mutated --sample 200 --seed 1    so many, drawn over all that were chosen
    python -m tests.mutated --again                  those that lived, once more: for whoever writes tests

mutmut makes the mutants and judges them, each by the tests that reach the function it lies in. It leaves what is
decorated (properties, caches) and what modules say outside of functions alone. A mutant that differs in nothing but
capitals is not counted: it is SQL or a sentence, and means the same. What is judged is kept in `.mutation/`, one folder
an area, until a file changes that mutants or tests are made of.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import measured
from tests.measured import AREAS, ROOT, Area

STATE: Final = ROOT / ".mutation"
SCORE_MIN: Final = 85
CHILDREN: Final = 2
BATCH: Final = 1000
SOURCES: Final = ("gateway", "policies", "sandbox", "bench", "tests")
NO_VERDICT: Final = frozenset({None, 2, 34, 255})
"""What mutmut writes of a mutant that it has not judged, or could not."""
LIVED: Final = frozenset({0, 5, 33, 35})
"""Of one that no test ended; all else is a test that failed, or the clock."""
CLOCK: Final = frozenset({24, -24, 36, 152})
Z_95: Final = 1.96
# Its clock is for what waits for ever. What runs for ever is ended by `tests/conftest.py`, however busy the machine is.
SETTINGS: Final = """
[tool.mutmut]
source_paths = ["gateway", "policies", "sandbox"]
also_copy = ["bench"]
only_mutate = {modules}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist"]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
timeout_constant = 3.0
timeout_multiplier = 60.0
use_git_change_detection = false
"""


@dataclass(frozen=True)
class Mutant:
    name: str
    module: str
    verdict: int | None
    before: str
    after: str

    @property
    def judged(self) -> bool:
        return self.verdict not in NO_VERDICT

    @property
    def lived(self) -> bool:
        return self.verdict in LIVED

    @property
    def hung(self) -> bool:
        return self.verdict in CLOCK

    def diff(self) -> str:
        both = (self.before.splitlines(), self.after.splitlines())
        return "\n".join(difflib.unified_diff(*both, self.module, self.name, n=1, lineterm=""))


class Workshop:
    """An area's own copy of the project, in which mutmut works. It prints what it does, after a dash."""

    def __init__(self, area: Area) -> None:
        self.area = area
        self.folder = STATE / area.name

    def prepare(self) -> None:
        """A fresh copy with its mutants, unless there is one of the same files. Raises SystemExit."""
        now, kept = _digest(self.area), self.folder / "digest"
        if kept.exists() and kept.read_text("utf-8") == now:
            return
        print(f"- {self.area.name}: making mutants, and finding out which tests reach them", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        for source in SOURCES:
            shutil.copytree(ROOT / source, self.folder / source, ignore=shutil.ignore_patterns("__pycache__"))
        settings = SETTINGS.format(modules=self.area.files(), tests=measured.tests_of([self.area]))
        ours = (ROOT / "pyproject.toml").read_text("utf-8")
        (self.folder / "pyproject.toml").write_text(ours + settings.replace("'", '"'), encoding="utf-8")
        told = self._mutmut(
            ["nothing.at.all"]
        )  # no mutant is called so; what comes before judging is done all the same
        if not (self.folder / "mutants" / "mutmut-stats.json").exists():
            raise SystemExit(f"mutmut could not begin:\n{told[-4000:]}")
        kept.write_text(now, encoding="utf-8")

    def mutants(self) -> list[Mutant]:
        return [mutant for module in self.area.files() for mutant in self._of(module)]

    def judge(self, chosen: list[Mutant]) -> None:
        """mutmut keeps each verdict as it falls, so that whoever stops this goes on from there."""
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            print(f"- {self.area.name}: {start} of {len(chosen)} judged", flush=True)
            self._mutmut([mutant.name for mutant in part])

    def _of(self, module: str) -> Iterator[Mutant]:
        made = self.folder / "mutants" / module
        meta = made.with_name(f"{made.name}.meta")
        if not meta.exists():
            return
        lines = made.read_text("utf-8").splitlines()
        spans = json.loads(made.with_name(f"{made.name}.spans").read_text("utf-8"))["spans"]
        for name, verdict in json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items():
            function = name.rpartition(".")[2]
            original = f"{function.rpartition('_')[0]}_orig"
            before, after = (
                "\n".join(lines[slice(spans[each][0] - 1, spans[each][1])]) for each in (original, function)
            )
            after = after.replace(function, original)
            if before.casefold() != after.casefold():
                yield Mutant(name, module, verdict, before, after)

    def _mutmut(self, names: list[str]) -> str:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(CHILDREN), *names]
        few = {**os.environ, "BPK_EXAMPLES": "mutants"}  # and the same ones each time, so that a verdict is one
        ran = subprocess.run(command, cwd=self.folder, env=few, check=False, capture_output=True, text=True)
        return ran.stdout + ran.stderr


def _digest(area: Area) -> str:
    """Of all that the area's mutants and their verdicts depend on."""
    told = hashlib.sha256(repr((area, SETTINGS)).encode())
    for source in SOURCES:
        for file in sorted((ROOT / source).rglob("*.py")):
            told.update(file.read_bytes())
    return told.hexdigest()


def _wanted(names: list[str]) -> dict[str, frozenset[str]]:
    """Of each area the modules that were asked for. Raises SystemExit for what is none."""
    every = {area.name: {Path(file).stem: file for file in area.files()} for area in AREAS}
    unknown = [name for name in names if name not in every and not any(name in known for known in every.values())]
    if unknown:
        raise SystemExit(f"there is no area or module `{unknown[0]}`; the areas are {', '.join(every)}")
    return {
        area: frozenset(file for stem, file in known.items() if not names or area in names or stem in names)
        for area, known in every.items()
    }


def table(mutants: list[Mutant]) -> tuple[list[str], bool]:
    """Lines for each module and for all, and whether all that was judged reaches the score."""
    rows = [("module", "mutants", "judged", "noticed", "by clock", "score")]
    for module in [*dict.fromkeys(mutant.module for mutant in mutants), "all"]:
        mine = [mutant for mutant in mutants if module in (mutant.module, "all")]
        judged = [mutant for mutant in mine if mutant.judged]
        killed, hung = sum(not mutant.lived for mutant in judged), sum(mutant.hung for mutant in judged)
        score = f"{100 * killed / len(judged):.1f} %" if judged else "-"
        rows.append((module, *map(str, (len(mine), len(judged), killed, hung)), score))
    judged = [mutant for mutant in mutants if mutant.judged]
    enough = 100 * sum(not mutant.lived for mutant in judged) >= SCORE_MIN * len(judged)
    return [f"{name:<34}" + "".join(f"{cell:>10}" for cell in cells) for name, *cells in rows], enough


def interval(noticed: int, judged: int) -> tuple[float, float]:
    """Wilson's, at 95 %: where the score of all lies, in percent, of which `judged` were drawn."""
    share, squared = noticed / judged, Z_95**2
    middle = (share + squared / (2 * judged)) / (1 + squared / judged)
    half = Z_95 / (1 + squared / judged) * math.sqrt(share * (1 - share) / judged + squared / (4 * judged**2))
    return 100 * (middle - half), 100 * (middle + half)


def main(arguments: list[str]) -> int:
    """0 when the score is reached, 1 when not."""
    parser = argparse.ArgumentParser(prog="make mutation", description="Whether tests notice what is wrong.")
    parser.add_argument("names", nargs="*", metavar="MODULE")
    parser.add_argument("--sample", type=int, help="judge only so many, drawn from all")
    parser.add_argument("--seed", type=int, default=1, help="of the draw")
    parser.add_argument("--again", action="store_true", help="judge once more those that lived")
    chosen = parser.parse_args(arguments)
    wanted = _wanted(chosen.names)
    shops = [Workshop(area) for area in AREAS if wanted[area.name]]
    for shop in shops:
        shop.prepare()
    found = [m for shop in shops for m in shop.mutants() if m.module in wanted[shop.area.name]]
    if chosen.sample is not None:
        found = random.Random(chosen.seed).sample(found, min(chosen.sample, len(found)))
    names = {mutant.name for mutant in found}
    for shop in shops:
        shop.judge([m for m in found if m.module in shop.area.files() and (not m.judged or (chosen.again and m.lived))])
    judged = [mutant for shop in shops for mutant in shop.mutants() if mutant.name in names]
    for mutant in judged:
        if mutant.lived:
            print(f"\nlived: {mutant.diff()}")
    lines, enough = table(judged)
    print("\n" + "\n".join(lines))
    drawn = [mutant for mutant in judged if mutant.judged]
    if chosen.sample is not None and drawn:
        low, high = interval(sum(not mutant.lived for mutant in drawn), len(drawn))
        print(f"\nof all that these were drawn from, {low:.1f} to {high:.1f} % are noticed (95 %)")
    if not enough:
        print(f"fewer than {SCORE_MIN} % of what was judged were noticed", file=sys.stderr)
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
