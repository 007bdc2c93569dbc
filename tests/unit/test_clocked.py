"""Whoever deals out a reply by single bytes holds nobody beyond one deadline: not by its headers either."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import httpcore
import pytest

from gateway import clocked
from gateway.audit import witnessing
from gateway.audit.witnessing import Remote, Witnessing
from gateway.identity.fetch import NotFetched, fetcher
from tests.dripping import Part, dripping
from tests.ledger_world import World
from tests.unit.test_witness_replies import REMOTE

PARTS = get_args(Part)
CONTENT = b"{" + b" " * 58 + b"}"
SHORT_S = 0.3
"""Less than the gaps of a reply take together."""


class Endless(httpcore.NetworkStream):
    """Each byte comes in time, and takes a second of `now`."""

    def __init__(self, now: list[float]) -> None:
        self.now = now

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        assert timeout is None or timeout > 0
        self.now[0] += 1
        return b"a"

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.now[0] += 1

    def close(self) -> None:
        pass


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    found = [1000.0]
    monkeypatch.setattr(clocked, "time", SimpleNamespace(monotonic=lambda: found[0]))
    return found


def test_bytes_that_each_come_in_time_end_at_the_deadline_together(now: list[float]) -> None:
    stream = clocked._Stream(Endless(now))
    with clocked.within(10):
        for _ in range(10):
            assert stream.read(1, 5) == b"a"
        with pytest.raises(httpcore.ReadTimeout):
            stream.read(1, 5)
        with pytest.raises(httpcore.WriteTimeout):
            stream.write(b"a", 5)
    assert stream.read(1, 5) == b"a", "the next exchange has its own time"


def test_a_deadline_inside_of_another_one_gives_it_back(now: list[float]) -> None:
    stream = clocked._Stream(Endless(now))
    with clocked.within(5):
        with clocked.within(2):
            stream.write(b"a")
            stream.write(b"a")
            with pytest.raises(httpcore.WriteTimeout):
                stream.write(b"a")
        assert stream.read(1) == b"a"


@pytest.mark.parametrize("part", PARTS)
def test_an_issuer_that_drips_is_given_up(part: Part) -> None:
    with dripping(part, CONTENT) as address, pytest.raises(NotFetched, match=r"took longer than 0\.3 s"):
        fetcher(SHORT_S)(f"{address}/keys")


@pytest.mark.parametrize("part", PARTS)
def test_a_witness_that_drips_is_given_up(part: Part, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "REPLY_S_MAX", SHORT_S)
    world = World(tmp_path)
    with dripping(part, CONTENT) as address, sending(world, address) as asked:
        assert asked.once() == 0
        assert asked.problems == {address: "takes too long"}


@pytest.mark.parametrize("part", PARTS)
def test_a_time_stamping_authority_that_drips_is_given_up(part: Part, tmp_path: Path) -> None:
    pytest.importorskip("rfc3161_client", reason="time stamps need `pip install baopingkou[timestamps]`")
    from gateway.audit.stamping import Authority, Stamping  # an optional extra
    from tests.time_authority import authority  # needs openssl

    world = World(tmp_path)
    with authority(tmp_path / "tsa") as tsa, dripping(part, CONTENT) as address:
        stamping = Stamping(world.log, world.store, Authority(address, tsa.root, 3600, SHORT_S))
        assert not stamping.once()
        assert stamping.state == "takes too long"
        stamping.stop()


@contextlib.contextmanager
def sending(world: World, address: str) -> Iterator[Any]:
    found = Witnessing(world.log, world.store, [Remote(address, REMOTE.vkey)], every_s=3600)
    yield found
    found.stop()
