"""The steps of a query that the tracer times: where each is, and how they lie in each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Process = Literal["gateway", "domain"]


@dataclass(frozen=True, slots=True)
class Step:
    name: str
    process: Process
    place: str
    """`module:function` or `module:Class.method`, replaced while tracing."""


STEPS: Final = (
    Step("ask", "gateway", "gateway.pipeline:Pipeline.ask"),
    Step("parse", "gateway", "gateway.sql.known:read"),
    Step("admit", "gateway", "gateway.pipeline:Pipeline._admit"),
    Step("prepare", "gateway", "gateway.domain:Domain.prepare"),
    Step("charge", "gateway", "gateway.pipeline:Pipeline._charge"),
    Step("finish", "gateway", "gateway.pipeline:Pipeline._finish"),
    Step("run", "gateway", "gateway.domain:Domain.run"),
    Step("end", "gateway", "gateway.outcomes:Outcomes.record"),
    Step("answer", "gateway", "gateway.outcomes:Outcomes.answered"),
    Step("door.prepare", "domain", "sandbox.door:Door.prepare"),
    Step("reserve", "domain", "sandbox.pool:Pool.reserve"),
    Step("door.run", "domain", "sandbox.door:Door.run"),
    Step("plan", "domain", "sandbox.door:Door._job"),
    Step("ticket", "domain", "sandbox.release.store:Store.accept"),
    Step("take", "domain", "sandbox.pool:Pool.take"),
    Step("worker", "domain", "sandbox.pool:Worker.query"),
    Step("noise", "domain", "sandbox.release.noise:add_noise"),
    Step("keys", "domain", "sandbox.release.noise:select_keys"),
    Step("store", "domain", "sandbox.release.store:Store.seal"),
    Step("post", "domain", "sandbox.regimes.noisy:answer"),
    Step("retire", "domain", "sandbox.pool:Worker.close"),
)


@dataclass(frozen=True, slots=True)
class Share:
    """A line of the table: the time of some steps less that of those inside them."""

    words: str
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()


WHOLE: Final = "whole"
SHARES: Final = (
    Share("HTTP, token, body, hand-over", (WHOLE,), ("ask", "finish")),
    Share("parse SQL", ("parse",)),
    Share("admit", ("admit",), ("parse",)),
    Share("prepare: plan, bind", ("door.prepare",), ("reserve",)),
    Share("prepare: wait for a worker", ("reserve",)),
    Share("prepare: socket", ("prepare",), ("door.prepare",)),
    Share("charge + record", ("charge",)),
    Share(
        "run: plan again, bind", ("door.run",), ("ticket", "take", "worker", "noise", "keys", "store", "post", "retire")
    ),
    Share("run: ticket durable", ("ticket",)),
    Share("run: worker, SQL", ("take", "worker", "retire")),
    Share("run: noise", ("noise", "keys")),
    Share("run: store the release", ("store",)),
    Share("run: post-processing", ("post",)),
    Share("run: socket", ("run",), ("door.run",)),
    Share("outcome + record", ("end",)),
    Share("checkpoint, receipt", ("answer",)),
    Share("the rest of the gateway", ("ask", "finish"), ("admit", "prepare", "charge", "run", "end", "answer")),
)
