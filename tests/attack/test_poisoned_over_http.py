"""The same two homes as in `test_poisoned_unit.py`, really served: processes, sockets, walls, workers that die.

A sample of the same questions; with BPK_LONG every question of one turn. Noise is fresh on both sides here, so released
numbers, and which private groups are shown, are left out of the comparison.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from sandbox.protocol import padded
from tests.alike.asked import Question
from tests.alike.poison import home_of
from tests.alike.seen import seen, without_cells, without_numbers, without_rows
from tests.attack.test_poisoned_unit import TURN, of_mode
from tests.served_home import Served, serving
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers behind walls are there on Linux only")

WORKER = "[worker]\nthreads = 1\nwarm = 2\nmax = 4\n"
REFUSED = (400, 403, 422)
EACH = 1 if os.environ.get("BPK_LONG") else 12
Pair = tuple[Served, Served]
OWN_IN_LINES = ("time", "ms", "request_id", "query_id", "ticket")
"""When, how long, whose."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("poisoned")
    with contextlib.ExitStack() as stack:
        homes = [home_of(root / name, poisoned=name == "odd", worker=WORKER) for name in ("odd", "even")]
        odd, even = (stack.enter_context(serving(home, ready=False)) for home in homes)
        for served in (odd, even):
            served.wait_until_ready()
        yield odd, even


def questions() -> list[Question]:
    return [*of_mode("dp", TURN), *of_mode("aggregate", TURN)][::EACH]


def told(reply: httpx.Response, question: Question) -> tuple[Any, ...]:
    """All of a reply that must not depend on who is there. Its length is one of few, whatever it says."""
    status, headers, length, body = seen(reply)
    assert length == len(padded(reply.content.rstrip()))
    if status != 200 or body["status"] != "answered":
        return status, headers, length, body
    if question.body["mode"] == "dp" and question.place != "group by":
        return status, headers, without_numbers(body)
    return status, headers, without_rows(body)


def lines_of(served: Served) -> list[dict[str, Any]]:
    """What both sides have logged from the first question on, without what is a line's own."""
    lines = [json.loads(line) for line in served.log().splitlines()]
    ready = max(place for place, line in enumerate(lines) if line.get("route") == "/readyz")
    return [{name: value for name, value in line.items() if name not in OWN_IN_LINES} for line in lines[ready + 1 :]]


def records_of(served: Served) -> list[dict[str, Any]]:
    own = ("ledger", "time", "query_id", "snapshot", "commitments")
    kept = ({name: value for name, value in record.items() if name not in own} for record in served.records())
    return [without_cells(record) for record in kept]


def budgets_of(served: Served) -> Any:
    return served.call("GET", "/v1/budgets").json()["budgets"]


@pytest.mark.timeout(3600)
def test_no_reply_budget_record_or_log_tells_of_a_poisoned_unit(pair: Pair) -> None:
    asked = questions()

    def ask(served: Served) -> list[httpx.Response]:
        return [served.call("POST", "/v1/queries", question.body) for question in asked]

    with ThreadPoolExecutor(2) as pool:
        ones, others = pool.map(ask, pair)
    answered = 0
    for question, one, other in zip(asked, ones, others, strict=True):
        assert told(one, question) == told(other, question), question.body["sql"]
        assert one.json().get("status") in ("answered", *REFUSED), one.text
        answered += one.json().get("status") == "answered"
    print(f"\nquestions: {len(asked)}, answered: {answered}")
    assert answered > len(asked) / 2
    odd, even = pair
    assert budgets_of(odd) == budgets_of(even)
    assert records_of(odd) == records_of(even)
    eventually(lambda: lines_of(odd) == lines_of(even))  # a request is logged once its reply has left
    assert lines_of(odd) == lines_of(even)
    assert len(lines_of(odd)) >= len(asked)


def _answer(**changes: Any) -> httpx.Response:
    """A reply as a gateway might send it."""
    record = {"kind": "release", "code": None, "seq": 7}
    body = {
        "id": "qry_1",
        "status": "answered",
        "columns": [{"name": "letter", "kind": "key"}, {"name": "n", "kind": "noisy"}],
        "rows": [["a", 7]],
        "intervals": [[None, [5, 9]]],
        "notes": [[None, ["may_be_clipped"]]],
        "cost": {"rho": "0.1"},
        "budget": {},
        "receipt": {"index": 7, "record": record, "leaf_hash": "", "proof": [], "checkpoint": ""},
        **changes,
    }
    return httpx.Response(200, content=padded(json.dumps(body).encode()), headers={"Cache-Control": "no-store"})


NUMBERS = Question("", "where", {"mode": "dp"})
KEYS = Question("", "group by", {"mode": "dp"})


def test_what_was_released_is_no_difference() -> None:
    other = _answer(rows=[["a", 700]], intervals=[[None, [500, 900]]], id="qry_2")
    assert told(_answer(), NUMBERS) == told(other, NUMBERS)
    assert told(_answer(), KEYS) == told(_answer(rows=[], intervals=[], notes=[]), KEYS)


@pytest.mark.parametrize(
    "other",
    [
        _answer(rows=[["b", 7]]),
        _answer(notes=[[None, None]]),
        _answer(cost={"rho": "0.2"}),
        _answer(hint="the sum of all is 4711"),
        httpx.Response(500, content=padded(b'{"code": "internal_error"}')),
        httpx.Response(200, content=_answer().content, headers={"Cache-Control": "no-store", "X-Rows": "7"}),
    ],
    ids=["a key", "a note", "the price", "a word more", "the status", "a header"],
)
def test_a_planted_difference_of_replies_is_noticed(other: httpx.Response) -> None:
    assert told(_answer(), NUMBERS) != told(other, NUMBERS)


def test_a_reply_whose_length_is_its_own_is_noticed() -> None:
    short = httpx.Response(200, content=_answer().content.rstrip())
    with pytest.raises(AssertionError):
        told(short, NUMBERS)
