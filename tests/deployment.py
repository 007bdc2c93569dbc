"""A served home whose processes are known by what they are, and that may be killed and started again."""

from __future__ import annotations

import contextlib
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.home import Home
from tests.served_process import serve_command


@dataclass(frozen=True, slots=True)
class Process:
    """A process as /proc has it; `born` tells it from a later one of the same number."""

    pid: int
    parent: int
    born: int
    command: str

    @property
    def alive(self) -> bool:
        found = _process(self.pid)
        return found is not None and found.born == self.born


def _process(pid: int) -> Process | None:
    """None for one that is gone, or dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return None
    return None if fields[0] in "ZX" else Process(pid, int(fields[1]), int(fields[19]), command)


def processes() -> list[Process]:
    found = (_process(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [each for each in found if each is not None]


def below(root: int, among: Sequence[Process]) -> list[Process]:
    """Children of `root`, their children and so on."""
    children = [each for each in among if each.parent == root]
    return children + [each for child in children for each in below(child.pid, among)]


@dataclass
class Deployment:
    """A served home whose processes are known by what they are, and that may be started again and again."""

    home: Home
    port: int
    gateway: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns at once; the port is bound later."""
        command = serve_command(self.home.root, self.port)
        with (self.home.root / "serve.log").open("ab") as log:
            self.gateway = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
            )

    def tree(self) -> list[Process]:
        """All processes of the home that stand below the gateway, and the gateway."""
        if self.gateway is None:
            return []
        among = processes()
        return [each for each in among if each.pid == self.gateway.pid] + below(self.gateway.pid, among)

    def of(self, kind: str) -> list[Process]:
        """`gateway`, `service` (of the data domain), `zygote` or `worker`."""
        tree = self.tree()
        zygotes = [each for each in tree if "sandbox.zygote" in each.command]
        workers = [each for each in zygotes if any(each.parent == other.pid for other in zygotes)]
        found = {
            "gateway": [each for each in tree if " gateway serve " in each.command],
            "service": [each for each in tree if " sandbox serve " in each.command],
            "zygote": [each for each in zygotes if each not in workers],
            "worker": workers,
        }
        return found[kind]

    def strays(self) -> list[Process]:
        """Processes that name the home and do not stand below the gateway."""
        own = {each.pid for each in self.tree()}
        return [each for each in processes() if str(self.home.root) in each.command and each.pid not in own]

    def log(self) -> str:
        return (self.home.root / "serve.log").read_text(encoding="utf-8", errors="replace")

    def rows(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """Of `gateway/ledger` or `domain/domain`, read beside the running service."""
        file = self.home.root / "state" / f"{database}.sqlite"
        with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def stop(self) -> None:
        if self.gateway is not None and self.gateway.poll() is None:
            self.gateway.send_signal(signal.SIGTERM)
            self.gateway.wait(30)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
