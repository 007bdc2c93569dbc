"""What the domain's door says to requests that reach no question: other paths, other methods, bodies of no record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from sandbox.codec import dumps, loads
from sandbox.door import Door, Unaskable
from sandbox.protocol import Cancel, Cancelled
from sandbox.service import BODY_BYTES_MAX, application

Said = tuple[int, dict[str, str], bytes]


class OneAnswer:
    """Gives the same to everything that reaches it, and knows how often that was."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.asked = 0
        self._fault = fault

    def cancel(self, ticket: str) -> Cancelled:
        self.asked += 1
        if self._fault is not None:
            raise self._fault
        return Cancelled(ticket)

    prepare = run = fetch = status = cancel


def ask(door: object, path: str, *parts: bytes, method: str = "POST", gone: bool = False) -> Said:
    """`parts` are those of the body; `gone`: whoever asks leaves before its end."""
    app = application(cast("Door", door))
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "state": {}}
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1]["more_body"] = gone
    messages.append({"type": "http.disconnect"})
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    head = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], head, b"".join(message.get("body", b"") for message in sent[1:])


def test_a_body_may_come_in_parts() -> None:
    whole = dumps(Cancel("tkt_1"))
    status, head, body = ask(OneAnswer(), "/v1/cancel", whole[:9], b"", whole[9:])
    assert (status, head["content-type"]) == (200, "application/json")
    assert head["content-length"] == str(len(body))
    assert loads(body, Cancelled) == Cancelled("tkt_1")


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/cancel/", "/v1/cancel\n", "//v1/cancel", "/V1/cancel", "/v1/status/x"]
)
def test_another_path_is_none(path: str) -> None:
    door = OneAnswer()
    status, _, body = ask(door, path, dumps(Cancel("tkt_1")))
    assert (status, body, door.asked) == (404, b'{"detail":"Not Found"}', 0)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/cancel", "POST"),
        ("post", "/v1/cancel", "POST"),
        ("HEAD", "/v1/status", "GET"),
        ("POST", "/v1/status", "GET"),
    ],
)
def test_another_method_is_none(method: str, path: str, allowed: str) -> None:
    door = OneAnswer()
    status, head, body = ask(door, path, dumps(Cancel("tkt_1")), method=method)
    assert (status, body, door.asked) == (405, b'{"detail":"Method Not Allowed"}', 0)
    assert head["allow"] == allowed


@pytest.mark.parametrize(
    "parts", [(b"",), (b"{}",), (dumps(Cancelled("tkt_1")),), (b" " * (BODY_BYTES_MAX // 2),) * 3], ids=len
)
def test_a_body_that_is_no_such_record_says_nothing(parts: Sequence[bytes]) -> None:
    door = OneAnswer()
    status, _, body = ask(door, "/v1/cancel", *parts)
    assert (status, body, door.asked) == (400, b"", 0)


def test_a_body_of_the_greatest_length_is_read() -> None:
    door = OneAnswer()
    assert ask(door, "/v1/cancel", dumps(Cancel("tkt_1")).ljust(BODY_BYTES_MAX))[0] == 200
    assert ask(door, "/v1/cancel", dumps(Cancel("tkt_1")).ljust(BODY_BYTES_MAX + 1))[0] == 400
    assert door.asked == 1


def test_who_leaves_before_the_end_has_asked_nothing() -> None:
    door = OneAnswer()
    assert ask(door, "/v1/cancel", dumps(Cancel("tkt_1")), gone=True)[0] == 500
    assert door.asked == 0


@pytest.mark.parametrize(("fault", "status"), [(Unaskable(), 400), (RuntimeError("secret 7"), 500)])
def test_a_fault_says_nothing(fault: Exception, status: int) -> None:
    assert ask(OneAnswer(fault), "/v1/cancel", dumps(Cancel("tkt_1")))[::2] == (status, b"")
