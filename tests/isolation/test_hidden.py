"""A file tree of the process's own: what is kept is the very same, nothing else is there, and a fault shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.lockdown import probe
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.hidden import _kept
from sandbox.lockdown.kernel import LayerInactive
from tests.isolation.confined import ROOT

HIDES = any(layer.name == "files_hidden" and layer.active for layer in probe())
only_where_files_can_be_hidden = pytest.mark.skipif(not HIDES, reason="this machine lets no process hide files")

INSIDE = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sandbox.lockdown import hidden, namespaces, walls
from sandbox.lockdown.confinement import Confinement
from sandbox.lockdown.kernel import Status
read, write = ([Path(each) for each in part] for part in json.loads(sys.argv[2]))
exec(sys.argv[3])
confinement = Confinement(tuple(read), tuple(write), 1 << 30, 1 << 20, 10, 64)
walls.WALLS = tuple(wall for wall in walls.WALLS if wall.name in ("namespaces", "files_hidden"))
layers = {layer.name: [layer.active, layer.reason] for layer in walls.confine(confinement)}
def writable(folder):
    try:
        (folder / "new").write_bytes(b"x")
    except OSError:
        return False
    return True
hidden_now = layers["files_hidden"][0]
tree = [str(Path(at, name)) for at, *below in os.walk("/") for name in sum(below, [])] if hidden_now else []
sizes = [each.stat().st_size for each in read if each.is_file()]
print(json.dumps({"layers": layers, "tree": tree, "sizes": sizes, "folder": os.getcwd(),
                  "writable": [writable(each if each.is_dir() else each.parent) for each in (*read, *write)]}))
"""

BESIDE = """
real = hidden._make
def careless(place, folder):
    real(place, folder=folder)
    place.with_name("beside").touch()
hidden._make = careless
"""
"""Planted: something else is made in the new tree."""
ANOTHER = """
from contextlib import contextmanager
real = hidden._taken
@contextmanager
def swapped(kept):
    with real(kept) as trees:
        (first, one), (second, other) = trees.items()
        yield {first: other, second: one}
hidden._taken = swapped
read.append(write[0].with_name("data"))
read.pop(0)
"""
"""Planted: two folders change places."""


def hide(read: list[Path], write: list[Path], *, plant: str = "", cwd: Path = Path("/")) -> dict:
    paths = json.dumps([[str(each) for each in part] for part in (read, write)])
    command = [sys.executable, "-I", "-c", INSIDE, str(ROOT), paths, plant]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def tree(folder: Path) -> Path:
    for name in ("data", "spill", "other", "spill/inner"):
        (folder / name).mkdir()
    (folder / "data/rows").write_text("12345")
    (folder / "data/beside").write_text("x")
    (folder / "spill/mine").write_text("x")
    return folder


@only_where_files_can_be_hidden
def test_only_what_is_kept_is_there(tree: Path) -> None:
    seen = hide([tree / "data/rows"], [tree / "spill"])
    assert seen["layers"]["files_hidden"][0]
    kept = {tree / "data/rows", tree / "spill/inner", tree / "spill/mine"}
    kept |= {parent for path in kept for parent in path.parents if parent != Path("/")}
    assert set(map(Path, seen["tree"])) == kept
    assert seen["sizes"] == [5]


@only_where_files_can_be_hidden
def test_what_is_kept_for_reading_cannot_be_written_and_the_rest_cannot_grow(tree: Path) -> None:
    seen = hide([tree / "data/rows", tree / "data"], [tree / "spill"])
    assert seen["writable"] == [False, False, True]
    assert (tree / "spill/new").exists()
    assert not (tree / "data/new").exists()


@only_where_files_can_be_hidden
def test_the_working_folder_stays_where_it_is_kept(tree: Path) -> None:
    assert hide([], [tree / "spill"], cwd=tree / "spill")["folder"] == str(tree / "spill")
    assert hide([], [tree / "spill"], cwd=tree / "other")["folder"] == "/"


@only_where_files_can_be_hidden
@pytest.mark.parametrize(
    ("plant", "told"),
    [
        ("hidden._set = lambda kept: None", "more than is kept is there"),
        ("hidden.umount = lambda *_: None", "the old file tree is still there"),
        (BESIDE, "more than is kept is there"),
        (ANOTHER, "has become another"),
        ("hidden._PIVOT_ROOT = {}", "no system call numbers"),
    ],
)
def test_a_tree_that_is_not_as_it_should_be_is_reported_as_none(tree: Path, plant: str, told: str) -> None:
    active, reason = hide([tree / "data/rows"], [tree / "spill"], plant=plant)["layers"]["files_hidden"]
    assert not active
    assert told in reason


@only_where_files_can_be_hidden
def test_where_mounting_fails_the_process_still_finds_its_files(tree: Path) -> None:
    """Planted: the last step is refused, as a container may do."""
    plant = """
real = hidden.syscall
def refuse(number, *rest):
    if number == hidden._PIVOT_ROOT[hidden.MACHINE]:
        raise PermissionError(1, "Operation not permitted")
    return real(number, *rest)
hidden.syscall = refuse
"""
    seen = hide([tree / "data/rows"], [tree / "spill"], plant=plant)
    assert seen["layers"]["files_hidden"] == [
        False,
        "this machine or container does not let the process mount (Operation not permitted)",
    ]
    assert seen["sizes"] == [5]


def test_a_file_in_a_folder_that_is_kept_comes_with_it() -> None:
    space = Confinement((Path("/a/b"), Path("/a"), Path("/c/d")), (Path("/c"), Path("/a/w"), Path("/a")), 0, 0, 0, 0)
    assert _kept(space) == {Path("/a"): True, Path("/c"): True}
    space = Confinement((Path("/a"),), (Path("/a/w"),), 0, 0, 0, 0)
    assert _kept(space) == {Path("/a"): False, Path("/a/w"): True}


@pytest.mark.parametrize("path", ["a/b", "/a/../b", "/"])
def test_a_path_that_is_not_plain_is_not_kept(path: str) -> None:
    with pytest.raises(LayerInactive):
        _kept(Confinement((Path(path),), (), 0, 0, 0, 0))


def test_nothing_of_it_is_left_on_the_machine(tree: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    hide([tree / "data/rows"], [tree / "spill"])
    assert Path("/proc/self/mountinfo").read_text() == before
    assert os.listdir(tree / "other") == []
