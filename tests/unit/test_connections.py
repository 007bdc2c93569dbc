"""The gateway's connections to the data domain: used again while they are good, and what is no reply is none."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway import connections as module
from gateway import line as line_module
from gateway.connections import HEAD_BYTES_MAX, REPLY_BYTES_MAX, Broken, Connections, TooLong
from gateway.line import Cut, Line

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Door:
    """Connections are pairs of sockets; each has this reply lying in it before it is asked."""

    def __init__(self, reply: bytes = REPLY) -> None:
        self.reply = reply
        self.ends: list[socket.socket] = []
        self.connections = Connections(self._dial)

    def _dial(self, _: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.sendall(self.reply)
        self.ends.append(theirs)
        return ours

    def ask(self, seconds: float = 20) -> tuple[int, bytes]:
        return self.connections.exchange(b"GET / HTTP/1.1\r\n\r\n", time.monotonic() + seconds)

    def close(self) -> None:
        self.connections.close()
        for each in self.ends:
            each.close()


@pytest.fixture
def door() -> Iterator[Door]:
    found = Door()
    yield found
    found.close()


def test_a_connection_is_used_again(door: Door) -> None:
    assert door.ask() == (200, b"{}")
    (first,) = door.ends
    first.recv(999)
    threading.Thread(target=lambda: (first.recv(999), first.sendall(REPLY)), daemon=True).start()
    assert door.ask() == (200, b"{}")
    assert len(door.ends) == 1


@pytest.mark.parametrize("act", ["close", "say"])
def test_one_that_is_over_or_speaks_unasked_is_not(door: Door, act: str) -> None:
    door.ask()
    door.ends[0].sendall(b"?") if act == "say" else door.ends[0].close()
    assert door.ask() == (200, b"{}")
    assert len(door.ends) == 2


def test_without_the_look_at_it_one_that_is_over_is_used(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_speaks", lambda _: False)
    door.ask()
    door.ends[0].close()
    with pytest.raises(Broken):
        door.ask()


def test_one_that_is_told_to_be_the_last_is_not_used_again(door: Door) -> None:
    door.reply = REPLY.replace(b"Content-Length", b"Connection: close\r\nContent-Length")
    assert [door.ask(), door.ask()] == [(200, b"{}")] * 2
    assert len(door.ends) == 2


def test_one_that_was_idle_for_too_long_is_closed(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", -1.0)
    door.ask()
    assert door.ends[0].recv(999) == b"GET / HTTP/1.1\r\n\r\n"
    assert door.ends[0].recv(1) == b""


def test_no_more_than_some_are_kept(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MAX", 0)
    monkeypatch.setattr(module, "RESERVATION_S", -1)
    door.ask()
    door.ask()
    assert len(door.ends) == 2


def test_one_over_which_a_place_may_be_held_is_kept_all_the_same(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MAX", 0)
    monkeypatch.setattr(module, "RESERVATION_S", 3600)
    monkeypatch.setattr(module, "IDLE_S", 7200)
    door.ask()
    assert len(door.connections._idle) == 1


def test_after_the_end_none_is_kept(door: Door) -> None:
    door.connections.close()
    assert door.ask() == (200, b"{}")
    assert door.ends[0].recv(999)
    assert door.ends[0].recv(1) == b""


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        REPLY[:-1],
        REPLY + b"{",
        REPLY.replace(b"1.1", b"1.0"),
        REPLY.replace(b"200", b"100"),
        REPLY.replace(b"200", b"2000"),
        REPLY.replace(b"200 OK", b"200"),
        REPLY.replace(b"OK", b"\x00"),
        REPLY.replace(b"\r\n", b"\n"),
        REPLY.replace(b"Content-Length: 2\r\n", b""),
        REPLY.replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 2"),
        REPLY.replace(b": 2", b": -2"),
        REPLY.replace(b": 2", b": +2"),
        REPLY.replace(b": 2", b": 2, 2"),
        REPLY.replace(b": 2", b": 0x2"),
        REPLY.replace(b": 2", b":" + b" 2" * 7000),
        REPLY.replace(b"Content-Length", b"Content-Length "),
        REPLY.replace(b"Content-Type", b" Content-Type"),
        REPLY.replace(b"Content-Type: application/json", b"Transfer-Encoding: chunked"),
        b"x" * 40_000,
    ],
)
def test_what_is_no_reply_breaks_the_connection(door: Door, reply: bytes) -> None:
    dial = door._dial

    def once(until: float) -> socket.socket:
        peer = dial(until)
        door.ends[-1].shutdown(socket.SHUT_WR)
        return peer

    door.reply = reply
    door.connections = Connections(once)
    with pytest.raises(Broken):
        door.ask()
    assert not door.connections._idle


def head_of(size: int) -> bytes:
    """A reply whose head, without the empty line at its end, is so long."""
    short = REPLY.replace(b"Content-Length", b"X: \r\nContent-Length")
    return short.replace(b"X: ", b"X: " + b" " * (size - short.index(b"\r\n\r\n")))


@pytest.mark.parametrize(("size", "parsed"), [(HEAD_BYTES_MAX, True), (HEAD_BYTES_MAX + 1, False), (60_000, False)])
def test_a_head_that_is_too_long_is_not_even_parsed(
    door: Door, size: int, parsed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[int] = []
    head = module._head
    monkeypatch.setattr(module, "_head", lambda text: (heads.append(len(text)), head(text))[1])
    door.reply = head_of(size)
    if parsed:
        assert door.ask() == (200, b"{}")
    else:
        with pytest.raises(Broken):
            door.ask()
    assert heads == ([size] if parsed else [])


def forks(pattern: re.Pattern[bytes]) -> bool:
    """Whether a byte may be one more of what repeats, or the next thing: then a line may be read in many ways.

    For patterns that are a row of literals, sets and repetitions of them; others are none of ours.
    """
    row: list[tuple[bool, set[int]]] = []

    def bytes_of(operator: str, told: Any) -> set[int]:
        if operator == "LITERAL":
            return {told}
        if operator == "RANGE":
            return set(range(told[0], told[1] + 1))
        assert operator == "IN", operator
        return set[int]().union(*(bytes_of(str(name), each) for name, each in told))

    def walk(items: Any) -> None:
        for operator, told in items:
            if str(operator) == "SUBPATTERN":
                walk(told[-1])
            elif str(operator) == "MAX_REPEAT":
                least, most, ((inner, content),) = told
                row.append((least != most, bytes_of(str(inner), content)))
            else:
                row.append((False, bytes_of(str(operator), told)))

    walk(re._parser.parse(pattern.pattern))  # type: ignore[attr-defined]
    return any(varies and one & other for (varies, one), (_, other) in pairwise(row))


@pytest.mark.parametrize("pattern", [module._FIELD, module._STATUS, module._LENGTH])
def test_no_line_of_a_head_takes_more_than_its_length(pattern: re.Pattern[bytes]) -> None:
    assert not forks(pattern)


def test_a_pattern_that_tries_a_line_in_many_ways_is_noticed() -> None:
    assert forks(re.compile(rb"([!#-'*+.0-9A-Z^-z|~-]+):[ \t]*([ -~\t]*)"))


@pytest.mark.parametrize("value", [b"2", b" 2", b"\t 2", b" 2\t ", b" " * 9999 + b"2"])
def test_blanks_around_a_value_are_none_of_it(door: Door, value: bytes) -> None:
    door.reply = REPLY.replace(b": 2", b":" + value)
    assert door.ask() == (200, b"{}")


def test_a_reply_that_is_too_long_is_not_read(door: Door) -> None:
    door.reply = REPLY.replace(b": 2", b": %d" % (REPLY_BYTES_MAX + 1))
    with pytest.raises(TooLong):
        door.ask()


@pytest.mark.parametrize("reply", [b"", b"HTTP/1.1 200", REPLY[:-1]])
def test_a_reply_that_does_not_come_in_time_is_waited_for_no_longer(door: Door, reply: bytes) -> None:
    door.reply = reply
    with pytest.raises(TimeoutError):
        door.ask(0.1)
    with pytest.raises(TimeoutError):
        door.ask(-1)
    assert not door.connections._idle


class Renewing:
    """Certificates that are renewed whenever one is told so."""

    renewed = False

    def look(self) -> bool:
        found, self.renewed = self.renewed, False
        return found


@dataclass
class Renewable:
    """A line to a door that says `{}` to whatever is asked, and its ends of their connections."""

    line: Line
    identity: Renewing
    ends: list[socket.socket]

    def ask(self) -> None:
        assert self.line.exchange("/v1/status", None, 20, again=False) == (200, b"{}")

    def renew(self) -> None:
        self.identity.renewed = True
        self.ask()

    def there(self, number: int) -> bool:
        return self.ends[number].fileno() >= 0


@pytest.fixture
def renewable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Renewable]:
    ends: list[socket.socket] = []

    def dial(_: Line, __: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        ends.append(ours)
        threading.Thread(target=serve, args=(theirs,), daemon=True).start()
        return ours

    def serve(peer: socket.socket) -> None:
        with peer:
            while peer.recv(999):
                peer.sendall(REPLY)

    monkeypatch.setattr(Line, "_near", dial)
    found = Renewable(Line(tmp_path / "door"), Renewing(), ends)
    found.line._identity = found.identity  # type: ignore[assignment]
    yield found
    found.line.close()


def test_a_renewed_certificate_ends_no_connection_over_which_a_place_is_held(renewable: Renewable) -> None:
    renewable.ask()
    renewable.renew()
    renewable.ask()
    assert len(renewable.ends) == 2
    assert renewable.there(0)
    renewable.line.close()
    assert not renewable.there(0)


def test_one_that_is_ended_at_once_is_noticed(renewable: Renewable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "RESERVATION_S", -1)
    renewable.ask()
    renewable.renew()
    assert not renewable.there(0)


def test_no_place_is_held_any_more_and_it_is_ended(renewable: Renewable, monkeypatch: pytest.MonkeyPatch) -> None:
    renewable.ask()
    with renewable.line._pool():  # an exchange that runs
        renewable.renew()
        monkeypatch.setattr(line_module, "RESERVATION_S", -1)
        renewable.ask()
        assert renewable.there(0)
    renewable.ask()
    assert not renewable.there(0)
    assert renewable.line._retired == []


def test_what_a_restarted_service_left_behind_is_tried_again_where_that_is_safe(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "door"))
    listener.listen()

    def serve() -> None:
        for reply in (b"", REPLY.replace(b"Content-Length", b"Connection: close\r\nContent-Length"), b""):
            peer, _ = listener.accept()
            with peer:
                peer.recv(999)
                peer.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    line = Line(tmp_path / "door")
    assert line.exchange("/v1/status", None, 20, again=True) == (200, b"{}")
    with pytest.raises(Cut, match="does not answer"):
        line.exchange("/v1/run", b"{}", 20, again=False)
    thread.join(20)
    listener.close()
    with pytest.raises(Cut, match="nobody listens there"):
        line.exchange("/v1/status", None, 20, again=True)
    (tmp_path / "door").unlink()
    with pytest.raises(Cut, match="its socket is not there"):
        line.exchange("/v1/status", None, 20, again=True)
    line.close()
