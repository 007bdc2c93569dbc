"""A log that can fork, and witnesses to show it to: in this process, or as processes of their own."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from gateway.audit import tree
from gateway.audit.checkpoint import Signer
from gateway.audit.witnessing import Remote
from gateway.listening import address_of, listen
from gateway.witness.home import WitnessHome, init
from gateway.witness.memory import Memory
from gateway.witness.server import Witness, create
from tests.ledger_world import SIGNER


@dataclass(frozen=True)
class Branch:
    """A log whose records from `fork` on are those of branch `name`; all branches begin alike."""

    name: str = "main"
    fork: int = 0
    signer: Signer = SIGNER

    def node(self, level: int, place: int) -> bytes:
        if level:
            return tree.parent_hash(self.node(level - 1, 2 * place), self.node(level - 1, 2 * place + 1))
        whose = self.name if place >= self.fork else "main"
        return hashlib.sha256(f"{whose} {place}".encode()).digest()

    def root(self, size: int) -> bytes:
        return tree.root(size, self.node)

    def note(self, size: int) -> str:
        return self.signer.sign(size, self.root(size))

    def body(self, old: int, size: int) -> bytes:
        """A submission, proven from the branch's own tree of `old` records."""
        proof = tree.consistency(old, size, self.node) if 0 < old <= size else []
        lines = [f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", self.note(size)]
        return "\n".join(lines).encode()


MAIN = Branch()


def make_witness(folder: Path, name: str = "w.example/1", log: str = SIGNER.vkey) -> WitnessHome:
    return init(folder, name, [log])


@contextlib.contextmanager
def witness(folder: Path) -> Iterator[Witness]:
    home = make_witness(folder)
    memory = Memory(home.memory_file)
    with contextlib.closing(memory):
        yield Witness(home, memory)


@contextlib.contextmanager
def listening(folder: Path, name: str, log: str = SIGNER.vkey) -> Iterator[Remote]:
    """A new witness that is served by a thread of this process for as long as the block lasts."""
    home = make_witness(folder, name, log)
    with contextlib.closing(Memory(home.memory_file)) as memory, contextlib.closing(listen("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(create(Witness(home, memory)), log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Remote(address_of(listener), home.cosigner.vkey)
        finally:
            server.should_exit = True
            thread.join(10)


@dataclass
class Process:
    home: WitnessHome
    url: str
    process: subprocess.Popen[str]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)


@contextlib.contextmanager
def serving(home: WitnessHome) -> Iterator[Process]:
    """`bpk witness serve` on a free port for as long as the block lasts."""
    command = [sys.executable, "-m", "gateway", "witness", "serve", "--home", str(home.root), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline().split()
        assert line[:1] == ["witnessing"], line
        yield Process(home, line[1], process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
