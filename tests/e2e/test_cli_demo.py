"""The demo, as a newcomer starts it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from gateway.cli import demo
from gateway.home import init


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "demo", *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def counted(done: subprocess.CompletedProcess[str]) -> str:
    """What exact answers have told so far."""
    return done.stdout.partition("exact answers of")[2].partition("The audit log")[0]


def test_the_demo_answers_refuses_verifies_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = run("--home", tmp_path / "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for _, sql in demo.QUESTIONS:
        assert sql in done.stdout
    assert done.stdout.count("intervals over the noise") == len(demo.QUESTIONS)
    assert demo.EXACT[1] in done.stdout
    assert demo.OPEN[1] in done.stdout
    assert "open data; record" in done.stdout
    assert "withheld, under these rules" in done.stdout
    assert "numbers shown to you" in done.stdout
    assert "refused (column_hidden)" in done.stderr
    assert "largest query left" in done.stdout
    assert "sound" in done.stdout
    assert not (tmp_path / "demo" / "state" / "gateway" / "address.json").exists()
    again = run("--home", tmp_path / "demo")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("free, it was answered before") == len(demo.QUESTIONS) + 1  # and the exact one
    assert counted(again) == counted(done)


def test_a_demo_that_is_killed_leaves_no_gateway_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway", "demo", "--keep", "--home", str(tmp_path / "demo")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = next(found[0] for line in process.stdout if (found := re.findall(r"http://127\.0\.0\.1:\d+", line)))
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.kill()
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        try:
            httpx.get(f"{url}/healthz", timeout=2)
        except httpx.TransportError:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("the gateway of a killed demo still answers")


def test_the_demo_does_not_touch_a_home_that_is_not_its_own(tmp_path: Path) -> None:
    init(tmp_path / "mine")
    done = run("--home", tmp_path / "mine")
    assert done.returncode == 1
    assert "no home of the demo" in done.stderr


def test_on_a_system_without_isolation_the_demo_says_so_in_writing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = [
        {"name": "rlimits", "required": True, "active": True},
        {"name": "seccomp", "required": True, "active": False},
        {"name": "cgroup", "required": False, "active": False},
    ]
    monkeypatch.setattr("gateway.cli.doctor.isolation", lambda: layers)
    monkeypatch.setattr(demo.sys, "platform", "darwin")
    assert demo._degraded("[isolation]\nallow_degraded = []\n") == '[isolation]\nallow_degraded = ["seccomp"]\n'
    assert "seccomp" in capsys.readouterr().err
    monkeypatch.setattr(demo.sys, "platform", "linux")
    assert demo._degraded("allow_degraded = []") == "allow_degraded = []"
