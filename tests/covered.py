"""`make coverage`: every branch of the ledger, the log and the accounting is taken by the tests that concern them.

    python -m tests.covered                 all of them: one table, and 1 where a branch is never taken
    python -m tests.covered log ledger      these areas alone

What only another system has is excluded in `pyproject.toml`, by what it looks like and with the reason.
"""

from __future__ import annotations

import subprocess
import sys

from tests import measured

WORKERS = 2


def main(names: list[str]) -> int:
    """0 when every branch was taken, 1 when not or when a test failed, 2 for an area that is not there."""
    areas = tuple(area for area in measured.AREAS if area.name in names or not names)
    if len(areas) < len(names):
        print(f"the areas are {', '.join(area.name for area in measured.AREAS)}", file=sys.stderr)
        return 2
    sources = sorted({file.rpartition("/")[0] for file in measured.modules(areas)})
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(WORKERS), "--dist", "worksteal", "--no-cov-on-fail"]
    command += ["--cov-branch", *(f"--cov={source}" for source in sources), "--cov-report="]
    ran = subprocess.run([*command, *measured.tests_of(areas)], cwd=measured.ROOT, check=False).returncode
    if ran != 0:
        return 1
    table = [sys.executable, "-m", "coverage", "report", "--show-missing", "--fail-under=100", "--precision=2"]
    included = ",".join(measured.modules(areas))
    return min(1, subprocess.run([*table, f"--include={included}"], cwd=measured.ROOT, check=False).returncode)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
