"""Machines made of network namespaces: each has a loopback of its own, and cables to others; gone when the test is."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TOOLS = ("ip", "nsenter", "unshare")


def why_not() -> str | None:
    """Why no machines can be made here; None where they can."""
    if os.uname().sysname != "Linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces with cables between them need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(missing)} is not installed (Debian: iproute2, util-linux)"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "link", "add", "bpk-try", "type", "veth", "peer", "name", "bpk-tried"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"no namespace or no cable can be made here: {tried.stderr.strip()}"


@dataclass(frozen=True, slots=True)
class Machine:
    """Lives as long as the process `holder`."""

    holder: int

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The same, run on this machine; it becomes the very process that was started."""
        return ["nsenter", f"--net=/proc/{self.holder}/ns/net", "--", *arguments]

    def run(self, *arguments: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """`more` are variables of the environment."""
        environment = {**os.environ, **more}
        return subprocess.run(
            self.command(arguments), capture_output=True, text=True, check=check, env=environment, timeout=60
        )


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    holder = subprocess.Popen(
        ["unshare", "--net", "--kill-child", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()  # else its namespace might still be ours
        found = Machine(holder.pid)
        found.run("ip", "link", "set", "lo", "up")
        yield found
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def cable(one: Machine, address: str, other: Machine, others: str) -> None:
    """`one` has `address` at its end, `other` has `others`; both with the length of their network."""
    end, far = f"c{other.holder}", f"c{one.holder}"
    peer = ["peer", "name", far, "netns", str(other.holder)]
    one.run("ip", "link", "add", end, "type", "veth", *peer)
    for at, name, own in ((one, end, address), (other, far, others)):
        at.run("ip", "address", "add", own, "dev", name)
        at.run("ip", "link", "set", name, "up")
