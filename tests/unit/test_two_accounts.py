"""The door's socket under two accounts: a group may connect, everybody else may not, and the folder has to be right."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.domain import DomainError
from sandbox.service import bind

CONNECT = """
import os, socket, sys
os.setgroups([int(each) for each in sys.argv[2].split(",") if each]); os.setgid(54321); os.setuid(54321)
socket.socket(socket.AF_UNIX).connect(sys.argv[1])
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become other accounts")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where other accounts can get to: the folders of pytest are closed."""
    made = Path(tempfile.mkdtemp(prefix="bpk-door-"))
    yield made
    shutil.rmtree(made)


def group() -> grp.struct_group:
    return next(each for each in grp.getgrall() if each.gr_gid != 0) if os.geteuid() == 0 else grp.getgrgid(os.getgid())


def reaches(path: Path, *groups: int) -> bool:
    listed = ",".join(str(each) for each in groups)
    command = [sys.executable, "-I", "-c", CONNECT, str(path), listed]
    return subprocess.run(command, capture_output=True, check=False, cwd="/").returncode == 0


@needs_root
def test_the_group_reaches_the_door_and_others_do_not(folder: Path) -> None:
    chosen = group()
    os.chown(folder, -1, chosen.gr_gid)
    folder.chmod(0o750)
    with contextlib.closing(bind(folder / "door", chosen.gr_name)):
        found = (folder / "door").stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, chosen.gr_gid)
        assert reaches(folder / "door", chosen.gr_gid)
        assert not reaches(folder / "door")


@needs_root
def test_without_a_group_nobody_else_reaches_it(folder: Path) -> None:
    with contextlib.closing(bind(folder / "door")):
        assert not reaches(folder / "door", group().gr_gid)


@pytest.mark.parametrize("mode", [0o755, 0o751, 0o770])
def test_a_folder_that_others_may_enter_or_the_group_may_change_is_refused(folder: Path, mode: int) -> None:
    os.chown(folder, -1, group().gr_gid)
    folder.chmod(mode)
    with pytest.raises(DomainError, match="mode 0750"):
        bind(folder / "door", group().gr_name)


def test_a_group_that_does_not_exist_is_named(folder: Path) -> None:
    folder.chmod(0o750)
    with pytest.raises(DomainError, match="no group `no-such-group`"):
        bind(folder / "door", "no-such-group")
