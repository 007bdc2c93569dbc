"""`python -m bench.walls`: what the walls cost. A worker that serves one job, against DuckDB in this process."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import duckdb

from bench.markdown import milliseconds, ratio, table
from bench.place import machine
from bench.stats import spread
from policies.types import BIGINT, INTEGER, Type
from sandbox.engine.snapshot import make_empty
from sandbox.pool import Pool, PoolSettings, Worker

THREADS: Final = 2
MEMORY_MB: Final = 1024
ROWS: Final = 10_000_000
DATASET: Final = "walls"
WAIT_S: Final = 60.0
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Asked:
    name: str
    sql: str
    shape: tuple[Type, ...]


SMALL: Final = Asked("small: 20 groups of 1,000 rows", "SELECT g, count(*) FROM small GROUP BY g", (INTEGER, BIGINT))
LARGE: Final = (
    Asked(
        "scan: filter and 1,000 groups",
        "SELECT g, count(*), CAST(sum(x) AS BIGINT) FROM large WHERE x % 10 < 7 GROUP BY g",
        (INTEGER, BIGINT, BIGINT),
    ),
    Asked("distinct units", "SELECT count(DISTINCT u) FROM large", (BIGINT,)),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.walls", description="What the walls cost.")
    parser.add_argument("--runs", type=int, default=30, help="of each small thing; a third of it of the large ones")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    if sys.platform != "linux":
        print("the walls (Landlock, seccomp, ...) are Linux's own")
        return 1
    on = machine()
    print(f"commit {on.commit}, {chosen.rows:,} rows, {chosen.runs} runs\n{on.words()}\n")
    with tempfile.TemporaryDirectory(prefix="bpk-walls-") as name:
        Path(name).chmod(0o711)
        snapshot = _make(Path(name) / "data.duckdb", chosen.rows)
        with _pool(Path(name) / "spill", snapshot) as pool:
            _show_layers(pool)
            _queries(pool, snapshot, chosen.runs, random.Random(chosen.seed))
            _memory(pool, chosen.runs)
            _together(pool)
        with _pool(Path(name) / "fresh", snapshot, warm=0) as pool:
            _starts(pool, Path(name), chosen.runs)
    return 0


def _make(path: Path, rows: int) -> Path:
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE small AS SELECT (i % 20)::INTEGER AS g FROM range(1000) r(i)")
        connection.execute(
            "CREATE TABLE large AS SELECT (i // 20)::INTEGER AS u, ((i * 7919) % 1000)::INTEGER AS g,"
            f" (hash(i) % 100000)::BIGINT AS x FROM range({rows}) r(i)"
        )
    path.chmod(0o444)
    return path


@contextlib.contextmanager
def _pool(spill: Path, snapshot: Path, warm: int = 1) -> Iterator[Pool]:
    pool = Pool(PoolSettings(spill=spill, threads=THREADS, memory_mb=MEMORY_MB, warm=warm, workers_max=4))
    try:
        pool.serve(DATASET, snapshot)
        yield pool
    finally:
        pool.close()


def _show_layers(pool: Pool) -> None:
    _warm(pool).close()
    standing = [layer.name for layer in pool.layers if layer.active]
    missing = [f"{layer.name} ({layer.reason})" for layer in pool.layers if not layer.active]
    print(f"walls: {', '.join(standing)}" + (f"; off: {', '.join(missing)}" if missing else "") + "\n")


def _warm(pool: Pool) -> Worker:
    """A worker that was waiting: the next one is awaited first."""
    token = pool.reserve(DATASET, WAIT_S)
    worker = pool.take(token, DATASET)
    assert worker is not None, "no worker comes up"
    return worker


def _queries(pool: Pool, snapshot: Path, runs: int, dice: random.Random) -> None:
    rows = []
    for asked, times in ((SMALL, runs), *((each, max(3, runs // 3)) for each in LARGE)):
        ways: dict[str, Callable[[], float]] = {
            "in this process": _in_process(snapshot, asked),
            "opened anew": partial(_opened_anew, snapshot, asked),
            "warm worker": partial(_in_worker, pool, asked),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        for _ in range(times):
            for name in dice.sample(list(ways), len(ways)):
                found[name].append(1000 * ways[name]())
        medians = {name: spread(values) for name, values in found.items()}
        worker = medians["warm worker"]
        rows.append(
            [
                asked.name,
                milliseconds(medians["in this process"].median),
                milliseconds(medians["opened anew"].median),
                f"{milliseconds(worker.median)} ({milliseconds(worker.p95)})",
                ratio(worker.median / medians["in this process"].median),
                ratio(worker.median / medians["opened anew"].median),
            ]
        )
    head = ["query, ms (median)", "DuckDB in this process", "opened anew", "warm worker (p95)", "×", "× opened anew"]
    print(table(head, rows) + "\n", flush=True)


def _in_process(snapshot: Path, asked: Asked) -> Callable[[], float]:
    config: dict[str, str | bool | int | float | list[str]] = {"threads": THREADS, "memory_limit": f"{MEMORY_MB}MiB"}
    connection = duckdb.connect(str(snapshot), read_only=True, config=config)

    def run() -> float:
        begin = time.perf_counter()
        connection.execute(asked.sql).fetchall()
        return time.perf_counter() - begin

    return run


def _opened_anew(snapshot: Path, asked: Asked) -> float:
    """Without walls, but with a buffer as cold as a fresh worker's: the file itself is in the system's cache.

    A link of its own: the engine would give out the one that is open already.
    """
    link = snapshot.with_name("again.duckdb")
    link.unlink(missing_ok=True)
    link.hardlink_to(snapshot)
    config: dict[str, str | bool | int | float | list[str]] = {"threads": THREADS, "memory_limit": f"{MEMORY_MB}MiB"}
    with duckdb.connect(str(link), read_only=True, config=config) as connection:
        connection.execute("SELECT 1").fetchall()
        begin = time.perf_counter()
        connection.execute(asked.sql).fetchall()
        return time.perf_counter() - begin


def _in_worker(pool: Pool, asked: Asked) -> float:
    """From the asking for a place to the last row, with a worker that waits; its end is not waited for."""
    pool.release(pool.reserve(DATASET, WAIT_S) or "")  # until one waits: what is measured is a warm worker
    begin = time.perf_counter()
    worker = pool.take(None, DATASET)
    assert worker is not None, "no worker comes up"
    worker.query(asked.sql, asked.shape, 10_000)
    seconds = time.perf_counter() - begin
    worker.close()
    return seconds


def _starts(pool: Pool, folder: Path, runs: int) -> None:
    make_empty(empty := folder / "empty.duckdb")
    rows = []
    for name, file in (("an empty snapshot", empty), ("this snapshot", folder / "data.duckdb")):
        pool.serve(DATASET, file)
        _started(pool)
        times = spread([1000 * _started(pool) for _ in range(runs)])
        rows.append([name, milliseconds(times.median), milliseconds(times.p95)])
    print(table(["fresh worker with", "median, ms", "p95, ms"], rows))


def _started(pool: Pool) -> float:
    """From the order to a worker that has raised its walls, read them back and opened its snapshot."""
    begin = time.perf_counter()
    worker = pool.take(None, DATASET)
    seconds = time.perf_counter() - begin
    assert worker is not None, "no worker comes up"
    worker.close()
    time.sleep(0.05)
    return seconds


def _memory(pool: Pool, runs: int) -> None:
    rows = []
    for name, asked in (("idle", None), ("after the small query", SMALL), ("after the scan", LARGE[0])):
        found = [_held(pool, asked) for _ in range(max(3, runs // 10))]
        columns = [spread([each[i] for each in found]).median / _MIB for i in range(3)]
        rows.append([name, *(f"{value:.0f}" if value else "not to be seen" for value in columns)])
    head = ["worker, MiB", "resident", "its share (PSS)", "private"]
    print(table(head, rows) + "\n", flush=True)


def _held(pool: Pool, asked: Asked | None) -> tuple[float, float, float]:
    """Resident, proportional and private bytes. The last two show only to root: workers cannot be looked into."""
    worker = _warm(pool)
    if asked is not None:
        worker.query(asked.sql, asked.shape, 10_000)
    resident = int(Path(f"/proc/{worker.pid}/statm").read_text(encoding="ascii").split()[1]) * 4096
    try:
        lines = Path(f"/proc/{worker.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        lines = []
    parts = {name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)}
    worker.close()
    private = parts.get("Private_Clean", 0) + parts.get("Private_Dirty", 0)
    return float(resident), float(parts.get("Pss", 0)), float(private)


def _together(pool: Pool, seconds: float = 5.0) -> None:
    rows = []
    for callers in (1, 2, 4):
        end = time.perf_counter() + seconds
        done = itertools.count()
        with ThreadPoolExecutor(callers) as several:
            for each in [several.submit(_ask_until, pool, end, done) for _ in range(callers)]:
                each.result()
        rows.append([str(callers), f"{next(done) / seconds:.0f}"])
    print(table(["callers", "jobs a second, each with a worker of its own"], rows) + "\n", flush=True)


def _ask_until(pool: Pool, end: float, done: itertools.count[int]) -> None:
    while time.perf_counter() < end:
        worker = _warm(pool)
        worker.query(SMALL.sql, SMALL.shape, 100)
        worker.close()
        next(done)


if __name__ == "__main__":
    sys.exit(main())
