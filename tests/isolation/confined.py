"""Runs the attack code in a confined process, with a folder to harm and processes to attack."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.isolation.python_attacks import Scene

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SECRET = "not for the worker"


@dataclass(frozen=True, slots=True)
class Attacked:
    """`outcome` is empty when the process refused to go on; `refused` then names the walls that it missed."""

    layers: tuple[str, ...] = ()
    outcome: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    @property
    def through(self) -> set[str]:
        """All attacks that were not stopped by a wall, but for reading the data, which must work."""
        return {name for name, end in self.outcome.items() if end != "stopped" and name != "read the data"}


def attack(folder: Path, *, uid: int = 0, **planted: object) -> Attacked:
    """Confines a process, as account `uid` (0: as we are) and with faults planted, and attacks from inside.

    Plants: `broken`, `forgotten`, `lacking` (names of walls), `second_thread`, `linux`; beside them `own_uid`,
    `allow_degraded`, `only_confine`. See inside.py.
    """
    with staged(folder, uid, planted) as (scene, job):
        return _run({"scene": asdict(scene), "uid": uid, **planted}, job)


@contextlib.contextmanager
def staged(folder: Path, uid: int, planted: dict[str, object]) -> Iterator[tuple[Scene, socket.socket]]:
    """A scene in `folder`, and the socket that the confined process is to hold."""
    outside, spill = folder / "outside", folder / "spill"
    for made in (outside, spill, outside / "empty"):
        made.mkdir()
    for name in ("file", "remove", "rename"):
        (outside / name).write_text(SECRET)
    (folder / "data").write_text("data")
    (spill / "mine").write_text("x" * 4096)
    if uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        stack.enter_context(theirs)
        ours.send(b"x")
        port = listener.getsockname()[1]
        victim = stack.enter_context(_victim(uid))
        scene = Scene(str(outside), str(spill), str(folder / "data"), victim, victim, port, theirs.fileno())
        if planted.get("only_confine") is None and planted.get("linux") is None:
            scene = replace(scene, sibling=stack.enter_context(_sibling(scene, uid, planted)))
        yield scene, theirs


def _run(config: dict[str, Any], job: socket.socket) -> Attacked:
    done = subprocess.run(
        _command(config), capture_output=True, text=True, timeout=60, check=False, pass_fds=(job.fileno(),), cwd="/"
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return Attacked(tuple(said.get("layers", ())), said.get("outcome", {}), tuple(said.get("refused", ())))


def _command(config: dict[str, Any]) -> list[str]:
    return [sys.executable, "-I", str(Path(__file__).with_name("inside.py")), str(ROOT), json.dumps(config)]


@contextlib.contextmanager
def _victim(uid: int) -> Iterator[int]:
    """A process without walls, such as the service."""
    account = {"user": uid, "group": uid, "extra_groups": []} if uid else {}
    with subprocess.Popen(["sleep", "60"], **account) as victim:
        try:
            yield victim.pid
        finally:
            victim.kill()


@contextlib.contextmanager
def _sibling(scene: Scene, uid: int, planted: dict[str, object]) -> Iterator[int]:
    """Another process that is confined in the same way, which sits there."""
    config = {**planted, "scene": asdict(scene), "uid": uid, "only_confine": True, "second_thread": False}
    with subprocess.Popen(_command(config), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/") as sibling:
        try:
            assert sibling.stdout is not None
            assert sibling.stdout.readline()
            yield sibling.pid
        finally:
            sibling.kill()
