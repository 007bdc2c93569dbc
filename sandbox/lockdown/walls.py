"""The walls around a process that touches data: raised in order, each read back, none left out in silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.lockdown import account, capabilities, cgroup, hidden, landlock, namespaces, privileges, rlimits, seccomp
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LINUX, LayerInactive, Status
from sandbox.protocol import Layer


class IsolationMissing(Exception):
    """A required layer does not stand, and the custodian did not write that it may be missing. Read nothing."""

    def __init__(self, layers: tuple[Layer, ...]) -> None:
        self.layers = layers
        missing = [f"{layer.name} ({layer.reason})" for layer in layers if layer.required and not layer.active]
        super().__init__("required isolation is missing: " + ", ".join(missing))


@dataclass(frozen=True, slots=True)
class Wall:
    name: str
    required: bool
    build: Callable[[Confinement, Status], str]


WALLS = (
    Wall("cgroup", required=False, build=cgroup.raise_wall),
    Wall("own_uid", required=False, build=account.raise_wall),
    Wall("namespaces", required=False, build=namespaces.raise_wall),
    Wall("files_hidden", required=False, build=hidden.raise_wall),
    Wall("no_new_privs", required=True, build=privileges.raise_wall),
    Wall("capabilities", required=False, build=capabilities.raise_wall),
    Wall("rlimits", required=True, build=rlimits.raise_wall),
    Wall("landlock", required=True, build=landlock.raise_wall),
    Wall("seccomp", required=True, build=seccomp.raise_wall),
)
"""In working order: credentials change before the parent-death signal is set; the filter comes last."""

ENGINE = "engine"
"""The fifth required layer, raised and read back where the engine opens the snapshot."""

LAYERS = (*(wall.name for wall in WALLS), ENGINE)
"""Every name that a custodian may write into `allow_degraded`."""


def confine(confinement: Confinement) -> tuple[Layer, ...]:
    """Confines the calling process for good, and says what stands.

    The process must have one thread, must have imported all it will need, and must not have opened data.
    Raises IsolationMissing when a required layer is missing and not in `allow_degraded`: the process is then half
    confined, has read nothing, and must end.
    """
    if not LINUX:
        return judge(tuple(_absent(wall, "there are no such walls on this system") for wall in WALLS), confinement)
    _one_thread()
    status = Status()
    try:
        layers = judge(tuple(_raise(wall, confinement, status) for wall in WALLS), confinement)
        _still_stand(layers, status)
    finally:
        status.close()
    return layers


def judge(layers: tuple[Layer, ...], confinement: Confinement) -> tuple[Layer, ...]:
    """`layers`, if the custodian's word covers what is missing. Raises IsolationMissing."""
    for layer in layers:
        if layer.required and not layer.active and layer.name not in confinement.allow_degraded:
            raise IsolationMissing(layers)
    return layers


def _one_thread() -> None:
    """Landlock binds only the calling thread, and a new user namespace wants no other: a second one stays outside."""
    if len(os.listdir("/proc/self/task")) != 1:
        reason = "the process has more than one thread"
        raise IsolationMissing(tuple(_absent(wall, reason) for wall in WALLS))


def _raise(wall: Wall, confinement: Confinement, status: Status) -> Layer:
    try:
        return Layer(wall.name, wall.required, active=True, reason=wall.build(confinement, status))
    except LayerInactive as error:
        return _absent(wall, str(error))
    except OSError as error:
        return _absent(wall, f"the system refused it ({error.strerror})")


def _absent(wall: Wall, reason: str) -> Layer:
    return Layer(wall.name, wall.required, active=False, reason=reason)


def _still_stand(layers: tuple[Layer, ...], status: Status) -> None:
    """A second look when all is done, by the kernel's own report: a later layer may have undone an earlier one."""
    expected = {"no_new_privs": ("NoNewPrivs", "1"), "seccomp": ("Seccomp", "2")}
    active = {layer.name for layer in layers if layer.active}
    for name, (field, value) in expected.items():
        if name in active and status.field(field) != value:
            raise IsolationMissing(layers)
    if status.field("Threads") != "1":
        raise IsolationMissing(layers)
