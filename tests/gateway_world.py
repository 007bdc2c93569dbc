"""A gateway in this process over a data domain whose replies are ours: for what would else hang on luck."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx

from gateway.app import Gateway, build
from gateway.ask import Ask
from gateway.audit import export
from gateway.cases import DoorState
from gateway.cli.tokens import issue_token
from gateway.domain import Domain, Unreachable
from gateway.home import Home, read_private_key
from gateway.http.service import Service
from gateway.identity.roles import Caller, Role
from gateway.outcomes import Outcomes
from gateway.pipeline import Pipeline
from sandbox.protocol import DatasetStatus, Layer, Prepared, Price, Question, Released, Status, Ticket
from tests.served_home import POLICY, make_home

COUNT = "SELECT COUNT(*) AS n FROM people"
WALLS = (Layer("seccomp", required=True, active=True, reason=""),)


class ScriptedDomain(Domain):
    """Prices everything at what was asked, and fails what it runs, which is an outcome like any other."""

    def __init__(self, home: Home) -> None:
        key = read_private_key(home.path(home.settings.domain.ticket_key))
        super().__init__(home.root / "nowhere", key, prepare_s_max=1, run_s_max=1)
        self.layers: tuple[Layer, ...] = WALLS
        self.degraded: tuple[str, ...] = ()
        self.digest: str | None = None
        """Of the policy that it says it holds; unreachable without one."""

    def prepare(self, question: Question, *, reserve: bool, **_: object) -> Prepared:
        price = Price(question.epsilon, 0, 1_000_000)
        return Prepared(question.plan_digest, price, (), (), (), (), "0" * 64, None, None, None, (), "this run")

    def run(self, ticket: Ticket, question: Question, prepared: Prepared) -> Released | None:
        return None

    def status(self) -> Status:
        if self.digest is None:
            raise Unreachable("not up yet")
        held = DatasetStatus("clinic", "ready", "", "1", "0" * 64, self.digest)
        return Status(ready=True, datasets=(held,), layers=self.layers, degraded=self.degraded)


@dataclass
class GatewayWorld:
    home: Home
    domain: ScriptedDomain
    gateway: Gateway

    @property
    def service(self) -> Service:
        found: Service = self.gateway.app.state.service
        return found

    @property
    def pipeline(self) -> Pipeline:
        return self.service.pipeline

    @property
    def outcomes(self) -> Outcomes:
        return self.service.outcomes

    def asking(self, sql: str = COUNT, *, key: str | None = None, subject: str = "op-a") -> Ask:
        caller = Caller(subject, frozenset({"operator"}))
        return Ask(caller, sql, "research", None, {}, None, None, None, key, "hash of the request")

    def export(self) -> list[bytes]:
        return list(export.lines(self.outcomes.log))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.export()[:-1]]

    def token(self, subject: str = "op-a", *roles: Role) -> str:
        return issue_token(self.home, subject, roles or ("operator",), timedelta(hours=1))

    def call(self, method: str, route: str, body: Any = None, subject: str = "op-a", **headers: str) -> httpx.Response:
        """Over HTTP without a network. Names of headers with `_` for `-`; an empty `Authorization` is left out."""
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        if "Authorization" not in given:
            given["Authorization"] = f"Bearer {self.token(subject)}"
        given = {name: text for name, text in given.items() if text}

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.gateway.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                return await client.request(method, route, json=body, headers=given)

        return asyncio.run(send())


@contextlib.contextmanager
def gateway_world(
    root: Path,
    *,
    opened: bool = True,
    policy: str = POLICY,
    kind: Callable[[Home], ScriptedDomain] = ScriptedDomain,
    home: Home | None = None,
) -> Iterator[GatewayWorld]:
    """`opened`: the examples of the policy count as passed. `home`: one that was made before."""
    home = home or make_home(root, policy=policy)
    domain = kind(home)
    with contextlib.closing(build(home, domain)) as gateway:
        world = GatewayWorld(home, domain, gateway)
        if opened:
            gateway.opening.stop()
            world.pipeline.doors.put("clinic", DoorState("open"))
            domain.digest = world.service.catalog.policies["clinic"].digest
        yield world
