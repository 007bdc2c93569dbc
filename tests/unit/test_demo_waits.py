"""The demo waits for its gateway as long as waiting may help, and says at once what will not mend."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest

from gateway.cli import demo
from gateway.cli.client import Client, Reply
from gateway.errors import Misconfigured
from sandbox.protocol import Layer
from tests.gateway_world import GatewayWorld, gateway_world


class Alive:
    """A process that does not end."""

    def poll(self) -> None:
        return None


def wait(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the demo does with the /readyz of `world`, but not for long."""

    def call(_: Client, method: str, route: str) -> Reply:
        found = world.call(method, route)
        return Reply(found.status_code, found.json())

    monkeypatch.setattr(Client, "call", call)
    monkeypatch.setattr(demo, "READY_S", 0.3)
    log = world.home.root / "serve.log"
    log.write_text("what it said")
    demo._wait_until_ready("http://gateway", cast("subprocess.Popen[bytes]", Alive()), log)


def test_a_missing_wall_is_named_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway_world(tmp_path / "home") as world:
        world.domain.layers = (
            Layer("landlock", required=True, active=False, reason="the kernel has none"),
            Layer("cgroup", required=False, active=False, reason="nobody delegated one"),
        )
        with pytest.raises(Misconfigured, match="landlock is required and missing: the kernel has none") as told:
            wait(world, monkeypatch)
    assert "cgroup" not in str(told.value)


def test_a_wall_that_the_custodian_does_without_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gateway_world(tmp_path / "home") as world:
        world.domain.layers = (Layer("landlock", required=True, active=False, reason="the kernel has none"),)
        world.domain.degraded = ("landlock",)
        wait(world, monkeypatch)


def test_a_gateway_that_only_takes_its_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway_world(tmp_path / "home") as world:
        world.domain.layers = ()  # the self-test is not over
        with pytest.raises(Misconfigured, match="is not ready after"):
            wait(world, monkeypatch)
