"""Honest work of every kind behind the walls: the right answers, and not one system call refused meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.lockdown.kernel import MACHINE
from sandbox.lockdown.syscalls import ALLOWED
from tests.isolation.confined import ROOT

ROWS = 10_000_000
TOTAL = ROWS * (ROWS - 1) // 2
EXPECTED = {
    # ten million rows, a join, an aggregate
    f"SELECT count(*), sum(i) FROM range({ROWS}) r(i)": [[str(ROWS), str(TOTAL)]],
    f"SELECT count(*), sum(h.id) FROM range({ROWS}) r(i) JOIN hospitals h ON h.id = i % 20": [[str(ROWS), "95000000"]],
    f"SELECT count(*) FROM (SELECT i % 1000 AS g, avg(i) FROM range({ROWS}) r(i) GROUP BY g)": [["1000"]],
    # a sort and an aggregate that are larger than memory
    "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY md5(note)) AS n FROM visits) WHERE n > 0": [["1000000"]],
    "SELECT count(*), sum(c) FROM (SELECT note, count(*) AS c FROM visits GROUP BY note)": [["1000000", "1000000"]],
    # windows, quantiles, text, days and zones, sets
    "SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY hospital ORDER BY cost, __unit) n FROM visits)":
        [["50000"]],
    "SELECT sum(d) FROM (SELECT __unit - lag(__unit) OVER (ORDER BY __unit) AS d FROM visits)": [["49999"]],
    "SELECT quantile_cont(i, 0.5), quantile_disc(i, 0.25), median(i) FROM range(101) r(i)": [["50.0", "25", "50.0"]],
    "SELECT count(DISTINCT substr(upper(trim(' ' || note)), 1, 8)), min(length(note)) FROM visits": [["10", "8"]],
    "SELECT regexp_replace('a1b22', '[0-9]+', '#', 'g'), strip_accents('é'), '门' || lower('ABC')":
        [["a#b#", "e", "门abc"]],
    "SELECT date_trunc('quarter', DATE '2024-05-17'), date_diff('day', DATE '2024-02-28', DATE '2024-03-01')":
        [["2024-04-01 00:00:00", "2"]],
    "SELECT CAST(TIMESTAMP '2024-07-01 12:00' AT TIME ZONE 'Asia/Shanghai' AT TIME ZONE 'Europe/Berlin' AS VARCHAR)":
        [["2024-07-01 06:00:00"]],
    "SELECT count(*) FROM (SELECT hospital FROM visits UNION SELECT id FROM hospitals)": [["20"]],
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 100) SELECT sum(n) FROM t": [["5050"]],
    "SELECT count(*) FROM visits v WHERE EXISTS (SELECT 1 FROM hospitals h WHERE h.id = v.hospital AND h.id < 5)":
        [["250000"]],
}  # fmt: skip


def traced(snapshot: Path, folder: Path, statements: list[str], **planted: object) -> dict:
    (spill := folder / "spill").mkdir()
    config = {"snapshot": str(snapshot), "spill": str(spill), "memory_mb": 128, "statements": statements, **planted}
    command = [sys.executable, "-I", str(Path(__file__).with_name("traced.py")), str(ROOT), json.dumps(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    if "Operation not permitted" in done.stderr and "ptrace" in done.stderr:
        pytest.skip("this machine lets no process be traced")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_honest_work_is_right_and_no_call_is_refused_to_it(snapshot: Path, folder: Path) -> None:
    found = traced(snapshot, folder, list(EXPECTED))
    assert dict(zip(EXPECTED, found["answers"], strict=True)) == EXPECTED
    assert found["denied"] == {}


@pytest.mark.parametrize("name", ["pwrite64", "unlink"])
def test_a_call_that_is_missing_from_the_list_is_noticed(snapshot: Path, folder: Path, name: str) -> None:
    """Planted: the sort that spills needs it."""
    number = ALLOWED[name][0 if MACHINE == "x86_64" else 1] or ALLOWED["unlinkat"][1]
    sort = next(statement for statement in EXPECTED if "md5" in statement)
    forbidden = [name] if MACHINE == "x86_64" or name != "unlink" else ["unlinkat"]
    found = traced(snapshot, folder, [sort], forbidden=forbidden)
    assert "EPERM" in found["denied"].get(str(number), [])
