"""The door of a home's data domain: where it is, who serves behind it now, what is left of one that is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway.domain import Domain
from gateway.errors import NotReady
from gateway.home import Home, read_private_key
from gateway.line import Place, Remote
from gateway.supervisor import Supervisor
from sandbox import tls

FOLDER: Final = "bpk-"


def open_domain(home: Home, door: Place) -> Domain:
    """Raises Misconfigured."""
    settings = home.settings.domain
    key = read_private_key(home.path(settings.ticket_key))
    return Domain(door, key, prepare_s_max=settings.prepare_s_max, run_s_max=settings.run_s_max)


def door_of(home: Home, stack: contextlib.ExitStack) -> Place:
    """Where the data domain listens: elsewhere, or in a folder of our own that only we can enter."""
    return elsewhere(home) or stack.enter_context(_own_folder()) / "door"


def elsewhere(home: Home) -> Place | None:
    """Where a data domain listens that `bpk serve` does not start."""
    settings = home.settings.domain
    if settings.socket is not None:
        return home.path(settings.socket)
    if settings.tls is None:
        return None
    host, port = tls.address(settings.tls.address)
    files = (home.path(file) for file in (settings.tls.certificate, settings.tls.key, settings.tls.authority))
    return Remote(host, port, tls.Files(*files), settings.tls.server)


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=FOLDER))  # mode 0700, and short: a socket's path has at most 104 bytes
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def own_domain(home: Home) -> Iterator[Domain]:
    """A data domain's service of our own for as long as the block lasts. Raises Misconfigured."""
    with _own_folder() as folder:
        supervisor, domain = Supervisor(home.root, folder / "door"), open_domain(home, folder / "door")
        try:
            supervisor.start(domain)
            yield domain
        finally:
            supervisor.stop()
            domain.close()


def served_door(home: Home) -> Domain | None:
    """The data domain that serves this home now, or None."""
    try:
        door = elsewhere(home) or Path(json.loads(home.address_file.read_text(encoding="utf-8"))["door"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    domain = open_domain(home, door)
    try:
        domain.status()
    except NotReady:
        domain.close()
        return None
    return domain


def drop_old_door(home: Home) -> None:
    """What a gateway of this home that was killed left behind: an empty socket in a folder of its own."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        door = Path(json.loads(home.address_file.read_text(encoding="utf-8"))["door"])
        folder = door.parent
        if folder.name.startswith(FOLDER) and folder.parent == Path(tempfile.gettempdir()):
            door.unlink(missing_ok=True)
            folder.rmdir()


def leave_address(home: Home, address: str, own_door: Place | None) -> None:
    """For the command line of the same user: where this home is served. A door that is not ours is never dropped."""
    home.address_file.parent.mkdir(parents=True, exist_ok=True)
    beside = home.address_file.with_suffix(f".{os.getpid()}")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as out:
        json.dump({"url": address, "pid": os.getpid(), "door": str(own_door) if own_door else None}, out)
    beside.replace(home.address_file)
