"""Callers who begin and do not end: their connections are cut off, and nobody else waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol

import sandbox.connection
from gateway.http import server
from gateway.http.server import Held, Server

WHOLE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
HALF = (b"", b"POST / HT", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: ", WHOLE[:-1])


async def answer(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Quiet(Server):
    """In a thread of the test: signals are the test's own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def running(app: Any = answer, connections_max: int = 8, notice_s: float = 0) -> Iterator[tuple[Quiet, int, list[str]]]:
    told: list[str] = []
    served = Quiet(
        app,
        drain_s=5,
        notice_s=notice_s,
        connections_max=connections_max,
        leaving=lambda: told.append("leaving"),
        ending=lambda: told.append("ending"),
    )
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        thread = threading.Thread(target=served.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not served.started:
                time.sleep(0.01)
            yield served, listener.getsockname()[1], told
        finally:
            served.should_exit = True
            thread.join()


def connect(port: int, sent: bytes) -> socket.socket:
    peer = socket.create_connection(("127.0.0.1", port), timeout=10)
    peer.sendall(sent)
    return peer


def cut_off(peer: socket.socket, seconds: float = 10) -> bool:
    """Whether the other side ends the connection, within so long."""
    peer.settimeout(seconds)
    try:
        return peer.recv(4096) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def answered(port: int) -> bool:
    with connect(port, WHOLE) as peer:
        return peer.recv(4096).startswith(b"HTTP/1.1 200")


def dripped(peer: socket.socket) -> int:
    """How many of 200 bytes, one every 50 ms, the other side takes."""
    for sent in range(200):
        try:
            peer.sendall(b"x")
        except ConnectionError:
            return sent
        time.sleep(0.05)
    return 200


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.connection, "REQUEST_S", 0.2)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("sent", HALF, ids=("nothing", "line", "header", "body"))
def test_a_request_that_does_not_end_is_cut_off(sent: bytes) -> None:
    with running() as (_, port, _), connect(port, sent) as peer:
        assert cut_off(peer)
        assert answered(port)


@pytest.mark.usefixtures("impatient")
def test_a_drop_at_a_time_gives_no_more_time() -> None:
    with running() as (_, port, _), connect(port, HALF[2]) as peer:
        assert dripped(peer) < 100


@pytest.mark.usefixtures("impatient")
def test_an_answer_may_take_its_time() -> None:
    async def slowly(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await asyncio.sleep(0.6)
        await answer(scope, receive, send)

    with running(slowly) as (_, port, _):
        assert answered(port)


@pytest.mark.usefixtures("impatient")
def test_planted_uvicorns_own_connections_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patient(H11Protocol):
        def __init__(self, *args: Any, connections_max: int, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(server, "Held", Patient)
    with running() as (_, port, _), connect(port, HALF[2]) as peer:
        assert not cut_off(peer, 1)


def test_many_half_requests_keep_nobody_out() -> None:
    with running(connections_max=8) as (served, port, _), contextlib.ExitStack() as stack:
        peers = [stack.enter_context(connect(port, HALF[2])) for _ in range(40)]
        for _ in range(5):
            assert answered(port)
        assert len(served.server_state.connections) <= 8
        assert cut_off(peers[0])


def test_planted_without_room_they_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "_make_room", lambda self: None)
    with running(connections_max=8) as (_, port, _), contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(connect(port, HALF[2]))
        time.sleep(0.3)
        with pytest.raises((AssertionError, ConnectionError)):
            assert answered(port)


def test_whoever_is_being_answered_is_not_cut_off_for_others() -> None:
    release = threading.Event()

    async def held(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        while not release.is_set():
            await asyncio.sleep(0.01)
        await answer(scope, receive, send)

    with running(held, connections_max=8) as (_, port, _), contextlib.ExitStack() as stack:
        asking = [stack.enter_context(connect(port, WHOLE)) for _ in range(7)]
        time.sleep(0.3)
        late = [stack.enter_context(connect(port, HALF[1])) for _ in range(20)]
        assert cut_off(late[0])
        release.set()
        assert all(peer.recv(4096).startswith(b"HTTP/1.1 200") for peer in asking)


def test_the_order_to_stop_is_told_before_the_end() -> None:
    seen: list[float] = []

    async def stopped(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        if not seen:
            served.handle_exit(signal.SIGTERM, None)
        seen.append(time.monotonic())
        await answer(scope, receive, send)

    with running(stopped, notice_s=1) as (served, port, told):
        assert answered(port)
        assert (told, served.should_exit) == (["leaving"], False)
        assert answered(port)  # it goes on for a second
        end = time.monotonic() + 10
        while not served.should_exit and time.monotonic() < end:
            time.sleep(0.05)
        assert served.should_exit
        assert time.monotonic() - seen[0] >= 0.9


def test_a_second_order_ends_it_at_once() -> None:
    async def stopped(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        served.handle_exit(signal.SIGTERM, None)
        served.handle_exit(signal.SIGTERM, None)
        await answer(scope, receive, send)

    with running(stopped, notice_s=60) as (served, port, _):
        assert answered(port)
        assert served.should_exit
