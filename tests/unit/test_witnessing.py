"""A log with witnesses: what they cosigned stands in receipts and exports, and what was put back or forked is told."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.app import build
from gateway.audit import cosigned, tiles
from gateway.audit.checkpoint import Signer
from gateway.audit.note import cosigned_by, parse_checkpoint, signed_by
from gateway.audit.offline import main
from gateway.audit.older import Witnesses
from gateway.audit.verify import verify, verify_receipt
from gateway.audit.witnessing import NoCosignature, Remote, Witnessing
from gateway.errors import Misconfigured
from gateway.home import Home, open_home, read_private_key
from tests.gateway_world import ScriptedDomain
from tests.ledger_world import SIGNER, World, a_busy_world
from tests.second_verifier import sound
from tests.served_home import make_home
from tests.witness_world import listening

STRANGER = "w.example/3+0bf73c72+BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"


@pytest.fixture
def remotes(tmp_path: Path) -> Iterator[list[Remote]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(listening(tmp_path / f"w{n}", f"w.example/{n}")) for n in (1, 2)]


@pytest.fixture
def world(tmp_path: Path, remotes: list[Remote]) -> World:
    """Its first records are witnessed by two, and some more by nobody."""
    world = a_busy_world(tmp_path / "log")
    shutil.copytree(world.path.parent, world.path.parent.with_name("before"))
    with sending(world, remotes) as witnessing:
        assert witnessing.once() == 2
    with world.store.transaction() as tx:
        for _ in range(3):
            world.log.note_read(tx, "auditor", "records")
    return world


@contextlib.contextmanager
def sending(world: World, remotes: list[Remote]) -> Iterator[Witnessing]:
    witnessing = Witnessing(world.log, world.store, remotes, every_s=1)
    try:
        yield witnessing
    finally:
        witnessing.stop()


def keys(remotes: list[Remote], *more: str) -> tuple[str, ...]:
    return (*(remote.vkey for remote in remotes), *more)


def test_a_cosigned_checkpoint_carries_the_log_and_both_witnesses(world: World, remotes: list[Remote]) -> None:
    note = world.log.cosigned()
    assert note is not None
    checkpoint = parse_checkpoint(note)
    assert signed_by(checkpoint, SIGNER.vkey)
    assert all(cosigned_by(checkpoint, remote.vkey) for remote in remotes)
    assert checkpoint.size == len(world.records()) - 3


def test_an_export_is_held_against_a_quorum_of_witnesses(world: World, remotes: list[Remote]) -> None:
    lines = world.export()
    report = verify(lines, witnesses=Witnesses(keys(remotes), 2))
    assert report.ok, report.text()
    assert report.witnessed == len(lines) - 1 - 3
    assert set(report.witnesses) == {"w.example/1", "w.example/2"}
    assert verify(lines, witnesses=Witnesses(keys(remotes, STRANGER), 2)).ok
    assert verify(lines, witnesses=Witnesses(keys(remotes, STRANGER), 3)).kinds == {"witnesses_missing": 1}
    assert verify(lines, witnesses=Witnesses((remotes[0].vkey,) * 2, 2)).kinds == {"witnesses_missing": 1}
    assert sound(lines)


def test_what_is_said_of_witnesses_cannot_be_changed(world: World, remotes: list[Remote]) -> None:
    *records, last = world.export()
    end = json.loads(last)
    changes = {
        "another signature": {"cosigned": end["cosigned"].replace("— w.example/2", "— w.example/4")},
        "another checkpoint": {"cosigned": SIGNER.sign(3, b"r" * 32)},
        "a proof cut short": {"consistency": end["consistency"][1:]},
        "a proof that is none": {"consistency": ["zz"]},
        "no checkpoint": {"cosigned": "nothing"},
    }
    for name, change in changes.items():
        forged = [*records, json.dumps({**end, **change}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)]
        forged[-1] = f"{forged[-1]}\n".encode()
        report = verify(forged, witnesses=Witnesses(keys(remotes), 2))
        assert not report.ok, name
        if name != "another signature":
            assert verify(forged).ok is sound(forged) is False, name


def test_a_receipt_says_what_witnesses_signed_where_they_have_seen_its_record(
    world: World, remotes: list[Remote]
) -> None:
    witnesses = Witnesses(keys(remotes), 2)
    receipt = json.loads(json.dumps(world.log.receipt(5)))
    assert verify_receipt(receipt, SIGNER.vkey, witnesses) == []
    young = world.log.receipt(len(world.records()) - 1)
    assert verify_receipt(young, SIGNER.vkey) == []
    assert verify_receipt(young, SIGNER.vkey, witnesses) != []


def test_a_folder_of_tiles_is_what_witnesses_signed(world: World, remotes: list[Remote], tmp_path: Path) -> None:
    tiles.write(world.log, tmp_path / "log")
    arguments = [str(tmp_path / "log"), "--key", SIGNER.vkey]
    for vkey in keys(remotes):
        arguments += ["--witness", vkey]
    assert main(arguments) == 0
    assert main([*arguments, "--witness", STRANGER]) == 1
    assert main([*arguments, "--quorum", "3"]) == 2
    assert main([*arguments, "--witness", SIGNER.vkey]) == 2


def test_a_log_that_was_put_back_is_told_so_and_nothing_is_cosigned(
    world: World, remotes: list[Remote], tmp_path: Path
) -> None:
    shutil.copytree(world.path.parent.with_name("before"), tmp_path / "gateway")
    with world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    with sending(world, remotes) as witnessing:
        assert witnessing.once() == 2
    old = World(tmp_path)
    with sending(old, remotes) as witnessing:
        assert witnessing.once() == 0
        assert set(witnessing.problems) == {remote.url for remote in remotes}
        assert all("put back or forked" in words for words in witnessing.problems.values())
        newest = [witnessing.newest(remote) for remote in remotes]
    assert all(note is not None and parse_checkpoint(note).size > len(old.records()) for note in newest)
    assert old.log.cosigned() is None
    with old.store.transaction() as tx:
        for _ in range(40):
            old.log.note_read(tx, "mallory", "records")
    with sending(old, remotes) as witnessing:
        assert witnessing.once() == 0, "grown beyond what was witnessed it is a fork"
        assert all("is a fork" in words for words in witnessing.problems.values())


def test_a_witness_that_is_away_or_another_costs_a_cosignature_and_nothing_else(
    world: World, remotes: list[Remote]
) -> None:
    with world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    away = Remote("http://127.0.0.1:9", remotes[1].vkey)
    impostor = Remote(remotes[1].url, remotes[0].vkey)
    with sending(world, [remotes[0], away]) as witnessing:
        assert witnessing.once() == 1
        assert witnessing.problems == {away.url: "does not answer"}
    with sending(world, [impostor]) as witnessing:
        assert witnessing.once() == 0
        assert witnessing.problems == {impostor.url: "answers without a cosignature of its key"}
        with pytest.raises(NoCosignature, match="not signed by both"):
            witnessing.newest(impostor)
    note = world.log.cosigned()
    assert note is not None
    assert list(Witnesses(keys(remotes), 1).cosigners(parse_checkpoint(note))) == ["w.example/1"]


def test_signatures_of_several_gateways_come_together(world: World, remotes: list[Remote]) -> None:
    """Two replicas, each of which reaches one witness."""
    with world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    for remote in remotes:
        with sending(world, [remote]) as witnessing:
            assert witnessing.once() == 1
    note = world.log.cosigned()
    assert note is not None
    assert len(Witnesses(keys(remotes), 2).cosigners(parse_checkpoint(note))) == 2


def test_one_checkpoint_a_day_is_kept(tmp_path: Path) -> None:
    world = World(tmp_path)
    notes = [SIGNER.sign(size, b"r" * 32) for size in (1, 2, 3)]
    with world.store.transaction() as tx:
        for note, day in zip(notes, ("2026-11-23", "2026-11-23", "2026-11-24"), strict=True):
            cosigned.keep(tx, note, day)
        cosigned.keep(tx, notes[0], "2026-11-24")
        rows = tx.all("SELECT day, note FROM cosigned ORDER BY day")
        assert rows == [("2026-11-23", notes[1]), ("2026-11-24", notes[2])]
        assert cosigned.newest(tx) == notes[2]


@pytest.mark.parametrize("key", ["nonsense", SIGNER.vkey])
def test_a_key_that_is_no_witness_s_is_refused_at_start(world: World, remotes: list[Remote], key: str) -> None:
    with pytest.raises(Misconfigured, match="no witness's verifier key"):
        Witnessing(world.log, world.store, [replace(remotes[0], vkey=key)], 1)


def test_the_thread_sends_by_itself(world: World, remotes: list[Remote]) -> None:
    with world.store.transaction() as tx:
        world.log.note_read(tx, "auditor", "records")
    witnessing = Witnessing(world.log, world.store, remotes, every_s=0.05)
    witnessing.start()
    try:
        for _ in range(200):
            note = world.log.cosigned()
            if note is not None and parse_checkpoint(note).size == len(world.records()):
                break
            witnessing._stopped.wait(0.05)
        else:
            raise AssertionError("never sent")
    finally:
        witnessing.stop()


def put_back(home: Home) -> None:
    """The whole state from a copy, with the checkpoint beside the database: nothing on the machine tells."""
    shutil.rmtree(home.ledger_file.parent)
    shutil.copytree(home.ledger_file.parent.with_name("copy"), home.ledger_file.parent)


def test_a_gateway_sends_to_its_witness_and_hears_from_it_that_its_state_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path / "home")
    file = home.root / "gateway.toml"
    vkey = Signer(home.settings.audit.origin, read_private_key(home.root / "keys" / "log.key")).vkey
    with listening(tmp_path / "w", "w.example/1", vkey) as remote:
        text = file.read_text(encoding="utf-8").replace("[audit]", "[audit]\nwitness_every_s = 1")
        named = f'\n[[audit.witnesses]]\nurl = "{remote.url}"\nkey = "{remote.vkey}"\n'
        file.write_text(text + named, encoding="utf-8")
        home = open_home(home.root)
        assert closed(home) is None
        shutil.copytree(home.ledger_file.parent, home.ledger_file.parent.with_name("copy"))
        with contextlib.closing(build(home, ScriptedDomain(home))) as gateway:
            service = gateway.app.state.service
            with service.store.transaction() as tx:
                service.log.note_read(tx, "auditor", "records")
            for _ in range(400):
                note = service.log.cosigned()
                if note is not None and cosigned_by(parse_checkpoint(note), remote.vkey):
                    break
                gateway.witnesses._stopped.wait(0.05)
            else:
                raise AssertionError("never sent")
        assert closed(home) is None
        put_back(home)
        assert closed(home) is not None, "the witness knows what the copy lacks"
        put_back(home)
        monkeypatch.setattr(Witnessing, "fetch", lambda *_: None)
        assert closed(home) is None, "planted: who does not ask the witness does not notice"


def closed(home: Home) -> str | None:
    """Why a gateway that starts now answers nothing."""
    with contextlib.closing(build(home, ScriptedDomain(home))) as gateway:
        why: str | None = gateway.app.state.service.log.closed
        return why
