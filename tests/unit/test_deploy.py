"""Units, container file and compose are of this project as it is: paths, commands, walls, and no secret in them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_docs import command_at

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
BREAKS_WALLS = {"MemoryDenyWriteExecute", "PrivateUsers", "ProtectControlGroups", "RestrictNamespaces"} | {
    "SystemCallFilter"
}
FILES = [*UNITS, *(DEPLOY / name for name in ("Containerfile", "compose/compose.yaml", "kubernetes/baopingkou.yaml"))]


def settings(unit: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit.read_text("utf-8"), re.MULTILINE))


def require_command(words: list[str]) -> None:
    command = command_at(words)
    assert command is not None, words
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_of_ours_under_an_account_of_its_own(unit: Path) -> None:
    said = settings(unit)
    require_command(said["ExecStart"].split()[1:])
    assert said["User"] not in ("", "root")
    assert (said["NoNewPrivileges"], said["CapabilityBoundingSet"], said["UMask"]) == ("yes", "", "0077")


def test_the_domains_unit_has_no_network_and_leaves_workers_what_their_walls_are_built_of() -> None:
    said = settings(DEPLOY / "systemd" / "baopingkou-domain.service")
    assert (said["PrivateNetwork"], said["Delegate"], said["RuntimeDirectoryMode"]) == ("yes", "yes", "0750")
    assert said["OOMPolicy"] == "continue"
    assert not BREAKS_WALLS & set(said)
    gateway = settings(DEPLOY / "systemd" / "baopingkou-gateway.service")
    assert said["User"] != gateway["User"]
    assert said["Group"] == gateway["SupplementaryGroups"] != gateway["Group"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        text = re.sub(r"/opt/baopingkou/bin/bpk", sys.executable, unit.read_text("utf-8"))
        text = re.sub(r"^(User|Group|SupplementaryGroups)=.*\n", "", text, flags=re.MULTILINE)  # not on this machine
        (tmp_path / unit.name).write_text(text, "utf-8")
    found = [str(tmp_path / unit.name) for unit in UNITS]
    done = subprocess.run(["systemd-analyze", "verify", *found], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_container_file_copies_what_is_there_and_nothing_secret_and_does_not_run_as_root() -> None:
    text = (DEPLOY / "Containerfile").read_text("utf-8")
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY") and "--from" not in line]
    sources = {word for words in copied for word in words}
    assert sources == {"pyproject.toml", "README.md", "LICENSE", "gateway", "policies", "sandbox"}
    assert all((ROOT / source).exists() for source in sources)
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] == "bpk-gateway"
    assert "HEALTHCHECK" in text
    command = re.findall(r"^CMD \[(.*)\]$", text, re.MULTILINE)[-1]
    require_command(re.findall(r'"([^"]*)"', command))


@pytest.mark.parametrize("name", ["compose/compose.yaml", "kubernetes/baopingkou.yaml"])
def test_commands_of_containers_are_ours(name: str) -> None:
    text = (DEPLOY / name).read_text("utf-8")
    lines = re.findall(r"^\s+(?:command|args): \[(.*)\]$", text, re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        require_command([word.strip('" ') for word in line.split(",")])


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_no_file_holds_a_secret(file: Path) -> None:
    text = file.read_text("utf-8")
    assert "BEGIN" not in text
    assert not re.search(
        r"(?i)(password|secret|token|key)\s*[:=]\s*['\"]?\w{8,}", text.replace("_FILE: /run/secrets", "")
    )
