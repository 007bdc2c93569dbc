"""What the tests serve ends with the tests, also when nothing is left to end it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.home import init
from tests.deployment import below, processes
from tests.waiting import eventually

RUN_OF_TESTS = """
import subprocess, sys, time
from pathlib import Path
from tests.served_process import serve_command
gateway = subprocess.Popen(serve_command(Path(sys.argv[1])), start_new_session=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_a_gateway_outlives_no_killed_run_of_tests(tmp_path: Path) -> None:
    home = init(tmp_path / "home")
    run = subprocess.Popen([sys.executable, "-c", RUN_OF_TESTS, str(home.root)], stdout=subprocess.PIPE)
    try:
        assert run.stdout is not None
        assert b"serving" in run.stdout.readline()
        served = below(run.pid, processes())
        assert {" gateway serve " in each.command for each in served} == {True, False}
    finally:
        run.kill()
        run.wait()
    assert eventually(lambda: not any(each.alive for each in served), 20)
    run.stdout.close()
