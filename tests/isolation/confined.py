"""Runs the attack code in a confined process, with a folder to harm and a process to attack."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Attacked:
    """`outcome` is empty when the process refused to go on; `refused` then names the walls that it missed."""

    layers: tuple[str, ...] = ()
    outcome: dict[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    @property
    def through(self) -> list[str]:
        """All attacks that were not stopped by a wall, but for reading the data, which must work."""
        return [name for name, end in self.outcome.items() if end != "stopped" and name != "read the data"]


def attack(folder: Path, *, uid: int = 0, **planted: object) -> Attacked:
    """Confines a process, as account `uid` (0: as we are) and with faults planted, and attacks from inside.

    Plants: `broken`, `forgotten`, `lacking` (names of walls), `second_thread`, `linux`; beside them `own_uid`,
    `allow_degraded`, `only_confine`. See inside.py.
    """
    outside, spill = folder / "outside", folder / "spill"
    for made in (outside, spill, outside / "empty"):
        made.mkdir()
    for name in ("file", "remove", "rename"):
        (outside / name).write_text("x")
    (folder / "data").write_text("data")
    if uid:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)
    with socket.create_server(("127.0.0.1", 0)) as listener, _victim(uid) as victim:
        config = {
            "outside": str(outside),
            "spill": str(spill),
            "data": str(folder / "data"),
            "victim": victim.pid,
            "port": listener.getsockname()[1],
            "uid": uid,
            **planted,
        }
        return _read(config)


def _read(config: dict[str, Any]) -> Attacked:
    inside = Path(__file__).with_name("inside.py")
    done = subprocess.run(
        [sys.executable, "-I", str(inside), str(ROOT), json.dumps(config)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    return Attacked(tuple(said.get("layers", ())), said.get("outcome", {}), tuple(said.get("refused", ())))


@contextlib.contextmanager
def _victim(uid: int) -> Any:
    with subprocess.Popen(
        ["sleep", "60"], user=uid or None, group=uid or None, extra_groups=[] if uid else None
    ) as victim:
        try:
            yield victim
        finally:
            victim.kill()
