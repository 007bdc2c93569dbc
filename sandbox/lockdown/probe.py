"""What holds on this machine, tried in a throw-away child, so that the caller stays free."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox.codec import CodecError, dumps, loads
from sandbox.lockdown.child import command, environment
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.walls import WALLS, IsolationMissing, confine
from sandbox.protocol import Layer

_TIMEOUT_S = 20


def probe() -> tuple[Layer, ...]:
    """Every layer but the engine's, as a worker would find it. Confines a child, not the caller; about 0.3 s."""
    with tempfile.TemporaryDirectory(prefix="bpk-probe-") as folder:
        child = command("sandbox.lockdown.probe", folder)
        try:
            output = subprocess.run(
                child, capture_output=True, timeout=_TIMEOUT_S, env=environment(), check=False
            ).stdout
        except (OSError, subprocess.TimeoutExpired):
            output = b""
    return _read(output)


def main(folder: str) -> None:
    """The child: confines itself, prints the layers, ends."""
    everything = frozenset(wall.name for wall in WALLS)
    space = Path(folder)
    try:
        layers = confine(Confinement((space,), (space,), 1 << 30, 1 << 20, 10, 32, everything))
    except IsolationMissing as missing:
        layers = missing.layers
    sys.stdout.write(json.dumps([dumps(layer).decode() for layer in layers]))


def _read(output: bytes) -> tuple[Layer, ...]:
    try:
        return tuple(loads(item.encode(), Layer) for item in json.loads(output))
    except (ValueError, CodecError, AttributeError, TypeError):
        reason = "the probe did not answer"
        return tuple(Layer(wall.name, wall.required, active=False, reason=reason) for wall in WALLS)
