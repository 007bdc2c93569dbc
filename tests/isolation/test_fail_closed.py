"""A wall that is missing, or that says it stands and does not: no worker, no answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sandbox import spawn
from sandbox.lockdown import IsolationMissing, probe, walls
from sandbox.lockdown.attacks import LAYER_OF
from sandbox.lockdown.child import command
from sandbox.lockdown.confinement import Confinement
from sandbox.pool import Pool, PoolSettings
from sandbox.protocol import Layer
from tests.isolation.confined import NOBODY, attack

REQUIRED = ("no_new_privs", "rlimits", "landlock", "seccomp")


@pytest.mark.parametrize("wall", REQUIRED)
def test_a_wall_that_was_not_raised_is_noticed_by_reading_back(folder: Path, wall: str) -> None:
    uid = NOBODY if os.geteuid() == 0 else 0
    refused = attack(folder, uid=uid, forgotten=[wall]).refused
    assert wall in refused


@pytest.mark.parametrize("wall", REQUIRED)
def test_a_machine_without_a_required_wall_is_refused(folder: Path, wall: str) -> None:
    # Without no_new_privs landlock and seccomp cannot stand either.
    assert wall in attack(folder, lacking=[wall]).refused


def test_a_file_tree_that_was_not_made_is_reported_as_none(folder: Path) -> None:
    result = attack(folder, forgotten=["files_hidden"], only_confine=True)
    assert "files_hidden" not in result.layers
    assert set(REQUIRED) <= set(result.layers)


def test_a_wall_may_be_missing_where_the_custodian_wrote_so(folder: Path) -> None:
    result = attack(folder, lacking=["landlock"], allow_degraded=["landlock"], only_confine=True)
    assert result.refused == ()
    assert "landlock" not in result.layers
    assert "seccomp" in result.layers


def test_the_custodians_word_for_one_wall_is_not_a_word_for_another(folder: Path) -> None:
    assert attack(folder, lacking=["seccomp"], allow_degraded=["landlock"]).refused == ("seccomp",)


def test_a_process_with_a_second_thread_is_not_confined(folder: Path) -> None:
    assert attack(folder, second_thread=True).refused == REQUIRED


def test_a_second_thread_is_refused_even_where_walls_may_be_missing(folder: Path) -> None:
    assert attack(folder, second_thread=True, allow_degraded=list(REQUIRED)).refused == REQUIRED


def test_elsewhere_than_on_linux_every_required_wall_is_missing(folder: Path) -> None:
    assert attack(folder, linux=False).refused == REQUIRED


def test_elsewhere_than_on_linux_a_demo_may_run_without(folder: Path) -> None:
    result = attack(folder, linux=False, allow_degraded=list(REQUIRED), only_confine=True)
    assert result.refused == ()
    assert result.layers == ()


def test_what_is_missing_is_named() -> None:
    missing = Layer("landlock", required=True, active=False, reason="the kernel has none")
    with pytest.raises(IsolationMissing, match=r"landlock \(the kernel has none\)"):
        walls.judge((missing,), Confinement((), (), 0, 0, 0, 0))


def test_the_probe_says_what_holds_and_leaves_the_caller_free() -> None:
    layers = {layer.name: layer for layer in probe()}
    assert all(layers[name].active for name in REQUIRED)
    assert Path("/etc/passwd").read_text()
    assert set(layers) == {wall.name for wall in walls.WALLS}


PLANTED = """
import sys
sys.path.append(sys.argv[1])
from sandbox.lockdown import walls
walls.WALLS = tuple(
    walls.Wall(wall.name, wall.required, lambda _c, _s: "planted") if wall.name in {names!r} else wall
    for wall in walls.WALLS
)
walls._still_stand = lambda _layers, _status: None
from sandbox.zygote import main
main(*sys.argv[2:])
"""


def planted_pool(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> Pool:
    """A pool whose zygote runs `code` in place of the real thing."""

    def planted(module: str, *arguments: str) -> list[str]:
        real = command(module, *arguments)
        return [sys.executable, "-I", "-c", code, *real[4:]]

    monkeypatch.setattr(spawn, "command", planted)
    return Pool(PoolSettings(spill=folder, memory_mb=256, workers_max=1))


@pytest.mark.parametrize("wall", ["rlimits", "landlock", "files_hidden"])
def test_the_self_test_finds_a_wall_that_only_says_it_stands(
    monkeypatch: pytest.MonkeyPatch, folder: Path, wall: str
) -> None:
    pool = planted_pool(monkeypatch, folder, PLANTED.format(names=[wall]))
    layers = {layer.name: layer for layer in pool.selftest()}
    pool.close()
    assert not layers[wall].active
    assert "got through" in layers[wall].reason
    # Without Landlock a file is still not there to be read, where it is hidden: only what is there gets through.
    assert all(layers[name].active for name in {*REQUIRED, "engine"} - {wall})


def test_a_worker_that_lies_about_its_filter_is_not_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path, snapshot: Path
) -> None:
    """The kernel reports it to us directly: the worker's own word is not enough."""
    pool = planted_pool(monkeypatch, folder, PLANTED.format(names=["seccomp"]))
    pool.serve("clinic", snapshot)
    assert pool.reserve("clinic") is None
    pool.close()


def test_a_worker_without_a_wall_opens_no_data(monkeypatch: pytest.MonkeyPatch, folder: Path, snapshot: Path) -> None:
    code = (
        "import sys; sys.path.append(sys.argv[1]); from sandbox.lockdown import landlock;"
        " landlock._set = lambda *_: None; from sandbox.zygote import main; main(*sys.argv[2:])"
    )
    pool = planted_pool(monkeypatch, folder, code)
    pool.serve("clinic", snapshot)
    assert pool.reserve("clinic") is None
    layers = {layer.name: layer for layer in pool.layers}
    pool.close()
    assert not layers["landlock"].active
    assert "engine" not in layers


def test_every_attack_of_the_self_test_belongs_to_a_layer() -> None:
    assert set(LAYER_OF.values()) <= {*REQUIRED, "engine", "files_hidden"}


def test_a_zygote_that_cannot_start_gives_no_workers(
    monkeypatch: pytest.MonkeyPatch, folder: Path, snapshot: Path
) -> None:
    monkeypatch.setattr("sandbox.pool._ZYGOTE_S", 0.5)
    pool = planted_pool(monkeypatch, folder, "raise SystemExit(1)")
    pool.serve("clinic", snapshot)
    assert pool.reserve("clinic") is None
    assert not any(layer.active for layer in pool.selftest())
    pool.close()


def test_a_zygote_whose_engine_has_threads_gives_no_workers(
    monkeypatch: pytest.MonkeyPatch, folder: Path, snapshot: Path
) -> None:
    """A fork does not have them: its engine would wait for them for ever."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); from sandbox.engine import snapshot;"
        " snapshot._ALONE = {'threads': '1', 'async_threads': '1'};"
        " from sandbox.zygote import main; main(*sys.argv[2:])"
    )
    monkeypatch.setattr("sandbox.pool._ZYGOTE_S", 0.5)
    pool = planted_pool(monkeypatch, folder, code)
    pool.serve("clinic", snapshot)
    assert pool.reserve("clinic") is None
    pool.close()
