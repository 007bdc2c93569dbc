"""A home served: its gateway, and beside it the data domain's service where that is not elsewhere."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway import spans
from gateway.app import DRAIN_S, build
from gateway.domain_door import door_of, drop_old_door, leave_address, open_domain
from gateway.home import Home
from gateway.http.server import Server
from gateway.listening import address_of, listen
from gateway.supervisor import Supervisor

SWITCH_S: Final = 0.0002
"""How long a thread may keep the others from going on. Who writes lets go of the interpreter at every statement, while
others wait for its transaction: at the usual 5 ms for each that would be most of what they wait for."""


def serve(home: Home, port: int | None, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT. `ready` is told the address. Raises Misconfigured, NotReady.

    All that can be wrong with the home is found before the data domain's service is started. At the end that service
    goes first, so that a question that still runs fails at once; then what it left is recorded.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn puts these back and raises the signal again when it has ended
    with contextlib.ExitStack() as stack:
        server = home.settings.server
        stack.callback(spans.start(home.settings.telemetry))
        listener = stack.enter_context(contextlib.closing(listen(server.host, server.port if port is None else port)))
        door = door_of(home, stack)
        domain = open_domain(home, door)
        gateway = stack.enter_context(contextlib.closing(build(home, domain)))
        if isinstance(door, Path) and not home.settings.domain.elsewhere:
            supervisor = Supervisor(home.root, door)
            stack.callback(supervisor.stop)
            supervisor.start(domain)
        address = address_of(listener)
        drop_old_door(home)
        leave_address(home, address, None if home.settings.domain.elsewhere else door)
        stack.callback(home.address_file.unlink, missing_ok=True)
        ready(address)
        gc.collect()
        gc.freeze()  # else the collector looks through all that stays for ever, while every request waits
        sys.setswitchinterval(SWITCH_S)
        Server(
            gateway.app,
            drain_s=DRAIN_S,
            notice_s=server.notice_s,
            connections_max=home.settings.limits.connections_max,
            leaving=gateway.readiness.leave,
            ending=gateway.turns.close,
        ).run(sockets=[listener])


def _leave(*_: object) -> None:
    sys.exit(0)
