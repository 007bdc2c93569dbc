"""Two gateways on one PostgreSQL server and one data domain, each a process that may be killed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from gateway.home import Home, open_home
from tests import postgres_server
from tests.deployment import Process, below, free_port, processes
from tests.homes import Files, make
from tests.postgres_server import Server
from tests.served_process import dying_with_us

ROOT: Final = Path(__file__).parents[1]
GATEWAYS: Final = ("a", "b")
PARTS: Final = (*GATEWAYS, "domain", "worker", "postgres")


@dataclass
class TwoGateways:
    """As `docs/how-to/several-gateways.md` has it. Whoever tests it is what starts the killed again."""

    folder: Path
    home: Home
    """Of the first gateway; that of the second is the same but for its place."""
    database: Server
    url: str
    """Of the database."""
    door: Path
    program: Sequence[str] = ("gateway",)
    """The module that is run as a gateway."""
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in GATEWAYS})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, part: str) -> None:
        """Returns at once, but for the database, which takes connections then. The data domain starts its workers."""
        if part == "postgres":
            self.database.start()
        elif part == "domain":
            self._spawn(part, ["-m", "sandbox", "serve", "--home", str(self._root(part)), "--socket", str(self.door)])
        elif part != "worker":
            options = ["--home", str(self._root(part)), "--port", str(self.ports[part])]
            self._spawn(part, ["-m", *self.program, "serve", *options])

    def kill(self, parts: Sequence[str], choose: Any) -> None:
        """kill -9 of all of them at one moment; of a worker, one that `choose` takes."""
        if "worker" in parts:
            self._kill_worker(choose)
        for part in parts:
            if part in self.running:
                self.running[part].kill()
        if "postgres" in parts:
            self.database.kill()
        for part in parts:
            if part in self.running:
                self.running.pop(part).wait()

    def address(self, gateway: str) -> str:
        return f"http://127.0.0.1:{self.ports[gateway]}"

    def ready(self, client: httpx.Client) -> bool:
        """Whether both gateways say so."""
        with contextlib.suppress(httpx.TransportError):
            return all(client.get(f"{self.address(name)}/readyz").status_code == 200 for name in GATEWAYS)
        return False

    def missing(self, client: httpx.Client) -> list[str]:
        """What each gateway says of it."""
        said = []
        for name in GATEWAYS:
            try:
                said.append(client.get(f"{self.address(name)}/readyz").text)
            except httpx.TransportError as error:
                said.append(f"{name}: {error}")
        return said

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self.url) as connection:
            return connection.execute("SET search_path TO baopingkou").execute(sql).fetchall()  # type: ignore[call-overload]

    def log(self) -> str:
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in sorted(self.folder.glob("*.log")))

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait(30)

    def _root(self, part: str) -> Path:
        return self.folder / part

    def _spawn(self, part: str, arguments: list[str]) -> None:
        with (self.folder / f"{part}.log").open("ab") as log:
            self.running[part] = subprocess.Popen(
                dying_with_us(arguments),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill_worker(self, choose: Any) -> None:
        workers = self._workers()
        if workers:
            with contextlib.suppress(ProcessLookupError):  # it may have ended with its job
                os.kill(choose(workers).pid, signal.SIGKILL)

    def _workers(self) -> list[Process]:
        zygotes = [each for each in below(self.running["domain"].pid, processes()) if "sandbox.zygote" in each.command]
        return [each for each in zygotes if any(each.parent == other.pid for other in zygotes)]


@contextlib.contextmanager
def two_gateways(folder: Path, files: Files, program: Sequence[str] = ("gateway",)) -> Iterator[TwoGateways]:
    """Set up, with the database running and nothing else yet. The data domain's door is named like a gateway's own."""
    with postgres_server.server() as database, tempfile.TemporaryDirectory(prefix="bpk-") as short:
        url, door = database.database(), Path(short) / "door"
        root = make(folder / "a", files).root
        settings = root / "gateway.toml"
        text = settings.read_text(encoding="utf-8")
        assert "\n[domain]" in text
        named = text.replace("\n[domain]", f'\n[store]\nurl = "{url}"\n\n[domain]\nsocket = "{door}"', 1)
        settings.write_text(named, encoding="utf-8")
        for name in ("b", "domain"):
            shutil.copytree(root, folder / name)
        found = TwoGateways(folder, open_home(root), database, url, door, program)
        try:
            yield found
        finally:
            found.stop()


def wait_until_ready(deployment: TwoGateways, client: httpx.Client, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not deployment.ready(client):
        assert time.monotonic() < give_up, f"not ready again\n{deployment.missing(client)}\n{deployment.log()}"
        time.sleep(0.05)
