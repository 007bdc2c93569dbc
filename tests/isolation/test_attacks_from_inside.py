"""An attacker who owns the engine, inside a confined process: each thing that he tries is stopped by a wall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation.confined import NOBODY, Attacked, attack
from tests.isolation.conftest import open_folder
from tests.isolation.python_attacks import EXISTENCE, Scene, attacks

ATTACKS = tuple(attacks(Scene("", "", "", 0, 0, 0)))
WALLS = ("namespaces", "files_hidden", "no_new_privs", "capabilities", "rlimits", "landlock", "seccomp")
SPARE = ("namespaces", "files_hidden")
"""What a machine may not allow."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the account needs root")


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    with open_folder() as name:
        yield attack(Path(name))


def test_the_list_has_not_shrunk() -> None:
    assert len(ATTACKS) >= 150


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_from_inside_is_stopped(attacked: Attacked, name: str) -> None:
    if name in EXISTENCE and "files_hidden" not in attacked.layers:
        pytest.skip("this machine lets no process hide files: that they exist shows")
    assert attacked.outcome[name] == "stopped"


def test_the_confined_process_still_reads_its_data(attacked: Attacked) -> None:
    assert attacked.outcome["read the data"] == "through"


def test_what_exists_shows_only_where_files_cannot_be_hidden(folder: Path) -> None:
    """Nothing else hides it: the gap that `files_hidden` closes."""
    assert attack(folder, broken=["files_hidden"]).through == set(EXISTENCE)


def test_the_walls_hold_where_namespaces_are_not_allowed(folder: Path) -> None:
    assert attack(folder, broken=[*SPARE]).through == set(EXISTENCE)


@needs_root
def test_the_walls_hold_for_an_ordinary_account(folder: Path) -> None:
    assert attack(folder, uid=NOBODY).through == set()


@needs_root
def test_the_walls_hold_for_an_ordinary_account_without_namespaces(folder: Path) -> None:
    assert attack(folder, uid=NOBODY, broken=[*SPARE]).through == set(EXISTENCE)


@needs_root
def test_a_worker_of_root_gets_an_account_of_its_own(folder: Path) -> None:
    result = attack(folder, own_uid=True)
    assert "own_uid" in result.layers
    assert result.through == set()


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("landlock", {"read a file", "list /", "write a file", "make a file", "remove a file"}),
        ("seccomp", {"fork", "unix", "netlink", "executable memory", "chmod", "pages in the cache", "watch files"}),
        ("rlimits", {"balloon", "huge spill file", "many files"}),
    ],
)
def test_without_a_wall_its_attacks_get_through(folder: Path, wall: str, expected: set[str]) -> None:
    """The tree of its own stands aside: it stops what Landlock stops, once more."""
    uid = NOBODY if os.geteuid() == 0 else 0
    outcome = attack(folder, uid=uid, broken=[wall, "files_hidden"]).outcome
    assert {name: outcome[name] for name in expected} == dict.fromkeys(expected, "through")


def test_without_landlock_a_tree_of_its_own_still_stops_reading_and_writing(folder: Path) -> None:
    uid = NOBODY if os.geteuid() == 0 else 0
    result = attack(folder, uid=uid, broken=["landlock"])
    if "files_hidden" not in result.layers:
        pytest.skip("this machine lets no process hide files")
    assert result.through <= {"list /", "write the data", "read the data"}


def test_without_any_wall_most_attacks_get_through(folder: Path) -> None:
    """The suite would notice: these attacks do succeed where nothing stops them."""
    uid = NOBODY if os.geteuid() == 0 else 0
    through = attack(folder, uid=uid, broken=WALLS).through
    expected = {"tcp", "udp", "fork", "spawn", "environment of the service", "rename", "truncate", "symlink"}
    assert expected | set(EXISTENCE) <= through
    assert len(through) > len(ATTACKS) // 2
