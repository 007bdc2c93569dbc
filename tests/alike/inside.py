"""A gateway and its data domain in this process: everything of both but sockets, processes and walls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx

from gateway.app import Gateway, build
from gateway.cases import DoorState
from gateway.cli.tokens import issue_token
from gateway.domain import Domain, Unreachable
from gateway.home import Home, read_private_key
from gateway.http.service import Service
from sandbox import codec
from sandbox.datasets import Datasets
from sandbox.disclosure.memory import Memories
from sandbox.door import Door
from sandbox.protocol import Cancel, Fetch, Prepare, Request, Run
from sandbox.regimes.exact import Exact
from sandbox.release import layouts
from sandbox.release.store import Store
from sandbox.tickets import TicketVerifier
from tests.alike.engine import WALLS, InsidePool

OPERATOR = "op-a"


class InsideDomain(Domain):
    """Its requests and replies are the bytes that they ever are; they only pass no socket."""

    def __init__(self, home: Home) -> None:
        key = read_private_key(home.path(home.settings.domain.ticket_key))
        super().__init__(home.root / "nowhere", key, prepare_s_max=60, run_s_max=60)
        self.door: Door | None = None

    def _exchange(self, route: str, request: Request | None, seconds: float) -> bytes:
        if self.door is None:
            raise Unreachable("not up yet")
        if request is None:
            return codec.dumps(self.door.status())
        acts: dict[str, tuple[type[Any], Callable[[Any], object]]] = {
            "/v1/prepare": (Prepare, self.door.prepare),
            "/v1/run": (Run, self.door.run),
            "/v1/fetch": (Fetch, self.door.fetch),
            "/v1/cancel": (Cancel, lambda cancel: self.door and self.door.cancel(cancel.ticket)),
        }
        kind, act = acts[route]
        return codec.dumps(act(codec.loads(codec.dumps(request), kind)))


class _Lines(logging.Handler):
    """What both sides log while somebody listens."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(f"{record.name} {record.levelname} {record.getMessage()}")


@dataclass
class Inside:
    home: Home
    gateway: Gateway
    domain: InsideDomain
    door: Door
    store: Store
    pool: InsidePool
    runner: asyncio.Runner
    client: httpx.AsyncClient
    lines: list[str] = field(default_factory=list)
    _token: str = ""

    @property
    def service(self) -> Service:
        found: Service = self.gateway.app.state.service
        return found

    def call(self, method: str, route: str, body: Any = None) -> httpx.Response:
        """Over HTTP without a network; what is logged meanwhile is added to `lines`."""
        if not self._token:
            self._token = issue_token(self.home, OPERATOR, ("operator", "auditor"), timedelta(hours=12))
        handler, logger = _Lines(), logging.getLogger("bpk")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            sent = self.client.request(method, route, json=body, headers={"Authorization": f"Bearer {self._token}"})
            return self.runner.run(_answer_of(sent))
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
            self.lines += handler.found

    def ask(self, sql: str, **more: Any) -> httpx.Response:
        return self.call("POST", "/v1/queries", {"sql": sql, "purpose": "research", **more})

    def forget(self) -> None:
        """Lets the data domain answer anew what it has answered before, and hold it against nothing."""
        with self.store.reading() as connection:
            connection.execute("DELETE FROM release")
            connection.execute("DROP TABLE said_row")
            connection.execute("DROP TABLE said_cell")
            layouts.take(connection, 2)  # which makes both anew
        self.door._exact = Exact(self.store, Memories(self.store))
        del self.pool.asked[:]


async def _answer_of(sent: Any) -> httpx.Response:
    found: httpx.Response = await sent
    return found


@contextlib.contextmanager
def inside(
    home: Home, datasets: Datasets, engine: Callable[[], duckdb.DuckDBPyConnection], files: dict[str, Path]
) -> Iterator[Inside]:
    """`home`, with the datasets that its data domain serves. `engine` is what its workers look into."""
    domain, pool = InsideDomain(home), InsidePool(engine, files=files)
    store = Store(home.root / "state" / "domain" / "domain.sqlite")
    door = Door(datasets, store, pool, TicketVerifier(home.root / "keys" / "ticket.pub"), b"5" * 32)
    door.layers = WALLS
    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        gateway = stack.enter_context(contextlib.closing(build(home, domain)))
        domain.door = door
        gateway.opening.stop()
        runner = stack.enter_context(asyncio.Runner())
        transport = httpx.ASGITransport(app=gateway.app)
        client = httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=60)
        stack.callback(lambda: runner.run(client.aclose()))
        found = Inside(home, gateway, domain, door, store, pool, runner, client)
        for name in found.service.catalog.policies:
            found.service.pipeline.doors.put(name, DoorState("open"))
        yield found
