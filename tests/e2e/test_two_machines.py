"""Gateway and data domain on two machines, and an operator on a third: network namespaces with cables between them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.cli.tokens import issue_token
from gateway.home import open_home
from tests.machines import Machine, cable, machine, why_not
from tests.served_home import make_home
from tests.served_process import dying_with_us

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
GATEWAY_OUTSIDE, OPERATOR = "192.0.2.1", "192.0.2.2"
GATEWAY_INSIDE, DATA = "198.51.100.1", "198.51.100.2"
PAGE = (Path(__file__).parents[2] / "docs/how-to/two-machines.md").read_text(encoding="utf-8")
SQL = "SELECT sex, COUNT(*) AS n FROM people GROUP BY sex"
ASK = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.load_verify_locations(sys.argv[2])
if len(sys.argv) > 3:
    context.load_cert_chain(sys.argv[3], sys.argv[4])
with context.wrap_socket(socket.create_connection((sys.argv[1], 7443), 5), server_hostname="domain.example") as peer:
    peer.sendall(b"GET /v1/status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(peer.recv(12).decode())
"""
"""Asks the data domain's door itself, with a certificate or without."""


@dataclass
class Site:
    """Each machine has a folder of its own beside its cables."""

    folder: Path
    operator: Machine
    gateway: Machine
    data: Machine
    url: str = ""

    @property
    def gateway_home(self) -> Path:
        return self.folder / "gateway" / "gateway-home"

    @property
    def data_home(self) -> Path:
        return self.folder / "data" / "data-home"

    def bpk(self, at: Machine, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return at.run(sys.executable, "-m", "gateway", *arguments, check=False, **more)

    def door(self, at: Machine, *shown: Path) -> subprocess.CompletedProcess[str]:
        """What whoever sits `at` gets from the data domain when he shows these files."""
        authority = self.folder / "apart" / "certificates" / "authority" / "authority.crt"
        return at.run(sys.executable, "-c", ASK, DATA, str(authority), *map(str, shown), check=False)

    @property
    def gateways_papers(self) -> tuple[Path, Path]:
        return self.gateway_home / "keys" / "gateway.crt", self.gateway_home / "keys" / "gateway.key"


class Followed:
    """Follows the page to the letter. What it tells in words (write a policy, name the data, copy) is done here."""

    def __init__(self, site: Site, stack: contextlib.ExitStack) -> None:
        self._site, self._stack = site, stack
        self._machines = {"gateway": site.gateway, "data": site.data, "apart": site.operator}
        for name in (*self._machines, "origin"):
            (site.folder / name).mkdir()
        self._origin = make_home(site.folder / "origin" / "home").root

    def page(self) -> None:
        where = ""
        for line in re.findall(
            r"<!-- on [^\n]*? -->|^    \S[^\n]*$|^```toml\n.*?^```$", PAGE, re.MULTILINE | re.DOTALL
        ):
            if line.startswith("<!--"):
                where = next(name for name in self._machines if name in line)
            elif line.startswith("```"):
                self._settings(line.removeprefix("```toml\n").removesuffix("```"))
            else:
                self._command(where, line.strip())

    def _command(self, where: str, line: str) -> None:
        at, folder = self._machines[where], self._site.folder / where
        if " serve " in line:
            self._serve(at, folder, shlex.split(line)[1:])
            return
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = at.run("sh", "-ec", f"cd {folder}; {line}", check=False, PATH=path)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        self._after(line)

    def _after(self, line: str) -> None:
        folder, origin = self._site.folder, self._origin
        if line.startswith("bpk init"):
            shutil.copytree(origin / "policies", self._site.gateway_home / "policies", dirs_exist_ok=True)
            settings = self._site.gateway_home / "gateway.toml"
            settings.write_text(settings.read_text().replace('host = "127.0.0.1"', f'host = "{GATEWAY_OUTSIDE}"'))
        elif line.startswith("bpk sandbox certificates"):
            for side, where in (("domain", "data"), ("gateway", "gateway")):
                shutil.copytree(folder / "apart/certificates" / side, folder / where / "certificates" / side)
            handed = folder / "data" / "from-gateway"
            shutil.copytree(self._site.gateway_home / "policies", handed / "policies")
            shutil.copy2(self._site.gateway_home / "keys/ticket.pub", handed)
        elif line.startswith("mkdir"):
            shutil.copytree(origin / "data", self._site.data_home / "data", dirs_exist_ok=True)

    def _settings(self, text: str) -> None:
        if "[gateway.tls]" in text:
            named = (self._origin / "domain.toml").read_text()
            (self._site.data_home / "domain.toml").write_text(named + text)
        else:
            file = self._site.gateway_home / "gateway.toml"
            before, mark, after = file.read_text().partition("[domain]")
            assert mark
            assert "[" not in re.sub("(?m)^#.*", "", after), "the page's section stands for the last one of the file"
            file.write_text(before + text)

    def _serve(self, at: Machine, folder: Path, arguments: list[str]) -> None:
        with (folder / "log").open("ab") as out:
            command = at.command(dying_with_us(["-m", "gateway", *arguments]))
            running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=out, cwd=folder, start_new_session=True)
        self._stack.callback(end, running)
        if arguments[0] == "serve":
            assert running.stdout is not None
            told = running.stdout.readline().decode().split()
            assert len(told) > 1, (folder / "log").read_text()
            self._site.url = told[1]


def end(running: subprocess.Popen[bytes]) -> None:
    if running.poll() is None:
        os.killpg(running.pid, signal.SIGTERM)
    running.wait(30)
    if running.stdout is not None:
        running.stdout.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        operator, gateway, data = (stack.enter_context(machine()) for _ in range(3))
        cable(operator, f"{OPERATOR}/24", gateway, f"{GATEWAY_OUTSIDE}/24")
        cable(gateway, f"{GATEWAY_INSIDE}/24", data, f"{DATA}/24")
        gateway.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
        found = Site(tmp_path_factory.mktemp("site"), operator, gateway, data)
        Followed(found, stack).page()
        ready = "import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + '/readyz')"
        give_up = time.monotonic() + 60
        while operator.run(sys.executable, "-c", ready, found.url, check=False).returncode != 0:
            assert time.monotonic() < give_up, (found.folder / "gateway" / "log").read_text()
            time.sleep(0.2)
        yield found


def test_an_operator_on_a_third_machine_is_answered(site: Site) -> None:
    token = issue_token(open_home(site.gateway_home), "op-a", ("operator",), timedelta(hours=1))
    asked = ("query", SQL, "--purpose", "research", "--url", site.url, "--json")
    done = site.bpk(site.operator, *asked, BPK_TOKEN=token)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] == "answered"
    assert [row[0] for row in answer["rows"]] == ["F", "M", "X"]
    assert abs(answer["rows"][0][1] - 200) < 700  # ten standard deviations of its noise


def test_the_gateways_doctor_finds_the_other_machine(site: Site) -> None:
    done = site.bpk(site.gateway, "doctor", "--home", str(site.gateway_home))
    assert "data domain        answers; 1 of 1 datasets are ready" in done.stdout, done.stdout + done.stderr


def test_no_data_lie_on_the_gateways_machine_and_no_gateways_key_on_the_datas(site: Site) -> None:
    assert not [*(site.folder / "gateway").rglob("*.csv"), *(site.folder / "gateway").rglob("*.duckdb")]
    assert not [*(site.folder / "data").rglob("authority.key"), *(site.folder / "gateway").rglob("authority.key")]
    assert {file.name for file in (site.data_home / "keys").iterdir()} == {
        "ticket.pub", "domain.crt", "domain.key", "authority.crt",
    }  # fmt: skip


def test_only_the_gateways_machine_reaches_the_data_domain_and_only_with_its_certificate(site: Site) -> None:
    assert site.door(site.gateway, *site.gateways_papers).stdout == "HTTP/1.1 200\n"
    assert site.door(site.gateway).stdout == ""  # no certificate
    stolen = site.door(site.operator, *site.gateways_papers)
    assert stolen.stdout == ""
    assert "unreachable" in stolen.stderr


def test_a_way_through_the_gateways_machine_is_no_way_in_without_its_certificate(site: Site) -> None:
    """The network was laid wrong: the operator has a route to the data domain now."""
    site.gateway.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
    site.operator.run("ip", "route", "add", f"{DATA}/32", "via", GATEWAY_OUTSIDE)
    site.data.run("ip", "route", "add", f"{OPERATOR}/32", "via", GATEWAY_INSIDE)
    try:
        turned_away = site.door(site.operator)
        assert turned_away.stdout == ""
        assert "CERTIFICATE_REQUIRED" in turned_away.stderr
        assert site.door(site.operator, *site.gateways_papers).stdout == "HTTP/1.1 200\n"  # so there was a way
    finally:
        site.gateway.run("sysctl", "-q", "-w", "net.ipv4.ip_forward=0")
        site.operator.run("ip", "route", "del", f"{DATA}/32")
