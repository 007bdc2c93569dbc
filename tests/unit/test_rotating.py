"""`bpk audit rotate-key` on a home, while it is served and while others serve the same ledger; witnesses follow."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import rotating
from gateway.audit import handover
from gateway.audit.bundles import verify_bundle
from gateway.audit.handover import Held
from gateway.audit.note import cosigned_by, parse_checkpoint, signed_by
from gateway.audit.older import NO_WITNESSES, Witnesses
from gateway.audit.verify import verify_receipt
from gateway.audit.witnessing import Remote, Witnessing
from gateway.books import open_log
from gateway.home import Home, open_home
from gateway.oversight.bundle import evidence
from gateway.witness import submission as submissions
from gateway.witness.memory import Memory
from gateway.witness.server import Witness
from gateway.witness.submission import Refused
from tests.gateway_world import COUNT, GatewayWorld, gateway_world
from tests.ledger_world import NEXT, SIGNER, World
from tests.postgres_server import Server, needed
from tests.served_home import make_home
from tests.unit.test_backup_commands import run
from tests.unit.test_log_keys import THIEF, judged, spoilt
from tests.unit.test_replicas import Shared, SharedDomain
from tests.witness_world import Branch, listening, make_witness

BODY = {"sql": COUNT, "purpose": "research"}


def rotate(home: Home) -> rotating.Rotated:
    store, log = open_log(home)
    with contextlib.closing(store):
        return rotating.rotate(home, store, log)


def answer(world: GatewayWorld) -> dict[str, Any]:
    reply = world.call("POST", "/v1/queries", BODY)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def answering(shared: Shared) -> Callable[[Home], SharedDomain]:
    """A data domain that answers at once."""
    shared.gate.set()

    def domain(home: Home) -> SharedDomain:
        found = SharedDomain(home)
        found.shared = shared
        return found

    return domain


# a home


def test_the_key_is_changed_while_the_gateway_serves_and_every_receipt_holds(tmp_path: Path) -> None:
    with gateway_world(tmp_path / "home", kind=answering(Shared())) as world:
        old = world.service.log.vkey
        before = answer(world)["receipt"]
        told = run("audit", "rotate-key", "--home", world.home.root)
        after = answer(world)["receipt"]
        assert told["key"] == world.service.log.vkey != old
        for receipt in (before, after):
            assert verify_receipt(receipt, old) == []
        assert verify_receipt(after, told["key"]) == []
        assert signed_by(parse_checkpoint(after["checkpoint"]), told["key"])
        shown = world.call("GET", "/v1/audit/checkpoint", Authorization=f"Bearer {world.token('a', 'auditor')}").json()
        assert shown["keys"] == [{"key": old, "from": 0}, {"key": told["key"], "from": told["after"]}]
    again = run("audit", "checkpoint", "--home", tmp_path / "home")
    assert again["keys"] == shown["keys"]
    run("audit", "export", "--home", tmp_path / "home", "--output", tmp_path / "log")
    assert judged((tmp_path / "log").read_bytes().splitlines(keepends=True), old)


def test_files_change_places_and_the_old_key_is_kept_aside(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    old, keys = home.log_key.read_bytes(), home.root / "keys"
    prepared = run("audit", "rotate-key", "--home", home.root, "--prepare")["next"]
    assert run("audit", "rotate-key", "--home", home.root, "--prepare")["next"] == prepared
    new = home.next_log_key.read_bytes()
    assert home.next_log_key.stat().st_mode & 0o777 == 0o600
    told = run("audit", "rotate-key", "--home", home.root)
    assert told["key"] == prepared
    assert (home.log_key.read_bytes(), Path(told["kept"]).read_bytes()) == (new, old)
    assert not list(keys.glob("log-next*"))
    assert len(home.old_log_keys.read_text().splitlines()) == 1
    second = run("audit", "rotate-key", "--home", home.root)
    assert second["key"] != prepared
    assert home.old_log_keys.read_text().splitlines()[-1] == prepared


@pytest.mark.parametrize("step", ["hand_over", "checkpoint", "_change_places"])
def test_a_change_that_was_cut_off_is_taken_up_again(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    prepared = rotating.prepare(home).vkey
    store, log = open_log(home)
    with contextlib.closing(store), monkeypatch.context() as cut:

        def die(*_: object) -> None:
            raise KeyboardInterrupt

        cut.setattr(*((rotating, step, die) if step == "_change_places" else (log, step, die)))
        with pytest.raises(KeyboardInterrupt):
            rotating.rotate(home, store, log)
    told = rotate(home)
    assert told.key == prepared
    store, log = open_log(home)
    with contextlib.closing(store):
        assert len(log.keys().chain) == 2


def test_a_restored_copy_from_before_the_change_freezes_until_the_records_are_there(tmp_path: Path) -> None:
    root, copy, records = tmp_path / "home", tmp_path / "copy", tmp_path / "records"
    with gateway_world(root, kind=answering(Shared())) as world:
        answer(world)
    run("backup", "--home", root, "--output", copy)
    run("audit", "rotate-key", "--home", root)
    run("audit", "export", "--home", root, "--output", records)
    open_home(root).ledger_file.unlink()
    assert "missing" in run("restore", copy, "--home", root, code=1)["closed"]
    assert run("restore", "--home", root, "--records", records)["closed"] is None
    with gateway_world(root, home=open_home(root), kind=answering(Shared())) as world:
        answer(world)


# several gateways


@pytest.fixture
def pair(tmp_path: Path, postgres: Server) -> Iterator[tuple[GatewayWorld, GatewayWorld]]:
    first = make_home(tmp_path / "a").root
    with (first / "gateway.toml").open("a") as settings:
        settings.write(f'\n[store]\nurl = "{postgres.database()}"\n')
    shutil.copytree(first, tmp_path / "b")
    kind = answering(Shared())
    with (
        gateway_world(first, home=open_home(first), kind=kind) as one,
        gateway_world(tmp_path / "b", home=open_home(tmp_path / "b"), kind=kind) as other,
    ):
        yield one, other


@needed
def test_every_gateway_takes_up_a_key_that_was_given_to_it(pair: tuple[GatewayWorld, GatewayWorld]) -> None:
    one, other = pair
    old = one.service.log.vkey
    run("audit", "rotate-key", "--home", one.home.root, "--prepare")
    shutil.copy(one.home.next_log_key, other.home.next_log_key)
    told = run("audit", "rotate-key", "--home", one.home.root)
    for each in (other, one):
        receipt = answer(each)["receipt"]
        assert verify_receipt(receipt, told["key"]) == verify_receipt(receipt, old) == []
    assert run("audit", "rotate-key", "--home", other.home.root)["key"] == told["key"], "its files follow, and no more"
    assert len(one.service.log.keys().chain) == 2


@needed
def test_a_gateway_that_was_not_given_the_key_charges_nothing_and_says_why(
    pair: tuple[GatewayWorld, GatewayWorld],
) -> None:
    one, other = pair
    run("audit", "rotate-key", "--home", one.home.root)
    size = len(one.service.log.bodies(0, 1000))
    reply = other.call("POST", "/v1/queries", BODY)
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
    assert len(one.service.log.bodies(0, 1000)) == size
    ready = other.call("GET", "/readyz")
    assert ready.status_code == 503
    assert "another key" in ready.json()["log"]
    answer(one)
    shutil.copy(one.home.log_key, other.home.next_log_key)
    answer(other)
    assert other.call("GET", "/readyz").json()["log"] == "ready"


# witnesses


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[Remote]:
    with listening(tmp_path / "w", "w.example/1") as found:
        yield found


def once(world: World, remote: Remote) -> int:
    witnessing = Witnessing(world.log, world.store, [remote], every_s=1)
    try:
        return witnessing.once()
    finally:
        witnessing.stop()


def test_a_witness_follows_a_log_to_its_new_key_and_to_the_one_after(tmp_path: Path, remote: Remote) -> None:
    world = World(tmp_path / "log", held=Held(SIGNER, lambda: [NEXT]))
    assert once(world, remote) == 1
    world.hand_over()
    world.charge()
    world.held = Held(NEXT, lambda: [THIEF], (SIGNER.vkey,))
    world.reopen()
    world.hand_over(THIEF)  # here an honest key
    world.charge()
    assert once(world, remote) == 1
    note = parse_checkpoint(world.log.cosigned() or "")
    assert (signed_by(note, THIEF.vkey), cosigned_by(note, remote.vkey) is None) == (True, False)
    assert judged(world.export(), SIGNER.vkey)


def told_before_witnesses_cosign_anew(tmp_path: Path, remote: Remote) -> tuple[World, list[dict[str, Any]]]:
    """A receipt and the evidence of an old answer, once the log has changed its key and no witness has followed."""
    world = World(tmp_path / "log", held=Held(SIGNER, lambda: [NEXT]))
    row = world.answer(world.charge().id)
    assert once(world, remote) == 1
    assert cosigned_by(parse_checkpoint(world.log.receipt(row.record)["checkpoint"]), remote.vkey)
    world.hand_over()
    told = [world.log.receipt(row.record), evidence(world.log, world.store, None, row.id)]
    assert once(world, remote) == 1
    return world, [*told, world.log.receipt(row.record)]


def test_old_records_are_proven_under_the_new_key_from_its_first_day_on(tmp_path: Path, remote: Remote) -> None:
    """Whoever is told the new key, because the old one was stolen, knows no other."""
    world, (receipt, bundle, later) = told_before_witnesses_cosign_anew(tmp_path, remote)
    for key in (SIGNER.vkey, NEXT.vkey):
        assert verify_receipt(receipt, key) == []
        assert verify_bundle(bundle, key, NO_WITNESSES) == []
        assert verify_receipt(later, key, Witnesses((remote.vkey,), 1)) == []
    assert world.log.published() == later["checkpoint"]


def test_planted_a_receipt_under_the_older_key_is_noticed(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "last", lambda _: -1)
    with pytest.raises(AssertionError):
        test_old_records_are_proven_under_the_new_key_from_its_first_day_on(tmp_path, remote)


def test_a_witness_refuses_an_unannounced_key_and_the_old_one_once_it_was_handed_over(tmp_path: Path) -> None:
    world = World(tmp_path / "log", held=Held(SIGNER, lambda: [NEXT]))
    size = world.hand_over()
    (link,) = world.log.handovers(size)
    home = make_witness(tmp_path / "w")
    with contextlib.closing(Memory(home.memory_file)) as memory:
        witness = Witness(home, memory)

        def refused(body: dict[str, Any] | bytes) -> int:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            with pytest.raises(Refused) as told:
                witness.follow(sent)
            return told.value.status

        assert refused(link) == 409, "it has not seen the log so far"
        offered = b"old 0\n\n" + link["checkpoint"].encode()
        assert witness.add(offered)
        for name, bad in spoilt(link).items():
            assert refused(bad) in (400, 403), name
        for junk in (b"", b"[]", b"{}", b"x", b"[" * 60_000, json.dumps({**link, "checkpoint": 1}).encode()):
            assert refused(junk) == 400
        assert refused({**link, "checkpoint": link["checkpoint"].replace("test", "other")}) in (400, 403, 404)
        with pytest.raises(Refused, match="not signed"):
            witness.add(Branch(signer=NEXT).body(size, size + 1))
        witness.follow(json.dumps(link).encode())
        assert refused(link) == 403, "from a key that it does not know any more"
        with pytest.raises(Refused, match="not signed"):
            witness.add(Branch(signer=SIGNER).body(size, size + 1))
        world.charge()
        note = world.log.checkpoint()
        proof = world.log.consistency(size, len(world.records()))
        assert witness.add(_body(size, proof, note))
        with pytest.raises(Exception, match="handed over stays"):
            memory._connection.execute("UPDATE key SET new = old")
        with pytest.raises(Exception, match="does not forget"):
            memory._connection.execute("DELETE FROM key")
    with contextlib.closing(Memory(home.memory_file)) as memory, pytest.raises(Refused, match="not signed"):
        Witness(home, memory).add(Branch(signer=SIGNER).body(len(world.records()), len(world.records())))


def _body(old: int, proof: list[bytes], note: str) -> bytes:
    return "\n".join([f"old {old}", *(base64.b64encode(step).decode() for step in proof), "", note]).encode()


def test_a_witness_that_takes_any_key_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "successor", lambda sent, vkey, seen: sent.link["record"]["terms"]["to"])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_a_witness_refuses_an_unannounced_key_and_the_old_one_once_it_was_handed_over(tmp_path)


def test_a_witness_of_the_bare_standard_is_told_of_and_waited_for_by_nobody(
    tmp_path: Path, remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that knows nothing of changed keys: its owner has to write the new one into its settings."""
    world = World(tmp_path / "log", held=Held(SIGNER, lambda: [NEXT]))
    world.hand_over()
    world.charge()
    call = Witnessing._call

    def bare(self: Witnessing, method: str, url: str, body: bytes) -> httpx.Response:
        return httpx.Response(404) if url.endswith("/add-key") else call(self, method, url, body)

    monkeypatch.setattr(Witnessing, "_call", bare)
    witnessing = Witnessing(world.log, world.store, [remote], every_s=1)
    assert witnessing.once() == 0
    assert "403" in witnessing.problems[remote.url]
    witnessing.stop()
