"""A PostgreSQL server of our own for tests: a temporary folder, a Unix socket alone, an account that is not root."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deployment import below, processes

ACCOUNTS = ("postgres", "nobody")
START_S = 30.0
MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 1 << 30
SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "logging_collector": "off",
    "autovacuum": "on",
}


def binary(name: str) -> str | None:
    """Debian keeps them out of the path."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([*map(str, versions), os.environ.get("PATH", "")]))


def missing() -> str | None:
    """What is not installed."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: the extra `postgresql`"
    if binary("initdb") is None or binary("postgres") is None:
        return "PostgreSQL is not installed: `apt install postgresql`"
    if os.geteuid() == 0 and account() is None:
        return f"PostgreSQL does not run as root, and there is none of the accounts {', '.join(ACCOUNTS)}"
    return None


def account() -> pwd.struct_passwd | None:
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


needed = pytest.mark.skipif(missing() is not None, reason=missing() or "")


@dataclass
class Server:
    """Started and stopped by `server`; may be killed and started again meanwhile."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    _names: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def database(self) -> str:
        """The address of a new, empty database."""
        import psycopg

        name = f"d{next(self._names)}_{secrets.token_hex(3)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql:///{database}?host={self.folder}&user=tests"

    def start(self) -> None:
        program = binary("postgres")
        assert program is not None
        command = [program, "-D", str(self.folder / "data"), "-k", str(self.folder)]
        command += [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = _as_account(command, stdout=log, stderr=log)
        self.wait()

    def set(self, name: str, value: str) -> None:
        """A setting of the server, from now on and after its next start."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            connection.execute("SELECT pg_reload_conf()")

    def wait(self) -> None:
        """Until it takes connections; after a kill it first replays its log."""
        import psycopg

        give_up = time.monotonic() + START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError:
                assert time.monotonic() < give_up, (self.folder / "log").read_text()[-3000:]
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """kill -9 of all its processes: nothing is written in order, nor by one that has outlived the others."""
        assert self.process is not None
        children = below(self.process.pid, processes())
        self.process.kill()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        self.process.wait()
        while any(child.alive for child in children):
            time.sleep(0.005)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)  # at once: nobody needs what was not yet written down
            self.process.wait(30)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="bpk-pg-", dir=_place()))
    found = Server(folder)
    try:
        who = account() if os.geteuid() == 0 else None
        if who is not None:
            os.chown(folder, who.pw_uid, who.pw_gid)
        program = binary("initdb")
        assert program is not None
        command = [program, "-D", str(folder / "data"), "-U", "tests", "--auth=trust", "--encoding=UTF8"]
        with (folder / "log").open("wb") as log:
            made = _as_account([*command, "--locale=C", "--no-sync"], stdout=log, stderr=log).wait()
        assert made == 0, (folder / "log").read_text()
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _place() -> Path | None:
    """Memory, where there is enough: no test takes the power away from a server, so what it syncs may cost nothing."""
    roomy = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
    return MEMORY if roomy else None


def _as_account(command: list[str], **streams: object) -> subprocess.Popen[bytes]:
    """It ends with us, however we end."""
    who = account() if os.geteuid() == 0 else None
    switch = {} if who is None else {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": ()}
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        cwd="/",
        preexec_fn=_die_with_parent,  # noqa: PLW1509  # one call of the C library
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
        **streams,  # type: ignore[arg-type]
        **switch,  # type: ignore[arg-type]
    )


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
