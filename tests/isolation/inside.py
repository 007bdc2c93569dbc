"""A confined process that turns on its surroundings, as an attacker would who owns the engine.

    python -I inside.py ROOT CONFIG      CONFIG: JSON with a scene, and the walls to plant as broken

Prints JSON: {"layers": [...], "outcome": {attack: "stopped" | "through" | the name of another error}}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any


def break_walls(names: list[str]) -> None:
    """Plants walls that say they stand and do nothing."""
    from sandbox.lockdown import walls

    walls.WALLS = tuple(
        walls.Wall(wall.name, wall.required, lambda _c, _s: "planted") if wall.name in names else wall
        for wall in walls.WALLS
    )
    if {"seccomp", "no_new_privs"} & set(names):
        walls._still_stand = lambda _layers, _status: None


def forget_to_set(names: list[str]) -> None:
    """Plants a deeper fault: the wall's own code sets nothing, and only its reading back can notice."""
    from sandbox.lockdown import hidden, landlock, privileges, rlimits, seccomp

    modules = {
        "files_hidden": hidden,
        "landlock": landlock,
        "no_new_privs": privileges,
        "rlimits": rlimits,
        "seccomp": seccomp,
    }
    for name in names:
        modules[name]._set = lambda *_: None


def lack(names: list[str]) -> None:
    """Plants a machine that does not have these."""
    from sandbox.lockdown import walls
    from sandbox.lockdown.kernel import LayerInactive

    def missing(_confinement: object, _status: object) -> str:
        raise LayerInactive("planted: not on this machine")

    walls.WALLS = tuple(
        walls.Wall(wall.name, wall.required, missing) if wall.name in names else wall for wall in walls.WALLS
    )


def become(uid: int) -> None:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def plant(config: dict[str, Any]) -> None:
    from sandbox.lockdown import walls

    break_walls(config.get("broken", []))
    forget_to_set(config.get("forgotten", []))
    lack(config.get("lacking", []))
    walls.LINUX = config.get("linux", True)
    if config.get("second_thread"):
        threading.Thread(target=threading.Event().wait, daemon=True).start()


def main() -> None:
    sys.path[:0] = [sys.argv[1]]
    from sandbox.lockdown.confinement import Confinement
    from sandbox.lockdown.walls import IsolationMissing, confine
    from tests.isolation.python_attacks import Scene, attacks, outcome

    config = json.loads(sys.argv[2])
    if config.get("uid"):
        become(config["uid"])
    plant(config)
    scene = Scene(**config["scene"])
    confinement = Confinement(
        read=(Path(scene.data),),
        write=(Path(scene.spill),),
        memory_bytes=512 << 20,
        file_bytes=64 << 20,
        cpu_s=30,
        open_files=64,
        own_uid=config.get("own_uid", False),
        allow_degraded=frozenset(config.get("allow_degraded", [])),
    )
    told = sys.stdout
    waits = os.dup(0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    try:
        layers = [layer.name for layer in confine(confinement) if layer.active]
    except IsolationMissing as missing:
        refused = [layer.name for layer in missing.layers if layer.required and not layer.active]
        print(json.dumps({"refused": refused}), file=told, flush=True)
        return
    if config.get("only_confine"):
        print(json.dumps({"layers": layers}), file=told, flush=True)
        os.read(waits, 1)  # a sibling sits until it is told to go
        return
    hidden = "files_hidden" in layers and "files_hidden" not in config.get("broken", [])
    result = {name: outcome(name, attack, hidden=hidden) for name, attack in attacks(scene).items()}
    with contextlib.suppress(OSError):
        Path(scene.data).read_bytes()
        result["read the data"] = "through"
    print(json.dumps({"layers": layers, "outcome": result}), file=told, flush=True)


if __name__ == "__main__":
    main()
