"""Places that are held for a gateway which is not there any more: they come back, whatever became of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox import codec, places, server
from sandbox.connection import Connection
from sandbox.peers import Peers
from sandbox.places import Held
from sandbox.protocol import Prepare, Prepared
from sandbox.server import Server
from sandbox.service import application, bind
from tests.domain_world import DomainWorld, domain_world
from tests.entrance_world import received
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="workers are confined on Linux only")


@dataclass
class Served:
    """A data domain with a single place, behind its own door."""

    world: DomainWorld
    server: Server
    path: Path

    def connect(self) -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(20)
        peer.connect(str(self.path))
        return peer

    def send(self, peer: socket.socket) -> None:
        """Asks for a price, and for a place."""
        body = codec.dumps(Prepare(self.world.question(), reserve=True))
        peer.sendall(b"POST /v1/prepare HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def reserve(self, peer: socket.socket) -> str:
        self.send(peer)
        prepared = codec.loads(received(peer).split(b"\r\n\r\n", 1)[1].strip(), Prepared)
        assert prepared.reservation is not None
        return prepared.reservation

    @property
    def held(self) -> dict[str, Held]:
        """Places by their tokens."""
        return self.world.pool._places._held

    def alone(self) -> bool:
        """Whether the door has noticed that nobody is there."""
        return not self.server.server_state.connections


@contextlib.contextmanager
def served(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    for module in ("sandbox.places", "sandbox.peers"):  # no place comes back by itself
        monkeypatch.setattr(f"{module}.RESERVATION_S", 3600)
    with domain_world(home, workers_max=1) as world, tempfile.TemporaryDirectory(prefix="bpk-") as short:
        path = Path(short) / "door"
        found = Server(application(world.door), None)
        listener = bind(path)
        thread = threading.Thread(target=lambda: asyncio.run(found.serve(sockets=[listener])), daemon=True)
        thread.start()
        assert eventually(lambda: found.started, 20)
        try:
            yield Served(world, found, path)
        finally:
            found.should_exit = found.force_exit = True
            thread.join(20)
            assert not thread.is_alive()


def test_the_place_of_a_gateway_that_died_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch) as found:
        with found.connect() as peer:
            found.reserve(peer)
        assert eventually(found.alone, 20)
        with found.connect() as another:
            found.reserve(another)


def test_so_does_one_that_is_found_only_after_its_gateway_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch) as found, found.connect() as first:
        reservation = found.reserve(first)
        waits, reserve = threading.Event(), found.world.pool.reserve
        monkeypatch.setattr(found.world.pool, "reserve", lambda *given: (waits.set(), reserve(*given))[1])
        with found.connect() as peer:
            found.send(peer)
            assert waits.wait(20)
        assert eventually(lambda: len(found.server.server_state.connections) == 1, 20)
        found.world.pool.release(reservation)
        assert eventually(lambda: bool(found.world.pool._places._warm.get("clinic")) and not found.held, 20)


def test_without_the_watch_over_connections_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LocalConnection", Connection)
    with served(tmp_path, monkeypatch) as found:
        with found.connect() as peer:
            reservation = found.reserve(peer)
        assert eventually(found.alone, 20)
        assert found.held[reservation].until > time.monotonic() + 1000


def test_a_gateway_that_is_there_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch) as found, found.connect() as peer:
        reservation = found.reserve(peer)
        with found.connect():
            pass
        assert eventually(lambda: len(found.server.server_state.connections) == 1, 20)
        assert found.held[reservation].until > time.monotonic() + 1000


def kept(found: Served) -> bool:
    """Whether a gateway that closes the connection over which a place is held for it, and has another, keeps it."""
    with found.connect():
        with found.connect() as peer:
            reservation = found.reserve(peer)
        assert eventually(lambda: len(found.server.server_state.connections) == 1, 20)
        held = found.held.get(reservation)
        stays = held is not None and held.until > time.monotonic() + 1000
    assert eventually(lambda: not found.held, 20), "it comes back when the last connection is gone"
    return stays


def test_a_gateway_that_has_another_connection_keeps_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(tmp_path, monkeypatch) as found:
        assert kept(found)


def test_a_door_that_takes_each_connection_for_a_gateway_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.connection._process", lambda _: object())
    with served(tmp_path, monkeypatch) as found:
        assert not kept(found)


def test_another_gateway_that_is_there_keeps_no_place_of_one_that_died() -> None:
    told: list[str] = []
    peers = Peers()
    first, second, other = peers.join(1), peers.join(1), peers.join(2)
    first.hold(lambda: told.append("first"))
    second.hold(lambda: told.append("second"))
    other.hold(lambda: told.append("other"))
    first.leave()
    assert told == []
    first.hold(lambda: told.append("late"))
    assert told == ["late"], "nobody was told of it"
    second.leave()
    assert told == ["late", "first", "second"]
    other.leave(ended_here=True)
    assert told == ["late", "first", "second"]
    assert peers._there == {}


def test_a_place_that_comes_back_in_a_moment_may_still_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "LAPSE_S", 600)
    with served(tmp_path, monkeypatch) as found:
        with found.connect() as peer:
            reservation = found.reserve(peer)
        assert eventually(found.alone, 20)
        assert found.held[reservation].until < time.monotonic() + 1000
        worker = found.world.pool.take(reservation, "clinic")
        assert worker is not None
        worker.close()


def test_a_connection_that_the_door_itself_ends_takes_no_place_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(tmp_path, monkeypatch) as found, found.connect() as peer:
        reservation = found.reserve(peer)
        (connection,) = found.server.server_state.connections
        connection._until = float("-inf")  # as where a certificate was renewed  # type: ignore[union-attr]
        peer.close()
        assert eventually(found.alone, 20)
        assert found.held[reservation].until > time.monotonic() + 1000


def test_a_peer_remembers_no_longer_than_a_place_can_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.peers.RESERVATION_S", -1)
    told: list[int] = []
    peer = Peers().join(1)
    for number in range(100):
        peer.hold(lambda number=number: told.append(number))  # type: ignore[misc]
    assert len(peer._held) == 1
    peer.leave()
    assert told == []
