"""A hostile data domain behind the gateway: whatever it replies is an answer as declared, a refusal, or no answer.

`BPK_SEED` and `BPK_FUZZ` choose where the cases begin and how many there are.
"""

from __future__ import annotations

import dataclasses
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway import declared, line
from gateway.domain import Domain, Unreachable
from gateway.errors import STATUS, Refusal
from policies.types import BIGINT
from sandbox import codec
from sandbox.protocol import OutputColumn, Prepared, Price, Question, Refused, Released, Ticket
from tests import mangled
from tests.sql_world import admitted

SEED = int(os.environ.get("BPK_SEED", "1"))
CASES = int(os.environ.get("BPK_FUZZ", "600"))
QUESTION: Question = admitted("SELECT COUNT(*) AS n FROM people").question
PRICE = Price(QUESTION.epsilon, 0, 10)
COLUMNS = (OutputColumn("n", BIGINT, "noisy"),)
RELEASE, HASH = "rel_" + "a" * 32, "b" * 64
PREPARED = Prepared(QUESTION.plan_digest, PRICE, COLUMNS, (5,), (9,), ("a",), HASH, None, None, None, (), "this run")
RELEASED = Released(RELEASE, HASH, PRICE, COLUMNS, ((7,),), (((5, 9),),), ((None,),))
TICKET = Ticket("t", "q", "clinic", QUESTION.plan_digest, "p", HASH, "dp", PRICE, "this run", 0, 60_000)


class Hostile:
    """Says what it is told to, whatever it is asked."""

    def __init__(self, client: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client, self.body, self.status = client, b"", 200
        monkeypatch.setattr(client._line, "exchange", self._exchange)

    def _exchange(self, *_: Any, **__: Any) -> tuple[int, bytes]:
        return self.status, self.body

    def says(self, record: object) -> None:
        self.body = codec.dumps(record)

    def ask(self, act: int) -> object:
        """The client's word for it, or the exceptions that the pipeline knows. Anything else is raised."""
        try:
            if act == 0:
                return self.client.prepare(QUESTION, reserve=False)
            if act == 1:
                return self.client.run(TICKET, QUESTION, PREPARED)
            if act == 2:
                return self.client.fetch(RELEASE, QUESTION)
            return self.client.status()
        except (Unreachable, Refusal) as known:
            return known


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    client = Domain(tmp_path / "door", Ed25519PrivateKey.generate(), prepare_s_max=1, run_s_max=1)
    yield Hostile(client, monkeypatch)
    client.close()


def sound(found: object) -> bool:
    """Nothing but what was declared: one number under the question's own name, at its price."""
    if isinstance(found, Released):
        shown = found.columns[0].name == "n" and len(found.columns) == 1
        return shown and all(len(row) == 1 for row in (*found.rows, *found.intervals, *found.notes))
    if isinstance(found, Prepared):
        return found.price.epsilon == QUESTION.epsilon and 0 <= found.price.rho < 2**63
    return not isinstance(found, Refusal) or (found.code in STATUS and found.status != 500)


def spoil(hostile: Hostile, dice: random.Random) -> None:
    good = dice.choice([PREPARED, RELEASED, RELEASED, Refused("busy", "x")])
    plain = mangled.spoiled(dice, codec.encode(good))
    body = mangled.body_of(plain)
    hostile.body = mangled.bent(dice, body) if dice.random() < 0.2 else body
    hostile.status = dice.choice([200] * 9 + [403, 500, 302, 204])


def test_whatever_a_hostile_domain_replies_nothing_undeclared_is_shown_and_nothing_breaks(hostile: Hostile) -> None:
    for dice in mangled.seeds(SEED, CASES):
        spoil(hostile, dice)
        assert sound(hostile.ask(dice.randrange(4)))


def test_good_replies_are_taken(hostile: Hostile) -> None:
    for act, record in enumerate((PREPARED, RELEASED, RELEASED)):
        hostile.says(record)
        assert hostile.ask(act) == record


UNDECLARED = {
    "another column": {"columns": (OutputColumn("name", BIGINT, "noisy"),)},
    "a column more": {
        "columns": COLUMNS * 2,
        "rows": ((7, 8),),
        "intervals": ((None, None),),
        "notes": ((None, None),),
    },
    "a cell more": {"rows": ((7, 8),)},
    "a row without its interval": {"rows": ((7,), (8,))},
    "another price": {"price": Price(1, 0, 10)},
    "another confidence": {"confidence": "nan"},
    "no release": {"release": "../x"},
}


@pytest.mark.parametrize("change", UNDECLARED.values(), ids=UNDECLARED)
def test_an_answer_that_was_not_declared_is_the_constant_failure(hostile: Hostile, change: dict[str, Any]) -> None:
    hostile.says(dataclasses.replace(RELEASED, **change))
    assert hostile.ask(1) is None


def test_a_gateway_that_does_not_look_shows_it(hostile: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "undeclared", lambda released, question: False)
    hostile.says(dataclasses.replace(RELEASED, **UNDECLARED["another column"]))
    assert not sound(hostile.ask(1))


def test_a_domain_cannot_speak_as_the_gateway_does(hostile: Hostile) -> None:
    for code in ("internal_error", "token_invalid", "rate_limited", "no_such_code"):
        hostile.says(Refused(code, "x"))
        assert isinstance(hostile.ask(0), Unreachable)


def test_a_domain_that_deals_out_bytes_one_by_one_holds_nobody_beyond_the_limit(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "door"))
    listener.listen()
    over = threading.Event()

    def trickle() -> None:
        peer, _ = listener.accept()
        with peer:
            while not over.wait(0.05):
                try:
                    peer.sendall(b"H")
                except OSError:
                    return

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    wire = line.Line(tmp_path / "door")
    began = time.monotonic()
    with pytest.raises(line.Cut):
        wire.exchange("/v1/status", None, 0.5, again=False)
    assert time.monotonic() - began < 20  # each byte by itself came in time
    over.set()
    thread.join(10)
    wire.close()
    listener.close()
