"""Its folder is where tests find what they share: here, a store of each kind, and a folder in memory."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import os
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from gateway.store import Store
from gateway.stores.sqlite import SqliteStore
from tests import figures, order, postgres_server
from tests.postgres_server import Server

MEMORY = Path("/dev/shm")
settings.register_profile("patient", deadline=None)  # how long one example takes says how busy the machine is
settings.register_profile("mutants", deadline=None, max_examples=25, derandomize=True)
EXAMPLES = os.environ.get("BPK_EXAMPLES", "patient")
settings.load_profile(EXAMPLES)
SLOW_S = 0.2
STORES = ("sqlite", pytest.param("postgresql", marks=postgres_server.needed))
if EXAMPLES == "mutants":
    STORES = STORES[:1]  # no store is mutated, and a server would be started for every mutant


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A server, shared by the tests of one process, each with a database of its own."""
    with postgres_server.server() as found:
        yield found


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, memory: Path) -> Iterator[Callable[[], Store]]:
    """Opens one and the same new database, as often as it is called; in the end it is closed as often."""
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            make: Callable[[], Store] = partial(SqliteStore, memory / "store" / "ledger.sqlite")
        else:
            from gateway.stores.postgres import PostgresStore

            make = partial(PostgresStore, request.getfixturevalue("postgres").database())

        def opened() -> Store:
            return stack.enter_context(contextlib.closing(make()))

        yield opened


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory where the system has one: for what is written thousands of times and thrown away."""
    if not os.access(MEMORY, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="bpk-test-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three for two cores: half of the time of a test passes in waiting, for processes to start and for deadlines."""
    return max(1, (os.cpu_count() or 1) * 3 // 2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several processes begin with what is slow. A mutant is judged by what is cheapest first: most end there. The
    tests of a file stay together, for what they share is made once; but for the slow ones, which come last of all."""
    processes = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if processes > 1:
        items[:] = order.for_several(items, processes)
    seconds = _seconds() if EXAMPLES == "mutants" else {}
    files: dict[Path, float] = defaultdict(float)
    for item in items:
        files[item.path] += seconds.get(item.nodeid, 0.0)

    def place(item: pytest.Item) -> tuple[bool, float, Path, float]:
        found = seconds.get(item.nodeid, 0.0)
        return found > SLOW_S, files[item.path], item.path, found

    if seconds:
        items.sort(key=place)
        if not config.option.collectonly:
            _limit(3 * sum(files.values()) + len(items) / 5 + 10)  # what is set up is not in `seconds`


def _limit(seconds: float) -> None:
    """Ends a mutant that runs on for ever by the processor's time, since a clock says how busy the machine is."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds), most))


def pytest_collection_finish() -> None:
    """What was loaded and collected stays to the end, and is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@functools.cache
def _seconds() -> dict[str, float]:
    """How long each test took when mutmut looked what it reaches."""
    told = Path("mutmut-stats.json")
    return dict(json.loads(told.read_text("utf-8"))["duration_by_test"]) if told.exists() else {}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was measured, in one table."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, ())]
    for line in figures.lines(reports):
        terminalreporter.write_line(line)
