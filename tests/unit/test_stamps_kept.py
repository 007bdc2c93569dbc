"""Time stamps without an authority: what is kept, what is read back, and what a thread does whose log is away."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest

from gateway.audit import stamping as module
from gateway.audit.note import parse_checkpoint
from gateway.audit.stamping import Authority, Stamping, keep, kept
from gateway.audit.stamps import MISSING, TOKEN_BYTES_MAX, Stamp, read, time_of
from gateway.errors import Fault, Misconfigured
from tests.ledger_world import SIGNER, World

NOTE = SIGNER.sign(3, b"r" * 32)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_newest_stamp_of_each_day_is_kept(world: World) -> None:
    notes = {size: SIGNER.sign(size, b"r" * 32) for size in (2, 3, 4)}
    with world.store.transaction() as tx:
        for size, day in ((3, "2026-11-23"), (2, "2026-11-23"), (3, "2026-11-23"), (4, "2026-11-24")):
            keep(tx, Stamp(notes[size], bytes([size])), day)
    with world.store.reading() as view:
        assert kept(view) == [Stamp(notes[3], b"\3"), Stamp(notes[4], b"\4")]


def test_without_an_authority_there_is_no_thread_and_nothing_to_show(world: World) -> None:
    none = Stamping(world.log, world.store, None)
    none.start()
    assert (none.state, none.gauges, none._thread) == (None, {}, None)
    none.stop()


def test_without_the_library_it_is_said_what_to_install(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rfc3161_client", None)
    with pytest.raises(Misconfigured, match=r"pip install baopingkou\[timestamps\]") as refused:
        Stamping(world.log, world.store, Authority("https://tsa.example", tmp_path / "none", 60, 1))
    assert str(refused.value) == MISSING


def test_the_thread_stands_a_fault_of_the_log(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    stamping = Stamping(world.log, world.store, None)
    monkeypatch.setattr(stamping, "_trusted", [object()])
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    tries: list[int] = []

    def once() -> bool:
        tries.append(len(tries))
        if len(tries) == 3:
            stamping._stopped.set()
            return False
        raise Fault("not now")

    monkeypatch.setattr(stamping, "once", once)
    stamping.start()
    assert stamping._thread is not None
    stamping._thread.join(60)
    assert tries == [0, 1, 2]
    assert stamping.state == "ready"
    assert stamping.gauges == {"bpk_stamped_records": 0, "bpk_stamp_failures": 0}


def test_stamps_are_written_and_read_one_a_line(tmp_path: Path) -> None:
    stamps = [Stamp(NOTE, b"\x30\x00"), Stamp(SIGNER.sign(4, b"r" * 32), b"")]
    file = tmp_path / "stamps"
    file.write_text("".join(f"{stamp.line()}\n" for stamp in stamps), encoding="utf-8")
    assert read(file) == stamps
    good = json.loads(stamps[0].line())
    for broken in ([], {}, {**good, "token": 1}, {"token": good["token"]}, {**good, "token": "_"}):
        file.write_text(json.dumps(broken), encoding="utf-8")
        with pytest.raises(ValueError, match=r"holds no time stamp|base64|padding"):
            read(file)
    assert base64.b64decode(good["token"]) == b"\x30\x00"


def test_a_token_that_is_none_or_longer_than_any_is_refused() -> None:
    pytest.importorskip("rfc3161_client", reason="time stamps need `pip install baopingkou[timestamps]`")
    checkpoint = parse_checkpoint(NOTE)
    for token, why in (
        (b"0" * (TOKEN_BYTES_MAX + 1), "a time stamp that is longer than any"),
        (b"0" * TOKEN_BYTES_MAX, "the time stamp cannot be read"),
        (b"", "the time stamp cannot be read"),
    ):
        with pytest.raises(ValueError, match=f"^{why}$"):
            time_of(checkpoint, token, [])
