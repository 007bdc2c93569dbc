"""`make test-long`: bigger numbers of the same tests, one slice after another; a slice that is done stays done.

    python -m tests.long        the slices that are not done yet, in order
    python -m tests.long 3      slice 3, whatever was done before

What is done is kept in `.test-long/`, until all of it is. Every slice takes less than an hour on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
STATE = ROOT / ".test-long"
NEIGHBOUR_SEEDS = range(1, 11)
NEIGHBOUR_PAIRS = 100_000
REFERENCE_SEEDS = range(1, 5)
REFERENCE_INTEGERS = 100_000
POISON_TURNS = (0, 2, 3, 4, 5, 6)
"""Turn 1 is that of `make test`."""
FUZZ_SEEDS = (1_000_000, 2_000_000)
FUZZ_CASES = 40_000
REPLAY_SEEDS = range(1, 5)
REPLAY_PAIRS = 25_000
EPSILON_PARTS = 8
KILL_SEEDS = range(1, 11)
KILLS = 10_000
STEPS = 10_000_000
SERVICE_KILL_SEEDS = range(1, 11)
SERVICE_KILLS = 200
RACE_PARTS = range(1, 101)
RACES = 100_000
EPSILON_SAMPLES = 100_000


@dataclass(frozen=True)
class Slice:
    name: str
    tests: str
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def done(self) -> Path:
        return STATE / f"{self.name}.done"


def slices() -> list[Slice]:
    """Every test file that knows a longer form of itself, then those that take a seed, a number or a part."""
    longer = [file for file in sorted(ROOT.glob("tests/**/test_*.py")) if '"BPK_LONG"' in file.read_text("utf-8")]
    found = [Slice(file.stem.removeprefix("test_"), file.relative_to(ROOT).as_posix()) for file in longer]
    for seed in NEIGHBOUR_SEEDS:
        settings = (("BPK_SEED", str(seed)), ("BPK_PAIRS", str(NEIGHBOUR_PAIRS)))
        found.append(Slice(f"neighbours_{seed}", "tests/property/test_neighbours.py", settings))
    for turn in POISON_TURNS:
        settings = (("BPK_TURN", str(turn)),)
        found.append(Slice(f"poisoned_unit_{turn}", "tests/attack/test_poisoned_unit.py", settings))
    for seed in REPLAY_SEEDS:
        settings = (("BPK_SEED", str(seed)), ("BPK_REPLAYS", str(REPLAY_PAIRS)))
        found.append(Slice(f"replays_{seed}", "tests/property/test_record_replay.py", settings))
    for seed in REFERENCE_SEEDS:
        settings = (("BPK_SEED", str(seed)), ("BPK_INTEGERS", str(REFERENCE_INTEGERS)))
        found.append(Slice(f"reference_{seed}", "tests/property/test_engine_agrees_with_reference.py", settings))
    found += _of_the_ledger()
    for part in range(1, EPSILON_PARTS + 1):
        settings = (("BPK_PART", f"{part}/{EPSILON_PARTS}"), ("BPK_SAMPLES", str(EPSILON_SAMPLES)))
        found.append(Slice(f"epsilon_{part}", "tests/statistical/test_empirical_epsilon.py", settings))
    for seed in FUZZ_SEEDS:
        settings = (("BPK_SEED", str(seed)), ("BPK_FUZZ", str(FUZZ_CASES)))
        found.append(Slice(f"door_{seed}", "tests/attack/test_door_fuzz.py", settings))
        found.append(Slice(f"replies_{seed}", "tests/attack/test_hostile_domain.py", settings))
    return found


def _of_the_ledger() -> list[Slice]:
    """100,000 kills, 2,000 of whole services, 10,000,000 charges at the edge of a cap, 100,000,000 simulated steps."""
    race = "tests/attack/test_ledger_race.py"
    kills = (("BPK_KILLS", str(KILLS)), ("BPK_RACES", "8"))
    races = (("BPK_KILLS", "10"), ("BPK_RACES", str(RACES)))
    found = [Slice(f"kills_{seed}", race, (("BPK_SEED", str(seed)), *kills)) for seed in KILL_SEEDS]
    services = "tests/e2e/test_two_gateways_killed.py"
    of_services = (("BPK_SERVICE_KILLS", str(SERVICE_KILLS)),)
    found += [
        Slice(f"service_kills_{seed}", services, (("BPK_SEED", str(seed)), *of_services)) for seed in SERVICE_KILL_SEEDS
    ]
    found += [Slice(f"races_{part}", race, races) for part in RACE_PARTS]
    simulated = "tests/attack/test_ledger_simulated.py"
    steps = (("BPK_STEPS", str(STEPS)),)
    return found + [Slice(f"simulated_{seed}", simulated, (("BPK_SEED", str(seed)), *steps)) for seed in KILL_SEEDS]


def run(number: int, part: Slice) -> bool:
    print(f"slice {number}: {part.name}", flush=True)
    begin = time.monotonic()
    environment = {**os.environ, "BPK_LONG": "1", **dict(part.settings)}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "timeout=3600", part.tests]
    passed = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    if passed:
        STATE.mkdir(exist_ok=True)
        part.done.write_text(f"{time.monotonic() - begin:.0f} s\n", encoding="utf-8")
    return passed


def main(arguments: list[str]) -> int:
    """0 when everything that ran has passed, 1 when a slice failed, 2 for a slice that is not there."""
    parts = dict(enumerate(slices(), start=1))
    if arguments:
        wanted = int(arguments[0]) if arguments[0].isdecimal() else 0
        if wanted not in parts:
            listed = "\n".join(f"  {number}  {part.name}" for number, part in parts.items())
            print(f"there is no slice `{arguments[0]}`; the slices are\n{listed}", file=sys.stderr)
            return 2
        return 0 if run(wanted, parts[wanted]) else 1
    for number, part in parts.items():
        if part.done.exists():
            print(f"slice {number}: {part.name} was done in {part.done.read_text('utf-8').strip()}")
        elif not run(number, part):
            print(f"slice {number} failed; `make test-long` goes on from here", file=sys.stderr)
            return 1
    for part in parts.values():
        part.done.unlink(missing_ok=True)
    print("every slice has passed; the next run begins anew")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
