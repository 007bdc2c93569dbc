"""Control groups for workers, against a model of the kernel's rules; and for real where one was delegated to us."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from sandbox import groups as module
from sandbox.groups import Groups
from sandbox.lockdown import cgroup
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import LayerInactive
from sandbox.pool import Pool, PoolSettings
from tests.isolation.test_pool import taken_from
from tests.waiting import eventually

MIB = 1 << 20


class Kernel:
    """A tree of groups in a plain folder, with the rules of cgroup v2 that matter here."""

    def __init__(self, root: Path, *, own: str, given: str = "cpu memory pids", delegated: str | None = None) -> None:
        self.root = root
        self.delegated = root / (own if delegated is None else delegated)
        self.own = root / own
        for group in (root, *reversed([p for p in self.own.parents if p != root and p.is_relative_to(root)]), self.own):
            self.mkdir(group)
        for group in (self.own, self.delegated):
            (group / "cgroup.controllers").write_text(given)
        self.put(self.own, "100", "101")
        self.proc = root / "own"
        self.proc.write_text(f"9:memory:/elsewhere\n0::/{own}\n")

    def mkdir(self, group: Path) -> None:
        group.mkdir(exist_ok=group == self.root)
        for file in ("cgroup.procs", "cgroup.controllers", "cgroup.subtree_control"):
            (group / file).touch()
        for name in (group.parent / "cgroup.subtree_control").read_text().split() if group != self.root else ():
            controls = {"memory": ("memory.max", "memory.swap.max", "memory.oom.group"), "pids": ("pids.max",)}
            for file in controls.get(name, ()):
                (group / file).write_text("max\n")
            with (group / "cgroup.controllers").open("a") as given:
                given.write(f"{name} ")

    def rmdir(self, group: Path) -> None:
        if self.pids(group) or any(each.is_dir() for each in group.iterdir()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        shutil.rmtree(group)

    def write(self, file: Path, value: str) -> None:
        group = file.parent
        if not file.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        if file.name == "cgroup.procs":
            self.move(value, group)
        elif file.name == "cgroup.subtree_control":
            if self.pids(group):
                raise OSError(errno.EBUSY, "Device or resource busy")
            wanted = [name.removeprefix("+") for name in value.split()]
            if not set(wanted) <= set((group / "cgroup.controllers").read_text().split()):
                raise FileNotFoundError(errno.ENOENT, "No such file or directory")
            file.write_text(" ".join(wanted))
        else:
            file.write_text(value + "\n")

    def move(self, pid: str, group: Path) -> None:
        if (group / "cgroup.subtree_control").read_text():
            raise OSError(errno.EBUSY, "Device or resource busy")
        for file in self.root.rglob("cgroup.procs"):
            self.put(file.parent, *(each for each in self.pids(file.parent) if each != pid))
        self.put(group, *self.pids(group), pid)

    def put(self, group: Path, *pids: str) -> None:
        (group / "cgroup.procs").write_text("\n".join(pids))

    def pids(self, group: Path) -> list[str]:
        return (group / "cgroup.procs").read_text().split()


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type:
    def made(**options: str) -> Kernel:
        kernel = Kernel(tmp_path / "cgroup", **{"own": "unit", **options})
        monkeypatch.setattr(module, "_mkdir", kernel.mkdir)
        monkeypatch.setattr(module, "_rmdir", kernel.rmdir)
        monkeypatch.setattr(module, "_write", kernel.write)
        monkeypatch.setattr(module, "_delegated", lambda group: group == kernel.delegated)
        monkeypatch.setattr(cgroup, "_OWN", kernel.proc)
        return kernel

    return made


def test_the_service_moves_aside_and_each_worker_gets_a_group_with_limits(plant: type) -> None:
    kernel = plant()
    groups = Groups(kernel.root)
    assert groups.reason == ""
    made = Path(groups.make("a", 640 * MIB, 20))
    assert made.parent.parent == kernel.own
    assert [(made / file).read_text().strip() for file in ("memory.max", "pids.max")] == [str(640 * MIB), "20"]
    assert [(made / file).read_text().strip() for file in ("memory.swap.max", "memory.oom.group")] == ["0", "1"]
    assert kernel.pids(kernel.own / "service") == ["100", "101"]
    assert kernel.pids(kernel.own) == []
    kernel.move("200", made)
    groups.remove("a")
    assert made.exists(), "a group that still holds a process stays"
    kernel.put(made)
    groups.remove("a")
    assert not made.exists()
    groups.make("b", MIB, 1)
    groups.close()
    assert not list(kernel.own.glob("workers-*"))


def test_a_subgroup_that_systemd_made_is_left_where_it_is(plant: type) -> None:
    kernel = plant(own="unit/main", delegated="unit")
    groups = Groups(kernel.root)
    assert Path(groups.make("a", MIB, 1)).parent.parent == kernel.root / "unit"
    assert kernel.pids(kernel.own) == ["100", "101"]
    assert not (kernel.root / "unit" / "service").exists()


def test_what_a_killed_service_left_is_cleared_and_what_another_uses_is_not(plant: type) -> None:
    kernel = plant(own="unit/main", delegated="unit")
    second = Groups(kernel.root)
    left = kernel.root / "unit" / "workers-4194305-0000"  # above any number of a process
    for group in (left, left / "a"):
        kernel.mkdir(group)
    Groups(kernel.root)
    assert not left.exists()
    assert Path(second.make("used", MIB, 1)).exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"delegated": "nothing"}, "was not delegated"),
        ({"given": "cpu memory"}, "lacks the controllers pids"),
        ({"given": ""}, "lacks the controllers memory, pids"),
    ],
)
def test_without_a_delegated_group_none_is_made_and_nobody_is_moved(plant: type, options: dict, told: str) -> None:
    if "delegated" in options:
        kernel = plant()
        kernel.delegated = Path("/nowhere")
    else:
        kernel = plant(**options)
    groups = Groups(kernel.root)
    assert told in groups.reason
    assert groups.make("a", MIB, 1) == ""
    assert kernel.pids(kernel.own) == ["100", "101"]
    groups.remove("a")
    groups.close()


def test_without_cgroup_v2_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own").write_text("4:memory:/unit\n")
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "own")
    assert "no cgroup v2" in Groups(tmp_path).reason
    monkeypatch.setattr(cgroup, "_OWN", tmp_path / "gone")
    assert "no cgroup v2" in Groups(tmp_path).reason


def test_a_tree_that_may_only_be_read_gives_none(plant: type, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = plant()

    def refuse(_: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(module, "_mkdir", refuse)
    assert "Read-only file system" in Groups(kernel.root).reason


def test_processes_that_cannot_be_moved_give_none(plant: type, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = plant()
    monkeypatch.setattr(kernel, "move", lambda pid, group: None)
    monkeypatch.setattr(module, "_write", kernel.write)
    assert "could not be moved aside" in Groups(kernel.root).reason


def test_the_mark_is_read_as_systemd_writes_it(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "user.delegate", b"0")
    except OSError:
        pytest.skip("this file system keeps no attributes")
    assert not module._delegated(tmp_path)
    os.setxattr(tmp_path, "user.delegate", b"1")
    assert module._delegated(tmp_path)


def join(group: Path, memory_bytes: int = 640 * MIB) -> str:
    return cgroup.raise_wall(Confinement((), (), memory_bytes, 0, 0, 0, group=group), None)


@pytest.fixture
def joined(plant: type, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A group that the process can join: joining changes what the kernel says of it."""
    kernel = plant()
    group = Path(Groups(kernel.root).make("a", 640 * MIB, 20))
    monkeypatch.setattr(cgroup, "ROOT", kernel.root)

    def join(target: Path) -> None:
        kernel.move("400", target)
        kernel.proc.write_text(f"0::/{target.relative_to(kernel.root)}\n")

    monkeypatch.setattr(cgroup, "_set", join)
    return group


def test_a_worker_joins_its_group_and_reads_its_limits_back(joined: Path) -> None:
    assert join(joined) == "a group of its own: memory 640 MiB, 20 processes"


def test_a_group_that_was_not_joined_is_noticed(joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroup, "_set", lambda group: None)
    with pytest.raises(LayerInactive, match="not in force"):
        join(joined)


@pytest.mark.parametrize(("file", "value"), [("memory.max", "max"), ("memory.max", str(1 << 40)), ("pids.max", "max")])
def test_limits_that_are_not_in_force_are_noticed(joined: Path, file: str, value: str) -> None:
    (joined / file).write_text(value)
    with pytest.raises(LayerInactive, match="limits are not in force"):
        join(joined)


def test_a_group_that_is_closed_to_the_worker_is_reported(joined: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(cgroup, "_set", refuse)
    with pytest.raises(LayerInactive, match="Permission denied"):
        join(joined)


def test_a_limit_of_the_service_is_reported_where_there_are_no_groups(
    plant: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = plant()
    monkeypatch.setattr(cgroup, "ROOT", kernel.root)
    empty = Confinement((), (), 0, 0, 0, 0)
    with pytest.raises(LayerInactive, match="no group was delegated"):
        cgroup.raise_wall(empty, None)
    (kernel.root / "memory.max").write_text(f"{512 * MIB}\n")
    assert cgroup.raise_wall(empty, None) == "memory.max 512 MiB, with the service"


def test_where_a_group_was_delegated_a_worker_is_held_by_it(folder: Path, snapshot: Path) -> None:
    """For real: run by systemd with `Delegate=yes`. See the last section of docs/explanation/isolation.md."""
    found = Groups()
    found.close()
    if found.reason:
        pytest.skip(f"no group to divide: {found.reason}")
    pool = Pool(PoolSettings(spill=folder, memory_mb=256, workers_max=1))
    pool.serve("clinic", snapshot)
    worker = taken_from(pool)
    layer = next(each for each in worker.layers if each.name == "cgroup")
    own = Path(f"/proc/{worker.pid}/cgroup").read_text()
    group = Path("/sys/fs/cgroup") / next(line[4:] for line in own.splitlines() if line.startswith("0::/"))
    assert (layer.active, layer.reason[:18]) == (True, "a group of its own")
    assert (group / "memory.max").read_text().strip() == str(640 * MIB)
    assert (group / PROCESSES).read_text().split() == [str(worker.pid)]
    worker.close()
    assert eventually(lambda: not group.exists())
    pool.close()
    assert not group.parent.exists()


PROCESSES = cgroup.PROCESSES
