"""What a question takes of the processor is what its processes took, and no process is counted twice or left out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from bench import processor
from bench.soak.watch import Processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
BUSY = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True); input()"


@pytest.fixture
def busy() -> Iterator[int]:
    """A process that took 0.4 s and waits."""
    child = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    yield child.pid
    child.kill()
    child.communicate()


def test_what_a_process_took_is_its_own(busy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    monkeypatch.setattr(processor, "processes", lambda _: Processes(busy, busy, here))
    monkeypatch.setattr(processor, "children", lambda pid: [busy] if pid == here else [])
    ended = processor.taken(here)["workers"]
    found = processor.taken(here)
    assert 0.3 <= found["gateway"] < 2
    assert found["gateway"] == found["data domain"]
    own = sum(os.times()[:2])
    dead = sum(os.times()[2:4])
    assert found["workers"] >= ended
    assert found["workers"] == pytest.approx(own + dead + found["gateway"], abs=1.0)


def test_it_is_told_for_each_request_and_each_process() -> None:
    before = {"gateway": 1.0, "data domain": 2.0, "workers": 0.0}
    after = {"gateway": 1.5, "data domain": 2.25, "workers": 1.0}
    told = processor.words(before, after, 100)
    assert told == "17.5 ms of processor each (gateway 5.0, data domain 2.5, workers 10.0)"


def test_a_worker_that_is_gone_counts_among_the_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    assert processor._of_living(child.pid) == 0.0
