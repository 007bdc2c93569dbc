"""One question put to one library: a fresh process in its own environment, watched for time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from bench.peers.libraries.measure import MARK, Job
from bench.peers.venvs import Peer
from bench.place import ROOT
from bench.stats import errors, spread

START_S: Final = 300
"""Beside the runs themselves: loading data, the first run, and the three runs that are always made."""


def ask(peer: Peer, python: Path, job: Job) -> dict[str, Any]:
    """What the script measured, or `why` there is nothing."""
    command = [str(python), "-m", f"bench.peers.libraries.{peer.script}", job.text()]
    limit = START_S + 2 * job.seconds
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"why": f"timeout after {limit:.0f} s"}
    lines = [line.removeprefix(MARK) for line in out.splitlines() if line.startswith(MARK)]
    if not lines:
        return {"why": f"ended with {process.returncode}: {said.strip()[-300:]}"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def summary(found: dict[str, Any], exact: list[tuple[Any, ...]], keys: int) -> dict[str, Any]:
    """Figures of one cell of the tables, from the runs' times and answers; `why` where there are none."""
    if not found.get("seconds"):
        return {"why": found.get("why") or "no answer", "versions": found.get("versions", {})}
    judged = [errors(exact, rows, keys) for rows in found["answers"]]
    relative = spread([each for one in judged for each in one.relative])
    times = spread(found["seconds"])
    return {
        "runs": len(found["seconds"]),
        "ms": [round(1000 * times.median, 2), round(1000 * times.p95, 2)],
        "error": [relative.median, relative.p95],
        "groups": judged[0].groups,
        "lost": spread([float(one.lost) for one in judged]).median,
        "rss_mib": found.get("rss_mib"),
        "versions": found.get("versions", {}),
    }
