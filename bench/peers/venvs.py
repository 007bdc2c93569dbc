"""A virtual environment for each library: their pins contradict each other, and ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.place import FOLDER

HERE: Final = Path(__file__).resolve().parent
INSTALL_S: Final = 900
PYTHONS: Final = ("python3.11", "python3.12", "python3.13")
"""Tried in this order before the one that runs this: not every library has wheels for the newest Python."""


class NotInstallable(Exception):
    """The text is the last thing that the installer said."""


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    words: str
    script: str
    """A module of `bench.peers.libraries`."""
    enforces: bool = True
    """Whether it holds a customer to the bounds that its noise is sized for."""

    @property
    def requirements(self) -> Path:
        return HERE / "requirements" / f"{self.name}.txt"

    @property
    def digest(self) -> str:
        """Of all that its figures hang on, but for the machine: they are measured again when this changes."""
        files = (self.requirements, HERE / "libraries" / f"{self.script}.py", HERE / "libraries" / "measure.py")
        return hashlib.sha256(b"".join(file.read_bytes() for file in (*files, HERE / "questions.py"))).hexdigest()[:16]


PEERS: Final = (
    Peer("smartnoise", "SmartNoise SQL", "smartnoise"),
    Peer("qrlew", "Qrlew", "qrlew"),
    Peer("opendp", "OpenDP Polars", "opendp_polars"),
    Peer("pipelinedp", "PipelineDP", "pipelinedp"),
    Peer("diffprivlib", "diffprivlib", "diffprivlib", enforces=False),
)


def python_of(peer: Peer) -> Path:
    """The Python of the peer's environment, made if it is not there. Raises NotInstallable."""
    folder = FOLDER / "peers" / peer.name
    stamp = folder / f"ready-{hashlib.sha256(peer.requirements.read_bytes()).hexdigest()[:16]}"
    python = folder / sysconfig.get_path("scripts", vars={"base": ""}).lstrip("/\\") / "python"
    if stamp.exists():
        return python
    print(f"  installing {peer.words} into {folder.relative_to(FOLDER.parent)}", file=sys.stderr, flush=True)
    said = "no Python could make an environment"
    for candidate in _pythons():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            _run(candidate, "-m", "venv", str(folder))
            _run(
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "-r",
                str(peer.requirements),
            )
        except NotInstallable as error:
            said = f"{Path(candidate).name}: {error}"
            continue
        stamp.touch()
        return python
    raise NotInstallable(said)


def _pythons() -> list[str]:
    found = [path for path in map(shutil.which, PYTHONS) if path is not None and _runs(path)]
    return [*found, sys.executable]


def _runs(python: str) -> bool:
    """A name on the path may be a stub for a version that is not installed."""
    return subprocess.run([python, "-c", "import venv"], capture_output=True, check=False).returncode == 0


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=INSTALL_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstallable(type(error).__name__) from error
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR")] or lines
        raise NotInstallable(errors[-1][:300] if errors else "no reason given")


class Installed:
    """A peer's environment, made when it is first needed; what failed once in this run fails at once."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._python: Path | None = None
        self._failed: NotInstallable | None = None

    def python(self) -> Path:
        """Raises NotInstallable."""
        if self._failed is not None:
            raise self._failed
        if self._python is None:
            try:
                self._python = python_of(self._peer)
            except NotInstallable as error:
                self._failed = error
                raise
        return self._python
