"""The domain's door over the network: who is let in, and that strangers hold no place in it."""

from __future__ import annotations

import dataclasses
import ssl
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sandbox import connection, entrance, tls
from tests.entrance_world import STATUS, EntranceWorld, client_context, entrance_world, made, papers, received

OK = b"HTTP/1.1 200"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EntranceWorld]:
    with entrance_world(tmp_path) as found:
        yield found


def good(world: EntranceWorld, **changes: Any) -> ssl.SSLContext:
    return client_context(papers(world.certificates, "gateway"), **changes)


def test_the_gateway_that_the_custodian_named_is_served(world: EntranceWorld) -> None:
    assert world.ask(good(world, trusts=world.certificates / "gateway" / "authority.crt")).startswith(OK)
    assert world.door.calls == 1


def none(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    return client_context(None)


def stranger(world: EntranceWorld, folder: Path) -> ssl.SSLContext | None:
    """All names are right, and the authority is his own."""
    return client_context(papers(made(folder), "gateway"))


def self_signed(world: EntranceWorld, folder: Path) -> ssl.SSLContext | None:
    """The authority's own certificate, of an authority with the same name."""
    own = made(folder) / "authority"
    return client_context(tls.Files(own / "authority.crt", own / "authority.key", own / "authority.crt"))


def expired(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    """Renewed by the right authority, but long ago."""
    made(world.certificates, ago=timedelta(days=2))
    return good(world)


def unborn(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    made(world.certificates, ago=timedelta(hours=-3))
    return good(world)


def another_name(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    made(world.certificates, gateway="gateway.test.example")
    return good(world)


def wildcard(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    with pytest.MonkeyPatch.context() as planted:
        planted.setattr("sandbox.certificates.name", lambda text: text)
        made(world.certificates, gateway="*.test")
    return good(world)


def the_domains_own(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    """A certificate of the authority that is meant for a server, with the gateway's name."""
    made(world.certificates, domain="gateway.test", gateway="other.test")
    return client_context(papers(world.certificates, "domain"))


def older(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    return good(world, version=ssl.TLSVersion.TLSv1_2)


def plain(world: EntranceWorld, _: Path) -> ssl.SSLContext | None:
    return None


Visitor = Callable[[EntranceWorld, Path], ssl.SSLContext | None]
VISITORS: tuple[Visitor, ...] = (
    none, stranger, self_signed, expired, unborn, another_name, wildcard, the_domains_own, older, plain,
)  # fmt: skip


@pytest.mark.parametrize("visitor", VISITORS)
def test_nobody_else_gets_through(world: EntranceWorld, tmp_path: Path, visitor: Visitor) -> None:
    assert not world.ask(visitor(world, tmp_path / "other")).startswith(OK)
    assert world.door.calls == 0


def trusting(files: tls.Files, side: tls.Side) -> ssl.SSLContext:
    """Planted: the context of one who asks for nothing."""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(files.certificate, files.key)
    return found


def test_without_verification_every_one_of_them_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "context", trusting)
    monkeypatch.setattr(connection, "names", lambda peer: ("gateway.test",))
    with entrance_world(tmp_path) as world:
        for place, visitor in enumerate(VISITORS):
            if visitor is not plain:
                assert world.ask(visitor(world, tmp_path / f"other{place}")).startswith(OK), visitor


@pytest.mark.parametrize("visitor", [another_name, wildcard])
def test_without_the_name_whoever_the_authority_has_signed_gets_through(
    world: EntranceWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visitor: Visitor
) -> None:
    monkeypatch.setattr(connection, "names", lambda peer: ("gateway.test",))
    assert world.ask(visitor(world, tmp_path)).startswith(OK)


def test_without_tls_plain_text_gets_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def accept(loop: Any, factory: Any, peer: Any, *, ssl: Any = None, **_: Any) -> Any:  # planted: no TLS
        return type(loop).connect_accepted_socket(loop, factory, peer)

    with entrance_world(tmp_path) as world:
        monkeypatch.setattr("sandbox.entrance._accepted", accept)
        assert not world.ask(None).startswith(OK)  # a connection without TLS is cut by itself
        monkeypatch.setattr(connection, "encrypted", lambda transport: True)
        monkeypatch.setattr(connection, "names", lambda peer: ("gateway.test",))
        assert world.ask(None).startswith(OK)


def test_a_name_that_is_not_allowed_is_told_so_and_nothing_more(world: EntranceWorld, tmp_path: Path) -> None:
    told = world.ask(another_name(world, tmp_path), b"x" * 1_000)
    assert told.startswith(b"HTTP/1.1 403")
    assert world.door.calls == 0


def test_a_session_is_not_resumed(world: EntranceWorld) -> None:
    """A resumed one would go on without showing the certificate, also after it was taken away."""
    context = good(world)
    with world.connect(context) as peer:
        peer.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
        assert peer.recv(65536).startswith(OK)
        assert isinstance(peer, ssl.SSLSocket)
        assert peer.session is None or not peer.session.has_ticket


def test_files_that_cannot_be_shown_are_told_with_a_way_out(tmp_path: Path) -> None:
    """Whoever starts either side reads this; `doctor` says the same."""
    fine, other = made(tmp_path / "fine"), made(tmp_path / "other")
    old = made(tmp_path / "old", ago=timedelta(days=2))
    mine, theirs = papers(fine, "domain"), papers(other, "domain")
    (tmp_path / "empty").write_text("")
    (open_key := tmp_path / "open.key").write_bytes(mine.key.read_bytes())
    open_key.chmod(0o644)
    wrong = [
        (dataclasses.replace(mine, key=theirs.key), "is not the key of"),
        (dataclasses.replace(mine, authority=theirs.authority), "is not from the authority"),
        (dataclasses.replace(mine, certificate=tmp_path / "none"), "cannot be read"),
        (dataclasses.replace(mine, certificate=tmp_path / "empty"), "holds no certificate"),
        (dataclasses.replace(mine, key=open_key), "chmod 600"),
        (dataclasses.replace(mine, key=mine.certificate), "chmod 600"),
        (papers(old, "domain"), "has expired"),
        (papers(fine, "gateway"), "is not meant for a server"),
    ]
    for files, words in wrong:
        with pytest.raises(tls.CertificateError, match=words):
            tls.context(files, "domain")
    with pytest.raises(tls.CertificateError, match="is not meant for a client"):
        tls.context(mine, "gateway")


def cut_off(world: EntranceWorld) -> bool:
    """Whether a request that begins and does not end is cut within a second."""
    with world.connect(good(world), timeout=1) as peer:
        peer.sendall(STATUS[:20])
        try:
            return peer.recv(100) == b""
        except TimeoutError:
            return False
        except OSError:
            return True


def test_a_request_that_does_not_end_is_cut(world: EntranceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not cut_off(world)  # within the limit it may still come
    monkeypatch.setattr(connection, "REQUEST_S", 0.2)
    assert cut_off(world)


def test_silent_strangers_keep_the_gateway_out_no_longer_than_each_other(
    world: EntranceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "HANDSHAKES_MAX", 4)
    silent = [world.connect(None) for _ in range(20)]
    try:
        assert world.ask(good(world)).startswith(OK)
        assert len(world.entrance._shaking) <= 5
    finally:
        for peer in silent:
            peer.close()


def test_a_renewed_certificate_is_taken_up_and_running_questions_end_on_the_old_one(
    world: EntranceWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "LOOK_S", 0.0)
    before = papers(world.certificates, "domain").certificate.read_bytes()
    world.door.gate.clear()
    with world.connect(good(world)) as running:
        running.sendall(STATUS)
        made(world.certificates)
        end = time.monotonic() + 20
        while shown(world) == ssl.PEM_cert_to_DER_cert(before.decode()):
            assert time.monotonic() < end
            time.sleep(0.1)
        world.door.gate.set()
        reply = received(running)
        assert reply.startswith(OK)
        assert b"connection: close" in reply.lower()


def shown(world: EntranceWorld) -> bytes | None:
    with world.connect(good(world)) as peer:
        assert isinstance(peer, ssl.SSLSocket)
        return peer.getpeercert(binary_form=True)
