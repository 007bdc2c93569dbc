"""A home made for the benchmark, served by the project's own commands as its users serve it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from bench.client import Client
from bench.data import Dataset

OPERATOR: Final = "bench"
PURPOSES: Final = {
    "tpch": "benchmark",
    "income": "research",
    "clinic": "research",
    "people": "benchmark",
    "people_by_year": "benchmark",
    "people_by_month": "benchmark",
}
EPSILON_CAP: Final = 1000
"""In the place of the shipped policies' 8, so that hundreds of questions fit. Noise per question stays the same."""
CONCURRENT_MAX: Final = 16
READY_S: Final = 300.0
STOP_S: Final = 15.0
BPK: Final = (sys.executable, "-m", "gateway")


@dataclass(frozen=True, slots=True)
class Home:
    root: Path

    def snapshot(self, dataset: str) -> Path:
        """The published tables of a dataset."""
        folder = self.root / "state" / "domain" / "snapshots" / dataset
        current: str = json.loads((folder / "current.json").read_text(encoding="utf-8"))["id"]
        return folder / current / "data.duckdb"

    def token(self, operator: str) -> str:
        return _run(*BPK, "token", "issue", "--home", str(self.root), "--subject", operator, "--role", "operator")


def make(
    root: Path, datasets: Sequence[Dataset], *, operators: Sequence[str] = (OPERATOR,), deadlines: str = '"off"'
) -> Home:
    """A new home in the place of what is there. `deadlines` as domain.toml has them."""
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    _run(*BPK, "init", str(root))
    lines = []
    for data in datasets:
        _write_policy(root, data, operators)
        tables = ", ".join(
            f"{json.dumps(t, ensure_ascii=False)} = {json.dumps(str(f))}" for t, f in data.tables.items()
        )
        lines.append(
            f'[datasets.{data.name}]\ntables = {{ {tables} }}\nsnapshot = "bench"\ndeadlines_s = {deadlines}\n'
        )
    tail = f'[isolation]\nallow_degraded = {json.dumps(degraded())}\n[gateway]\nticket_key = "keys/ticket.pub"\n'
    (root / "domain.toml").write_text("\n".join([*lines, tail]), encoding="utf-8")
    return Home(root)


def _write_policy(root: Path, data: Dataset, operators: Sequence[str]) -> None:
    folder = root / "policies" / data.name
    folder.mkdir(parents=True)
    text = (data.policy / "policy.toml").read_text(encoding="utf-8")
    text = re.sub(r"^epsilon = .*$", f"epsilon = {EPSILON_CAP}", text, count=1, flags=re.MULTILINE)
    text = text.replace("[release]\n", f"[release]\nconcurrent_max = {CONCURRENT_MAX}\n", 1)
    (folder / "policy.toml").write_text(text, encoding="utf-8")
    shutil.copy(data.policy / "cases.toml", folder)
    for operator in operators:
        licence = (
            f'licence = "{operator}-{data.name}"\noperator = "{operator}"\ndatasets = ["{data.name}"]\n'
            f'purposes = ["{PURPOSES[data.name]}"]\nvalid = {{ from = 2026-01-01, until = 2099-12-31 }}\n'
        )
        (root / "policies" / "licences" / f"{operator}-{data.name}.toml").write_text(licence, encoding="utf-8")


@cache
def degraded() -> list[str]:
    """Layers that this system does not have: without them the figures are those of an unprotected worker."""
    done = subprocess.run(
        [sys.executable, "-m", "sandbox", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    layers = json.loads(done.stdout)["layers"]
    return [layer["name"] for layer in layers if layer["required"] and not layer["active"]]


@contextmanager
def served(home: Home) -> Iterator[Client]:
    """The home under `bpk serve`, until the block ends."""
    with running(home, [[*BPK, "serve", "--home", str(home.root), "--port", "0"]]) as client:
        yield client


@contextmanager
def traced(home: Home, spans: Path) -> Iterator[Client]:
    """The same two processes, each with a stop-watch at its steps; what they measure goes into the folder `spans`."""
    door = Path(tempfile.mkdtemp(prefix="bench-")) / "door"
    settings = home.root / "gateway.toml"
    kept = settings.read_text(encoding="utf-8")
    settings.write_text(re.sub(r"^\[domain\]$", f'[domain]\nsocket = "{door}"', kept, flags=re.MULTILINE))
    tracer = (sys.executable, "-m", "bench.tracer")
    commands = [
        [*tracer, "domain", str(home.root), str(spans / "domain.jsonl"), str(door)],
        [*tracer, "gateway", str(home.root), str(spans / "gateway.jsonl")],
    ]
    try:
        with running(home, commands) as client:
            yield client
    finally:
        settings.write_text(kept, encoding="utf-8")
        shutil.rmtree(door.parent, ignore_errors=True)


@contextmanager
def running(home: Home, commands: list[list[str]]) -> Iterator[Client]:
    """The commands' processes, from the moment the gateway is ready. Raises RuntimeError when it does not get so."""
    (home.root / "state" / "gateway" / "address.json").unlink(missing_ok=True)
    token = home.token(OPERATOR)
    said = home.root / "serve.log"
    processes: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _end)  # whoever ends the benchmark ends what it serves
    with said.open("ab") as log:
        try:
            for command in commands:
                processes.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))  # noqa: PERF401  # the first must be stopped when the second does not start
            yield _await_ready(home, token, processes, said)
        finally:
            for process in reversed(processes):
                _stop(process)


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)


def _await_ready(home: Home, token: str, processes: list[subprocess.Popen[bytes]], said: Path) -> Client:
    address = home.root / "state" / "gateway" / "address.json"
    end = time.monotonic() + READY_S
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        if address.exists():
            client = Client(json.loads(address.read_text(encoding="utf-8"))["url"], token)
            if client.ready():
                return client
            client.close()
        time.sleep(0.1)
    raise RuntimeError(f"the benchmark's home is not ready: {said.read_text(encoding='utf-8')[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout.strip()
