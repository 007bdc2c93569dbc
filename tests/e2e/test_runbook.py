"""The runbook's commands do what it says: each marked block is run, in order, on a real home."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.served_home import Served, make_home, serving

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- run: (served|stopped) -->\n\n((?: {4}.*\n)+)")
pytestmark = [
    pytest.mark.skipif(shutil.which("openssl") is None, reason="the runbook makes keys with openssl"),
    pytest.mark.skipif(sys.platform != "linux", reason="the runbook is for Linux"),
]


def blocks() -> list[tuple[str, str]]:
    page = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")
    return [(state, re.sub("^ {4}", "", text, flags=re.MULTILINE)) for state, text in BLOCK.findall(page)]


def run(script: str, home: Path, folder: Path) -> str:
    """As a person would who put the home's own path in; the last line of what failed is in the assertion."""
    text = script.replace("venv/bin/bpk", str(Path(sys.executable).with_name("bpk"))).replace("HOME", str(home))
    done = subprocess.run(
        ["sh", "-eu"],
        input=text,
        cwd=folder,
        text=True,
        capture_output=True,
        timeout=240,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def answered(served: Served, number: int) -> str:
    reply = served.ask(f"SELECT SUM(income + {number}) AS s FROM people", epsilon="0.01")
    assert (reply.status_code, reply.json()["status"]) == (200, "answered"), reply.text
    return str(reply.json()["id"])


def test_every_marked_block_of_the_runbook_works_and_questions_are_answered_after_each(tmp_path: Path) -> None:
    home, asked = make_home(tmp_path / "home"), []
    with (home.root / "domain.toml").open("a") as settings:
        settings.write('[gateway]\nticket_key = "keys/ticket.pub"\n')  # as `bpk init` writes it
    found = blocks()
    assert [state for state, _ in found].count("served") >= 3
    assert len(found) >= 8
    with contextlib.ExitStack() as stack:
        served: Served | None = None
        for number, (state, script) in enumerate(found):
            if served is None:
                served = stack.enter_context(serving(home))
                asked.append(answered(served, number))
            if state == "stopped":
                stack.close()
                served = None
            run(script, home.root, tmp_path)
    with serving(home) as again:
        asked.append(answered(again, 99))
        for query in asked:  # none was forgotten, whatever was restored and whichever key was changed
            assert again.call("GET", f"/v1/queries/{query}").json()["status"] == "answered"
        assert again.client.get("/readyz").json()["ready"] is True
    assert not (home.root / "keys" / "ticket.key").exists()


def test_a_block_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not-a-command"):
        run("not-a-command\n", tmp_path, tmp_path)
