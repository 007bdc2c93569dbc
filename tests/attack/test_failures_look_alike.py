"""Whatever breaks after the charge, its caller, the gateway's store, its log and its counters cannot tell what it was.

Every class of failure that a worker may name, and everything else that can go wrong in the data domain or on the way to
it, is made to happen to the same question; all that it leaves on the gateway's side is compared.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import answer
from gateway.budget.ledger import Ledger
from gateway.domain import Domain, Unreachable
from sandbox import door as doors
from sandbox.door import Door
from sandbox.jobs import FAILED, FAILURE_CLASSES
from sandbox.protocol import TICKET_CONTEXT, Refused, Released, Run
from sandbox.regimes import noisy
from sandbox.relational.expressions import Column
from sandbox.relational.nodes import Measure, Output, Release, Scan
from sandbox.release import make as making
from sandbox.release import noise
from sandbox.release.intake import BadIntake
from sandbox.release.store import Store, StoreUnusable, TicketRefused
from sandbox.tickets import TicketVerifier
from tests.alike.engine import InsidePool, InsideWorker
from tests.alike.inside import InsideDomain
from tests.alike.seen import Seen, Watched
from tests.alike.worlds import Asked, Side, asking, sides
from tests.builders import load, make_world, policy_text

_RELEASE = Release(Scan("people", 0), (Column("0.sex"),), (Measure("sum", Column("0.income")),))
ASKED = Asked(Output(_RELEASE, (("k0", Column("k0")), ("m0", Column("m0")))), "1", plain=True)
Plant = Callable[[pytest.MonkeyPatch, Side], None]


@pytest.fixture
def home(memory: Path) -> Iterator[Side]:
    text = policy_text()
    world = replace(make_world(load(text), random.Random(3)), text=text)
    with world.connection, sides(memory, world, 1) as (found,), asking(ASKED, "clinic"):
        yield found


def _raising(owner: Any, name: str, error: BaseException) -> Plant:
    def plant(m: pytest.MonkeyPatch, home: Side) -> None:
        def fail(*_: object, **__: object) -> object:
            raise error

        m.setattr(owner, name, fail)

    return plant


def _worker_says(body: bytes) -> Plant:
    return lambda m, home: m.setattr(InsideWorker, "_ask", lambda *_: (FAILED, body))


def _on_the_way(act: Callable[[], bytes]) -> Plant:
    """What happens to a charged question between the two sides."""

    def plant(m: pytest.MonkeyPatch, home: Side) -> None:
        honest = InsideDomain._exchange

        def exchange(self: InsideDomain, route: str, request: Any, seconds: float) -> bytes:
            return act() if isinstance(request, Run) else honest(self, route, request, seconds)

        m.setattr(InsideDomain, "_exchange", exchange)

    return plant


def _gone() -> bytes:
    raise Unreachable("the data domain broke off")


def _another_snapshot(m: pytest.MonkeyPatch, home: Side) -> None:
    m.setitem(home.inside.pool.files, "clinic", Path("another"))


def _too_late(m: pytest.MonkeyPatch, home: Side) -> None:
    """It is given up at its deadline, though it would have come."""
    m.setattr(doors, "_deadline", lambda *_: 200)
    made, over = noisy.make, threading.Event()

    def make(*given: Any) -> Any:
        release = made(*given)
        over.wait(0.4)  # is never set
        return release

    m.setattr(noisy, "make", make)


CAUSES: dict[str, Plant] = {
    **{f"a worker that says `{kind}`": _worker_says(kind.encode()) for kind in FAILURE_CLASSES},
    "a worker that says what it may not": _worker_says(b"Conversion Error: 'Secretname'"),
    "a worker that lies": _raising(making, "exact_vectors", BadIntake()),
    "a service without memory": _raising(making, "exact_vectors", MemoryError()),
    "noise that would cost more": _raising(noise, "add_noise", noise.MapExceedsPrice()),
    "a place that was lost": lambda m, home: m.setattr(InsidePool, "take", lambda *_: None),
    "a worker over another snapshot": _another_snapshot,
    "a release that cannot be kept": _raising(Store, "seal", sqlite3.OperationalError("database or disk is full")),
    "an answer that cannot be made": _raising(noisy.Noisy, "answer", RuntimeError("Secretname")),
    "a ticket that cannot be kept": _raising(Store, "accept", StoreUnusable("disk full")),
    "a ceiling that is reached": _raising(Store, "accept", TicketRefused("budget_exhausted", "the ceiling")),
    "a ticket that is refused": _raising(TicketVerifier, "verify", TicketRefused("ticket_refused", "expired")),
    "a dataset that is gone": lambda m, home: m.setattr(Door, "run", lambda *_: Refused("dataset_not_ready", "gone")),
    "a data domain that is gone": _on_the_way(_gone),
    "a reply that is none of ours": _on_the_way(lambda: b'{"@":"Secretname"}'),
    "a reply that is no record": _on_the_way(lambda: b'["Secretname"]'),
    "an answer that is too late": _too_late,
}
_COUNTED_ON = ("seq", "record", "place", "index")
"""Numbers of records and questions, which go on from one failure to the next."""


def asked(home: Side) -> tuple[str, Seen]:
    """The id of a question that is asked now, and what it leaves behind."""
    home.inside.forget()
    seen = Watched(home.inside).ask({"sql": "a question", "purpose": "research", "epsilon": ASKED.epsilon})
    with home.inside.service.store.reading() as view:
        row = view.one("SELECT id FROM query ORDER BY place DESC LIMIT 1")
    assert row is not None
    return str(row[0]), seen


def of_gateway(home: Side) -> dict[str, Any]:
    """All that a failure leaves on the gateway's side, and what is told of it later."""
    query, seen = asked(home)
    parts = {name: _plain(part) for name, part in seen.parts().items() if not name.startswith("stored.behind.")}
    parts["lines"] = tuple(line for line in seen.lines if not line.startswith("bpk.domain"))
    parts["counted"] = tuple(line.rpartition(" ")[0] for line in seen.counted)
    for name in ("stored.scope", "stored.node", "stored.declared"):  # what is spent, and hashes: they add up
        del parts[name]
    again = home.inside.call("GET", f"/v1/queries/{query}")
    history = home.inside.call("GET", "/v1/queries?limit=1").json()["queries"][0]
    own = ("id", "created")
    later = {name: value for name, value in history.items() if name not in own}
    return parts | {"again": (again.status_code, {**again.json(), "id": ""}), "history": later}


def _plain(part: Any) -> Any:
    if isinstance(part, dict):
        return {
            name: _plain(value) for name, value in part.items() if name not in _COUNTED_ON or type(value) is not int
        }
    return [_plain(each) for each in part] if isinstance(part, list) else part


def test_whatever_breaks_after_the_charge_looks_the_same(home: Side) -> None:
    found: dict[str, dict[str, Any]] = {}
    assert asked(home)[1].outcome == "answered"  # and puts policy, licence and caps on record
    for cause, plant in CAUSES.items():
        with pytest.MonkeyPatch.context() as m:
            plant(m, home)
            found[cause] = of_gateway(home)
    first, *others = found.values()
    assert first["body.status"] == "failed"
    assert first["body.code"] == "query_failed"
    assert first["stored.charge"]
    assert [record["body"]["receipt"]["record"]["code"] for record in first["stored.record"][-1:]] == ["query_failed"]
    for cause, other in zip(list(found)[1:], others, strict=True):
        assert other == first, cause
    assert "Secretname" not in repr(found)


def _told_in_the_body(m: pytest.MonkeyPatch) -> None:
    causes: list[str] = []
    honest = noisy.make

    def make(*given: Any) -> Any:
        try:
            return honest(*given)
        except Exception as error:
            causes.append(repr(error))
            raise

    m.setattr(noisy, "make", make)
    constant = answer.failed
    m.setattr(answer, "failed", lambda query: {**constant(query), "detail": causes[-1]} if causes else constant(query))


def _told_on_record(m: pytest.MonkeyPatch) -> None:
    """The length of the words in which the other side is unreachable."""
    ask, fail, heard = Domain._ask, Ledger.fail, list[str]()

    def noted(self: Domain, *given: Any) -> Any:
        try:
            return ask(self, *given)
        except Unreachable as error:
            heard.append(str(error))
            raise

    m.setattr(Domain, "_ask", noted)
    m.setattr(Ledger, "fail", lambda self, tx, query: fail(self, tx, query, f"failed_{len(heard[-1])}"))


def _told_in_the_log(m: pytest.MonkeyPatch) -> None:
    """Failures of the other side leave `run` as what they are."""
    from sandbox.codec import dumps

    def run(self: Domain, ticket: Any, question: Any, reservation: str | None) -> Released | None:
        signature = self._key.sign(TICKET_CONTEXT + dumps(ticket)).hex()
        return self._ask("/v1/run", Run(ticket, signature, question, reservation), self._run_s, Released)

    m.setattr(Domain, "run", run)


@pytest.mark.parametrize("planted", [_told_in_the_body, _told_on_record, _told_in_the_log])
def test_a_cause_that_is_told_is_noticed(home: Side, planted: Callable[[pytest.MonkeyPatch], None]) -> None:
    found = []
    assert asked(home)[1].outcome == "answered"
    for cause in ("a worker that says `timeout`", "a worker that says `resource`", "a data domain that is gone"):
        with pytest.MonkeyPatch.context() as m:
            CAUSES[cause](m, home)
            planted(m)
            found.append(of_gateway(home))
    assert any(each != found[0] for each in found)
