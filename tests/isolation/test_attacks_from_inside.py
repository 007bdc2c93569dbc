"""An attacker who owns the engine, inside a confined process: each thing that he tries is stopped by a wall."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.isolation import inside
from tests.isolation.confined import NOBODY, Attacked, attack
from tests.isolation.conftest import open_folder

ATTACKS = tuple(inside.attacks({"outside": "", "victim": 0, "spill": "", "data": "", "port": 0}))
WALLS = ("namespaces", "no_new_privs", "capabilities", "rlimits", "landlock", "seccomp")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changing the account needs root")


@pytest.fixture(scope="module")
def attacked() -> Iterator[Attacked]:
    with open_folder() as name:
        yield attack(Path(name))


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_from_inside_is_stopped(attacked: Attacked, name: str) -> None:
    assert attacked.outcome[name] == "stopped"


def test_the_confined_process_still_reads_its_data(attacked: Attacked) -> None:
    assert attacked.outcome["read the data"] == "through"


def test_the_walls_hold_where_namespaces_are_not_allowed(folder: Path) -> None:
    assert attack(folder, broken=["namespaces"]).through == []


@needs_root
def test_the_walls_hold_for_an_ordinary_account(folder: Path) -> None:
    assert attack(folder, uid=NOBODY).through == []


@needs_root
def test_the_walls_hold_for_an_ordinary_account_without_namespaces(folder: Path) -> None:
    assert attack(folder, uid=NOBODY, broken=["namespaces"]).through == []


@needs_root
def test_a_worker_of_root_gets_an_account_of_its_own(folder: Path) -> None:
    result = attack(folder, own_uid=True)
    assert "own_uid" in result.layers
    assert result.through == []


@pytest.mark.parametrize(
    ("wall", "expected"),
    [
        ("landlock", {"read a file", "list /", "write a file", "make a file", "remove a file"}),
        ("seccomp", {"fork", "unix", "netlink", "executable memory", "chmod", "memory file", "inotify"}),
        ("rlimits", {"balloon", "huge spill file", "many files"}),
    ],
)
def test_without_a_wall_its_attacks_get_through(folder: Path, wall: str, expected: set[str]) -> None:
    uid = NOBODY if os.geteuid() == 0 else 0
    outcome = attack(folder, uid=uid, broken=[wall]).outcome
    assert {name: outcome[name] for name in expected} == dict.fromkeys(expected, "through")


def test_without_any_wall_most_attacks_get_through(folder: Path) -> None:
    """The suite would notice: these attacks do succeed where nothing stops them."""
    uid = NOBODY if os.geteuid() == 0 else 0
    through = attack(folder, uid=uid, broken=WALLS).through
    assert {"tcp", "udp", "fork", "spawn", "victim's environment", "rename", "truncate", "symlink"} <= set(through)
    assert len(through) > len(ATTACKS) // 2
