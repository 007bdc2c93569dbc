"""The self-test: a worker attacks from inside, and what gets through names the wall that does not hold."""

from __future__ import annotations

import os
import socket

from sandbox.jobs import SelfTest
from sandbox.lockdown.attacks import LAYER_OF
from sandbox.protocol import Layer
from sandbox.supervised import Worker, WorkerFailed


def attack_from_inside(worker: Worker, memory_bytes: int) -> tuple[Layer, ...]:
    """The worker's layers; one whose attack got through, or all when the test did not finish, are reported inactive."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            report = worker.attack(SelfTest(os.getpid(), port, str(worker.snapshot.parent), memory_bytes))
    except (WorkerFailed, OSError):
        return tuple(_broken(layer, "the self-test did not finish") for layer in worker.layers)
    if set(report.tried) != set(LAYER_OF):
        return tuple(_broken(layer, "the self-test was not complete") for layer in worker.layers)
    return tuple(_judged(layer, report.through) for layer in worker.layers)


def _judged(layer: Layer, through: tuple[str, ...]) -> Layer:
    broken = [name for name in through if LAYER_OF.get(name) == layer.name]
    return _broken(layer, f"the self-test got through: {', '.join(broken)}") if broken else layer


def _broken(layer: Layer, reason: str) -> Layer:
    return Layer(layer.name, layer.required, active=False, reason=reason if layer.active else layer.reason)
